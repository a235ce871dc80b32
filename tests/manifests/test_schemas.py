"""Every object against the schemas of those who read it."""

import re
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from hypothesis import HealthCheck, given, settings
from tests.manifests.examples import KEY_VAULT_USER, WITH_CLIENT_IDS, make_manifest, manifests

from hcpcreds.components import COMPONENTS, WORKLOADS
from hcpcreds.hosted_cluster import HostedCluster, parse_hosted_cluster
from hcpcreds.manifests import build_pod_additions, render
from hcpcreds.manifests.inject import InjectOptions, Sidecar, inject

TEXT = {"type": "string"}
METADATA = {
    "type": "object",
    "required": ["name", "namespace"],
    "properties": {
        "name": TEXT,
        "namespace": TEXT,
        "labels": {"type": "object", "additionalProperties": TEXT},
    },
    "additionalProperties": False,
}


def make_schema(api_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": api_version},
            "kind": {"const": kind},
            "metadata": METADATA,
            "spec": {"type": "object", "additionalProperties": False, **spec},
        },
        "additionalProperties": False,
    }


CUSTOM = {
    # The driver's CRD takes any parameters as long as they are texts; what the Azure provider takes of them
    # is narrower, and that is what is written down here.
    "SecretProviderClass": make_schema(
        "secrets-store.csi.x-k8s.io/v1",
        "SecretProviderClass",
        {
            "required": ["provider", "parameters"],
            "properties": {
                "provider": {"const": "azure"},
                "parameters": {
                    "type": "object",
                    "required": ["keyvaultName", "tenantId", "objects"],
                    "properties": {
                        "usePodIdentity": {"enum": ["true", "false"]},
                        "useVMManagedIdentity": {"enum": ["true", "false"]},
                        "userAssignedIdentityID": TEXT,
                        "keyvaultName": {"type": "string", "pattern": "^[-A-Za-z0-9]{3,24}$"},
                        "tenantId": {"type": "string", "minLength": 1},
                        "objects": {"type": "string", "pattern": "^\narray:\n"},
                    },
                    "additionalProperties": False,
                },
            },
        },
    ),
    "AzureClusterIdentity": make_schema(
        "infrastructure.cluster.x-k8s.io/v1beta1",
        "AzureClusterIdentity",
        {
            "required": ["clientID", "type", "tenantID"],
            "properties": {
                "type": {"enum": ["UserAssignedIdentityCredential", "WorkloadIdentity"]},
                "clientID": TEXT,
                "tenantID": TEXT,
                "userAssignedIdentityCredentialsPath": TEXT,
                "userAssignedIdentityCredentialsCloudType": {"enum": ["public", "usgovernment", "china"]},
                "allowedNamespaces": {
                    "type": "object",
                    "properties": {"list": {"type": "array", "items": TEXT}},
                    "additionalProperties": False,
                },
            },
        },
    ),
}
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def validate(item: dict[str, Any]) -> None:
    if item["kind"] in CUSTOM:
        jsonschema.validate(item, CUSTOM[item["kind"]])
    else:
        kubernetes_validate.validate(item, "1.31", strict=True)


def build_deployment(cluster: HostedCluster, workload: str) -> dict[str, Any]:
    """A Deployment with nothing in it but what hcpcreds adds."""
    additions = build_pod_additions(cluster, workload, key_vault_user_client_id=KEY_VAULT_USER)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": workload},
        "spec": {
            "selector": {"matchLabels": {"app": workload}},
            "template": {
                "metadata": {"labels": {"app": workload}},
                "spec": {
                    "volumes": additions.volumes,
                    "containers": [
                        {
                            "name": name,
                            "image": "example.test/image",
                            "volumeMounts": added.volume_mounts,
                            "env": added.env,
                        }
                        for name, added in additions.containers.items()
                    ],
                },
            },
        },
    }


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(manifests())
def test_every_object_of_any_cluster_is_valid_with_labels_that_kubernetes_takes(manifest):
    components = {component.name for component in COMPONENTS}
    cluster = parse_hosted_cluster(manifest)
    for item in render(cluster, key_vault_user_client_id=KEY_VAULT_USER):
        validate(item)
        labels = item["metadata"]["labels"]
        assert all(LABEL_VALUE.fullmatch(value) for value in labels.values())
        assert labels["app.kubernetes.io/managed-by"] == "hcpcreds"
        assert labels["app.kubernetes.io/instance"] == cluster.control_plane_namespace
        assert labels["app.kubernetes.io/component"] in components


@pytest.mark.parametrize("workload", WORKLOADS)
def test_additions_of_a_workload_are_valid_in_a_deployment(workload):
    validate(build_deployment(parse_hosted_cluster(make_manifest()), workload))


@pytest.mark.parametrize("version", [f"1.{minor}" for minor in range(25, 38)])
def test_workloads_are_valid_in_each_release_of_kubernetes(version):
    cluster = parse_hosted_cluster(make_manifest())
    for workload in ("ingress-operator", "kube-apiserver"):
        kubernetes_validate.validate(build_deployment(cluster, workload), version, strict=True)


@pytest.mark.parametrize("version", ["1.29", "1.37"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_keyless_workload_is_valid_where_kubernetes_knows_sidecars(workload, version):
    cluster = parse_hosted_cluster(make_manifest(WITH_CLIENT_IDS))
    options = InjectOptions(
        cluster=cluster,
        key_vault_user_client_id=KEY_VAULT_USER,
        sidecar=Sidecar(image="example.test/hcpcreds:1"),
    )
    kubernetes_validate.validate(inject(build_deployment(cluster, workload), options), version, strict=True)


def test_keyless_objects_are_valid():
    cluster = parse_hosted_cluster(make_manifest(WITH_CLIENT_IDS))
    for item in render(cluster, key_vault_user_client_id=KEY_VAULT_USER, keyless=True):
        validate(item)


@pytest.mark.parametrize(
    ("path", "value"),
    [("spec.parameters.useVMManagedIdentity", True), ("spec.provider", "vault"), ("spec.secrets", [])],
)
def test_schema_rejects_what_the_driver_rejects(path, value):
    item = render(parse_hosted_cluster(make_manifest()), key_vault_user_client_id=KEY_VAULT_USER)[0]
    *parents, key = path.split(".")
    place = item
    for parent in parents:
        place = place[parent]
    place[key] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(item)
