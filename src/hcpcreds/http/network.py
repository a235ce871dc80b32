"""Resolves azure-core's connection settings and the environment, for every transport."""

import os
from collections.abc import Mapping
from typing import Any, Final

# The HTTP libraries would import this during the first request, where a fork does not wait for imports.
import encodings.idna  # isort: skip # noqa: F401 (for what it loads)

from azure.core.exceptions import AzureError

from hcpcreds.http.failures import explain
from hcpcreds.http.proxies import Proxies
from hcpcreds.http.trust import Trust

TIMEOUTS: Final = {"connection_timeout": 30, "read_timeout": 30}
"""Seconds, by default. azure-core's 300 s suit uploads: a request that hangs for so long would outlive the
token that it has to replace."""


class Network:
    """The CA certificates and proxies of a transport. Ignores a user's files, such as ~/.netrc.

    Args:
        settings: azure-core's keyword arguments: `connection_verify`, `connection_cert`, `proxies`,
            `use_env_settings`; others are ignored.
        environment: The environment variables.

    Raises:
        InputError: A setting or a file of certificates is unusable.
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
        """Return an error that explains why a request failed."""
        return explain(error, trusted=str(self.trust), proxy=self.proxies.find(url))


def strip_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings for azure-core's own transport, without those that a `Network` handles."""
    kept = {name: value for name, value in settings.items() if name not in _NETWORK_SETTINGS}
    return {**TIMEOUTS, **kept, "use_env_settings": False}


_NETWORK_SETTINGS: Final = ("connection_verify", "connection_cert", "proxies", "use_env_settings")
