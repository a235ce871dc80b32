"""The way to a cluster's API server, as the environment says, and what it says when it refuses."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from lightkube import AsyncClient, Client, KubeConfig
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SingleConfig
from lightkube.core.exceptions import ConfigError

from hcpcreds.errors import InputError
from hcpcreds.text import make_safe

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


def open_client(service_account: str = SERVICE_ACCOUNT) -> AsyncClient:
    """Open a client of the API server: in a cluster as the pod's service account, else by KUBECONFIG.

    Args:
        service_account: The directory that a pod has of it.

    Raises:
        InputError: There is no way to a cluster.
    """
    return _open(AsyncClient, service_account, None)


def open_sync_client(*, context: str | None = None, service_account: str = SERVICE_ACCOUNT) -> Client:
    """Open a client without asyncio; as `open_client`.

    Args:
        context: The kubeconfig's context to use, even in a cluster; None means the current one.
        service_account: The directory that a pod has of it.

    Raises:
        InputError: There is no way to a cluster.
    """
    return _open(Client, service_account, context)


def open_http_client(*, context: str | None = None, service_account: str = SERVICE_ACCOUNT) -> Any:  # noqa: ANN401 (as below)
    """Open an asyncio HTTP client of the API server, for what is not an object; as `open_sync_client`.

    Raises:
        InputError: There is no way to a cluster.
    """

    def make(config: SingleConfig | None, *, trust_env: bool) -> Any:  # noqa: ANN401 (as below)
        if config is None:
            raise ConfigError("the kubeconfig has no such context")
        return client_adapter.AsyncClient(config, client_adapter.ConnectionParams(trust_env=trust_env))

    return _open(make, service_account, context)


def find_response(error: Exception) -> Any:  # noqa: ANN401 (of whichever HTTP library lightkube has)
    """Find the answer that an exception is about: its own, or that of what lightkube failed to read."""
    for each in (error, error.__context__):
        response = getattr(each, "response", None)
        if response is not None:
            return response
    return None


def read_message(response: Any) -> str:  # noqa: ANN401 (as above)
    """Read what an API server says when it refuses, safe to show."""
    return read_status(response.content) or (
        "no Status of Kubernetes, so a proxy or another server may have answered"
    )


def read_status(content: bytes) -> str | None:
    """Read the message of a Status of Kubernetes, safe to show; None when it is something else."""
    try:
        status = msgspec.json.decode(content, type=_Status)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return make_safe(status.message).rstrip(".") if status.kind == "Status" else None


class _Status(msgspec.Struct):
    """What an API server says when it refuses."""

    kind: str | None = None
    message: str | None = None


_Client = TypeVar("_Client")


def _open(make: Callable[..., _Client], service_account: str, context: str | None) -> _Client:
    hint = "Set KUBECONFIG, or run it in a pod."
    try:
        # The API server's own address needs no proxy in a cluster.
        return make(
            _configure(service_account, context), trust_env="KUBERNETES_SERVICE_HOST" not in os.environ
        )
    except InputError:
        raise
    except (ConfigError, OSError) as error:
        raise InputError("Kubernetes", [f"no way to a cluster: {error}"], hint=hint) from None
    except Exception as error:  # noqa: BLE001 (whatever YAML and its fields give; the text may hold a token)
        problem = f"no way to a cluster: the kubeconfig cannot be used: {type(error).__name__}"
        raise InputError("Kubernetes", [problem], hint=hint) from None


def _configure(service_account: str, context: str | None) -> SingleConfig | None:
    if context is None:
        with suppress(ConfigError):
            return KubeConfig.from_service_account(service_account).get()
    return KubeConfig.from_file(_find_kubeconfig()).get(context)


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
