"""Each rule of check, beside what the programs that read a manifest do with it."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
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
from hcpcreds.manifests import build_pod_additions, check, inject, render
from hcpcreds.manifests.check import read_documents

UUID = "30000000-5ea5-4000-8000-000000000001"
PATH_VARIABLE = "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH"


def codes(*documents: Any) -> list[str]:
    return sorted(finding.code for finding in check(documents))


def read_codes(**files: str) -> list[str]:
    """The codes found in files by their names, with - for _ and / for __."""
    documents = [
        document
        for name, text in files.items()
        for document in read_documents(text, file=name.replace("__", "/").replace("_", "-"))
    ]
    return codes(*documents)


def make_class(
    objects: str = "objectName: shop\nobjectType: secret", *, name: str = "shop", **parameters: Any
) -> dict[str, Any]:
    """A SecretProviderClass with one object; a parameter that is None is left out."""
    values = {
        "useVMManagedIdentity": "true",
        "userAssignedIdentityID": KEY_VAULT_USER,
        "keyvaultName": "otter-vault",
        "tenantId": UUID,
        "objects": json.dumps({"array": [objects]}),
        **parameters,
    }
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "provider": "azure",
            "parameters": {key: value for key, value in values.items() if value is not None},
        },
    }


def make_pod(path: str | None = None, *, mount_path: str = "/mnt/certs", **volume: Any) -> dict[str, Any]:
    """A pod that mounts the SecretProviderClass shop, with a variable for the path of its file."""
    csi = {
        "driver": "secrets-store.csi.k8s.io",
        "readOnly": True,
        "volumeAttributes": {"secretProviderClass": "shop"},
        **volume,
    }
    container: dict[str, Any] = {
        "name": "shop",
        "volumeMounts": [{"name": "tls", "mountPath": mount_path, "readOnly": True}],
    }
    if path is not None:
        container["env"] = [{"name": PATH_VARIABLE, "value": path}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"containers": [container], "volumes": [{"name": "tls", "csi": csi}]},
    }


def make_cloud_config(settings: dict[str, Any], name: str = "azure-disk-csi-config") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "clusters-otter"},
        "stringData": {"cloud.conf": json.dumps(settings)},
    }


# What is right is not a finding


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("0640", []),
        ("00640", []),
        ("640", []),
        ("0", []),
        ("+640", []),
        ("017777777777", []),
        ("0o640", ["HC318"]),
        ("0_640", ["HC318"]),
        ("0888", ["HC318"]),
        ("0x1a", ["HC318"]),
        ("u=rw", ["HC318"]),
        ("020000000000", ["HC318"]),
    ],
)
def test_file_permission_is_read_as_the_provider_reads_it(mode, expected):
    assert codes(make_class(f"objectName: a\nobjectType: secret\nfilePermission: '{mode}'")) == expected


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("app/v1/cred", []),
        ("a" * 255 + "/b", []),
        (".hidden", []),
        ("./cred", ["HC311"]),
        ("app//cred", ["HC311"]),
        ("app/", ["HC311"]),
        ("/cred", ["HC311"]),
        ("a/../cred", ["HC311"]),
        ("a..b", ["HC311"]),
        ("a" * 256, ["HC311"]),
    ],
)
def test_alias_may_have_folders_as_the_driver_takes_them(alias, expected):
    assert codes(make_class(f"objectName: a\nobjectType: secret\nobjectAlias: {alias}")) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mnt/certs/app/cred", []),
        ("/mnt//certs/./app/cred", []),
        ("/mnt/certs/app", ["HC203"]),
        ("/mnt/certs/cred", ["HC202"]),
        ("/mnt/certs/../cred", ["HC201"]),
    ],
)
@pytest.mark.parametrize("mount_path", ["/mnt/certs", "/mnt/certs/", "//mnt/./certs"])
def test_paths_are_compared_as_the_kernel_reads_them(path, mount_path, expected):
    aliased = make_class("objectName: a\nobjectType: secret\nobjectAlias: app/cred")
    assert codes(aliased, make_pod(path, mount_path=mount_path)) == expected


@pytest.mark.parametrize(
    ("version", "expected"), [("0", []), ("2", []), ("3", ["HC202"]), ("", ["HC203"]), ("latest", ["HC202"])]
)
def test_object_with_a_version_history_is_a_directory(version, expected):
    kept = make_class("objectName: a\nobjectType: secret\nobjectVersionHistory: 2")
    assert codes(kept, make_pod(f"/mnt/certs/a/{version}".rstrip("/"))) == expected
    assert (
        codes(
            make_class("objectName: a\nobjectVersionHistory: 1\nobjectType: secret"), make_pod("/mnt/certs/a")
        )
        == []
    )


def test_certificate_may_be_in_a_file_of_its_own():
    assert codes(make_class(), make_pod("/mnt/certs/shop.crt")) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--enable-secret-rotation"], []),
        (["-enable-secret-rotation=T", "-v=5"], []),
        (["--rotation-poll-interval", "2m", "--enable-secret-rotation=true"], []),
        (["--enable-secret-rotation=false", "--enable-secret-rotation=true"], []),
        (["--nodeid", "$(NODE)", "--enable-secret-rotation=true"], []),
        (["--enable-secret-rotation=true", "--rotation-poll-interval", "2h"], ["HC504"]),
        (["--enable-secret-rotation=true", "--rotation-poll-interval", "2"], ["HC503"]),
        (["--enable-secret-rotation=true", "--enable-secret-rotation=0"], ["HC502"]),
        (["--", "--enable-secret-rotation"], ["HC502"]),
        (["---enable-secret-rotation"], ["HC502"]),
        (["enable-secret-rotation=true"], ["HC502"]),
        (["--enable-secret-rotation=yes"], ["HC502"]),
    ],
)
def test_flags_of_the_driver_are_read_as_go_reads_them(arguments, expected):
    container = {"name": "secrets-store", "args": arguments}
    driver = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "csi"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    assert codes(driver) == expected
    container["command"], container["args"] = ["/secrets-store-csi", *arguments], []
    assert codes(driver) == expected
    container["command"] = ["sh", "-c", "exec /secrets-store-csi $ARGS"]
    assert codes(driver) == []


@pytest.mark.parametrize(
    "key", ["aadMSIDataPlaneIdentityPath", "aadmsidataplaneidentitypath", "AADMSIDATAPLANEIDENTITYPATH"]
)
def test_keys_of_a_cloud_config_are_matched_as_its_reader_matches_them(key):
    settings = {key: "/mnt/certs/a", "UseManagedIdentityExtension": True}
    assert codes(make_cloud_config(settings)) == ["HC403"]
    is_exact = key == "aadMSIDataPlaneIdentityPath"
    assert codes(make_cloud_config({key: "/mnt/certs/a"}, "azure-kms-config")) == (
        [] if is_exact else ["HC409"]
    )


def test_string_data_is_judged_and_not_the_data_that_it_replaces():
    secret = make_cloud_config({"aadMSIDataPlaneIdentityPath": "/mnt/certs/a"})
    assert codes({**secret, "data": {"cloud.conf": "!"}}) == []
    assert codes({**secret, "data": {"other": "!"}}) == []


def test_config_map_for_nodes_needs_no_credential():
    settings = {"aadMSIDataPlaneIdentityPath": "", "useManagedIdentityExtension": False}
    config = make_cloud_config(settings, "azure-cloud-config")
    assert codes(config) == ["HC407"]
    assert codes({**config, "kind": "ConfigMap", "data": config.pop("stringData")}) == []


@pytest.mark.parametrize("name", ["shop", "managed-azure-ingress"])
def test_workload_identity_is_an_identity_to_read_the_vault_with(name):
    own = make_class(name=name, useVMManagedIdentity=None, userAssignedIdentityID=None, clientID=UUID)
    assert codes(own) == []


# Objects of one name

ONE = """\
kind: SecretProviderClass
metadata: {name: a, namespace: shop}
spec: {provider: gcp, parameters: {a: b}}
"""
OTHER = ONE.replace("a: b", "a: c")
SERVICE = "---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\n"


def test_two_objects_of_one_name_are_found_where_they_are_applied_together():
    assert read_codes(one=f"{ONE}---\n{OTHER}") == ["HC501"]
    assert read_codes(deploy__one=ONE, deploy__two=OTHER) == ["HC501"]
    assert read_codes(_=ONE, deploy__two=OTHER) == ["HC501"]


def test_objects_of_one_name_are_no_finding_where_each_stands_for_the_other():
    assert read_codes(west__one=ONE, east__two=OTHER) == []
    assert read_codes(deploy__one=ONE + SERVICE, deploy__two=OTHER + SERVICE) == []
    for name in ("name: '${APP}'", "name: '{{ a }}'", "name: __APP__"):
        assert read_codes(one=f"{ONE}---\n{OTHER}".replace("name: a,", f"{name},")) == []
    template = OTHER.replace("a: c", "a: '{{ .Values.a }}'")
    assert read_codes(deploy__one=ONE, deploy__two=template) == []


@pytest.mark.parametrize("lacking", ["env", "volumeMounts"])
def test_what_an_overlay_supplies_is_not_missing_in_its_base(lacking):
    manifest = make_manifest()
    whole = inject(make_workload(), make_options())
    base = copy.deepcopy(whole)
    base["spec"]["template"]["spec"]["containers"][0].pop(lacking)
    objects = [manifest, *render(parse_hosted_cluster(manifest), key_vault_user_client_id=KEY_VAULT_USER)]
    assert codes(*objects, base) != []
    assert codes(*objects, base, whole) == []


def test_component_is_not_missed_where_its_class_is_from_elsewhere():
    workload = json.dumps(make_workload())
    made = json.dumps(make_class(name="managed-azure-ingress"))
    found = ["HC114", "HC206"]
    assert (
        read_codes(deploy__a=made, deploy__b=workload)
        == read_codes(deploy__a=made, deploy__more__b=workload)
        == found
    )
    assert read_codes(deploy__a=made, apps__b=workload) == found
    assert read_codes(tests__data__a=made, operator__assets__b=workload) == []


def test_class_of_ones_own_may_be_anywhere():
    assert codes(make_class(name="other"), make_pod()) == ["HC101"]  # in one file
    assert read_codes(a__class=json.dumps(make_class(name="other")), b__pod=json.dumps(make_pod())) == []
    assert read_codes(a__class=json.dumps(make_class(name="shops")), b__pod=json.dumps(make_pod())) == [
        "HC101"
    ]


# What its readers refuse


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
        ({"userAssignedIdentityID": None}, []),  # the node's own identity, with a class of one's own
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


# What is wrong is said where it stands


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("array:\n  - |\n    objectName: a\narray: []\n", "the key 'array' is repeated"),
        ("array:\n  - |\n    objectName: a\n    objectName: b\n", "the key 'objectName' is repeated"),
        ("array:\n  - |\n    a: [\n", "not YAML"),
        ("array: {a: b}\n", "has no key array with entries"),
        ("array:\n  -\n", "an entry of array is not text"),
        ("array:\n  - |\n    just text\n", "an entry of array is not a mapping"),
        ("Array: []\n", "does not read the key 'Array'"),
        ("array:\n  - |\n    ObjectName: a\n", "does not read the key 'ObjectName'"),
        ("", "objects is not set"),
    ],
)
def test_unreadable_objects_are_told_with_their_own_reason(text, reason):
    item = make_class()
    item["spec"]["parameters"]["objects"] = text
    found = check([item])
    assert reason in found[0].reason
    assert len(found) == 1


def test_problem_within_a_literal_block_has_its_own_line():
    text = (
        "kind: SecretProviderClass\nmetadata: {name: a}\nspec:\n  provider: azure\n  parameters:\n"
        f"    keyvaultName: vault\n    tenantId: {UUID}\n    useVMManagedIdentity: 'true'\n"
        "    objects: |\n      array:\n        - |\n          objectName: a\n          objectType: secret\n"
        "      array: []\n"
    )
    (finding,) = check(read_documents(text, file="f"))
    assert (finding.code, finding.line) == ("HC306", 14)
    config = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: azure-disk-csi-config}\nstringData:\n"
        '  cloud.conf: |\n    {\n      "cloud": "AzurePublicCloud"\n      "tenantId": "a"\n    }\n'
    )
    (finding,) = check(read_documents(config, file="f"))
    assert (finding.code, finding.line) == ("HC401", 8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ('{"cloud": "AzurePublicCloud"}', "is plain text, and data takes base64"),
        ("eyJhIjogMX0", "is not the base64 of a text"),  # without its padding
        ("eyJhIjog MX0=", "is not the base64 of a text"),
        ("/w==", "is not the base64 of a text"),
        ("WzFd", "is not one JSON object"),
        ("ew==", "cannot be read"),
    ],
)
def test_unreadable_cloud_config_is_told_with_its_own_reason(data, reason):
    secret = make_cloud_config({})
    del secret["stringData"]
    (finding,) = check([{**secret, "data": {"cloud.conf": data}}])
    assert finding.code == "HC401"
    assert reason in finding.reason
    assert ("base64" in finding.fix) is ("base64" in reason)


def test_secret_without_its_cloud_config_is_found_and_other_keys_are_not_judged():
    secret = make_cloud_config({"aadMSIDataPlaneIdentityPath": "/mnt/certs/a"})
    secret["stringData"]["azure_client_id"] = "anything"
    assert codes(secret) == []
    del secret["stringData"]["cloud.conf"]
    (finding,) = check([secret])
    assert (finding.code, finding.path) == ("HC401", "$.stringData")
    assert "no key cloud.conf" in finding.reason
    assert codes({**secret, "stringData": {}}) == []


def test_key_that_was_meant_is_named_where_it_is_missing():
    pod = make_pod(volumeAttributes={"SecretProviderClass": "shop"})
    manifest = make_manifest({f"{CONTROL_PLANE}.ingress": {"credentialSecretName": "otter-ingress"}})
    workload = inject(make_workload(), make_options())
    workload["spec"]["template"]["spec"]["containers"][0]["env"][0]["name"] = PATH_VARIABLE.replace(
        "ALS", "AL"
    )
    identity = {
        "kind": "AzureClusterIdentity",
        "spec": {
            "type": "UserAssignedIdentityCredential",
            "tenantID": UUID,
            "clientId": "",
            "userAssignedIdentityCredentialPath": "/mnt/certs/np",
            "allowedNamespace": {},
        },
    }
    whole = make_manifest()
    for documents, code, written in (
        ([pod], "HC108", "SecretProviderClass"),
        ([manifest], "HC507", "credentialSecretName"),
        ([whole, workload], "HC206", "MANAGED_AZURE_HCP_CREDENTIAL_FILE_PATH"),
        ([identity], "HC605", "clientId"),
        ([identity], "HC606", "userAssignedIdentityCredentialPath"),
        ([identity], "HC607", "allowedNamespace"),
    ):
        (finding,) = (finding for finding in check(documents) if finding.code == code)
        assert f"({written} is not read)" in finding.reason


@pytest.mark.parametrize("field", ["secretName", "type"])
def test_number_in_secret_objects_is_found(field):
    item = make_class()
    secret = {"secretName": "shop", "type": "Opaque", "data": [{"objectName": "shop", "key": "a"}]}
    item["spec"]["secretObjects"] = [secret]
    assert codes(item) == []
    item["spec"]["secretObjects"] = [{**secret, field: 7}]
    (finding,) = check([item])
    assert (finding.code, finding.reason) == ("HC321", f"{field} is not text, and the API server refuses it")
