"""What render prints beside the usual objects: guest Secrets, RBAC, other ways into the vault."""

import json
from base64 import b64decode

import kubernetes_validate
import pytest
from tests.manifests.examples import (
    AUTHENTICATION,
    CLIENT_ID,
    CONTROL_PLANE,
    KEY_VAULT_USER,
    KMS,
    REMOVED,
    SELF_MANAGED,
    SUBSCRIPTION,
    TENANT,
    VAULT_TENANT,
    WITH_CLIENT_IDS,
    make_labels,
    make_manifest,
)

from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import check, render
from hcpcreds.manifests.rbac import build_rbac
from hcpcreds.manifests.render import describe_keyless, render_guest

CLUSTER = parse_hosted_cluster(make_manifest())
IDENTITIES = f"{AUTHENTICATION}.managedIdentities.controlPlane"
TOKEN = "/var/run/secrets/openshift/serviceaccount/token"


def decode(data):
    return {key: b64decode(value).decode() for key, value in data.items()}


def names(objects):
    return [f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in objects]


def test_guest_secrets_are_those_that_hypershift_writes():
    secrets = render_guest(CLUSTER)
    assert names(secrets) == [
        "openshift-ingress-operator/cloud-credentials",
        "openshift-image-registry/installer-cloud-credentials",
        "openshift-cluster-csi-drivers/azure-disk-credentials",
        "openshift-cluster-csi-drivers/azure-file-credentials",
    ]
    client_ids = ["fakeClientID", *(f"dddddddd-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))]
    assert [decode(secret["data"]) for secret in secrets] == [
        {
            "azure_client_id": client_id,
            "azure_federated_token_file": TOKEN,
            "azure_region": "westeurope",
            "azure_resource_prefix": "otter-otter-x1y2z",
            "azure_resourcegroup": "otter-rg",
            "azure_subscription_id": SUBSCRIPTION,
            "azure_tenant_id": TENANT,
        }
        for client_id in client_ids
    ]
    assert secrets[0]["metadata"]["labels"] == make_labels("ingress-operator")
    for secret in secrets:
        kubernetes_validate.validate(secret, "1.31", strict=True)


@pytest.mark.parametrize(
    ("capability", "secret"),
    [
        ("Ingress", "openshift-ingress-operator/cloud-credentials"),
        ("ImageRegistry", "openshift-image-registry/installer-cloud-credentials"),
    ],
)
def test_guest_secret_is_left_out_when_its_capability_is_disabled(capability, secret):
    changes = {"spec.capabilities": {"disabled": [capability, "Console"]}}
    found = names(render_guest(parse_hosted_cluster(make_manifest(changes))))
    assert set(names(render_guest(CLUSTER))) - set(found) == {secret}


def test_guest_secrets_of_a_component_only_when_it_is_named():
    assert names(render_guest(CLUSTER, components=["cluster-storage-operator"])) == [
        "openshift-cluster-csi-drivers/azure-disk-credentials",
        "openshift-cluster-csi-drivers/azure-file-credentials",
    ]


def test_guest_secrets_are_refused_when_the_component_has_none():
    with pytest.raises(InputError, match="kube-apiserver: no Secret in the guest cluster"):
        render_guest(CLUSTER, components=["kube-apiserver"])


@pytest.mark.parametrize(
    ("capability", "secret_provider_class"),
    [("Ingress", "managed-azure-ingress"), ("ImageRegistry", "managed-azure-image-registry")],
)
def test_component_is_left_out_when_its_capability_is_disabled(capability, secret_provider_class):
    changes = {"spec.capabilities": {"disabled": [capability, "Console"]}}
    objects = render(parse_hosted_cluster(make_manifest(changes)), key_vault_user_client_id=KEY_VAULT_USER)
    everything = render(CLUSTER, key_vault_user_client_id=KEY_VAULT_USER)
    missing = {item["metadata"]["name"] for item in everything} - {
        item["metadata"]["name"] for item in objects
    }
    assert missing == {secret_provider_class}


def test_image_registry_is_refused_by_name_when_its_capability_is_disabled():
    cluster = parse_hosted_cluster(make_manifest({"spec.capabilities": {"disabled": ["ImageRegistry"]}}))
    with pytest.raises(InputError, match="otter has no identity for cluster-image-registry-operator"):
        render(
            cluster,
            key_vault_user_client_id=KEY_VAULT_USER,
            components=["cluster-image-registry-operator"],
        )


def test_network_credentials_name_no_identity_when_its_credential_is_mounted():
    [secret] = render(
        CLUSTER, key_vault_user_client_id="", components=["cluster-network-operator"], kinds=["Secret"]
    )
    assert secret["metadata"]["name"] == "cloud-network-config-controller-creds"
    assert decode(secret["data"]) == {
        "azure_region": "westeurope",
        "azure_resource_prefix": "otter-otter-x1y2z",
        "azure_resourcegroup": "otter-rg",
        "azure_subscription_id": SUBSCRIPTION,
        "azure_tenant_id": TENANT,
    }


@pytest.mark.parametrize(
    ("vault_access", "parameters"),
    [
        (
            "vm-identity",
            {
                "usePodIdentity": "false",
                "useVMManagedIdentity": "true",
                "userAssignedIdentityID": KEY_VAULT_USER,
            },
        ),
        ("workload-identity", {"usePodIdentity": "false", "clientID": KEY_VAULT_USER}),
        ("identity-binding", {"useAzureTokenProxy": "true", "clientID": KEY_VAULT_USER}),
    ],
)
def test_vault_access_chooses_the_parameters_that_log_in(vault_access, parameters):
    [item] = render(
        CLUSTER,
        key_vault_user_client_id=KEY_VAULT_USER,
        components=["ingress-operator"],
        vault_access=vault_access,
    )
    objects = item["spec"]["parameters"].pop("objects")
    assert "objectName: otter-ingress\n" in objects
    expected = {**parameters, "keyvaultName": "otter-vault", "tenantId": VAULT_TENANT}
    assert item["spec"] == {"provider": "azure", "parameters": expected}


def test_vault_access_is_refused_when_there_is_no_such():
    with pytest.raises(
        InputError, match="vault access: unknown 'pod-identity'; expected one of vm-identity, wo"
    ):
        render(CLUSTER, key_vault_user_client_id=KEY_VAULT_USER, vault_access="pod-identity")  # type: ignore[arg-type]


@pytest.mark.parametrize("namespace", [None, "elsewhere"])
def test_rbac_gives_the_control_plane_operator_what_hypershift_gives_it(namespace):
    role, binding = build_rbac(CLUSTER, namespace=namespace)
    assert role["rules"] == [
        {
            "apiGroups": ["secrets-store.csi.x-k8s.io"],
            "resources": ["secretproviderclasses"],
            "verbs": ["get", "list", "create", "update", "watch"],
        }
    ]
    assert role["metadata"]["name"] != "control-plane-operator"  # which is HyperShift's own
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": "control-plane-operator",
            "namespace": namespace or "clusters-otter",
        }
    ]
    for item in (role, binding):
        kubernetes_validate.validate(item, "1.31", strict=True)


