"""A small Instance Metadata Service: tokens for the identities that are assigned to the node.

For development and tests only. Plain HTTP on loopback, where AZURE_POD_IDENTITY_AUTHORITY_HOST points
azure-identity. Source: "How to use managed identities ... to acquire an access token" and "Azure Instance
Metadata Service" (Microsoft).

Every user of this machine can get tokens from it, as every process of a node can from the real one. The
tokens are accepted by this local Azure only. Forwarded requests are refused, and so are requests with another
name in their Host header, which come from web pages whose name was rebound to loopback.
"""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, ClassVar, Final

from aiohttp import web
from typing_extensions import override
from yarl import URL

from hcpcreds.local.azure.entra_directory import Application
from hcpcreds.local.azure.entra_tokens import TokenAuthority
from hcpcreds.local.azure.faults import Faults, RequestLog
from hcpcreds.local.service import Refusal, Service, json_response

_PATHS: Final = (
    "/metadata/identity/oauth2/token",
    "/metadata/identity/oauth2/token/",  # azure-identity for JavaScript
    "//metadata/identity/oauth2/token",  # azure-identity for Java
)
_NAMES: Final = ("client_id", "object_id", "mi_res_id", "msi_res_id")
"""Query parameters that name an identity."""


class InstanceMetadata(Service):
    """The metadata service of the node.

    Args:
        tokens: Issues the tokens.
        audiences: The audiences that tokens can be requested for.
        now: Clock giving an aware UTC time.
        faults: Faults of this service.
        requests: Counts its requests.
    """

    name: ClassVar[str] = "instance_metadata"

    def __init__(
        self,
        *,
        tokens: TokenAuthority,
        audiences: Collection[str],
        now: Callable[[], datetime],
        faults: Faults,
        requests: RequestLog,
    ) -> None:
        super().__init__(faults=faults, requests=requests)
        self._tokens = tokens
        self._audiences = audiences
        self._now = now
        self._assigned: list[tuple[Application, str | None]] = []

    def assign(self, application: Application, *, resource_id: str | None = None) -> None:
        """Assign an identity to the node.

        Args:
            application: The identity.
            resource_id: Its ARM id, by which it can be requested.
        """
        self._assigned.append((application, resource_id))

    @override
    def build_error(self, code: str, message: str) -> dict[str, Any]:
        return {"error": code, "error_description": message}

    @override
    def routes(self) -> list[web.RouteDef]:
        return [web.get(path, self._token) for path in _PATHS]

    async def _token(self, request: web.Request) -> web.Response:
        if "X-Forwarded-For" in request.headers:
            raise self._refuse("bad_request", "Forwarded requests are not answered")
        if request.host not in (self.url.removeprefix("http://"), f"localhost:{URL(self.url).port}"):
            raise self._refuse("bad_request", "The Host header names another host")
        if request.headers.get("Metadata") != "true":
            raise self._refuse("bad_request_102", "Required metadata header not specified")
        for name in ("api-version", "resource"):
            if not request.query.get(name):
                raise self._refuse("invalid_request", f"Required query variable '{name}' is missing")
        application = self._find(request)
        resource = request.query["resource"]
        if resource not in self._audiences:
            raise self._refuse(
                "invalid_resource",
                f"AADSTS500011: The resource principal named {resource} was not found in the tenant named "
                f"{application.tenant_id}.",
            )
        issued, lifetime = int(self._now().timestamp()), int(self._tokens.lifetime)
        return json_response(
            {
                "access_token": self._tokens.issue(application, audience=resource),
                "client_id": application.client_id,
                "expires_in": str(lifetime),
                "expires_on": str(issued + lifetime),
                "ext_expires_in": str(lifetime),
                "not_before": str(issued),
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    def _find(self, request: web.Request) -> Application:
        wanted = [(name, request.query[name].lower()) for name in _NAMES if name in request.query]
        if not wanted and len(self._assigned) > 1:
            raise self._refuse(
                "invalid_request",
                "Multiple user assigned identities exist, please specify the clientId / resourceId of the "
                "identity in the token request",
            )
        for application, resource_id in self._assigned:
            has = {
                "client_id": application.client_id.lower(),
                "object_id": application.object_id.lower(),
                "mi_res_id": (resource_id or "").lower(),
                "msi_res_id": (resource_id or "").lower(),
            }
            if all(has[name] == value for name, value in wanted):
                return application
        raise self._refuse("invalid_request", "Identity not found")

    def _refuse(self, error: str, description: str) -> Refusal:
        return Refusal(400, self.build_error(error, description))
