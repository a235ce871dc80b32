"""A small managed-identity data plane: issues and renews the credentials of managed identities.

For development and tests only. Source of the protocol: the OpenAPI description in Azure/msi-dataplane
(api-version 2024-01-01).
"""

import asyncio
import os
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from typing_extensions import override

from hcpcreds.local.azure.entra_directory import Directory
from hcpcreds.local.azure.entra_tokens import BadTokenError, TokenAuthority
from hcpcreds.local.azure.faults import Faults, RequestLog
from hcpcreds.local.azure.identity_certificates import CertificateIssuer, IssuedCertificate, SecretFormat
from hcpcreds.local.service import Refusal, Service, json_response, read_body

API_VERSION: Final = "2024-01-01"
_SYSTEM_ASSIGNED: Final = ""
"""Stands for the resource's own identity where a user-assigned one has its client id."""


@dataclass(frozen=True, kw_only=True)
class ManagedIdentity:
    """An identity that credentials are issued for."""

    client_id: str
    tenant_id: str
    object_id: str
    resource_id: str
    """ARM id of a user-assigned identity; of the resource itself for its system-assigned one."""


class _CredentialRequest(msgspec.Struct, rename="camel"):
    identity_ids: tuple[str, ...] | None = None
    custom_claims: dict[str, Any] | None = None
    delegated_resources: tuple[str, ...] | None = None


class _MoveRequest(msgspec.Struct, rename="camel"):
    target_resource_id: str


