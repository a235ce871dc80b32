"""What the programs that read a manifest refuse is a finding."""

import copy

import pytest
from hypothesis import given
from tests.manifests.check_examples import (
    PATH_VARIABLE,
    UUID,
    codes,
    make_class,
    make_cloud_config,
    make_pod,
)
from tests.manifests.examples import (
    CONTROL_PLANE,
    KEY_VAULT_USER,
    KMS,
    SELF_MANAGED,
    make_manifest,
    self_managed_manifests,
)
from tests.manifests.inject_examples import make_options, make_workload

from hcpcreds.components import COMPONENTS, WORKLOADS
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import build_pod_additions, inject, render


@pytest.mark.parametrize(
    ("workload", "volume_name"),
    [
        (pod.workload, pod.mount.volume_name)
        for component in COMPONENTS
        for pod in component.pods
        if pod.mount is not None
    ],
)
def test_known_volume_with_a_wrong_class_is_found_in_every_workload(workload, volume_name):
    cluster = parse_hosted_cluster(make_manifest())
    additions = build_pod_additions(cluster, workload, key_vault_user_client_id=KEY_VAULT_USER)
    containers = [
        {"name": name, "env": added.env, "volumeMounts": added.volume_mounts}
        for name, added in additions.containers.items()
    ]
    pod = make_pod()
    pod["metadata"] = {"name": workload, "namespace": "clusters-otter"}
    pod["spec"] = {"containers": containers, "volumes": copy.deepcopy(additions.volumes)}
    assert codes(pod) == []
    (volume,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == volume_name)
    volume["csi"]["volumeAttributes"]["secretProviderClass"] = volume_name
    objects = render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
    assert codes(pod) == codes(make_manifest(), *objects, pod) == ["HC112"]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("azure", []),
        ("Azure", ["HC301"]),
        ("azzure", ["HC301"]),
        (" azure", ["HC301"]),
        (None, ["HC301"]),
        ("", ["HC301"]),
        ("vault", ["HC301"]),  # with the Azure provider's parameters
        ("${PROVIDER}", []),
    ],
)
def test_provider_is_compared_as_the_driver_compares_it(provider, expected):
    item = make_class()
    item["spec"]["provider"] = provider
    assert codes(item) == expected
    item["spec"]["parameters"] = {"region": "west"}
    assert (codes(item) == []) is (provider in ("vault", "${PROVIDER}"))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, []),
        ({"useVMManagedIdentity": None, "useAzureTokenProxy": "true"}, ["HC304", "HC326"]),
        (
            {
                "useVMManagedIdentity": None,
                "useAzureTokenProxy": "true",
                "clientID": UUID,
                "userAssignedIdentityID": None,
            },
            [],
        ),
        ({"clientID": UUID}, ["HC326"]),
        ({"clientID": "reader"}, ["HC325", "HC326"]),
        ({"clientID": "$CLIENT"}, ["HC326"]),
        ({"userAssignedIdentityID": f"/subscriptions/{UUID}/x"}, ["HC325"]),
        ({"userAssignedIdentityID": None}, []),  # the node's own identity, with a custom class
        ({"useVMManagedIdentity": None, "clientID": UUID}, ["HC326"]),
        ({"useVmManagedIdentity": "true", "useVMManagedIdentity": None}, ["HC320"]),
        ({"keyVaultName": "v", "keyvaultName": None}, ["HC320"]),
        ({"tenantid": "v", "tenantId": None}, ["HC320"]),
        ({"tenantID": UUID, "tenantId": None}, []),
        ({"resourceGroup": "from-an-old-release", "subscriptionId": UUID}, []),
    ],
)
def test_identity_parameters_are_read_as_the_provider_reads_them(parameters, expected):
    assert codes(make_class(**parameters)) == expected


def test_class_without_an_identity_needs_a_secret_in_the_volume():
    bare = make_class(useVMManagedIdentity=None, userAssignedIdentityID=None)
    assert codes(bare) == []
    assert codes(bare, make_pod()) == ["HC304"]
    assert codes(bare, make_pod(nodePublishSecretRef={"name": "reader"})) == []


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"keyvaultName": "otter-vault"}, []),
        ({"keyvaultName": "heron-vault"}, ["HC117"]),
        ({"keyvaultName": "$VAULT"}, []),
        ({"providerName": "azure"}, []),
        ({"usePodIdentity": "true", "clientID": UUID}, ["HC117", "HC117"]),
    ],
)
def test_volume_attributes_that_override_the_class_are_found(attributes, expected):
    pod = make_pod(volumeAttributes={"secretProviderClass": "shop", **attributes})
    assert codes(make_class(), pod) == expected


