"""The HTTP policy of token requests that is their own."""

from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.rest import HttpRequest, HttpResponse
from typing_extensions import override

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
