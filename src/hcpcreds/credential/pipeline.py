"""The azure-core pipeline that sends token requests."""

from collections.abc import Callable
from typing import Any

from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.rest import HttpRequest, HttpResponse
from typing_extensions import override

from hcpcreds.credential.authority import Attempt
from hcpcreds.http.answers import MAX_TOKEN_ANSWER
from hcpcreds.http.network import Network
from hcpcreds.http.policies import build_policies


class _SigningPolicy(SansIOHTTPPolicy[HttpRequest, HttpResponse]):
    """Signs every request, retries too: an assertion is valid for one use and for ten minutes."""

    @override
    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        """Replace the request by a newly signed one."""
        attempt = request.context.setdefault("attempt", request.context.options.pop("attempt", None))
        assert isinstance(attempt, Attempt)  # noqa: S101 (build_request puts it there)
        signed = attempt.sign()
        for name, value in request.http_request.headers.items():
            if name.lower() not in ("content-length", "content-type"):
                signed.headers[name] = value
        request.http_request = signed


def assemble(
    pipeline: Callable[..., Any],
    make_transport: Callable[..., Any],
    retry_policy: Callable[..., Any],
    settings: dict[str, Any],
    network: Network | None,
) -> Any:  # noqa: ANN401 (a Pipeline or an AsyncPipeline)
    """Assemble the pipeline of token requests from its sync or its asyncio parts.

    Args:
        pipeline: azure-core's class.
        make_transport: The function of `hcpcreds.http.sync` or `hcpcreds.http.aio`.
        retry_policy: The class of the same kind.
        settings: azure-core's.
        network: The trusted CA certificates and the proxies; None if the caller's own transport has them.
    """
    transport = make_transport(settings, max_answer=MAX_TOKEN_ANSWER, network=network)
    return pipeline(transport, build_policies(retry_policy(**settings), _SigningPolicy(), **settings))
