"""Manifests: plain data in the Kubernetes API's JSON shape, built and checked without any I/O."""

from hcpcreds.manifests.check import Finding, check
from hcpcreds.manifests.inject import CustomComponent, InjectOptions, Sidecar, inject
from hcpcreds.manifests.render import render
from hcpcreds.manifests.secret_provider_class import build_secret_provider_class
from hcpcreds.manifests.workload import ContainerAdditions, PodAdditions, build_pod_additions

__all__ = [
    "ContainerAdditions",
    "CustomComponent",
    "Finding",
    "InjectOptions",
    "PodAdditions",
    "Sidecar",
    "build_pod_additions",
    "build_secret_provider_class",
    "check",
    "inject",
    "render",
]
