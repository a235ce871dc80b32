"""The sidecar that gives a pod's programs assertions or tokens, so that they need no key: its one shape.

It is a native sidecar: an init container with `restartPolicy: Always`, which runs beside the containers that
start after it. Kubernetes has these since 1.29 (stable in 1.33); an older one drops the field, and the pod
would wait for this container to end.
`hcpcreds serve` is configured by variables alone, because an admission policy cannot set arguments.
"""

from collections.abc import Sequence
from typing import Any, Final

from hcpcreds.kubernetes.objects import EnvVar, Volume, VolumeMount

SIDECAR: Final = "hcpcreds"
"""Name of the container."""
ASSERTION_VOLUME: Final = "hcpcreds-assertion"
ASSERTION_DIRECTORY: Final = "/var/run/hcpcreds"
"""Path of that volume in every container that mounts it."""
KEEP_MOUNT: Final = "HCPCREDS_KEEP_MOUNT"
"""Variable of the sidecar which says to people and to `check`, not to the sidecar itself, that the programs
mount the key too, on purpose."""
SHARED_PROCESSES: Final = ("shareProcessNamespace", "hostPID")
"""What makes the processes of a pod's containers visible to each other, and so the sidecar's files."""
PORT: Final = 9469
"""Of the probes and metrics. All containers of a pod share its ports; 9464 is OpenTelemetry's."""
ENDPOINT: Final = "127.0.0.1:9470"
"""Address of the token endpoint, which is open to the containers of the pod only."""
_POD_UID: Final = {"fieldRef": {"fieldPath": "metadata.uid"}}
"""The endpoint's secret: random, and different in each pod, without an object of its own."""


def build_assertion_volume() -> Volume:
    """Build the volume of the assertions, which never reach a disk."""
    return {"name": ASSERTION_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}


def build_assertion_mount() -> VolumeMount:
    """Build the mount of the assertions in a container that sends them."""
    return {"name": ASSERTION_VOLUME, "mountPath": ASSERTION_DIRECTORY, "readOnly": True}


def build_client_env(*, client_id: str, tenant_id: str, token_file: str, authority: str) -> list[EnvVar]:
    """Build the variables in which every Azure SDK finds an assertion.

    Args:
        client_id: The identity's.
        tenant_id: The identity's.
        token_file: Path of the assertion.
        authority: URL of the token authority of its cloud.
    """
    values = {
        "AZURE_CLIENT_ID": client_id,
        "AZURE_TENANT_ID": tenant_id,
        "AZURE_FEDERATED_TOKEN_FILE": token_file,
        "AZURE_AUTHORITY_HOST": authority,
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def build_endpoint_env(client_id: str | None) -> list[dict[str, Any]]:
    """Build the variables in which every Azure SDK finds the token endpoint (App Service's).

    Args:
        client_id: The identity's; may be left out, since the endpoint has one identity only.
    """
    env: list[dict[str, Any]] = [
        {"name": "IDENTITY_ENDPOINT", "value": f"http://{ENDPOINT}/msi/token"},
        {"name": "IDENTITY_HEADER", "valueFrom": _POD_UID},
    ]
    return [*env, {"name": "AZURE_CLIENT_ID", "value": client_id}] if client_id else env


def build_sidecar(  # noqa: PLR0913 (each by its name)
    image: str,
    credential: str,
    mount: VolumeMount,
    *,
    cloud: str,
    endpoint: bool = False,
    env: Sequence[Any] = (),
) -> dict[str, Any]:
    """Build the sidecar.

    Args:
        image: An image that contains hcpcreds.
        credential: The value of `hcpcreds serve --credential`.
        mount: The mount of the credential's volume.
        cloud: Name of the cloud. The sidecar refuses a credential of another one, whose programs would send
            its assertions to the wrong authority.
        endpoint: Whether it gives tokens instead of assertions.
        env: Variables in addition to its own.
    """
    settings = {"HCPCREDS_CREDENTIAL": credential, "HCPCREDS_CLOUD": cloud}
    mounts = [mount]
    variables: list[Any] = []
    if endpoint:
        settings["HCPCREDS_APP_SERVICE_ADDRESS"] = ENDPOINT
        variables = [{"name": "HCPCREDS_SECRET", "valueFrom": _POD_UID}]
    else:
        settings["HCPCREDS_ASSERTION_DIRECTORY"] = ASSERTION_DIRECTORY
        # Programs run as any user. Only containers that mount the volume see the file.
        settings["HCPCREDS_ASSERTION_MODE"] = "0444"
        mounts.append({"name": ASSERTION_VOLUME, "mountPath": ASSERTION_DIRECTORY})
    settings["HCPCREDS_METRICS_ADDRESS"] = f":{PORT}"
    variables = [{"name": name, "value": value} for name, value in settings.items()] + variables
    return {
        "name": SIDECAR,
        "image": image,
        "command": ["hcpcreds", "serve"],
        "restartPolicy": "Always",
        "env": [*variables, *env],
        "ports": [{"name": SIDECAR, "containerPort": PORT}],
        "volumeMounts": mounts,
        # No other container starts before the authority has taken the certificate: some programs ask once.
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
