"""What goes wrong on the way to a service, in words that say what to look at."""

import ssl
from collections.abc import Iterator
from typing import Final

from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError

from hcpcreds.http.proxies import Proxy
from hcpcreds.text import make_safe

_CA_CODES: Final = (2, 18, 19, 20, 21)
"""OpenSSL's X509_V_ERR_*: no issuer, self-signed (alone, or in the chain), no local issuer, no first one."""


class UntrustedServerError(ServiceRequestError):
    """The server's certificate was refused, so nothing was sent."""


class UnusableAnswerError(ServiceResponseError):
    """What was answered cannot be used: it is too long, or cannot be unpacked."""


LASTING: Final = (UntrustedServerError, UnusableAnswerError)
"""What the same request would meet again."""


def explain(error: AzureError, *, trusted: str, proxy: Proxy | None) -> AzureError:
    """Make the error that says what happened.

    Args:
        error: azure-core's.
        trusted: Which CA certificates are trusted.
        proxy: What the request went through.
    """
    way = f"; asked through the proxy {proxy}" if proxy else ""
    refused = next((each for each in _unfold(error) if hasattr(each, "verify_message")), None)
    if isinstance(refused, ssl.SSLCertVerificationError):
        whose = f"; the CA certificates in use are {trusted}" if refused.verify_code in _CA_CODES else ""
        why = make_safe(refused.verify_message)
        return UntrustedServerError(f"TLS: the server's certificate is refused: {why}{whose}{way}")
    if way and not isinstance(error, UnusableAnswerError):
        return type(error)(f"{error.message}{way}")
    return error


def _unfold(error: BaseException) -> Iterator[BaseException]:
    """Go through an exception and all that it was made of."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, *one.args, getattr(one, "reason", None)]
            waiting += [getattr(one, "inner_exception", None), getattr(one, "certificate_error", None)]
