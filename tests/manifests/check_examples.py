"""Manifests to vary for the checks, and the codes that are found in them."""

import json
from typing import Any

from tests.manifests.examples import KEY_VAULT_USER

from hcpcreds.manifests import check
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
