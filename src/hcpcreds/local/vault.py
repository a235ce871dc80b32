"""A small Key Vault: secrets, their versions, attributes and tags. For development and tests only.

Sources: Key Vault's REST reference (secrets, 7.4 to 7.6) and "About Azure Key Vault secrets". As the latter
says, and as the service does, ``nbf`` and ``exp`` do not stop a secret from being read: only a disabled one
is refused. Deleted secrets can be recovered and purged in Azure; here a deleted name is free again at once.
"""

import base64
import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final

from aiohttp import web
from typing_extensions import override

from hcpcreds.clouds import CLOUDS
from hcpcreds.local.entra_tokens import BadTokenError, TokenAuthority
from hcpcreds.local.faults import Faults, RequestLog
from hcpcreds.local.service import Refusal, Service, json_response, read_json_object

RESOURCE: Final = "https://vault.azure.net"
"""What a vault of the public cloud calls itself: the audience of its tokens."""
_API_VERSION: Final = re.compile(r"7\.[0-9]|20[0-9]{2}-[0-9]{2}-[0-9]{2}(-preview)?")
"""Newer SDKs name their version by its date."""
_NAME: Final = re.compile(r"[0-9a-zA-Z-]{1,127}")
_LARGEST_VALUE: Final = 25_600
"""Bytes; a vault takes no larger secret."""
_MOST_TAGS: Final = 15
_LARGEST_PAGE: Final = 25


def list_audiences() -> frozenset[str]:
    """List what Key Vault calls itself in each cloud."""
    return frozenset(f"https://{cloud.key_vault_suffix}" for cloud in CLOUDS.values())


@dataclass
class SecretVersion:
    """One version of a secret."""

    version: str
    value: str = field(repr=False)
    content_type: str | None
    tags: dict[str, str]
    enabled: bool
    not_before: int | None
    expires: int | None
    created: int
    updated: int