class DataPlane(Service):
    """The data plane of one resource.

    Args:
        audience: The audience of its tokens.
        tenant_id: The tenant of its callers.
        resource_id: ARM id of the resource whose identities these are.
        directory: Registers the new certificates.
        tokens: Verifies the callers.
        issuer: Issues the certificates.
        secret_format: Format of certificate and key.
        registration_delay: Seconds until Entra ID knows a new certificate; infinite means until it is
            registered by hand.
        renew_early: Whether a client_secret_url returns a new credential before the current one's
            renew_after.
        now: Clock giving an aware UTC time.
        faults: Faults of this service.
        requests: Counts its requests.
    """

    name: ClassVar[str] = "data_plane"

    def __init__(  # noqa: PLR0913 (its parts, each by its name)
        self,
        *,
        audience: str,
        tenant_id: str,
        resource_id: str,
        directory: Directory,
        tokens: TokenAuthority,
        issuer: CertificateIssuer,
        secret_format: SecretFormat,
        registration_delay: float,
        renew_early: bool,
        now: Callable[[], datetime],
        faults: Faults,
        requests: RequestLog,
    ) -> None:
        super().__init__(faults=faults, requests=requests)
        self.audience = audience
        self.registration_delay = registration_delay
        self._tenant_id = tenant_id
        self._resource_id = resource_id
        self._directory = directory
        self._tokens = tokens
        self._issuer = issuer
        self._secret_format = secret_format
        self._renew_early = renew_early
        self._now = now
        self._resource_key = str(uuid.uuid4())
        self._identities: dict[str, ManagedIdentity] = {}
        """By ARM id in lower case; the system-assigned one by `_SYSTEM_ASSIGNED`."""
        self._current: dict[str, tuple[IssuedCertificate, dict[str, str]]] = {}
        """The newest certificate and credential of each client."""
        self._executor = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="hcpcreds-local-issuer")

    @property
    def identity_url(self) -> str:
        """The URL that ARM sends in `x-ms-identity-url`; clients must keep its query."""
        return self._build_url(self._resource_id, {"tid": self._tenant_id, "arpid": self._resource_key})

    def add_identity(self, identity: ManagedIdentity, *, system_assigned: bool = False) -> None:
        """Register an identity here and with Entra ID."""
        self._directory.add_application(
            identity.client_id, tenant_id=identity.tenant_id, object_id=identity.object_id
        )
        key = _SYSTEM_ASSIGNED if system_assigned else identity.resource_id.lower()
        self._identities[key] = identity

    def find_identity(self, client_id: str) -> ManagedIdentity | None:
        """Find an identity by its client id."""
        for identity in list(self._identities.values()):
            if identity.client_id.lower() == client_id.lower():
                return identity
        return None

    def issue(  # noqa: PLR0913 (overrides, each by its name)
        self,
        identity: ManagedIdentity,
        *,
        private_key: rsa.RSAPrivateKey | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        secret_format: SecretFormat | None = None,
        registration_delay: float | None = None,
    ) -> dict[str, str]:
        """Issue a credential: an element of `explicit_identities`.

        Takes tens of milliseconds of CPU time. Older certificates stay registered.

        Args:
            identity: The identity.
            private_key: RSA key to use; None generates one.
            not_before: Start of the certificate's validity; by default later than that of the last one.
            not_after: End of its validity.
            secret_format: Format of certificate and key.
            registration_delay: As in the class.
        """
        issued = self._issuer.issue(
            identity.client_id, private_key=private_key, not_before=not_before, not_after=not_after
        )
        delay = self.registration_delay if registration_delay is None else registration_delay
        self._directory.register(identity.client_id, issued.certificate, delay=delay)
        credential = {
            "client_id": identity.client_id,
            "client_secret": issued.render_secret(secret_format or self._secret_format),
            "client_secret_url": self._build_url(
                identity.resource_id,
                {"tid": identity.tenant_id, "oid": identity.object_id, "aid": identity.client_id},
            ),
            "tenant_id": identity.tenant_id,
            "object_id": identity.object_id,
            "resource_id": identity.resource_id,
            "authentication_endpoint": self._tokens.authority,
            "not_before": _render_time(issued.certificate.not_valid_before_utc),
            "not_after": _render_time(issued.certificate.not_valid_after_utc),
            "renew_after": _render_time(issued.renew_after),
            "cannot_renew_after": _render_time(issued.cannot_renew_after),
        }
        self._current[identity.client_id] = issued, credential
        return credential

    @override
    async def close(self) -> None:
        await super().close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    @override
    def routes(self) -> list[web.RouteDef]:
        # Generated clients append "/" to the identity URL; its own path ends without one.
        return [
            web.post("/{resource:.+}/credentials/proxy/move", self._move),
            *(
                web.route(method, f"/{{resource:.+}}/credentials{end}", handler)
                for end in ("", "/")
                for method, handler in (("POST", self._post), ("GET", self._get), ("DELETE", self._delete))
            ),
        ]

    async def _post(self, request: web.Request) -> web.Response:
        self._authorize(request)
        own = self._find_own(request)
        wanted = await read_body(request, _CredentialRequest, self._bad_request)
        if wanted.delegated_resources:
            raise self._bad_request("delegatedResources are not served here.")
        identities = [self._find(resource_id) for resource_id in wanted.identity_ids or ()]
        if own is not None and identities != [own]:
            raise self._bad_request("This URL is for one identity; identityIds must name only that identity.")
        give = self._issue if own is None else self._renew
        explicit = await asyncio.gather(*(give(identity) for identity in identities))
        if wanted.custom_claims:
            explicit = [{**credential, "custom_claims": wanted.custom_claims} for credential in explicit]
        return json_response(await self._build_answer(explicit, system_assigned=own is None))

    async def _get(self, request: web.Request) -> web.Response:
        self._authorize(request)
        own = self._find_own(request)
        if own is not None:
            return json_response(await self._build_answer([await self._renew(own)], system_assigned=False))
        if _SYSTEM_ASSIGNED not in self._identities:
            raise Refusal(404, self.build_error("NotFound", "The resource has no system-assigned identity."))
        return json_response(await self._build_answer([]))

    async def _delete(self, request: web.Request) -> web.Response:
        self._authorize(request)
        if self._find_own(request) is not None:
            raise Refusal(
                405, self.build_error("MethodNotAllowed", "A user-assigned identity cannot be deleted here.")
            )
        identity = self._identities.pop(_SYSTEM_ASSIGNED, None)
        if identity is None:
            return web.Response(status=204)
        self._directory.remove_application(identity.client_id)
        return web.Response(status=200)

    async def _move(self, request: web.Request) -> web.Response:
        self._authorize(request)
        self._find_own(request)
        target = (await read_body(request, _MoveRequest, self._bad_request)).target_resource_id
        if not target.startswith("/subscriptions/"):
            raise self._bad_request("targetResourceId must be an ARM id.")
        self._resource_id = target
        moved = self._identities.get(_SYSTEM_ASSIGNED)
        if moved is not None:
            self._identities[_SYSTEM_ASSIGNED] = replace(moved, resource_id=target)
        return json_response({"identityUrl": self.identity_url})

    async def _build_answer(
        self, explicit: list[dict[str, Any]], *, system_assigned: bool = True
    ) -> dict[str, Any]:
        identity = self._identities.get(_SYSTEM_ASSIGNED) if system_assigned else None
        top = {} if identity is None else await self._issue(identity)
        top.pop("resource_id", None)
        return {**top, "internal_id": self._resource_key, "explicit_identities": explicit}

    async def _renew(self, identity: ManagedIdentity) -> dict[str, Any]:
        """Build what an identity's own client_secret_url returns."""
        if identity.client_id in self._current:
            issued, credential = self._current[identity.client_id]
            if self._now() > issued.cannot_renew_after:
                raise Refusal(403, self.build_error("Forbidden", "The credential can no longer be renewed."))
            if not self._renew_early and self._now() < issued.renew_after:
                return dict(credential)
        return await self._issue(identity)

    async def _issue(self, identity: ManagedIdentity) -> dict[str, Any]:
        # Generating a key blocks, and the other services share this event loop.
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.issue, identity)

    def _find(self, resource_id: str) -> ManagedIdentity:
        identity = self._identities.get(resource_id.lower()) if resource_id else None
        if identity is None:
            raise Refusal(404, self.build_error("NotFound", f"The identity {resource_id} does not exist."))
        return identity

    def _find_own(self, request: web.Request) -> ManagedIdentity | None:
        """Find the user-assigned identity that a URL is for; None when it is the resource's identity URL."""
        path, query = f"/{request.match_info['resource']}".lower(), request.query
        if path == self._resource_id.lower() and query.get("arpid") == self._resource_key:
            return None
        named = (path, query.get("tid"), query.get("oid"), query.get("aid"))
        for key, identity in self._identities.items():
            own = (identity.resource_id.lower(), identity.tenant_id, identity.object_id, identity.client_id)
            if named == own:
                return None if key == _SYSTEM_ASSIGNED else identity
        raise Refusal(404, self.build_error("NotFound", "No identity has this URL."))

    def _authorize(self, request: web.Request) -> None:
        try:
            self._tokens.verify(
                request.headers.get("Authorization"), audiences=(self.audience,), tenant_id=self._tenant_id
            )
        except BadTokenError as error:
            # The real service writes the tenant in capitals: clients have to ignore case.
            challenge = f'Bearer authorization="{self._tokens.authority}{self._tenant_id.upper()}"'
            why = error.reason.replace("_", " ")
            raise Refusal(
                401,
                self.build_error("Unauthorized", f"The bearer token is not accepted: {why}."),
                headers={"WWW-Authenticate": challenge},
            ) from None
        if request.query.get("api-version") != API_VERSION:
            raise self._bad_request(f"The api-version must be {API_VERSION}.")

    def _bad_request(self, message: str) -> Refusal:
        return Refusal(400, self.build_error("BadRequest", message))

    def _build_url(self, resource_id: str, query: Mapping[str, str]) -> str:
        return f"{self.url}{resource_id}/credentials?{urlencode(query)}"


def _render_time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
