"""The asyncio twin of `hcpcreds.dataplane.client`; what both decide is in `hcpcreds.dataplane.protocol`."""

from collections.abc import Collection
from types import TracebackType
from typing import Any, Final, Self

from azure.core import AsyncPipelineClient
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest
from typing_extensions import override

from hcpcreds.dataplane.models import (
    ManagedIdentityCredentials,
    ModelType,
    MoveIdentityRequest,
    MoveIdentityResponse,
    UserAssignedIdentitiesRequest,
)
from hcpcreds.dataplane.protocol import (
    Answer,
    Tenants,
    build_request,
    check_deleted,
    check_identity_url,
    choose_hosts,
    raising_issue_errors,
    read_answer,
)
from hcpcreds.http.aio import make_transport
from hcpcreds.http.answers import MAX_ANSWER
from hcpcreds.http.policies import build_policies
from hcpcreds.http.retries import AsyncBoundedRetryPolicy


class _ChallengePolicy(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Sends the first call to a host without a token, and learns from its challenge the tenant to ask."""

    def __init__(self, credential: AsyncTokenCredential, scope: str) -> None:
        super().__init__()
        self._credential = credential
        self._scope = scope
        self._tenants = Tenants()

    @override
    async def send(
        self, request: PipelineRequest[HttpRequest]
    ) -> PipelineResponse[HttpRequest, AsyncHttpResponse]:
        known = self._tenants.get(request.http_request)
        if known is not None:
            await self._authorize(request, known)
        response = await self.next.send(request)
        answer = response.http_response
        wanted = self._tenants.learn(request.http_request, status=answer.status_code, headers=answer.headers)
        if wanted is None:
            return response
        await self._authorize(request, wanted)
        return await self.next.send(request)

    async def _authorize(self, request: PipelineRequest[HttpRequest], tenant: str) -> None:
        token = (await self._credential.get_token(self._scope, tenant_id=tenant)).token
        request.http_request.headers["Authorization"] = f"Bearer {token}"


class ManagedIdentityDataPlaneClientFactory:
    """Makes clients for resources' identity URLs; they share its connections and what it learnt of hosts.

    Args:
        credential: Of the application that may call the data plane. Asked for tokens of the tenant that
            the service names, so azure-identity's need ``additionally_allowed_tenants``.
        audience: The data plane's, as configured; never taken from the service.
        hosts: Names of the hosts that a token may be sent to, each meant with its subdomains; by default the
            audience's own. An identity URL comes from elsewhere, and could name any.
        kwargs: azure-core's own: ``transport``, ``connection_verify``, ``retry_total``, ``user_agent``...
            (``logging_enable`` does nothing: it would log answers, and answers hold keys.)

    Raises:
        InputError: No hosts are given, and the audience is no URL; or one of ``kwargs`` cannot be used.
    """

    def __init__(
        self,
        credential: AsyncTokenCredential,
        audience: str,
        *,
        hosts: Collection[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.hosts: Final = choose_hosts(audience, hosts)
        """Where a token may go, each with its subdomains."""
        retries = AsyncBoundedRetryPolicy(**kwargs)
        policies = build_policies(retries, _ChallengePolicy(credential, f"{audience}/.default"), **kwargs)
        transport = make_transport(kwargs, max_answer=MAX_ANSWER)
        self._pipeline: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncPipelineClient(
            "", policies=policies, **{**kwargs, "transport": transport}
        )

    def create_client(self, identity_url: str) -> "ManagedIdentityDataPlaneClient":
        """Make the client of one identity.

        Args:
            identity_url: The header ``x-ms-identity-url`` from ARM, or an identity's ``client_secret_url``.

        Raises:
            InputError: Not an https URL, or of a host that no token may go to.
        """
        return ManagedIdentityDataPlaneClient(self._pipeline, check_identity_url(identity_url, self.hosts))

    async def close(self) -> None:
        """Close the connections, and so every client's. The credential stays open: it is the caller's."""
        await self._pipeline.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class ManagedIdentityDataPlaneClient:
    """Gets, renews, moves and deletes the credentials behind one identity URL.

    Made by `ManagedIdentityDataPlaneClientFactory`. Any number of callers may use it at once; throttling and
    passing faults are retried as the Azure SDK retries.
    """

    def __init__(
        self, pipeline: AsyncPipelineClient[HttpRequest, AsyncHttpResponse], identity_url: str
    ) -> None:
        self._pipeline = pipeline
        self._identity_url = identity_url

    async def get_system_assigned_identity_credentials(self) -> ManagedIdentityCredentials:
        """Get the system-assigned identity's credential, or, from a ``client_secret_url``, renew that one.

        Raises:
            IssueError: The data plane did not answer, or not with a credential.
        """
        return await self._call(build_request("GET", self._identity_url), ManagedIdentityCredentials)

    async def get_user_assigned_identities_credentials(
        self, request: UserAssignedIdentitiesRequest
    ) -> ManagedIdentityCredentials:
        """Get the credentials of user-assigned identities; they come in ``explicit_identities``.

        Not sent again when the connection broke after it was sent: it may have issued, and asking anew is the
        caller's to decide. Issuing again is harmless; each certificate issued stays valid.

        Raises:
            IssueError: The data plane did not answer, or not with credentials.
        """
        return await self._call(
            build_request("POST", self._identity_url, body=request), ManagedIdentityCredentials
        )

    async def move_identity(self, request: MoveIdentityRequest) -> MoveIdentityResponse:
        """Move the proxy resource to another resource group; answers its new identity URL.

        Raises:
            IssueError: The data plane did not answer, or refused.
        """
        return await self._call(
            build_request("POST", self._identity_url, path="/proxy/move", body=request), MoveIdentityResponse
        )

    async def delete_system_assigned_identity(self) -> None:
        """Delete the system-assigned identity. A user-assigned identity's URL does not take this.

        Raises:
            IssueError: The data plane did not answer, or refused.
        """
        request = build_request("DELETE", self._identity_url)
        check_deleted(request, await self._send(request))

    async def _call(self, request: HttpRequest, model: type[ModelType]) -> ModelType:
        return read_answer(request, await self._send(request), model)

    async def _send(self, request: HttpRequest) -> Answer:
        with raising_issue_errors(request):
            response = await self._pipeline.send_request(request)
            return Answer(response.status_code, response.content)