def test_guest_secrets_are_the_same_when_only_the_control_plane_lacks_an_identity():
    cluster = parse_hosted_cluster(make_manifest({f"{CONTROL_PLANE}.imageRegistry": REMOVED}))
    assert render_guest(cluster) == render_guest(CLUSTER)


KEYLESS_CLUSTER = parse_hosted_cluster(make_manifest(WITH_CLIENT_IDS))


def render_keyless(cluster=KEYLESS_CLUSTER, **options):
    return render(cluster, key_vault_user_client_id=KEY_VAULT_USER, keyless=True, **options)


def test_keyless_changes_exactly_the_two_objects_that_programs_ask_before_their_environment():
    usual = render(KEYLESS_CLUSTER, key_vault_user_client_id=KEY_VAULT_USER)
    pairs = zip(usual, render_keyless(), strict=True)
    config, identity = (changed for before, changed in pairs if before != changed)
    assert names([config, identity]) == [
        "clusters-otter/azure-kms-config",
        "clusters-otter/otter-keyless",
    ]
    settings = json.loads(decode(config["data"])["cloud.conf"])
    assert settings["aadMSIDataPlaneIdentityPath"] == ""
    assert settings["useWorkloadIdentityExtension"] is True
    assert identity["spec"] == {
        "type": "WorkloadIdentity",
        "clientID": f"{CLIENT_ID}2",
        "tenantID": TENANT,
        "allowedNamespaces": {"list": ["clusters-otter"]},
    }


def test_check_finds_nothing_in_what_keyless_renders():
    assert check([make_manifest(WITH_CLIENT_IDS), *render_keyless()]) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"{IDENTITIES}.nodePoolManagement.clientID", "cluster-api-provider-azure"),
        (f"{KMS}.kms.clientID", "kube-apiserver"),
    ],
)
def test_keyless_names_the_component_whose_client_id_is_missing(path, name):
    others = {key: value for key, value in WITH_CLIENT_IDS.items() if key != path}
    cluster = parse_hosted_cluster(make_manifest(others))
    with pytest.raises(InputError, match=f"keyless: the identity of {name} has no clientID"):
        render_keyless(cluster)
    assert render_keyless(cluster, components=["ingress-operator"])


def test_keyless_is_refused_when_the_cluster_has_no_keys():
    with pytest.raises(InputError, match="the hosted cluster otter has workload identities"):
        render_keyless(parse_hosted_cluster(make_manifest(SELF_MANAGED)))


def test_keyless_says_what_is_left_to_do_and_which_component_keeps_its_key():
    told = [text.partition(":")[0] for text in describe_keyless(CLUSTER)]
    assert told == [
        "control-plane-operator",
        "cluster-api-provider-azure",
        "cluster-image-registry-operator",
        "kube-apiserver",
    ]
    assert describe_keyless(CLUSTER, components=["ingress-operator"]) == []
