"""Where a component learns which credential file is its own."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from hcpcreds.constants import MANAGED_AZURE_CERTIFICATE_MOUNT_PATH, MANAGED_AZURE_CREDENTIALS_FILE_PATH
from hcpcreds.errors import InputError

_log = logging.getLogger("hcpcreds.credential")


class _CloudConfig(msgspec.Struct, rename="camel"):
    cloud: str = ""
    use_federated_workload_identity_extension: bool = False
    use_managed_identity_extension: bool = False
    aad_client_secret: str = ""
    aad_client_cert_path: str = ""
    identity_path: str = msgspec.field(default="", name="aadMSIDataPlaneIdentityPath")


class CloudConfig(NamedTuple):
    """What a cloud config says of the credential."""

    path: str
    """The credential file."""
    cloud: str | None


def read_environment(environment: Mapping[str, str] = os.environ) -> str:
    """Read the path of the credential file from the environment.

    A bare name, which is what HyperShift gives to the cluster-network-operator, is one under /mnt/certs.

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
    return path if "/" in path else f"{MANAGED_AZURE_CERTIFICATE_MOUNT_PATH}/{path}"


def read_cloud_config(path: str | os.PathLike[str]) -> CloudConfig:
    """Read a cloud config (cloud.conf, azure.json).

    Logs a warning where another setting would win over the credential file in cloud-provider-azure, which
    takes the first of: federated workload identity, managed identity extension, client secret, client
    certificate, this file (kubernetes-sigs/cloud-provider-azure, pkg/azclient/auth.go).

    Raises:
        InputError: There is no such file, it is no cloud config, or it names no credential file.
    """
    where = os.fspath(path)
    try:
        config = msgspec.json.decode(Path(where).read_bytes(), type=_CloudConfig)
    except OSError as error:
        raise InputError(where, [f"cannot be read: {os.strerror(error.errno or 0)}"]) from None
    except UnicodeDecodeError:
        raise InputError(where, ["expected a cloud config in JSON: not UTF-8"]) from None
    except msgspec.MsgspecError as error:
        raise InputError(where, [f"expected a cloud config in JSON: {error}"]) from None
    if not config.identity_path:
        raise InputError(
            where, ["aadMSIDataPlaneIdentityPath: missing; expected the path of the credential file"]
        )
    winners = {
        "useFederatedWorkloadIdentityExtension": config.use_federated_workload_identity_extension,
        "useManagedIdentityExtension": config.use_managed_identity_extension,
        "aadClientSecret": bool(config.aad_client_secret),
        "aadClientCertPath": bool(config.aad_client_cert_path),
    }
    for name in (name for name, is_set in winners.items() if is_set):
        _log.warning(
            "%s: %s stands beside aadMSIDataPlaneIdentityPath and wins over it in cloud-provider-azure, "
            "which then never reads the credential file",
            where,
            name,
        )
    return CloudConfig(config.identity_path, config.cloud or None)
