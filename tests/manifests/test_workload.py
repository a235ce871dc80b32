import json

import pytest
from hypothesis import given
from kr8s.asyncio.objects import Deployment as Kr8sDeployment
from kubernetes.client import ApiClient
from lightkube import codecs
from tests.manifests.examples import CONTROL_PLANE, KEY_VAULT_USER, KMS, REMOVED, make_manifest, manifests

from hcpcreds.components import WORKLOADS
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import ContainerAdditions, PodAdditions, build_pod_additions

CLUSTER = parse_hosted_cluster(make_manifest())
CREDENTIALS = "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH"


def volume(name, secret_provider_class):
    attributes = {"secretProviderClass": f"managed-azure-{secret_provider_class}"}
    csi = {"driver": "secrets-store.csi.k8s.io", "readOnly": True, "volumeAttributes": attributes}
    return {"name": name, "csi": csi}


def container(*mounts, **env):
    return ContainerAdditions(
        [{"name": name, "mountPath": path, "readOnly": True} for name, path in mounts],
        [{"name": name, "value": value} for name, value in env.items()],
    )


EXPECTED = {
    "control-plane-operator": PodAdditions(
        [volume("cpo-cert", "cpo"), volume("kms-cert", "kms")],
        {
            "control-plane-operator": container(
                ("cpo-cert", "/mnt/certs"),
                ("kms-cert", "/mnt/kms"),
                MANAGED_SERVICE="ARO-HCP",
                ARO_HCP_KEY_VAULT_USER_CLIENT_ID=KEY_VAULT_USER,
            )
        },
    ),
    "hosted-cluster-config-operator": PodAdditions(
        [], {"hosted-cluster-config-operator": container(MANAGED_SERVICE="ARO-HCP")}
    ),
    "capi-provider": PodAdditions(
        [volume("nodepool-management-cert", "nodepool-management")],
        {
            "manager": container(
                ("nodepool-management-cert", "/mnt/certs"), ARO_HCP_KEY_VAULT_USER_CLIENT_ID=KEY_VAULT_USER
            )
        },
    ),
    "azure-cloud-controller-manager": PodAdditions(
        [volume("cloud-provider-cert", "cloud-provider")],
        {"cloud-controller-manager": container(("cloud-provider-cert", "/mnt/certs"))},
    ),
    "ingress-operator": PodAdditions(
        [volume("ingress-cert", "ingress")],
        {
            "ingress-operator": container(
                ("ingress-cert", "/mnt/certs"), **{CREDENTIALS: "/mnt/certs/otter-ingress"}
            )
        },
    ),
    "cluster-image-registry-operator": PodAdditions(
        [volume("image-registry-cert", "image-registry")],
        {
            "cluster-image-registry-operator": container(
                ("image-registry-cert", "/mnt/certs"), **{CREDENTIALS: "/mnt/certs/otter-registry"}
            )
        },
    ),
    "cluster-network-operator": PodAdditions(
        [],
        {
            "cluster-network-operator": container(
                ARO_HCP_SECRET_PROVIDER_CLASS="managed-azure-network", **{CREDENTIALS: "otter-network"}
            )
        },
    ),
    "cloud-network-config-controller": PodAdditions(
        [volume("cncc-cert", "network")],
        {
            "controller": container(
                ("cncc-cert", "/var/run/secrets/azure"),
                ARO_HCP_CLIENT_CREDENTIALS_PATH="/var/run/secrets/azure/otter-network",
            )
        },
    ),
    "cluster-storage-operator": PodAdditions(
        [],
        {
            "cluster-storage-operator": container(
                ARO_HCP_SECRET_PROVIDER_CLASS_FOR_DISK="managed-azure-disk-csi",
                ARO_HCP_SECRET_PROVIDER_CLASS_FOR_FILE="managed-azure-file-csi",
            )
        },
    ),
    "azure-disk-csi-driver-controller": PodAdditions(
        [volume("azure-disk", "disk-csi")], {"csi-driver": container(("azure-disk", "/mnt/certs"))}
    ),
    "azure-file-csi-driver-controller": PodAdditions(
        [volume("azure-file", "file-csi")], {"csi-driver": container(("azure-file", "/mnt/certs"))}
    ),
    "kube-apiserver": PodAdditions(
        [volume("kms-cert", "kms")],
        {
            "azure-kms-provider-active": container(("kms-cert", "/mnt/certs")),
            "azure-kms-provider-backup": container(("kms-cert", "/mnt/certs")),
        },
    ),
}


