"""What is applied to a cluster: plain data in the Kubernetes API's JSON shape, built without any I/O."""

from hcpcreds.manifests.check import Finding, check
from hcpcreds.manifests.cloud_config import (
    build_cloud_provider_secret,
    build_disk_csi_secret,
    build_file_csi_secret,
    build_kms_secret,
    build_node_config_map,
)
from hcpcreds.manifests.cluster_identity import build_azure_cluster_identity
from hcpcreds.manifests.inject import CustomComponent, InjectOptions, inject
from hcpcreds.manifests.render import render
from hcpcreds.manifests.secret_provider_class import build_secret_provider_class
from hcpcreds.manifests.workload import ContainerAdditions, PodAdditions, build_pod_additions

__all__ = [
    "ContainerAdditions",
    "CustomComponent",
    "Finding",
    "InjectOptions",
    "PodAdditions",
    "build_azure_cluster_identity",
    "build_cloud_provider_secret",
    "build_disk_csi_secret",
    "build_file_csi_secret",
    "build_kms_secret",
    "build_node_config_map",
    "build_pod_additions",
    "build_secret_provider_class",
    "check",
    "inject",
    "render",
]
