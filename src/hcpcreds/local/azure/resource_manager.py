"""A small Azure Resource Manager: lists the resource groups of a subscription to callers with a valid token.

For development and tests only.
"""

from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Final

from aiohttp import web
from typing_extensions import override

from hcpcreds.clouds import CLOUDS
from hcpcreds.local.azure.entra_tokens import CERTIFICATE_CLAIM, BadTokenError, TokenAuthority
from hcpcreds.local.azure.faults import Faults, RequestLog
from hcpcreds.local.service import Refusal, Service, json_response

CERTIFICATE_HEADER: Final = "x-ms-hcpcreds-certificate"
"""Response header: thumbprint of the certificate that the caller's token was requested with."""


def list_audiences() -> frozenset[str]:
    """List the audiences of ARM in each cloud, with and without a trailing slash, as ARM accepts both."""
    names = {
        name.rstrip("/")
        for cloud in CLOUDS.values()
        for name in (cloud.resource_manager, cloud.resource_manager_audience)
    }
    return frozenset({*names, *(f"{name}/" for name in names)})


class ResourceManager(Service):
    """Azure Resource Manager.

    Args:
        tokens: Verifies the callers.
        resource_groups: Names of the resource groups in every subscription.
        faults: Faults of this service.
        requests: Counts its requests.
    """

    name: ClassVar[str] = "resource_manager"

    def __init__(
        self, *, tokens: TokenAuthority, resource_groups: Sequence[str], faults: Faults, requests: RequestLog
    ) -> None:
        super().__init__(faults=faults, requests=requests)
        self._tokens = tokens
        self._resource_groups = resource_groups
        self._audiences: Collection[str] = list_audiences()

    @override
    def routes(self) -> list[web.RouteDef]:
        # ARM ignores case in paths; these are the two spellings that clients use.
        return [
            web.get("/subscriptions/{subscription}/resourcegroups", self._list),
            web.get("/subscriptions/{subscription}/resourceGroups", self._list),
        ]

    @override
    async def find_certificate(self, request: web.Request) -> str:
        return self._tokens.find_certificate(request.headers.get("Authorization"))

    async def _list(self, request: web.Request) -> web.Response:
        claims = self._authorize(request)
        if not request.query.get("api-version"):
            raise Refusal(
                400,
                self.build_error(
                    "MissingApiVersionParameter",
                    "The api-version query parameter (?api-version=) is required.",
                ),
            )
        prefix = f"/subscriptions/{request.match_info['subscription']}/resourceGroups"
        groups = [
            {
                "id": f"{prefix}/{name}",
                "name": name,
                "type": "Microsoft.Resources/resourceGroups",
                "location": "westus3",
                "properties": {"provisioningState": "Succeeded"},
            }
            for name in self._resource_groups
        ]
        thumbprint = claims.get(CERTIFICATE_CLAIM)
        headers = {} if thumbprint is None else {CERTIFICATE_HEADER: thumbprint}
        return json_response({"value": groups}, headers=headers)

    def _authorize(self, request: web.Request) -> dict[str, Any]:
        try:
            return self._tokens.verify(request.headers.get("Authorization"), audiences=self._audiences)
        except BadTokenError as error:
            code, message = self._describe(error)
            uri = f"{self._tokens.authority}common"
            challenge = (
                f'Bearer authorization_uri="{uri}", error="invalid_token", error_description="{message}"'
            )
            raise Refusal(
                401, self.build_error(code, message), headers={"WWW-Authenticate": challenge}
            ) from None

    def _describe(self, error: BadTokenError) -> tuple[str, str]:
        if error.reason == "missing":
            return "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
        if error.reason == "audience":
            allowed = ",".join(f"'{audience}'" for audience in sorted(self._audiences))
            message = (
                f"The access token has been obtained for wrong audience or resource '{error.claims['aud']}'. "
                f"It should exactly match with one of the allowed audiences {allowed}."
            )
            return "InvalidAuthenticationTokenAudience", message
        if error.reason == "expired":
            return (
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time is earlier than current UTC time.",
            )
        return "InvalidAuthenticationToken", f"The access token is invalid: {error.reason.replace('_', ' ')}."
