"""Errors of the local Entra ID, with Entra's own codes.

Sources: Microsoft's "Microsoft Entra authentication and authorization error codes" (entra-docs), the Azure
SDK for Java's service-principal troubleshooting page (700021, 700023, 50027), and answers of the real
service quoted in public issues (90002, 90011, 700016, 700024, 700027, 1002012, 5002730, 7000218).
"""

import uuid
from datetime import datetime
from typing import Any, Final

from hcpcreds.local.service import Refusal

_STATUS: Final = {"invalid_client": 401}
"""HTTP status by OAuth error; any other is 400."""


class EntraError(Exception):
    """Entra ID refuses a request.

    Args:
        error: OAuth error.
        code: The number after `AADSTS`.
        message: The sentence after it. Never holds an assertion or a token.
    """

    def __init__(self, error: str, code: int, message: str) -> None:
        super().__init__(f"AADSTS{code}: {message}")
        self.error = error
        self.code = code
        self.message = message

    def as_refusal(self, *, now: datetime, authority: str, correlation_id: str | None) -> Refusal:
        """Build the response that Entra ID sends."""
        trace_id = str(uuid.uuid4())
        correlation_id = correlation_id or str(uuid.uuid4())
        timestamp = f"{now:%Y-%m-%d %H:%M:%S}Z"
        body: dict[str, Any] = {
            "error": self.error,
            "error_description": f"AADSTS{self.code}: {self.message} Trace ID: {trace_id} "
            f"Correlation ID: {correlation_id} Timestamp: {timestamp}",
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"{authority}error?code={self.code}",
        }
        return Refusal(_STATUS.get(self.error, 400), body)


def missing_parameter(name: str) -> EntraError:
    """Build the error for a form field that is missing or empty."""
    return EntraError(
        "invalid_request", 900144, f"The request body must contain the following parameter: '{name}'."
    )
