import pytest
from tests.manifests.examples import AZURE, TENANT, make_labels, make_manifest

from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import render


def build(cluster, **options):
    [built] = render(cluster, key_vault_user_client_id="", kinds=["AzureClusterIdentity"], **options)
    return built


def test_azure_cluster_identity_names_the_mounted_file():
    assert build(parse_hosted_cluster(make_manifest())) == {
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1",
        "kind": "AzureClusterIdentity",
        "metadata": {
            "name": "otter",
            "namespace": "clusters-otter",
            "labels": make_labels("cluster-api-provider-azure"),
        },
        "spec": {
            "type": "UserAssignedIdentityCredential",
            "clientID": "",
            "tenantID": TENANT,
            "userAssignedIdentityCredentialsPath": "/mnt/certs/otter-nodepool",
            "userAssignedIdentityCredentialsCloudType": "public",
            "allowedNamespaces": {"list": ["clusters-otter"]},
        },
    }


def test_azure_cluster_identity_is_allowed_where_it_is_put():
    built = build(parse_hosted_cluster(make_manifest()), namespace="elsewhere")
    assert built["metadata"]["namespace"] == "elsewhere"
    assert built["spec"]["allowedNamespaces"] == {"list": ["elsewhere"]}


@pytest.mark.parametrize(
    ("cloud", "cloud_type"),
    [
        ("AzurePublicCloud", "public"),
        ("AzureUSGovernmentCloud", "usgovernment"),
        ("AzureChinaCloud", "china"),
    ],
)
def test_cloud_is_translated_for_cluster_api(cloud, cloud_type):
    cluster = parse_hosted_cluster(make_manifest({f"{AZURE}.cloud": cloud}))
    assert build(cluster)["spec"]["userAssignedIdentityCredentialsCloudType"] == cloud_type


@pytest.mark.parametrize("cloud", ["AzureGermanCloud", "AzureBleuCloud"])
def test_cloud_is_refused_when_cluster_api_does_not_know_it(cloud):
    cluster = parse_hosted_cluster(make_manifest({f"{AZURE}.cloud": cloud}))
    with pytest.raises(InputError, match=f"spec.platform.azure.cloud: got '{cloud}'"):
        build(cluster)
