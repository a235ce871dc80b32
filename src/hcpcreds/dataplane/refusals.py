"""Whether a service said no, or could only not be asked just now."""

from http import HTTPStatus
from typing import Final

from azure.core.exceptions import AzureError, HttpResponseError

from hcpcreds.errors import HcpCredsError

INTERCEPTED: Final = "Does a proxy or a firewall answer in its place?"
_PASSING: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def is_refusal_status(status: int) -> bool:
    """Whether an HTTP status is an answer that will not change by itself."""
    return HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _PASSING


def is_intercepted(status: int) -> bool:
    """Whether an error without the service's own body speaks for somebody on the way, whatever its status.

    A challenge (401) has no body, and what is overloaded may have no words.
    """
    return is_refusal_status(status) and status != HTTPStatus.UNAUTHORIZED


def is_refusal(error: AzureError) -> bool:
    """Whether what an Azure client raised will not change by itself.

    Errors of azure-identity without a status can mean either, and count as passing.
    """
    if isinstance(error, HcpCredsError):  # our own credential's
        return not error.retryable
    status = error.status_code if isinstance(error, HttpResponseError) else None
    return status is not None and is_refusal_status(status)
