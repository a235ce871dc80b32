"""Connection failures, with messages that say where to look."""

import ssl
from collections.abc import Iterator
from typing import Final

from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError

from hcpcreds.http.proxies import Proxy
from hcpcreds.text import make_safe

_CA_CODES: Final = (2, 18, 19, 20, 21)
"""OpenSSL's X509_V_ERR_* codes for a missing or untrusted issuer."""


class UntrustedServerError(ServiceRequestError):
    """The server's certificate was not accepted; nothing was sent."""


class UnusableAnswerError(ServiceResponseError):
    """The response is unusable: too long, truncated, or in a wrong encoding."""


LASTING: Final = (UntrustedServerError, UnusableAnswerError)
"""Errors that a retry would meet again."""


def explain(error: AzureError, *, trusted: str, proxy: Proxy | None) -> AzureError:
    """Return an error that explains azure-core's.

    Args:
        error: azure-core's error.
        trusted: Description of the trusted CA certificates.
        proxy: The proxy of the request, if any.
    """
    route = f"; sent through the proxy {proxy}" if proxy else ""
    refused = next((each for each in _unfold(error) if hasattr(each, "verify_message")), None)
    if isinstance(refused, ssl.SSLCertVerificationError):
        trust = f"; the trusted CA certificates are {trusted}" if refused.verify_code in _CA_CODES else ""
        reason = make_safe(refused.verify_message)
        return UntrustedServerError(f"TLS: the server's certificate is not accepted: {reason}{trust}{route}")
    if route and not isinstance(error, UnusableAnswerError):
        return type(error)(f"{error.message}{route}")
    return error


def _unfold(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all exceptions inside it."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, *one.args, getattr(one, "reason", None)]
            waiting += [getattr(one, "inner_exception", None), getattr(one, "certificate_error", None)]
