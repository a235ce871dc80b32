"""The HTTP policies of token requests, as azure-identity composes them (its _internal/pipeline.py).

Left out is NetworkTraceLoggingPolicy: it logs bodies, and these bodies are assertions and tokens.
"""

# The HTTP libraries import these in the middle of a first request, where a fork would not wait for them.
import encodings.idna  # noqa: F401
import netrc  # noqa: F401
from typing import Any, Final

from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import (
    CustomHookPolicy,
    DistributedTracingPolicy,
    HeadersPolicy,
    HttpLoggingPolicy,
    ProxyPolicy,
    RequestIdPolicy,
    SansIOHTTPPolicy,
    UserAgentPolicy,
)
from azure.core.rest import HttpRequest, HttpResponse
from typing_extensions import override

from hcpcreds import __version__
from hcpcreds.credential.authority import Attempt


class SigningPolicy(SansIOHTTPPolicy[HttpRequest, HttpResponse]):
    """Signs each sending anew, a retry too: an assertion is good for one use, and for ten minutes."""

    @override
    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        """Put a newly signed request in the place of the one that comes."""
        attempt = request.context.setdefault("attempt", request.context.options.pop("attempt", None))
        assert isinstance(attempt, Attempt)  # noqa: S101 (build_options puts it there)
        signed = attempt.sign()
        for name, value in request.http_request.headers.items():
            if name.lower() not in ("content-length", "content-type"):
                signed.headers[name] = value
        request.http_request = signed


TIMEOUTS: Final = {"connection_timeout": 30, "read_timeout": 30}
"""Seconds, unless the caller says otherwise. azure-core's own 300 are meant for uploads: a request that hangs
so long would outlive the token that it is to replace."""


def build_policies(retry_policy: Any, **kwargs: Any) -> list[Any]:  # noqa: ANN401 (azure-core's sync and async ones)
    """Put the policies in order; `kwargs` are azure-core's usual ones."""
    return [
        RequestIdPolicy(**kwargs),
        HeadersPolicy(**kwargs),
        UserAgentPolicy(sdk_moniker=f"hcpcreds/{__version__}", **kwargs),
        ProxyPolicy(**kwargs),
        retry_policy,
        SigningPolicy(),
        CustomHookPolicy(**kwargs),
        DistributedTracingPolicy(**kwargs),
        HttpLoggingPolicy(**kwargs),
    ]