class Vault(Service):
    """One Key Vault.

    Args:
        vault_name: The vault's name; its URL here is an address and a port.
        tenant_id: The tenant that it trusts.
        tokens: Verifies the callers.
        now: Clock giving an aware UTC time.
        faults: What disturbs every vault.
        requests: Where requests to every vault are counted.
    """

    name: ClassVar[str] = "vault"

    def __init__(  # noqa: PLR0913 - its parts, each by its name
        self,
        *,
        vault_name: str,
        tenant_id: str,
        tokens: TokenAuthority,
        now: Callable[[], datetime],
        faults: Faults,
        requests: RequestLog,
    ) -> None:
        super().__init__(faults=faults, requests=requests)
        self.vault_name = vault_name
        self._tenant_id = tenant_id
        self._tokens = tokens
        self._now = now
        self._secrets: dict[str, list[SecretVersion]] = {}
        self._names: dict[str, str] = {}
        """Each secret's name as it was first written, by the name in lower case."""

    @override
    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/secrets", self._list_secrets),
            web.get("/secrets/{name}", self._get),
            web.get("/secrets/{name}/", self._get),
            web.get("/secrets/{name}/versions", self._list_versions),
            web.get("/secrets/{name}/{version}", self._get),
            web.put("/secrets/{name}", self._set),
            web.patch("/secrets/{name}/{version}", self._update),
            web.delete("/secrets/{name}", self._delete),
        ]

    async def _get(self, request: web.Request) -> web.Response:
        self._authorize(request)
        found = self._find(request)
        if not found.enabled:
            raise Refusal(
                403,
                {
                    "error": {
                        "code": "Forbidden",
                        "message": "Operation get is not allowed on a disabled secret.",
                        "innererror": {"code": "SecretDisabled"},
                    }
                },
            )
        return json_response(self._describe(request.match_info["name"], found, value=True))

    async def _set(self, request: web.Request) -> web.Response:
        self._authorize(request)
        name = request.match_info["name"]
        if not _NAME.fullmatch(name):
            raise self._bad_parameter("The request URI contains an invalid name.")
        body = await read_json_object(request, lambda: self._bad_parameter("The body is no JSON object."))
        value = body.get("value")
        if not isinstance(value, str):
            raise self._bad_parameter("Property value is required and must be a string.")
        if len(value.encode()) > _LARGEST_VALUE:
            raise self._bad_parameter(f"The secret is larger than the allowed {_LARGEST_VALUE} bytes.")
        at = int(self._now().timestamp())
        version = SecretVersion(
            version=uuid.uuid4().hex,
            value=value,
            content_type=None,
            tags={},
            enabled=True,
            not_before=None,
            expires=None,
            created=at,
            updated=at,
        )
        self._change(version, body)
        self._names.setdefault(name.lower(), name)
        self._secrets.setdefault(name.lower(), []).append(version)
        return json_response(self._describe(name, version, value=True))

    async def _update(self, request: web.Request) -> web.Response:
        self._authorize(request)
        found = self._find(request)
        body = await read_json_object(request, lambda: self._bad_parameter("The body is no JSON object."))
        self._change(found, body)
        found.updated = int(self._now().timestamp())
        return json_response(self._describe(request.match_info["name"], found, value=False))

    async def _delete(self, request: web.Request) -> web.Response:
        self._authorize(request)
        name = request.match_info["name"]
        found = self._find(request)
        del self._secrets[name.lower()]
        self._names.pop(name.lower())
        at = int(self._now().timestamp())
        answer = self._describe(name, found, value=False)
        recovery = {
            "recoveryId": f"{self.url}/deletedsecrets/{name}",
            "deletedDate": at,
            "scheduledPurgeDate": at,
        }
        return json_response(answer | recovery)

    async def _list_secrets(self, request: web.Request) -> web.Response:
        self._authorize(request)
        entries = ((self._names[key], self._secrets[key][-1], False) for key in sorted(self._secrets))
        return self._page(request, list(entries))

    async def _list_versions(self, request: web.Request) -> web.Response:
        self._authorize(request)
        name = request.match_info["name"]
        versions = sorted(self._secrets.get(name.lower(), ()), key=lambda version: version.version)
        return self._page(request, [(self._names[name.lower()], version, True) for version in versions])

    def _page(self, request: web.Request, entries: list[tuple[str, SecretVersion, bool]]) -> web.Response:
        """Answer one page; the next begins after this one's last key, so changes between them move nothing."""
        after = _read_skip_token(request.query.get("$skiptoken", ""))
        try:
            size = min(int(request.query.get("maxresults", _LARGEST_PAGE)), _LARGEST_PAGE)
        except ValueError:
            raise self._bad_parameter("Invalid maxresults.") from None
        if size < 1:
            raise self._bad_parameter("Invalid maxresults.")
        rest = [entry for entry in entries if _page_key(entry) > after]
        page = rest[:size]
        next_link = None
        if len(rest) > size:
            token = base64.urlsafe_b64encode(_page_key(page[-1]).encode()).decode()
            next_link = (
                f"{self.url}{request.path}?api-version={request.query['api-version']}"
                f"&$skiptoken={token}&maxresults={size}"
            )
        value = [
            self._describe(name, version, value=False, versioned=versioned)
            for name, version, versioned in page
        ]
        return json_response({"value": value, "nextLink": next_link})

    def _find(self, request: web.Request) -> SecretVersion:
        name, wanted = request.match_info["name"], request.match_info.get("version", "")
        versions = self._secrets.get(name.lower(), [])
        matching: Iterable[SecretVersion] = (
            (v for v in versions if v.version == wanted) if wanted else versions[-1:]
        )
        for found in matching:
            return found
        where = f"{name}/{wanted}" if wanted else name
        raise Refusal(
            404,
            self.build_error(
                "SecretNotFound",
                f"A secret with (name/id) {where} was not found in this key vault. If you recently deleted "
                "this secret you may be able to recover it using the correct recovery command.",
            ),
        )

    def _change(self, version: SecretVersion, body: dict[str, Any]) -> None:
        """Take attributes, tags and content type from a request; all of them or none."""
        attributes = body.get("attributes") or {}
        tags = body.get("tags")
        if not isinstance(attributes, dict) or not isinstance(tags, (dict, type(None))):
            raise self._bad_parameter("Properties attributes and tags must be objects.")
        if tags and (len(tags) > _MOST_TAGS or not all(isinstance(value, str) for value in tags.values())):
            raise self._bad_parameter(f"At most {_MOST_TAGS} tags, and each a string, are allowed.")
        enabled, not_before, expires = (attributes.get(key) for key in ("enabled", "nbf", "exp"))
        if not isinstance(enabled, (bool, type(None))) or not all(
            isinstance(value, (int, type(None))) for value in (not_before, expires)
        ):
            raise self._bad_parameter("The attributes are of the wrong type.")
        start = version.not_before if not_before is None else not_before
        end = version.expires if expires is None else expires
        if start is not None and end is not None and start >= end:
            raise self._bad_parameter("The not-before date must be earlier than the expiry date.")
        version.enabled = version.enabled if enabled is None else enabled
        version.not_before, version.expires = start, end
        version.tags = version.tags if tags is None else dict(tags)
        version.content_type = body.get("contentType") or version.content_type

    def _describe(
        self, name: str, version: SecretVersion, *, value: bool, versioned: bool = True
    ) -> dict[str, Any]:
        attributes: dict[str, Any] = {"enabled": version.enabled}
        if version.not_before is not None:
            attributes["nbf"] = version.not_before
        if version.expires is not None:
            attributes["exp"] = version.expires
        attributes |= {
            "created": version.created,
            "updated": version.updated,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": 90,
        }
        described: dict[str, Any] = {"value": version.value} if value else {}
        if version.content_type is not None:
            described["contentType"] = version.content_type
        described["id"] = f"{self.url}/secrets/{name}" + (f"/{version.version}" if versioned else "")
        return described | {"attributes": attributes, "tags": version.tags}

    def _authorize(self, request: web.Request) -> None:
        authority = f"{self._tokens.authority}{self._tenant_id}"
        challenge = f'Bearer authorization="{authority}", resource="{RESOURCE}"'
        try:
            self._tokens.verify(request.headers.get("Authorization"), audiences=(RESOURCE,))
        except BadTokenError as error:
            if error.why == "unknown":
                message = f"The application 'appid={error.claims['appid']}' does not have secrets permission."
                raise Refusal(403, self.build_error("Forbidden", message)) from None
            raise Refusal(
                401,
                self.build_error("Unauthorized", _describe_refusal(error)),
                headers={"WWW-Authenticate": challenge},
            ) from None
        if not _API_VERSION.fullmatch(request.query.get("api-version", "")):
            raise self._bad_parameter("The specified api-version is missing or not supported.")

    def _bad_parameter(self, message: str) -> Refusal:
        return Refusal(400, self.build_error("BadParameter", message))


def _describe_refusal(error: BadTokenError) -> str:
    """Say what is wrong with a token as Key Vault does; only the first two codes are publicly known."""
    if error.why == "missing":
        return "AKV10000: Request is missing a Bearer or PoP token."
    if error.why == "audience":
        return f"AKV10022: Invalid audience. Expected {RESOURCE}, found: {error.claims['aud']}."
    return f"The token is not accepted: {error.why.replace('_', ' ')}."


def _page_key(entry: tuple[str, SecretVersion, bool]) -> str:
    name, version, versioned = entry
    return version.version if versioned else name.lower()


def _read_skip_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        return ""
