"""What is wrong is said where it stands, with its own reason."""

import pytest
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
    make_manifest,
)
from tests.manifests.inject_examples import make_options, make_workload

from hcpcreds.manifests import check, inject
from hcpcreds.manifests.check import read_documents


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


def test_key_that_is_read_is_not_called_misspelt():
    identity = {
        "kind": "AzureClusterIdentity",
        "spec": {
            "type": "UserAssignedIdentityCredential",
            "tenantID": UUID,
            "clientID": "",
            "userAssignedIdentityCredentialsCloudType": "public",
            "allowedNamespaces": {},
        },
    }
    storage = make_workload(name="cluster-storage-operator")
    container = storage["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "ARO_HCP_SECRET_PROVIDER_CLASS_FOR_DISK", "value": "managed-azure-disk-csi"}]
    data_plane = "spec.platform.azure.azureAuthenticationConfig.managedIdentities.dataPlane"
    manifest = make_manifest({f"{data_plane}.diskMSIClientID": None})
    for documents, code in (
        ([identity], "HC606"),
        ([make_manifest(), storage], "HC206"),
        ([manifest], "HC507"),
    ):
        (finding,) = check(documents)
        assert finding.code == code
        assert "is not read" not in finding.reason