@pytest.mark.parametrize("proxy", [None, "true"])
@pytest.mark.parametrize(
    "audience", ["api://AzureADTokenExchange", "api://AKSIdentityBinding", "${AUDIENCE}"]
)
def test_driver_needs_the_token_for_the_audience_of_the_class(proxy, audience):
    driver = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": "secrets-store.csi.k8s.io"},
        "spec": {
            "podInfoOnMount": True,
            "requiresRepublish": True,
            "tokenRequests": [{"audience": audience}],
        },
    }
    own = make_class(
        useVMManagedIdentity=None, userAssignedIdentityID=None, clientID=UUID, useAzureTokenProxy=proxy
    )
    is_right = audience in (
        "${AUDIENCE}",
        "api://AKSIdentityBinding" if proxy else "api://AzureADTokenExchange",
    )
    assert codes(driver, own) == ([] if is_right else ["HC509"])
    assert codes(driver, make_class()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"allowedNamespaces": {}}, []),
        ({"allowedNamespaces": {"list": None}}, []),
        ({"allowedNamespaces": {"selector": {"matchLabels": {"a": "b"}}}}, []),
        ({"allowedNamespaces": {"list": ["clusters-heron", "clusters-otter"]}}, []),
        ({"allowedNamespaces": {"list": ["${NAMESPACE}"]}}, []),
        ({"allowedNamespaces": None}, ["HC607"]),
        ({"allowedNamespaces": {"list": []}}, ["HC607"]),
        ({"allowedNamespaces": {"selector": {}}}, ["HC607"]),
        ({"allowedNamespaces": {"list": ["clusters"]}}, ["HC607"]),
        ({"userAssignedIdentityCredentialsCloudType": "Public"}, []),
        ({"userAssignedIdentityCredentialsCloudType": None}, []),
        ({"userAssignedIdentityCredentialsCloudType": "germany"}, ["HC603"]),
        ({"userAssignedIdentityCredentialsPath": "/mnt/certs"}, ["HC606"]),
        ({"userAssignedIdentityCredentialsPath": "np"}, ["HC606"]),
        ({"userAssignedIdentityCredentialsPath": None}, ["HC606"]),
        ({"userAssignedIdentityCredentialsPath": "${FILE}"}, []),
        ({"clientID": None}, ["HC605"]),
        ({"tenantID": 3}, ["HC605"]),
        ({"type": "WorkloadIdentity"}, ["HC604"]),
    ],
)
def test_cluster_identity_is_read_as_cluster_api_reads_it(changes, expected):
    spec = {
        "type": "UserAssignedIdentityCredential",
        "tenantID": UUID,
        "clientID": "",
        "userAssignedIdentityCredentialsPath": "/mnt/certs/np",
        "userAssignedIdentityCredentialsCloudType": "public",
        "allowedNamespaces": {"list": ["clusters-otter"]},
        **changes,
    }
    identity = {
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1",
        "kind": "AzureClusterIdentity",
        "metadata": {"name": "otter", "namespace": "clusters-otter"},
        "spec": spec,
    }
    assert codes(identity) == expected


def test_cloud_type_that_is_not_set_is_the_public_cloud():
    manifest = make_manifest({"spec.platform.azure.cloud": "AzureUSGovernmentCloud"})
    objects = render(parse_hosted_cluster(manifest), key_vault_user_client_id=KEY_VAULT_USER)
    (identity,) = (item for item in objects if item["kind"] == "AzureClusterIdentity")
    assert codes(manifest, identity) == []
    del identity["spec"]["userAssignedIdentityCredentialsCloudType"]
    assert codes(manifest, identity) == ["HC603"]


@pytest.mark.parametrize("value", ["/mnt/certs/shop\n", " /mnt/certs/shop", "/mnt/certs/shop "])
def test_path_with_blanks_at_an_end_is_found_without_the_class(value):
    assert codes(make_pod(value)) == ["HC211"]
    assert codes(make_cloud_config({"aadMSIDataPlaneIdentityPath": value})) == ["HC405"]


def test_empty_variable_is_meant_where_a_federated_token_is_used():
    pod = make_pod("")
    assert codes(pod) == ["HC212"]
    environment = pod["spec"]["containers"][0]["env"]
    environment.append({"name": "AZURE_FEDERATED_TOKEN_FILE", "value": "/assertions/token"})
    assert codes(pod) == []
    environment[:] = [{"name": PATH_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    assert codes(pod) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({f"{CONTROL_PLANE}.file": {"credentialsSecretName": "otter-DISK"}}, ["HC510"]),
        ({f"{KMS}.kms": {"credentialsSecretName": "otter-disk"}}, ["HC510"]),
        ({f"{KMS}.backupKey": {"keyVaultName": "heron", "keyName": "a", "keyVersion": "1"}}, ["HC507"]),
        ({"spec.platform.azure.tenantID": "${TENANT}"}, ["HC702"]),
    ],
)
def test_hosted_cluster_that_cannot_work_is_found(changes, expected):
    assert codes(make_manifest(changes)) == expected


# Clusters with workload identities


@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_of_a_self_managed_cluster_is_checked_by_the_same_table(name):
    manifest = make_manifest(SELF_MANAGED)
    cluster = parse_hosted_cluster(manifest)
    additions = build_pod_additions(cluster, name)
    workload = make_workload(
        name=name, containers=[{"name": container} for container in additions.containers]
    )
    workload["metadata"]["namespace"] = "clusters-otter"
    found = codes(manifest, workload)
    assert set(found) <= {"HC122", "HC206"}
    assert ("HC122" in found) is bool(additions.volumes)
    assert ("HC206" in found) is any(added.env for added in additions.containers.values())
    assert codes(manifest, inject(workload, make_options(cluster=cluster))) == []


@given(self_managed_manifests())
def test_nothing_is_found_in_what_is_made_of_any_self_managed_cluster(manifest):
    assert (
        codes(manifest, *render(parse_hosted_cluster(manifest), key_vault_user_client_id=KEY_VAULT_USER))
        == []
    )
