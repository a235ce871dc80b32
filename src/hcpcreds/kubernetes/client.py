"""The way to a cluster's API server, as the environment says."""

import os
from pathlib import Path
from typing import Final

from lightkube import AsyncClient, KubeConfig
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG
from lightkube.core.exceptions import ConfigError

from hcpcreds.errors import InputError

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


def open_client(service_account: str = SERVICE_ACCOUNT) -> AsyncClient:
    """Open a client of the API server: in a cluster as the pod's service account, else by KUBECONFIG.

    Args:
        service_account: The directory that a pod has of it.

    Raises:
        InputError: There is no way to a cluster.
    """
    hint = "Set KUBECONFIG, or run it in a pod."
    try:
        try:
            config = KubeConfig.from_service_account(service_account)
        except ConfigError:
            config = KubeConfig.from_file(_find_kubeconfig())
        # The API server's own address needs no proxy in a cluster.
        return AsyncClient(config, trust_env="KUBERNETES_SERVICE_HOST" not in os.environ)
    except InputError:
        raise
    except (ConfigError, OSError) as error:
        raise InputError("Kubernetes", [f"no way to a cluster: {error}"], hint=hint) from None
    except Exception as error:  # noqa: BLE001 (whatever YAML and its fields give; the text may hold a token)
        problem = f"no way to a cluster: the kubeconfig cannot be used: {type(error).__name__}"
        raise InputError("Kubernetes", [problem], hint=hint) from None


def _find_kubeconfig() -> str:
    """Find the file that KUBECONFIG names, or kubectl's own.

    Raises:
        InputError: It names several that exist, which kubectl would merge.
    """
    named = list(dict.fromkeys(filter(None, os.environ.get("KUBECONFIG", "").split(os.pathsep))))
    found = [each for each in named if Path(each).expanduser().is_file()]
    if len(found) > 1:
        raise InputError(
            "KUBECONFIG",
            [f"it names {len(found)} files, {', '.join(found)}, and they are not merged here"],
            hint="Name one of them, or one that holds what `kubectl config view --flatten` prints.",
        )
    return (found or named or [DEFAULT_KUBECONFIG])[0]
