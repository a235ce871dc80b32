"""A small Key Vault: secrets, their versions, attributes and tags. For development and tests only.

Sources: Key Vault's REST reference (secrets, 7.4 and later) and "About Azure Key Vault secrets". As the
latter says, a secret can be read regardless of its `nbf` and `exp`: only a disabled one is refused. As in
Azure, the name of a deleted secret cannot be used again until the secret is recovered or purged.
"""

import base64
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

import msgspec
from aiohttp import web
from typing_extensions import override

from hcpcreds.clouds import CLOUDS
from hcpcreds.local.azure.entra_tokens import BadTokenError, TokenAuthority
from hcpcreds.local.azure.faults import Faults, RequestLog
from hcpcreds.local.azure.vault_store import (
    RECOVERABLE_DAYS,
    Secret,
    SecretStore,
    SecretVersion,
    list_versions_after,
)
from hcpcreds.local.service import Refusal, Service, json_response, read_body

RESOURCE: Final = "https://vault.azure.net"
"""The audience of tokens for a vault of the public cloud."""
_API_VERSION: Final = re.compile(r"7\.[0-9]|20[0-9]{2}-[0-9]{2}-[0-9]{2}(-preview)?")
"""Newer SDKs have a date as their version."""
_NAME: Final = re.compile(r"[0-9a-zA-Z-]{1,127}")
_LARGEST_VALUE: Final = 25_600
"""Bytes; a vault refuses larger values."""
_MOST_TAGS: Final = 15
_LARGEST_PAGE: Final = 25
_DAY: Final = 24 * 3600

_Seconds = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800)]
"""Unix seconds, before the year 10000."""


class _Attributes(msgspec.Struct):
    enabled: bool | None = None
    nbf: _Seconds | None = None
    exp: _Seconds | None = None


class _Change(msgspec.Struct, rename="camel", kw_only=True):
    """The changes that a request makes to a version; None leaves a field as it is."""

    attributes: _Attributes | None = None
    tags: Annotated[dict[str, str], msgspec.Meta(max_length=_MOST_TAGS)] | None = None
    content_type: str | None = None


class _NewSecret(_Change):
    value: str

    @override
    def __repr__(self) -> str:
        return "_NewSecret()"  # a struct would show the value


def list_audiences() -> frozenset[str]:
    """List the audiences of Key Vault in each cloud."""
    return frozenset(f"https://{cloud.key_vault_suffix}" for cloud in CLOUDS.values())


