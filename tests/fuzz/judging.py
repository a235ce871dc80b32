"""What must hold for every input, whatever it is."""

import logging
import re
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.fuzz.templates import expand, find_secrets
from typing_extensions import override

from hcpcreds.errors import HcpCredsError

_NEVER: Final = 30.0
"""Seconds after which a call counts as one that never returns."""
_SECONDS: Final = 0.5
_BYTES: Final = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Target:
    """A parser that foreign bytes reach.

    Attributes:
        read: Feeds it bytes; what it returns is searched for secrets.
        seeds: Templates of usual inputs.
        limit: Bytes of the longest input that is made.
        microseconds: What each byte of an input may cost, besides half a second: no parser is nearly as slow,
            and one whose time grows with the square is far slower at the limit.
        memory: Bytes that each byte of an input may take, besides 8 MiB.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    limit: int = 1 << 18
    microseconds: float = 10.0
    memory: float = 60.0


class FaultError(AssertionError):
    """An input that a target does not stand."""

    def __init__(self, target: Target, template: bytes, what: str) -> None:
        super().__init__(f"{target.name} {what}")
        self.template = template


def judge(target: Target, template: bytes, *, measure_memory: bool = False) -> None:
    """Feed one input to a target.

    Raises:
        FaultError: It did not end, took too long, raised what is not ours, or showed a secret.
    """
    content = expand(template, limit=target.limit)
    run = _Run(target, content, measure_memory=measure_memory)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_NEVER)
    if thread.is_alive():
        raise FaultError(target, template, "does not return")
    if run.foreign is not None:
        raise FaultError(target, template, f"lets {type(run.foreign).__name__} out") from run.foreign
    if secrets := find_secrets(run.shown):
        raise FaultError(target, template, f"shows {secrets[:3]} in {run.shown[:2000]!r}")
    unprintable = [each for each in run.shown if not each.isprintable() and each != "\n"]
    if unprintable or re.search(r"^\s*FORGED", run.shown, re.MULTILINE):
        raise FaultError(
            target, template, f"shows {unprintable[:5]} or a forged line in {run.shown[:2000]!r}"
        )
    allowed = _SECONDS + len(content) * target.microseconds / 1e6
    if run.seconds > allowed and not measure_memory:
        raise FaultError(target, template, f"takes {run.seconds:.2f} s for {len(content)} bytes")
    if run.peak > _BYTES + len(content) * target.memory:
        raise FaultError(target, template, f"takes {run.peak >> 10} KiB for {len(content)} bytes")


class _Run:
    """One call, in a thread of its own, so that one that does not end is seen."""

    def __init__(self, target: Target, content: bytes, *, measure_memory: bool) -> None:
        self._target = target
        self._content = content
        self._measure_memory = measure_memory
        self.shown = ""
        self.foreign: BaseException | None = None
        self.seconds = 0.0
        self.peak = 0

    def __call__(self) -> None:
        heard = _Hearer()
        logger = logging.getLogger("hcpcreds")
        logger.addHandler(heard)
        if self._measure_memory:
            tracemalloc.start()
        started = time.thread_time()
        try:
            answer = self._target.read(self._content)
            self.shown = repr(answer)
        except HcpCredsError as error:
            self.shown = f"{error}\n{error.message}\n{error.hint}\n" + "".join(
                traceback.format_exception_only(error)
            )
            chained = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
            if chained is not None:
                self.shown += str(chained)
        except BaseException as error:  # noqa: BLE001 (that is the question)
            self.foreign = error
        finally:
            self.seconds = time.thread_time() - started
            if self._measure_memory:
                self.peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            logger.removeHandler(heard)
            self.shown += "\n" + "\n".join(heard.lines)


class _Hearer(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
