"""Why the token endpoint gives no token, before a protocol says it in its own words."""

from http import HTTPStatus


class Refusal(Exception):  # noqa: N818 (an answer, not a failure)
    """An answer without a token.

    Args:
        status: HTTP status.
        error: A word for programs, as OAuth 2.0 and the instance metadata service use them.
        message: For people; holds no secret.
        reason: Its label in metrics; the error if not given.
        retry_after: Seconds after which to ask again. Few: MSAL for Python asks nobody for so long.
    """

    def __init__(
        self,
        status: HTTPStatus,
        error: str,
        message: str,
        *,
        reason: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message
        self.reason = reason or error
        self.retry_after = retry_after


def build_refusal(error: str, message: str, *, reason: str | None = None) -> Refusal:
    """Refuse what will not succeed when it is asked again."""
    return Refusal(HTTPStatus.BAD_REQUEST, error, message, reason=reason)


def build_delay(message: str, *, seconds: int, reason: str) -> Refusal:
    """Refuse what may succeed soon."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE, "temporarily_unavailable", message, reason=reason, retry_after=seconds
    )
