"""A small Entra ID: the token endpoint for client credentials, its keys, and discovery.

For development and tests only. It accepts client assertions only: no secrets, no users.
Source of the protocol: Microsoft identity platform, "client credentials flow" and "certificate credentials".
"""

import json
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

from aiohttp import web
from multidict import MultiMapping
from typing_extensions import override

from hcpcreds.local.azure.entra_assertion import AssertionVerifier, find_signer
from hcpcreds.local.azure.entra_directory import Application, Directory
from hcpcreds.local.azure.entra_errors import EntraError, missing_parameter
from hcpcreds.local.azure.entra_tokens import TokenAuthority
from hcpcreds.local.azure.faults import Faults, RequestLog
from hcpcreds.local.service import Service, json_response

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DEFAULT: Final = "/.default"
_OF_OPENID: Final = frozenset({"openid", "offline_access", "profile", "email"})
"""Scopes of OpenID Connect, allowed beside that of a resource; without a user they have no effect.

MSAL for Go sends three of them with every request (AzureAD/microsoft-authentication-library-for-go,
AppendDefaultScopes)."""


class Entra(Service):
    """The token authority.

    Args:
        directory: Tenants, applications and their certificates.
        tokens: Issues the access tokens.
        verifier: Verifies the assertions.
        audiences: The audiences that tokens can be requested for.
        refresh_in: Seconds after which clients should refresh a token; None omits it, as Entra ID mostly
            does.
        now: Clock giving an aware UTC time.
        faults: Faults of this service.
        requests: Counts its requests.
    """

    name: ClassVar[str] = "entra"

    def __init__(  # noqa: PLR0913 (its parts, each by its name)
        self,
        *,
        directory: Directory,
        tokens: TokenAuthority,
        verifier: AssertionVerifier,
        audiences: Collection[str],
        refresh_in: float | None,
        now: Callable[[], datetime],
        faults: Faults,
        requests: RequestLog,
    ) -> None:
        super().__init__(faults=faults, requests=requests)
        self._directory = directory
        self._tokens = tokens
        self._verifier = verifier
        self._audiences = audiences
        self._refresh_in = refresh_in
        self._now = now

    @property
    def authority(self) -> str:
        """Its URL with a trailing slash."""
        return f"{self.url}/"

    @override
    def build_error(self, code: str, message: str) -> dict[str, Any]:
        return {"error": "temporarily_unavailable", "error_description": message, "error_codes": []}

    @override
    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/{tenant}/oauth2/v2.0/token", self._token),
            web.get("/{tenant}/v2.0/.well-known/openid-configuration", self._openid_configuration),
            web.get("/{tenant}/discovery/v2.0/keys", self._keys),
            web.get("/common/discovery/instance", self._instance),
        ]

    @override
    async def find_certificate(self, request: web.Request) -> str | None:
        if not request.path.endswith("/token"):
            return None
        try:
            form = await _read_form(request)
        except EntraError:
            return ""
        application = self._directory.find_application(str(form.get("client_id")))
        return find_signer(str(form.get("client_assertion")), application)

    async def _token(self, request: web.Request) -> web.Response:
        try:
            return json_response(self._issue(request.match_info["tenant"], await _read_form(request)))
        except EntraError as error:
            raise error.as_refusal(
                now=self._now(),
                authority=self.authority,
                correlation_id=request.headers.get("client-request-id"),
            ) from None

    def _issue(self, tenant: str, form: "MultiMapping[Any]") -> dict[str, Any]:
        self._check_tenant(tenant)
        if _field(form, "grant_type") != "client_credentials":
            raise EntraError("unsupported_grant_type", 70003, "The app returned an unsupported grant type.")
        audience = self._parse_scope(_field(form, "scope"))
        application = self._find_application(_field(form, "client_id"), tenant)
        claims_request = _parse_claims(form.get("claims"))
        thumbprint = self._verifier.verify(
            _assertion(form), application=application, audience=f"{self.authority}{tenant}/oauth2/v2.0/token"
        )
        lifetime = self._tokens.lifetime
        answer: dict[str, Any] = {
            "token_type": "Bearer",
            "expires_in": int(lifetime),
            "ext_expires_in": int(lifetime),
            "access_token": self._tokens.issue(
                application, audience=audience, thumbprint=thumbprint, claims_request=claims_request
            ),
        }
        if self._refresh_in is not None:
            answer["refresh_in"] = int(self._refresh_in)
        return answer

    def _check_tenant(self, tenant: str) -> None:
        if not self._directory.has_tenant(tenant):
            raise EntraError(
                "invalid_tenant",
                90002,
                f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are "
                "signing into the correct cloud.",
            )

    def _find_application(self, client_id: str, tenant: str) -> Application:
        application = self._directory.find_application(client_id)
        if application is None or application.tenant_id != tenant.lower():
            raise EntraError(
                "unauthorized_client",
                700016,
                f"Application with identifier '{client_id}' was not found in the directory '{tenant}'. This "
                "can happen if the application has not been installed by the administrator of the tenant or "
                "consented to by any user in the tenant.",
            )
        return application

    def _parse_scope(self, scope: str) -> str:
        scopes = [each for each in scope.split() if each not in _OF_OPENID]
        if len(scopes) != 1:
            raise EntraError(
                "invalid_scope",
                70011,
                f"The provided value for the input parameter 'scope' is not valid. The scope {scope} is not "
                "valid.",
            )
        audience = scopes[0].removesuffix(_DEFAULT)
        if audience == scopes[0]:
            raise EntraError(
                "invalid_scope",
                1002012,
                f"The provided value for scope {scope} is not valid. Client credential flows must have a "
                "scope value with /.default suffixed to the resource identifier (application ID URI).",
            )
        if audience not in self._audiences:
            raise EntraError(
                "invalid_resource",
                500011,
                f"The resource principal named {audience} was not found in the tenant. This can happen if "
                "the application has not been installed by the administrator of the tenant or consented to "
                "by any user in the tenant.",
            )
        return audience

    async def _openid_configuration(self, request: web.Request) -> web.Response:
        tenant = request.match_info["tenant"]
        try:
            self._check_tenant(tenant)
        except EntraError as error:
            raise error.as_refusal(now=self._now(), authority=self.authority, correlation_id=None) from None
        base = f"{self.authority}{tenant}"
        return json_response(
            {
                "issuer": self._tokens.issuer(tenant.lower()),
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "cloud_instance_name": "127.0.0.1",
            }
        )

    async def _keys(self, _: web.Request) -> web.Response:
        return json_response({"keys": [self._tokens.as_jwk()]})

    async def _instance(self, request: web.Request) -> web.Response:
        endpoint = request.query.get("authorization_endpoint", "")
        if not endpoint.startswith(self.authority):
            error = EntraError("invalid_instance", 50049, "Unknown or invalid instance.")
            raise error.as_refusal(now=self._now(), authority=self.authority, correlation_id=None)
        tenant = endpoint.removeprefix(self.authority).partition("/")[0]
        discovery = f"{self.authority}{tenant}/v2.0/.well-known/openid-configuration"
        host = self.url.removeprefix("https://")
        return json_response(
            {
                "tenant_discovery_endpoint": discovery,
                "api-version": "1.1",
                "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
            }
        )


async def _read_form(request: web.Request) -> "MultiMapping[Any]":
    try:
        return await request.post()
    except (LookupError, ValueError):  # an unknown charset, or bytes that are not in it
        raise EntraError("invalid_request", 90004, "The request is not properly formatted.") from None


def _field(form: "MultiMapping[Any]", name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str) or not value:
        raise missing_parameter(name)
    return value


def _assertion(form: "MultiMapping[Any]") -> str:
    if not form.get("client_assertion"):
        if form.get("client_secret"):
            raise EntraError(
                "invalid_client", 7000215, "Invalid client secret provided. No application here has one."
            )
        raise EntraError(
            "invalid_client",
            7000218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        )
    if _field(form, "client_assertion_type") != ASSERTION_TYPE:
        raise EntraError("invalid_request", 90011, "Unexpected client assertion type.")
    return _field(form, "client_assertion")


def _parse_claims(text: object) -> Mapping[str, Any] | None:
    if not text:
        return None
    try:
        claims = json.loads(str(text))
    except ValueError:
        claims = None
    if not isinstance(claims, dict):
        raise EntraError(
            "invalid_request", 90004, "The request is not properly formatted: 'claims' is not an object."
        )
    return claims
