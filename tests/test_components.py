import pytest
from tests.manifests.examples import CONTROL_PLANE, REMOVED, make_manifest

from hcpcreds.components import COMPONENTS, WORKLOADS, PathSource
from hcpcreds.hosted_cluster import Identities, parse_hosted_cluster

# component: identity, SecretProviderClass; then of the pods that call Azure: workload, volume, path
TABLE = {
    "control-plane-operator": "control_plane_operator cpo control-plane-operator cpo-cert /mnt/certs",
    "cluster-api-provider-azure": (
        "node_pool_management nodepool-management capi-provider nodepool-management-cert /mnt/certs"
    ),
    "cloud-controller-manager": (
        "cloud_provider cloud-provider azure-cloud-controller-manager cloud-provider-cert /mnt/certs"
    ),
    "ingress-operator": "ingress ingress ingress-operator ingress-cert /mnt/certs",
    "cluster-image-registry-operator": (
        "image_registry image-registry cluster-image-registry-operator image-registry-cert /mnt/certs"
    ),
    "cluster-network-operator": (
        "network network cloud-network-config-controller cncc-cert /var/run/secrets/azure"
    ),
    "cluster-storage-operator-disk": "disk disk-csi azure-disk-csi-driver-controller azure-disk /mnt/certs",
    "cluster-storage-operator-file": "file file-csi azure-file-csi-driver-controller azure-file /mnt/certs",
    "kube-apiserver": "kms kms kube-apiserver kms-cert /mnt/certs",
}


def test_there_are_nine_components():
    assert [component.name for component in COMPONENTS] == list(TABLE)


@pytest.mark.parametrize("component", COMPONENTS, ids=list(TABLE))
def test_component_is_as_in_the_table(component):
    consumer = component.consumer
    assert consumer.mount is not None
    assert TABLE[component.name].split() == [
        component.identity,
        component.secret_provider_class.removeprefix("managed-azure-"),
        consumer.workload,
        consumer.mount.volume_name,
        consumer.mount.path,
    ]


def test_each_identity_belongs_to_one_component():
    assert sorted(component.identity for component in COMPONENTS) == sorted(Identities.__struct_fields__)


def test_workloads_are_those_that_hypershift_deploys():
    assert list(WORKLOADS) == [
        "control-plane-operator",
        "hosted-cluster-config-operator",
        "capi-provider",
        "azure-cloud-controller-manager",
        "ingress-operator",
        "cluster-image-registry-operator",
        "cluster-network-operator",
        "cloud-network-config-controller",
        "cluster-storage-operator",
        "azure-disk-csi-driver-controller",
        "azure-file-csi-driver-controller",
        "kube-apiserver",
    ]


def test_path_is_found_where_each_program_looks_for_it():
    sources = {
        component.name: component.consumer.mount.source
        for component in COMPONENTS
        if component.consumer.mount
    }
    assert sources == {
        "control-plane-operator": PathSource.HOSTED_CONTROL_PLANE,
        "cluster-api-provider-azure": PathSource.AZURE_CLUSTER_IDENTITY,
        "cloud-controller-manager": PathSource.CLOUD_CONFIG,
        "ingress-operator": PathSource.ENVIRONMENT,
        "cluster-image-registry-operator": PathSource.ENVIRONMENT,
        "cluster-network-operator": PathSource.ENVIRONMENT,
        "cluster-storage-operator-disk": PathSource.CLOUD_CONFIG,
        "cluster-storage-operator-file": PathSource.CLOUD_CONFIG,
        "kube-apiserver": PathSource.CLOUD_CONFIG,
    }


def test_cloud_config_file_is_named_exactly_where_it_holds_the_path():
    mounts = [pod.mount for component in COMPONENTS for pod in component.pods if pod.mount is not None]
    for mount in mounts:
        assert (mount.cloud_config is not None) == (mount.source is PathSource.CLOUD_CONFIG)


def test_component_has_no_identity_when_the_cluster_does_not_have_it():
    cluster = parse_hosted_cluster(make_manifest({f"{CONTROL_PLANE}.imageRegistry": REMOVED}))
    without = [component.name for component in COMPONENTS if component.get_identity(cluster) is None]
    assert without == ["cluster-image-registry-operator"]


def test_each_component_can_be_keyless_or_the_table_says_why_not():
    keyless = {component.name: component.consumer.keyless for component in COMPONENTS}
    assert None not in keyless.values()
    ways = {name: (row.beside, row.keeps_mount, row.refused) for name, row in keyless.items() if row}
    assert {name for name, way in ways.items() if way == ("", False, "")} == {
        "cloud-controller-manager",
        "ingress-operator",
        "cluster-network-operator",
        "cluster-storage-operator-disk",
        "cluster-storage-operator-file",
    }
    assert {name for name, (beside, _, _) in ways.items() if beside} == {
        "cluster-api-provider-azure",
        "kube-apiserver",
    }
    assert [name for name, (_, keeps_mount, _) in ways.items() if keeps_mount] == ["control-plane-operator"]
    assert [name for name, (_, _, refused) in ways.items() if refused] == ["cluster-image-registry-operator"]


def test_path_variables_are_those_that_hold_the_path_of_the_key():
    found = {component.name: component.consumer.path_variables for component in COMPONENTS}
    assert {name: names for name, names in found.items() if names} == {
        "ingress-operator": ("MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH",),
        "cluster-image-registry-operator": ("MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH",),
        "cluster-network-operator": ("ARO_HCP_CLIENT_CREDENTIALS_PATH",),
    }
