"""How a command that runs until stopped ends: on a signal it finishes its work, then exits with a status."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any


def run_until_stopped(
    work: Callable[[asyncio.Event], Coroutine[Any, Any, bool]], *, on_stopping: Callable[[], None]
) -> int:
    """Run asyncio code until it ends, or until SIGTERM or SIGINT (Ctrl-C) stops it.

    The first signal sets the event that the work gets: the work starts nothing more, finishes what it has
    started, and returns. The second signal cancels it. Both count even if they were ignored when the
    process started, as SIGINT is in a background job.

    Args:
        work: Returns whether everything succeeded.
        on_stopping: Called on the event loop at the first signal.

    Returns:
        The exit status: 0 when everything succeeded, 1 otherwise, also when the work was cancelled.
    """

    async def run() -> bool:
        stop = asyncio.Event()
        loop, main = asyncio.get_running_loop(), asyncio.current_task()

        def on_signal() -> None:
            if not stop.is_set():
                stop.set()
                on_stopping()
            elif main is not None:
                main.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        return await work(stop)

    try:
        return 0 if asyncio.run(run()) else 1
    except asyncio.CancelledError:
        return 1