def build(workload, cluster=CLUSTER):
    return build_pod_additions(
        cluster, workload, key_vault_user_client_id=KEY_VAULT_USER, managed_service="ARO-HCP"
    )


def build_deployment(additions):
    containers = [
        {"name": name, "image": "x", "volumeMounts": added.volume_mounts, "env": added.env}
        for name, added in additions.containers.items()
    ]
    labels = {"app": "x"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"volumes": additions.volumes, "containers": containers},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x", "namespace": "y"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


@pytest.mark.parametrize("workload", WORKLOADS)
def test_workload_gets_what_hypershift_gives_it(workload):
    assert build(workload) == EXPECTED[workload]


def test_backup_container_gets_nothing_when_there_is_no_backup_key():
    cluster = parse_hosted_cluster(make_manifest({f"{KMS}.backupKey": REMOVED}))
    assert list(build("kube-apiserver", cluster).containers) == ["azure-kms-provider-active"]


def test_workload_gets_nothing_for_what_the_cluster_does_not_have():
    changes = {"spec.secretEncryption": REMOVED, f"{CONTROL_PLANE}.imageRegistry": REMOVED}
    cluster = parse_hosted_cluster(make_manifest(changes))
    assert (
        build("kube-apiserver", cluster)
        == build("cluster-image-registry-operator", cluster)
        == PodAdditions()
    )
    assert build("control-plane-operator", cluster).volumes == [volume("cpo-cert", "cpo")]


def test_optional_environment_is_left_out_when_it_is_not_known():
    [added] = build_pod_additions(CLUSTER, "control-plane-operator").containers.values()
    assert added.env == []


@pytest.mark.parametrize("client_id", [None, ""])
def test_capi_provider_is_refused_when_the_vault_user_is_not_known(client_id):
    with pytest.raises(InputError) as caught:
        build_pod_additions(CLUSTER, "capi-provider", key_vault_user_client_id=client_id)
    expected = "capi-provider: environment variable ARO_HCP_KEY_VAULT_USER_CLIENT_ID is not set"
    assert str(caught.value) == expected


def test_unknown_workload_is_refused_and_the_known_are_listed():
    with pytest.raises(
        InputError, match="unknown workload 'etcd'; expected one of control-plane-operator, hosted-"
    ):
        build_pod_additions(CLUSTER, "etcd")


@given(manifests())
def test_every_mount_has_its_volume_and_every_path_its_mount(manifest):
    cluster = parse_hosted_cluster(manifest)
    for workload in WORKLOADS:
        additions = build(workload, cluster)
        volumes = [added["name"] for added in additions.volumes]
        assert len(set(volumes)) == len(volumes)
        for added in additions.containers.values():
            assert {mount["name"] for mount in added.volume_mounts} == set(volumes)
            directories = [f"{mount['mountPath']}/" for mount in added.volume_mounts]
            assert len(set(directories)) == len(directories)
            for variable in added.env:
                if variable["value"].startswith("/"):
                    assert variable["value"].startswith(tuple(directories))


@pytest.mark.parametrize("workload", WORKLOADS)
def test_clients_take_the_additions_as_they_are(workload):
    deployment = build_deployment(build(workload))
    client = ApiClient()
    assert client.sanitize_for_serialization(deployment) == deployment
    model = client.deserialize(json.dumps(deployment), "V1Deployment", None)
    pruned = json.loads(json.dumps(deployment), object_hook=drop_empty)
    assert json.loads(json.dumps(client.sanitize_for_serialization(model)), object_hook=drop_empty) == pruned
    assert json.loads(json.dumps(codecs.from_dict(deployment).to_dict()), object_hook=drop_empty) == pruned
    assert Kr8sDeployment(deployment).to_dict() == deployment


def drop_empty(mapping):
    return {key: value for key, value in mapping.items() if value != []}
