"""What the sync and the asyncio credential share: everything but waiting and sending."""

import json
import logging
import os
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, Self

from azure.core.credentials import AccessToken, AccessTokenInfo

from hcpcreds.clouds import get_cloud
from hcpcreds.credential.authority import Failure, Token, TokenKey
from hcpcreds.credential.file import check_authority
from hcpcreds.credential.registry import open_source
from hcpcreds.credential.settings import read_cloud_config, read_environment
from hcpcreds.credential.status import Status
from hcpcreds.errors import HcpCredsError, InputError, SourceClosedError

_TENANT = re.compile(r"[0-9a-zA-Z.-]+")
_REFRESH_RETRY_SECONDS = 30.0

_log = logging.getLogger("hcpcreds.credential")


class CachedToken:
    """A token in the shapes that it is given out in."""

    __slots__ = ("access_token", "info", "refresh_on", "serve_until")

    def __init__(self, token: Token) -> None:
        expires_on = int(token.expires_on)
        self.access_token = AccessToken(token.token, expires_on)
        self.info = AccessTokenInfo(
            token.token, expires_on, token_type=token.token_type, refresh_on=int(token.refresh_on)
        )
        self.refresh_on = token.refresh_on
        self.serve_until = token.serve_until

    def put_off_refresh(self, now: float) -> None:
        """Try the next refresh later, after one has failed."""
        self.refresh_on = now + min(_REFRESH_RETRY_SECONDS, max(0.1, (self.serve_until - now) / 2))


class FlightKey(NamedTuple):
    """At most one request is under way for each."""

    token: TokenKey
    claims: str | None


Outcome = CachedToken | Failure | HcpCredsError
"""How a flight ended."""


class CredentialBase:
    """The part of a credential that neither waits nor sends."""

    def __init__(  # noqa: PLR0913 (the credentials' own)
        self,
        path: str | os.PathLike[str],
        *,
        cloud: str | None,
        authority: str | None,
        backstop: timedelta,
        poll: bool,
        read: bool,
        on_reload: Callable[[Status], None] | None,
        clock: Callable[[], float],
    ) -> None:
        if cloud is not None:
            get_cloud(cloud)
        self._authority = check_authority(authority)
        if backstop <= timedelta(0):
            raise InputError("backstop", ["expected more than zero seconds"])
        self._on_reload = on_reload
        self._clock = clock
        self._closed = False
        self._cached: dict[tuple[Any, ...], CachedToken] = {}
        self._lock = threading.Lock()
        self._source, self._give_back = open_source(
            path,
            backstop=backstop,
            poll=poll,
            read=read,
            clock=clock,
            listener=None if on_reload is None else self,
        )
        if authority is None:
            self._source.uses_authority = True

    @classmethod
    def from_environment(cls, **kwargs: Any) -> Self:
        """Make one for the file that `MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH` names.

        Args:
            **kwargs: As for the class.

        Raises:
            InputError: The variable is not set.
        """
        return cls(read_environment(), **kwargs)

    @classmethod
    def from_cloud_config(cls, path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """Make one for the file that a cloud config (cloud.conf) names in `aadMSIDataPlaneIdentityPath`.

        Args:
            path: The cloud config.
            **kwargs: As for the class; `cloud` comes from the config if it is not given.

        Raises:
            InputError: There is no such cloud config, or it names no credential file or an unknown cloud.
        """
        config = read_cloud_config(path)
        kwargs.setdefault("cloud", config.cloud)
        return cls(config.path, **kwargs)

    def status(self) -> Status:
        """How the credential stands now: identity, certificate, last error, and so on; never a secret."""
        return self._source.status()

    def notify(self, status: Status) -> None:
        """Pass a reload on to `on_reload`. Called by the source."""
        if self._on_reload is None or self._closed:
            return
        try:
            self._on_reload(status)
        except Exception:  # noqa: BLE001 (whatever a stranger's function raises)
            _log.exception("on_reload failed for %s; the reload itself stands", status.path)

    def _get_key(
        self,
        method: str,
        scopes: tuple[str, ...],
        claims: str | None,
        tenant_id: str | None,
        *,
        enable_cae: bool,
    ) -> FlightKey:
        problems = []
        if not scopes or not all(isinstance(scope, str) and scope for scope in scopes):
            problems.append(
                "scopes: expected at least one, for instance https://management.azure.com/.default"
            )
        if tenant_id is not None and not _TENANT.fullmatch(tenant_id):
            problems.append("tenant_id: expected a UUID or a domain name")
        if claims and not _is_json_object(claims):
            problems.append("claims: expected a JSON object")
        if problems:
            raise InputError(method, problems)
        snapshot = self._source.snapshot
        if tenant_id is not None and snapshot is not None and tenant_id.lower() == snapshot.file.tenant_id:
            tenant_id = None  # the identity's own: one token serves both ways to ask
        return FlightKey(TokenKey(scopes, tenant_id, enable_cae), claims)

    def _get_servable(self, key: FlightKey) -> CachedToken | None:
        # A claims challenge means that the resource refuses the cached one.
        cached = None if key.claims else self._cached.get(key.token)
        return cached if cached is not None and self._clock() < cached.serve_until else None

    def _check_open(self) -> None:
        if self._closed:
            raise SourceClosedError(
                f"the credential for {self._source.path} was used after its close()",
                hint="Close it when the last client that uses it is done.",
            )

    def _land(self, key: FlightKey, result: Token | Failure | HcpCredsError) -> Outcome:
        """Keep what a flight brought. Under the lock."""
        if isinstance(result, Token):
            cached = CachedToken(result)
            if not self._closed:
                self._cached[key.token] = cached
            return cached
        if isinstance(result, Failure):
            _log.warning("%s", result.message, extra={"event": "token_failed", "path": self._source.path})
        servable = self._get_servable(key)
        if servable is not None:
            servable.put_off_refresh(self._clock())
        return result


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
