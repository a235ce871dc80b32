"""Finds the path of a component's credential file, in its environment or its cloud config."""

import logging
import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_MOUNT_PATH, MANAGED_AZURE_CREDENTIALS_FILE_PATH
from hcpcreds.credential_file.file import MAX_FILE_BYTES, read_small_file
from hcpcreds.errors import InputError

_CERTIFICATE_VARIABLES: Final = {
    "AZURE_CLIENT_CERTIFICATE_PATH": "the path of the certificate file",
    "AZURE_TENANT_ID": "the service principal's tenant",
    "AZURE_CLIENT_ID": "the service principal's client id",
}
_MAX_NAME: Final = 255
"""Maximum number of characters in a file name."""

_log = logging.getLogger("hcpcreds.credential")


class _CloudConfig(msgspec.Struct, rename="camel"):
    """The keys that matter here. Null means absent, as in the Go programs that read these files."""

    cloud: str | None = None
    use_federated_workload_identity_extension: bool | None = None
    use_managed_identity_extension: bool | None = None
    aad_client_secret: str | None = None
    aad_client_cert_path: str | None = None
    identity_path: str | None = msgspec.field(default=None, name="aadMSIDataPlaneIdentityPath")


class CloudConfig(NamedTuple):
    """The entries of a cloud config that concern the credential."""

    path: str
    """The credential file."""
    cloud: str | None


def read_environment(environment: Mapping[str, str] = os.environ) -> str:
    """Read the path of the credential file from the environment.

    A bare file name, as HyperShift passes to the cluster-network-operator, means a file in /mnt/certs.

    Raises:
        InputError: The variable is not set.
    """
    path = environment.get(MANAGED_AZURE_CREDENTIALS_FILE_PATH, "")
    if not path:
        raise InputError(
            "environment",
            [f"{MANAGED_AZURE_CREDENTIALS_FILE_PATH}: not set; expected the path of the credential file"],
            hint="HyperShift sets it on the containers that mount a credential.",
        )
    _check_path(path, "environment", MANAGED_AZURE_CREDENTIALS_FILE_PATH)
    return path if "/" in path else f"{MANAGED_AZURE_CERTIFICATE_MOUNT_PATH}/{path}"


def read_certificate_environment(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Read the arguments of a `CertificateCredential` from the variables of azure-identity.

    Raises:
        InputError: One of the three that are required is not set.
    """
    missing = [name for name in _CERTIFICATE_VARIABLES if not environment.get(name)]
    if missing:
        raise InputError(
            "environment",
            [f"{name}: not set; expected {_CERTIFICATE_VARIABLES[name]}" for name in missing],
        )
    path, tenant_id, client_id = (environment[name] for name in _CERTIFICATE_VARIABLES)
    _check_path(path, "environment", "AZURE_CLIENT_CERTIFICATE_PATH")
    return {
        "certificate_path": path,
        "tenant_id": tenant_id,
        "client_id": client_id,
        "password": environment.get("AZURE_CLIENT_CERTIFICATE_PASSWORD") or None,
        "send_certificate_chain": bool(environment.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN")),
    }


def _check_path(path: str, where: str, key: str) -> None:
    """Refuse a value that is not a path before any message shows it: it may be the credential itself."""
    if not path.isprintable():
        raise InputError(where, [f"{key}: contains a NUL, a line break or another control character"])
    # A long relative path is base64 or PEM, and "eyJ" begins a JWT.
    if path.startswith("eyJ") or (len(path) > _MAX_NAME and not path.startswith("/")):
        raise InputError(where, [f"{key}: expected a path, got {len(path)} characters that are not a path"])


def read_cloud_config(path: str | os.PathLike[str]) -> CloudConfig:
    """Read a cloud config (cloud.conf, azure.json).

    Logs a warning if another setting takes precedence over the credential file in cloud-provider-azure, which
    uses the first of: federated workload identity, managed identity extension, client secret, client
    certificate, this file (kubernetes-sigs/cloud-provider-azure, pkg/azclient/auth.go).

    Raises:
        InputError: There is no such file, it is not a cloud config, or it does not name a credential file.
    """
    where = os.fsdecode(path)
    try:
        content = read_small_file(where)
    except OSError as error:
        raise InputError(where, [f"cannot be read: {os.strerror(error.errno or 0)}"]) from None
    except ValueError as error:
        raise InputError(where, [str(error)]) from None
    if len(content) > MAX_FILE_BYTES:
        raise InputError(where, [f"the file is larger than {MAX_FILE_BYTES} bytes"])
    try:
        config = msgspec.json.decode(content, type=_CloudConfig)
    except UnicodeDecodeError:
        raise InputError(where, ["expected a cloud config in JSON: not UTF-8"]) from None
    except RecursionError:
        raise InputError(where, ["expected a cloud config in JSON: nested too deeply"]) from None
    except msgspec.MsgspecError as error:
        raise InputError(where, [f"expected a cloud config in JSON: {error}"]) from None
    if not config.identity_path:
        raise InputError(
            where, ["aadMSIDataPlaneIdentityPath: missing; expected the path of the credential file"]
        )
    _check_path(config.identity_path, where, "aadMSIDataPlaneIdentityPath")
    rivals = {
        "useFederatedWorkloadIdentityExtension": config.use_federated_workload_identity_extension,
        "useManagedIdentityExtension": config.use_managed_identity_extension,
        "aadClientSecret": bool(config.aad_client_secret),
        "aadClientCertPath": bool(config.aad_client_cert_path),
    }
    for name in (name for name, is_set in rivals.items() if is_set):
        _log.warning(
            "%s: %s takes precedence over aadMSIDataPlaneIdentityPath in cloud-provider-azure, "
            "which then never reads the credential file",
            where,
            name,
        )
    return CloudConfig(config.identity_path, config.cloud or None)
