"""The client of the managed-identity data plane, which issues and renews credentials.

Its asyncio twin is `hcpcreds.dataplane.aio`; their calls are in `hcpcreds.dataplane.protocol`.
"""

from collections.abc import Collection
from typing import Any, Final, Self, TypeVar

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import HTTPPolicy
from azure.core.rest import HttpRequest, HttpResponse
from typing_extensions import override

from hcpcreds.dataplane import protocol
from hcpcreds.dataplane.hosts import check_identity_url, choose_hosts
from hcpcreds.dataplane.models import (
    ManagedIdentityCredentials,
    MoveIdentityRequest,
    MoveIdentityResponse,
    UserAssignedIdentitiesRequest,
)
from hcpcreds.http.answers import MAX_ANSWER
from hcpcreds.http.sync import build_pipeline_client

T = TypeVar("T")


class _ChallengePolicy(HTTPPolicy[HttpRequest, HttpResponse]):
    """Sends the first request to a host without a token, and learns the tenant from the host's challenge."""

    def __init__(self, credential: TokenCredential, scope: str) -> None:
        super().__init__()
        self._credential = credential
        self._scope = scope
        self._tenants = protocol.Tenants()

    @override
    def send(self, request: PipelineRequest[HttpRequest]) -> PipelineResponse[HttpRequest, HttpResponse]:
        known = self._tenants.get(request.http_request)
        if known is not None:
            self._authorize(request, known)
        response = self.next.send(request)
        answer = response.http_response
        wanted = self._tenants.learn(request.http_request, status=answer.status_code, headers=answer.headers)
        if wanted is None:
            return response
        self._authorize(request, wanted)
        return self.next.send(request)

    def _authorize(self, request: PipelineRequest[HttpRequest], tenant: str) -> None:
        token = self._credential.get_token(self._scope, tenant_id=tenant).token
        request.http_request.headers["Authorization"] = f"Bearer {token}"


class ManagedIdentityDataPlaneClientFactory:
    """Makes clients for identity URLs. They share its connections, and the tenants learned from challenges.

    Args:
        credential: The credential of the application that may call the data plane. It is asked for tokens of
            the tenant that the service names, so azure-identity's need `additionally_allowed_tenants`.
        audience: The audience of the data plane, as configured; never taken from the service.
        hosts: The hosts that a token may be sent to, each including its subdomains; by default the host of
            the audience. An identity URL comes from elsewhere, and could name any host.
        kwargs: azure-core's own options: `transport`, `connection_verify`, `retry_total`,
            `user_agent`... (`logging_enable` is ignored: it would log answers, which hold keys.)

    Raises:
        InputError: `hosts` is not given and the audience is not a URL, or an option cannot be used.
    """

    def __init__(
        self,
        credential: TokenCredential,
        audience: str,
        *,
        hosts: Collection[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.hosts: Final = choose_hosts(audience, hosts)
        """The hosts that a token may be sent to, each including its subdomains."""
        policy = _ChallengePolicy(credential, f"{audience}/.default")
        self._pipeline = build_pipeline_client(kwargs, policy, max_answer=MAX_ANSWER)

    def create_client(self, identity_url: str) -> "ManagedIdentityDataPlaneClient":
        """Make the client of one identity.

        Args:
            identity_url: The header `x-ms-identity-url` from ARM, or an identity's `client_secret_url`.

        Raises:
            InputError: It is not an https URL, or its host is not allowed.
        """
        return ManagedIdentityDataPlaneClient(self._pipeline, check_identity_url(identity_url, self.hosts))

    def close(self) -> None:
        """Close the connections of all clients. The credential stays open; it belongs to the caller."""
        self._pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ManagedIdentityDataPlaneClient:
    """Gets, renews, moves and deletes the credentials behind one identity URL.

    Made by `ManagedIdentityDataPlaneClientFactory`. Safe for concurrent use; throttled and failed requests
    are retried as the Azure SDK retries.
    """

    def __init__(self, pipeline: PipelineClient[HttpRequest, HttpResponse], identity_url: str) -> None:
        self._pipeline = pipeline
        self._identity_url = identity_url

    def get_system_assigned_identity_credentials(self) -> ManagedIdentityCredentials:
        """Get the credential of the system-assigned identity; from a `client_secret_url`, renew its own.

        Raises:
            IssueError: The data plane did not answer, or not with a credential.
        """
        return self._send(protocol.get_credentials(self._identity_url))

    def get_user_assigned_identities_credentials(
        self, request: UserAssignedIdentitiesRequest
    ) -> ManagedIdentityCredentials:
        """Get the credentials of user-assigned identities, as `explicit_identities`.

        Not retried when the connection breaks after the request was sent: credentials may have been issued,
        and the caller decides whether to ask again. Doing so is harmless; every certificate stays valid.

        Raises:
            IssueError: The data plane did not answer, or not with credentials.
        """
        return self._send(protocol.issue_credentials(self._identity_url, request))

    def move_identity(self, request: MoveIdentityRequest) -> MoveIdentityResponse:
        """Move the proxy resource to another resource group; returns its new identity URL.

        Raises:
            IssueError: The data plane did not answer, or refused.
        """
        return self._send(protocol.move_identity(self._identity_url, request))

    def delete_system_assigned_identity(self) -> None:
        """Delete the system-assigned identity. The URL of a user-assigned identity does not support this.

        Raises:
            IssueError: The data plane did not answer, or refused.
        """
        self._send(protocol.delete_identity(self._identity_url))

    def _send(self, call: protocol.Call[T]) -> T:
        with protocol.raising_issue_errors(call.request):
            response = self._pipeline.send_request(call.request)
            answer = protocol.Answer(response.status_code, response.content)
        return call.read(answer)