class Vault(Service):
    """One Key Vault, whose URL is an address and a port.

    Args:
        tenant_id: The tenant of its callers.
        tokens: Verifies the callers.
        now: Clock giving an aware UTC time.
        faults: Faults of every vault.
        requests: Counts the requests to every vault.
    """

    name: ClassVar[str] = "vault"

    def __init__(
        self,
        *,
        tenant_id: str,
        tokens: TokenAuthority,
        now: Callable[[], datetime],
        faults: Faults,
        requests: RequestLog,
    ) -> None:
        super().__init__(faults=faults, requests=requests)
        self._tenant_id = tenant_id
        self._tokens = tokens
        self._now = now
        self._store = SecretStore()

    def put(  # noqa: PLR0913 (the fields of a secret, each by its name)
        self,
        name: str,
        value: str,
        *,
        not_before: datetime | None = None,
        expires_on: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
        enabled: bool = True,
    ) -> str:
        """Store a secret or a new version of it without HTTP, and return the version."""
        at = self._seconds()
        version = SecretVersion(
            version=uuid.uuid4().hex,
            value=value,
            created=at,
            updated=at,
            content_type=content_type,
            tags=dict(tags or {}),
            enabled=enabled,
            not_before=None if not_before is None else int(not_before.timestamp()),
            expires=None if expires_on is None else int(expires_on.timestamp()),
        )
        self._store.add(name, version)
        return version.version

    def list_versions(self, name: str) -> list[SecretVersion]:
        """List a secret's versions, the newest last; none if the secret does not exist."""
        secret = self._store.find(name)
        return [] if secret is None else list(secret.versions.values())

    def clear(self) -> None:
        """Remove every secret, deleted ones too."""
        self._store = SecretStore()

    @override
    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/secrets", self._list_secrets),
            web.get("/secrets/{name}", self._get),
            web.get("/secrets/{name}/", self._get),
            web.get("/secrets/{name}/versions", self._list_versions),
            web.get("/secrets/{name}/{version}", self._get),
            web.put("/secrets/{name}", self._set),
            web.patch("/secrets/{name}/", self._update),
            web.patch("/secrets/{name}/{version}", self._update),
            web.delete("/secrets/{name}", self._delete),
            web.get("/deletedsecrets/{name}", self._get_deleted),
            web.delete("/deletedsecrets/{name}", self._purge),
            web.post("/deletedsecrets/{name}/recover", self._recover),
        ]

    async def _get(self, request: web.Request) -> web.Response:
        self._authorize(request)
        secret, version = self._find(request)
        if not version.enabled:
            error = self.build_error("Forbidden", "Operation get is not allowed on a disabled secret.")
            error["error"]["innererror"] = {"code": "SecretDisabled"}
            raise Refusal(403, error)
        return json_response({"value": version.value, **self._describe_version(secret, version)})

    async def _set(self, request: web.Request) -> web.Response:
        self._authorize(request)
        name = request.match_info["name"]
        if not _NAME.fullmatch(name):
            raise self._bad_parameter("The request URI contains an invalid name.")
        new = await read_body(request, _NewSecret, self._bad_parameter)
        if len(new.value.encode()) > _LARGEST_VALUE:
            raise self._bad_parameter(f"The secret is larger than the allowed {_LARGEST_VALUE} bytes.")
        if self._store.find_deleted(name):
            error = self.build_error(
                "Conflict", f"Secret {name} is currently in a deleted but recoverable state."
            )
            error["error"]["innererror"] = {"code": "ObjectIsDeletedButRecoverable"}
            raise Refusal(409, error)
        at = self._seconds()
        version = SecretVersion(version=uuid.uuid4().hex, value=new.value, created=at, updated=at)
        _apply(new, version)
        secret = self._store.add(name, version)
        return json_response({"value": new.value, **self._describe_version(secret, version)})

    async def _update(self, request: web.Request) -> web.Response:
        self._authorize(request)
        secret, version = self._find(request)
        _apply(await read_body(request, _Change, self._bad_parameter), version)
        version.updated = self._seconds()
        return json_response(self._describe_version(secret, version))

    async def _delete(self, request: web.Request) -> web.Response:
        self._authorize(request)
        secret, _ = self._find(request)
        self._store.delete(secret, at=self._seconds())
        return json_response(self._describe_deleted(secret))

    async def _get_deleted(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return json_response(self._describe_deleted(self._find_deleted(request)))

    async def _purge(self, request: web.Request) -> web.Response:
        self._authorize(request)
        self._store.purge(self._find_deleted(request))
        return web.Response(status=204)

    async def _recover(self, request: web.Request) -> web.Response:
        self._authorize(request)
        secret = self._find_deleted(request)
        self._store.recover(secret)
        return json_response(self._describe_version(secret, secret.latest))

    async def _list_secrets(self, request: web.Request) -> web.Response:
        self._authorize(request)
        after, size = self._read_page(request)
        secrets = self._store.list_after(after, size + 1)
        entries = [
            {"id": f"{self.url}/secrets/{secret.name}", **_describe(secret.latest)}
            for secret in secrets[:size]
        ]
        last = secrets[size - 1].name if len(secrets) > size else None
        return self._answer_page(request, entries, last=last, size=size)

    async def _list_versions(self, request: web.Request) -> web.Response:
        self._authorize(request)
        secret = self._store.find(request.match_info["name"])
        if secret is None:
            return json_response({"value": [], "nextLink": None})
        after, size = self._read_page(request)
        versions = list_versions_after(secret, after, size + 1)
        entries = [self._describe_version(secret, version) for version in versions[:size]]
        last = versions[size - 1].version if len(versions) > size else None
        return self._answer_page(request, entries, last=last, size=size)

    def _read_page(self, request: web.Request) -> tuple[str, int]:
        """Read where a page begins and its size.

        A page begins after the last key of the previous one, so that changes in between do not shift it.
        """
        try:
            after = base64.urlsafe_b64decode(request.query.get("$skiptoken", "")).decode()
            size = int(request.query.get("maxresults", _LARGEST_PAGE))
        except ValueError:
            raise self._bad_parameter("Invalid $skiptoken or maxresults.") from None
        if not 1 <= size <= _LARGEST_PAGE:
            raise self._bad_parameter(f"Invalid maxresults; expected 1 to {_LARGEST_PAGE}.")
        return after, size

    def _answer_page(
        self, request: web.Request, entries: list[dict[str, Any]], *, last: str | None, size: int
    ) -> web.Response:
        link = None
        if last is not None:
            token = base64.urlsafe_b64encode(last.encode()).decode()
            version = request.query["api-version"]
            link = f"{self.url}{request.path}?api-version={version}&$skiptoken={token}&maxresults={size}"
        return json_response({"value": entries, "nextLink": link})

    def _find(self, request: web.Request) -> tuple[Secret, SecretVersion]:
        name, wanted = request.match_info["name"], request.match_info.get("version", "")
        secret = self._store.find(name)
        if secret is not None and not wanted:
            return secret, secret.latest
        if secret is not None and wanted in secret.versions:
            return secret, secret.versions[wanted]
        where = f"{name}/{wanted}" if wanted else name
        message = (
            f"A secret with (name/id) {where} was not found in this key vault. If you recently deleted this "
            "secret you may be able to recover it using the correct recovery command."
        )
        raise Refusal(404, self.build_error("SecretNotFound", message))

    def _find_deleted(self, request: web.Request) -> Secret:
        name = request.match_info["name"]
        secret = self._store.find_deleted(name)
        if secret is None:
            raise Refusal(404, self.build_error("SecretNotFound", f"Deleted Secret not found: {name}"))
        return secret

    def _describe_version(self, secret: Secret, version: SecretVersion) -> dict[str, Any]:
        return {"id": f"{self.url}/secrets/{secret.name}/{version.version}", **_describe(version)}

    def _describe_deleted(self, secret: Secret) -> dict[str, Any]:
        return {
            "recoveryId": f"{self.url}/deletedsecrets/{secret.name}",
            "deletedDate": secret.deleted,
            "scheduledPurgeDate": (secret.deleted or 0) + RECOVERABLE_DAYS * _DAY,
            **self._describe_version(secret, secret.latest),
        }

    def _authorize(self, request: web.Request) -> None:
        authority = f"{self._tokens.authority}{self._tenant_id}"
        challenge = f'Bearer authorization="{authority}", resource="{RESOURCE}"'
        try:
            self._tokens.verify(
                request.headers.get("Authorization"), audiences=(RESOURCE,), tenant_id=self._tenant_id
            )
        except BadTokenError as error:
            if error.reason == "unknown":
                message = f"The application 'appid={error.claims['appid']}' does not have secrets permission."
                raise Refusal(403, self.build_error("Forbidden", message)) from None
            refusal = self.build_error("Unauthorized", _describe_refusal(error))
            raise Refusal(401, refusal, headers={"WWW-Authenticate": challenge}) from None
        if not _API_VERSION.fullmatch(request.query.get("api-version", "")):
            raise self._bad_parameter("The specified api-version is missing or not supported.")

    def _bad_parameter(self, message: str) -> Refusal:
        return Refusal(400, self.build_error("BadParameter", message))

    def _seconds(self) -> int:
        return int(self._now().timestamp())


def _apply(change: _Change, version: SecretVersion) -> None:
    attributes = change.attributes or _Attributes()
    if attributes.enabled is not None:
        version.enabled = attributes.enabled
    if attributes.nbf is not None:
        version.not_before = attributes.nbf
    if attributes.exp is not None:
        version.expires = attributes.exp
    if change.tags is not None:
        version.tags = change.tags
    if change.content_type is not None:
        version.content_type = change.content_type


def _describe(version: SecretVersion) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "enabled": version.enabled,
        "created": version.created,
        "updated": version.updated,
        "recoveryLevel": "Recoverable+Purgeable",
        "recoverableDays": RECOVERABLE_DAYS,
    }
    if version.not_before is not None:
        attributes["nbf"] = version.not_before
    if version.expires is not None:
        attributes["exp"] = version.expires
    described: dict[str, Any] = {"attributes": attributes, "tags": version.tags}
    if version.content_type is not None:
        described["contentType"] = version.content_type
    return described


def _describe_refusal(error: BadTokenError) -> str:
    """Describe what is wrong with a token, with the codes of Key Vault that are publicly known."""
    if error.reason == "missing":
        return "AKV10000: Request is missing a Bearer or PoP token."
    if error.reason == "audience":
        return f"AKV10022: Invalid audience. Expected {RESOURCE}, found: {error.claims['aud']}."
    if error.reason == "issuer":
        return f"AKV10032: Invalid issuer. Found {error.claims['iss']}."
    return f"The token is not accepted: {error.reason.replace('_', ' ')}."
