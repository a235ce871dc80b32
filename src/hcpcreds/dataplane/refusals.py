"""Telling refusals, which stay, from failures that pass."""

from http import HTTPStatus
from typing import Final

from azure.core.exceptions import AzureError, HttpResponseError

from hcpcreds.errors import HcpCredsError

INTERCEPTED: Final = "Check whether a proxy or firewall answers in its place."
_PASSING: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def is_refusal_status(status: int) -> bool:
    """Tell whether an HTTP status stays the same when the request is repeated."""
    return HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _PASSING


def is_intercepted(status: int) -> bool:
    """Tell whether an error status without the service's own error body comes from a proxy or firewall.

    A challenge (401) has no body, and an overloaded service may send none.
    """
    return is_refusal_status(status) and status != HTTPStatus.UNAUTHORIZED


def is_refusal(error: AzureError) -> bool:
    """Tell whether an exception of an Azure client is a refusal.

    Errors of azure-identity without a status can mean either, and count as passing.
    """
    if isinstance(error, HcpCredsError):  # from our own credential
        return not error.retryable
    status = error.status_code if isinstance(error, HttpResponseError) else None
    return status is not None and is_refusal_status(status)
