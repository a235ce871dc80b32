"""The two protocols by which Azure SDKs ask for a managed identity's tokens.

Sources: learn.microsoft.com, "How to use managed identities for App Service" and "... to acquire an access
token" (the instance metadata service); and what seven SDKs send and accept, see docs/keyless.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from http import HTTPStatus
from typing import Final

import msgspec
from azure.core.credentials import AccessTokenInfo

from hcpcreds.endpoint.refusals import Refusal, build_refusal
from hcpcreds.serving import Request, Response

APP_SERVICE_PATH: Final = "/msi/token"
SECRET_HEADER: Final = "X-IDENTITY-HEADER"  # noqa: S105 (a name)
_JSON: Final = "application/json"
_NOT_FOUND: Final = (
    "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
)


@dataclass(frozen=True, slots=True)
class Protocol:
    """How programs ask, and how they want to be refused."""

    name: str
    paths: tuple[str, ...]
    oldest_version: str
    admit: Callable[[Request], None]
    """Raises a Refusal of a request without what the protocol requires of it."""
    describe: Callable[[Refusal], dict[str, object]]

    def refuse(self, refusal: Refusal) -> Response:
        """Say why there is no token."""
        wait = refusal.retry_after
        return Response(
            msgspec.json.encode(self.describe(refusal)),
            refusal.status,
            content_type=_JSON,
            headers=[] if wait is None else [("Retry-After", str(wait))],
        )


def give_token(token: AccessTokenInfo, *, client_id: str, resource: str, now: float) -> Response:
    """Answer a token, in the one shape that every SDK accepts.

    Numbers are strings of digits: Rust's refuses anything else. The resource is the request's own, letter by
    letter, for JavaScript's files the token under it.

    Args:
        token: The access token.
        client_id: The identity.
        resource: What the request named.
        now: Unix time.
    """
    left = str(max(token.expires_on - int(now), 0))
    body = {
        "access_token": token.token,
        "client_id": client_id,
        "expires_in": left,
        "expires_on": str(token.expires_on),
        "ext_expires_in": left,
        "not_before": str(int(now)),
        "resource": resource,
        "token_type": token.token_type,
    }
    return Response(msgspec.json.encode(body), content_type=_JSON, headers=[("Cache-Control", "no-store")])


def make_app_service(secret: str) -> Protocol:
    """App Service's protocol, api-version 2019-08-01: IDENTITY_ENDPOINT and IDENTITY_HEADER.

    Args:
        secret: What requests have to bring.
    """
    expected = secret.encode()

    def admit(request: Request) -> None:
        given = request.headers.get(SECRET_HEADER.lower(), "")
        if compare_digest(given.encode("latin-1"), expected):
            return
        what = "is not the secret of this endpoint" if given else "is missing"
        raise Refusal(HTTPStatus.UNAUTHORIZED, "unauthorized", f"{SECRET_HEADER} {what}", reason="secret")

    def describe(refusal: Refusal) -> dict[str, object]:
        message = _NOT_FOUND if refusal.reason == "identity_unknown" else refusal.message
        return {"statusCode": int(refusal.status), "message": message}

    paths = (APP_SERVICE_PATH, f"{APP_SERVICE_PATH}/")
    return Protocol("app-service", paths, "2019-08-01", admit, describe)


def make_instance_metadata() -> Protocol:
    """The instance metadata service's: a fixed path, at an address that some SDKs can be told."""

    def admit(request: Request) -> None:
        if request.headers.get("metadata", "").lower() != "true":
            raise build_refusal(
                "bad_request_102", "Required metadata header not specified", reason="metadata_header"
            )

    def describe(refusal: Refusal) -> dict[str, object]:
        return {"error": refusal.error, "error_description": refusal.message}

    path = "/metadata/identity/oauth2/token"
    # JavaScript's SDK ends it with a slash, and Java's begins it with two.
    paths = (path, f"{path}/", f"/{path}", f"/{path}/")
    return Protocol("imds", paths, "2018-02-01", admit, describe)
