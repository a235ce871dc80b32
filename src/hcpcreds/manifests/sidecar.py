"""The sidecar that gives a pod's programs assertions, so that they need no key: its one shape.

It is a native sidecar: an init container with `restartPolicy: Always`, which runs beside the containers that
start after it. Kubernetes has these since 1.29 (stable in 1.33); an older one drops the field, and the pod
would wait for this container to end.
`hcpcreds serve` is configured by variables alone, because an admission policy cannot set arguments.
"""

from collections.abc import Sequence
from typing import Any, Final

from hcpcreds.clouds import get_cloud
from hcpcreds.kubernetes.objects import EnvVar, Volume, VolumeMount

SIDECAR: Final = "hcpcreds"
"""Name of the container."""
ASSERTION_VOLUME: Final = "hcpcreds-assertion"
ASSERTION_DIRECTORY: Final = "/var/run/hcpcreds"
"""Path of that volume in every container that mounts it."""
PORT: Final = 9469
"""Of the probes and metrics. All containers of a pod share its ports; 9464 is OpenTelemetry's."""


def build_assertion_volume() -> Volume:
    """Build the volume of the assertions, which never reach a disk."""
    return {"name": ASSERTION_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}


def build_assertion_mount() -> VolumeMount:
    """Build the mount of the assertions in a container that sends them."""
    return {"name": ASSERTION_VOLUME, "mountPath": ASSERTION_DIRECTORY, "readOnly": True}


def build_client_env(name: str, *, client_id: str, tenant_id: str, cloud: str) -> list[EnvVar]:
    """Build the variables in which every Azure SDK finds an assertion.

    Args:
        name: Name of the credential, and of its assertion's file.
        client_id: The identity's.
        tenant_id: The identity's.
        cloud: Name of its cloud.
    """
    values = {
        "AZURE_CLIENT_ID": client_id,
        "AZURE_TENANT_ID": tenant_id,
        "AZURE_FEDERATED_TOKEN_FILE": f"{ASSERTION_DIRECTORY}/{name}",
        "AZURE_AUTHORITY_HOST": get_cloud(cloud).authority,
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def build_sidecar(
    image: str, credential: str, mount: VolumeMount, *, cloud: str, env: Sequence[Any] = ()
) -> dict[str, Any]:
    """Build the sidecar.

    Args:
        image: An image that contains hcpcreds.
        credential: The value of `hcpcreds serve --credential`.
        mount: The mount of the credential's volume.
        cloud: Name of the cloud. The sidecar refuses a credential of another one, whose programs would send
            its assertions to the wrong authority.
        env: Variables in addition to its own.
    """
    settings = {
        "HCPCREDS_CREDENTIAL": credential,
        "HCPCREDS_CLOUD": cloud,
        "HCPCREDS_ASSERTION_DIRECTORY": ASSERTION_DIRECTORY,
        # Programs run as any user. Only containers that mount the volume see the file.
        "HCPCREDS_ASSERTION_MODE": "0444",
        "HCPCREDS_METRICS_ADDRESS": f":{PORT}",
    }
    return {
        "name": SIDECAR,
        "image": image,
        "command": ["hcpcreds", "serve"],
        "restartPolicy": "Always",
        "env": [*({"name": name, "value": value} for name, value in settings.items()), *env],
        "ports": [{"name": SIDECAR, "containerPort": PORT}],
        "volumeMounts": [mount, {"name": ASSERTION_VOLUME, "mountPath": ASSERTION_DIRECTORY}],
        # No other container starts before there is an assertion: some programs read it once.
        "startupProbe": {**_probe("/readyz"), "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 10},
        "livenessProbe": {**_probe("/healthz"), "periodSeconds": 30, "failureThreshold": 5},
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"memory": "128Mi"},
        },
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": PORT}, "timeoutSeconds": 5}
