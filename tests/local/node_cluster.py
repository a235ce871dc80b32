"""What the node's tests mount: classes, pods, and who may write to the vault."""

from typing import Any, Final

from azure.keyvault.secrets import SecretClient
from tests.local.clients import Caller

from hcpcreds.local.azure.azure import LocalAzure

NODE_IDENTITY: Final = "dddddddd-0000-0000-0000-000000000001"
VAULT: Final = "hcpcreds-local"


def build_secret_client(azure: LocalAzure) -> SecretClient:
    return SecretClient(
        azure.vault_url(),
        Caller(azure),
        connection_verify=str(azure.ca_file),
        verify_challenge_resource=False,
        retry_total=0,
    )


def build_class(name: str, *objects: dict[str, str], **parameters: str) -> dict[str, Any]:
    entries = "".join(
        "  - |\n"
        + "".join(f"    {key}: {value}\n" for key, value in {"objectType": "secret", **entry}.items())
        for entry in objects
    )
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name, "namespace": "hcp"},
        "spec": {
            "provider": "azure",
            "parameters": {
                "usePodIdentity": "false",
                "useVMManagedIdentity": "true",
                "userAssignedIdentityID": NODE_IDENTITY,
                "keyvaultName": VAULT,
                "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47",
                "objects": f"\narray:\n{entries}",
                **parameters,
            },
        },
    }


def build_pod(name: str, class_name: str, *mount_paths: str, **csi: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "hcp", "uid": "u-1"},
        "spec": {
            "containers": [
                {
                    "name": f"c{number}",
                    "volumeMounts": [{"name": "cert", "mountPath": path, "readOnly": True}],
                }
                for number, path in enumerate(mount_paths or ["/mnt/certs"])
            ],
            "volumes": [
                {"name": "other", "emptyDir": {}},
                {
                    "name": "cert",
                    "csi": {
                        "driver": "secrets-store.csi.k8s.io",
                        "readOnly": True,
                        "volumeAttributes": {"secretProviderClass": class_name},
                        **csi,
                    },
                },
            ],
        },
    }
