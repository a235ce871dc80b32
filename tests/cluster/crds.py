"""The kinds that the API server has to know: HyperShift's and the CSI driver's."""

import copy
import os
from pathlib import Path
from typing import Any, Final

import yaml
from tests.cluster.api_server import ApiServer
from tests.support.waiting import wait_until

_TLS: Final = {"clientSecret": {"name": "etcd-client"}}
_KINDS: Final = (
    ("hypershift.openshift.io", "v1beta1", "HostedControlPlane"),
    ("hypershift.openshift.io", "v1beta1", "HostedCluster"),
    ("secrets-store.csi.x-k8s.io", "v1", "SecretProviderClass"),
    ("secrets-store.csi.x-k8s.io", "v1", "SecretProviderClassPodStatus"),
)


def install(server: ApiServer) -> None:
    """Have the server know HostedControlPlanes, SecretProviderClasses and their neighbours.

    TEST_CRDS names a file with definitions to be used instead of the short ones of the tests, for instance
    HyperShift's own (cmd/install/assets/crds).
    """
    own = {each["metadata"]["name"]: each for each in map(_define, _KINDS)}
    given = Path(named).read_text(encoding="utf-8") if (named := os.environ.get("TEST_CRDS")) else ""
    real = {each["metadata"]["name"]: each for each in yaml.safe_load_all(given) if each}
    server.apply(*(own | real).values())
    with server.open_session() as session:
        for group, version, kind in _KINDS:
            path = f"{server.url}/apis/{group}/{version}/{kind.lower()}{'es' if kind.endswith('s') else 's'}"
            wait_until(lambda path=path: session.get(path, timeout=5).ok)  # type: ignore[misc]  # bound at once


def _define(kind: tuple[str, str, str]) -> dict[str, Any]:
    group, version, name = kind
    plural = f"{name.lower()}{'es' if name.endswith('s') else 's'}"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": plural,
                "singular": name.lower(),
            },
            "scope": "Namespaced",
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }


def complete(control_plane: dict[str, Any]) -> dict[str, Any]:
    """Add to a HostedControlPlane what HyperShift's own definition requires, and hcpcreds never reads."""
    spec = copy.deepcopy(control_plane["spec"])
    identities = spec["platform"]["azure"]["azureAuthenticationConfig"].get("managedIdentities")
    for identity in identities["controlPlane"].values() if identities else ():
        if "credentialsSecretName" in identity:
            identity.setdefault("objectEncoding", "utf-8")
    required = {
        "dns": {"baseDomain": "example.test"},
        "etcd": {"managementType": "Unmanaged", "unmanaged": {"endpoint": "https://etcd.test", "tls": _TLS}},
        "issuerURL": "https://issuer.test",
        "pullSecret": {"name": "pull-secret"},
        "releaseImage": "release:1",
        "services": [
            {
                "service": name,
                "servicePublishingStrategy": {"type": "Route", "route": {"hostname": f"{name.lower()}.test"}},
            }
            for name in ("APIServer", "OAuthServer", "Konnectivity", "Ignition")
        ],
        "sshKey": {},
    }
    return {**control_plane, "spec": {**required, **spec}}
