"""The one resolution of azure-core's connection settings and of the environment, for every transport."""

import os
from collections.abc import Mapping
from typing import Any, Final

# The HTTP libraries import this in the middle of a first request, where a fork would not wait for it.
import encodings.idna  # isort: skip # noqa: F401 (for what it loads)

from azure.core.exceptions import AzureError

from hcpcreds.http.failures import explain
from hcpcreds.http.proxies import Proxies
from hcpcreds.http.trust import Trust

TIMEOUTS: Final = {"connection_timeout": 30, "read_timeout": 30}
"""Seconds, unless the caller says otherwise. azure-core's own 300 are meant for uploads: a request that hangs
so long would outlive the token that it is to replace."""


class Network:
    """What a transport trusts and which proxies it takes. Reads nothing of a user's own, such as ~/.netrc.

    Args:
        settings: azure-core's: `connection_verify`, `connection_cert`, `proxies`, `use_env_settings`; the
            others are of no matter here.
        environment: The variables.

    Raises:
        InputError: A setting cannot be used, or a file of certificates.
    """

    def __init__(
        self, settings: Mapping[str, Any] | None = None, *, environment: Mapping[str, str] = os.environ
    ) -> None:
        settings = settings or {}
        used = environment if settings.get("use_env_settings", True) else None
        self.trust = Trust(
            verify=settings.get("connection_verify", True),
            certificate=settings.get("connection_cert"),
            environment=used,
        )
        self.proxies = Proxies(settings.get("proxies"), used)
        self.trust.get_context()

    def explain(self, error: AzureError, url: str) -> AzureError:
        """Make the error that says what happened to a request."""
        return explain(error, trusted=str(self.trust), proxy=self.proxies.find(url))


def strip_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is left for azure-core's own transport when a `Network` sees to the rest."""
    kept = {name: value for name, value in settings.items() if name not in _NETWORKS}
    return {**TIMEOUTS, **kept, "use_env_settings": False}


_NETWORKS: Final = ("connection_verify", "connection_cert", "proxies", "use_env_settings")
