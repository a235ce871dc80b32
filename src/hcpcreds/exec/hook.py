"""A command or a URL that is told of each rotation, one after the other, until it has understood."""

import asyncio
import logging
import shlex
from collections import deque
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from hcpcreds.credential.status import Status
from hcpcreds.errors import InputError
from hcpcreds.exec.child import CannotStartError, Child
from hcpcreds.text import make_safe

HOOK_SECONDS: Final = 30.0
"""How long one call may take."""
_GRACE_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses between failed calls; the last one again and again."""

_log = logging.getLogger("hcpcreds.exec")


class Hook:
    """Calls a command or a URL for each rotation. Use it on one event loop.

    A call that fails is repeated until it succeeds, and the next rotation's comes after it. The command finds
    what has happened in its environment, and the URL gets it as JSON in a POST request.

    Args:
        target: An `http` or `https` URL, or a command as for a shell, which no shell sees.
        environment: The command's variables.

    Raises:
        InputError: It is neither.
    """

    def __init__(self, target: str, environment: Mapping[str, str]) -> None:
        self.child: Child | None = None
        """The command while it runs."""
        self._url = _find_url(target)
        try:
            self._command = shlex.split(target)
        except ValueError as error:
            raise InputError("hook", [f"not a command: {error}"], options=["hook"]) from None
        if not self._command:
            raise InputError("hook", ["expected a URL or a command"], options=["hook"])
        self._environment = environment
        self._waiting: deque[dict[str, Any]] = deque()
        self._added = asyncio.Event()

    def add(self, name: str, status: Status) -> None:
        """Tell of a rotation, in its turn.

        Args:
            name: The credential's.
            status: After the rotation.
        """
        self._waiting.append(
            {
                "credential": name,
                "path": status.path,
                "generation": status.generation,
                "client_id": status.client_id,
                "thumbprint": status.thumbprint,
                "not_after": None if status.not_after is None else f"{status.not_after:%Y-%m-%dT%H:%M:%SZ}",
            }
        )
        self._added.set()

    async def run(self) -> None:
        """Tell of rotations until cancelled."""
        try:
            while True:
                await self._added.wait()
                self._added.clear()
                while self._waiting:
                    await self._tell(self._waiting[0])
                    self._waiting.popleft()
        finally:
            if self.child is not None:
                await self.child.end(grace=_GRACE_SECONDS)

    async def _tell(self, rotation: dict[str, Any]) -> None:
        for count in range(1 << 30):
            problem = await (self._post(self._url, rotation) if self._url else self._execute(rotation))
            if problem is None:
                _log.info("%s: the hook was told of the rotation", rotation["credential"])
                return
            pause = _RETRY_SECONDS[min(count, len(_RETRY_SECONDS) - 1)]
            _log.warning(
                "%s: the hook %s; it is called again in %g s", rotation["credential"], problem, pause
            )
            await asyncio.sleep(pause)

    async def _execute(self, rotation: dict[str, Any]) -> str | None:
        told = {f"HCPCREDS_ROTATED_{name.upper()}": str(value) for name, value in rotation.items()}
        try:
            self.child = Child(self._command, {**self._environment, **told})
        except CannotStartError as error:
            return f"cannot be started: {'; '.join(error.problems)}"
        try:
            status = await asyncio.wait_for(self.child.wait(), HOOK_SECONDS)
        except TimeoutError:
            await self.child.end(grace=_GRACE_SECONDS)
            return f"took longer than {HOOK_SECONDS:g} s"
        return f"has failed with exit status {status}" if status else None

    @staticmethod
    async def _post(url: str, rotation: dict[str, Any]) -> str | None:
        import aiohttp  # noqa: PLC0415 (start-up time)

        from hcpcreds.http.aio import open_session  # noqa: PLC0415 (start-up time)

        timeout = aiohttp.ClientTimeout(total=HOOK_SECONDS)
        try:
            async with (
                open_session() as session,
                session.post(url, json=rotation, timeout=timeout, allow_redirects=False) as response,
            ):
                return f"has answered HTTP {response.status}" if response.status >= 300 else None  # noqa: PLR2004 (errors and redirects)
        except aiohttp.InvalidURL:
            return "cannot be reached: it is not a URL"  # the error repeats it, and it may hold a password
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return f"cannot be reached: {type(error).__name__}: {make_safe(error)}"


def _find_url(target: str) -> str | None:
    """Return the URL that a target is; None if it is a command.

    Raises:
        InputError: It begins as a URL, and is not one.
    """
    scheme, colon, _ = target.partition(":")
    if not colon or scheme.lower() not in ("http", "https"):
        return None
    try:
        parts = urlsplit(target)
        is_url = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an address that is not one
        is_url = False
    if not is_url:
        raise InputError("hook", ["expected http://HOST/ or a command"], options=["hook"])
    return target
