# ruff: noqa: S311 (not for secrets)
"""The component under test: threads, tasks, forks and loops that all get tokens from one mounted credential.

Run as `python -m benchmarks.soak.component FILE CA FAILURES STACKS`: reads one command a line, and prints a line of
JSON for each.
"""

import asyncio
import ctypes
import faulthandler
import gc
import json
import os
import random
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import hcpcreds.aio
from benchmarks.soak.records import Last, Record, percentile
from hcpcreds import UserAssignedIdentityCredential
from hcpcreds.errors import HcpCredsError

SCOPES: Final = ("https://management.azure.com/.default", "https://vault.azure.net/.default")
CALLERS: Final = 64
"""Number of threads, and of tasks."""
LONGEST_WAIT: Final = 200.0
"""Seconds after which a call counts as stuck."""
_NEW: Final = 4
"""Number of callers that always request new tokens; the others are served from memory."""
_PAUSE: Final = 0.08
"""Longest time between two calls, in seconds."""
_DESCRIPTORS: Final = 1024


_LONGEST_FROM_MEMORY: Final = 10
"""Seconds within which a forked child has a token from memory."""
_WORDS: Final = (b"first;", b"second;")
"""What a forked child says of its calls."""
_HEAP_FIELDS: Final = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class Component:
    """Calls continuously, from everywhere."""

    def __init__(self, file: str, ca_file: str, failures: str, stacks: str) -> None:
        self._file = file
        self._log = os.open(failures, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._options: dict[str, Any] = {"connection_verify": ca_file}
        self._credential = UserAssignedIdentityCredential(file, **self._options)
        self._last = {scope: Last() for scope in SCOPES}
        for scope in SCOPES:
            self._last[scope].keep(self._credential.get_token(scope).expires_on)
        self._is_warm = threading.Event()
        self._stop = threading.Event()
        self._records: list[Record] = []
        self._forks = [self._record(kind) for kind in ("served", "new")]
        faulthandler.register(signal.SIGUSR1, file=open(stacks, "wb"))  # noqa: PTH123, SIM115 (until it ends)
        self._numbers = iter(range(1 << 62))
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start everything except the part of the main thread."""
        work: list[Callable[[], None]] = [
            *(self._make_caller("new" if number < _NEW else "served") for number in range(CALLERS)),
            lambda: asyncio.run(self._run_tasks()),
            self._run_loops,
            self._run_forks,
        ]
        for each in work:
            thread = threading.Thread(target=each, daemon=True)
            self._threads.append(thread)
            thread.start()

    def run_interrupted(self) -> None:
        """Call in the main thread, where a signal's handler raises between two lines; until stopped."""
        record = self._record("new")
        signal.signal(signal.SIGALRM, _raise_alarm)
        while not self._stop.is_set():
            claims = self._make_claims()
            with suppress(_Alarm, HcpCredsError):
                with suppress(_Alarm):
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 0.01))
                    self._credential.get_token(SCOPES[0], claims=claims)
                signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            # What the interrupted call has started must not block others.
            with record.call():
                self._credential.get_token(SCOPES[0], claims=claims)
            self._stop.wait(random.uniform(0, 5 * _PAUSE))

    def wait_until_warm(self) -> None:
        """Wait until every token that is served from memory was issued."""
        self._is_warm.wait()

    def measure(self) -> dict[str, Any]:
        """Measure the resources of the process, and the status of its credential."""
        gc.collect()
        status = self._credential.status()
        fields = Path("/proc/self/statm").read_text().split()
        return {
            "descriptors": len(os.listdir("/proc/self/fd")) - 1,  # noqa: PTH208 (one less for listing them)
            "threads": threading.active_count(),
            "mib": int(fields[1]) * resource.getpagesize() / 2**20,
            **_measure_heap(),
            "objects": sys.getallocatedblocks(),
            "thumbprint": status.thumbprint,
            "generation": status.generation,
            "watch_mode": status.watch_mode,
            "last_error": status.last_error,
            "stuck": [r.kind for r in self._records if r.began and time.monotonic() - r.began > LONGEST_WAIT],
        }

    def exhaust_descriptors(self, seconds: float) -> None:
        """Use up all descriptors for so many seconds."""
        until = time.monotonic() + seconds
        taken: list[int] = []
        while time.monotonic() < until:
            with suppress(OSError):
                while True:
                    taken.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
            time.sleep(0.02)
        for descriptor in taken:
            os.close(descriptor)

    def close_watch(self) -> None:
        """Close the watcher's descriptors, as a daemon library that closes all descriptors."""
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 (descriptors)
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:inotify":  # noqa: PTH115 (a descriptor)
                    os.close(int(name))

    def stop(self) -> dict[str, Any]:
        """Stop calling, and return the results of each kind of caller."""
        self._stop.set()
        until = time.monotonic() + LONGEST_WAIT
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._credential.close()
        report: dict[str, Any] = {"kinds": {}}
        for record in self._records:
            if record.began is not None:
                record.fail("never returned", record.began)
            for kind, durations in record.durations.items():
                sums = report["kinds"].setdefault(kind, [0] * len(durations))
                report["kinds"][kind] = [a + b for a, b in zip(sums, durations, strict=True)]
        for kind, durations in report["kinds"].items():
            seen = {f"p{percent}": percentile(durations, percent) for percent in (50, 99, 100)}
            report["kinds"][kind] = {"calls": sum(durations), **seen}
        return report

    def _record(self, kind: str) -> Record:
        record = Record(kind, self._log)
        self._records.append(record)
        return record

    def _make_claims(self) -> str:
        return json.dumps({"number": next(self._numbers)})

    def _make_caller(self, kind: str) -> Callable[[], None]:
        record = self._record(kind)

        def run() -> None:
            while not self._stop.is_set():
                claims = self._make_claims() if kind == "new" else None
                options: Any = {"claims": claims} if claims else {}
                scope = random.choice(SCOPES)
                last = self._last[scope]
                with record.call(last):
                    if random.random() < 0.5:
                        last.keep(self._credential.get_token(scope, claims=claims).expires_on)
                    else:
                        last.keep(self._credential.get_token_info(scope, options=options).expires_on)
                self._stop.wait(random.uniform(0, _PAUSE))

        return run

    async def _run_tasks(self) -> None:
        async with hcpcreds.aio.UserAssignedIdentityCredential(self._file, **self._options) as credential:
            tokens = {scope: Last() for scope in SCOPES}

            async def call(kind: str) -> None:
                record = self._record(kind)
                while not self._stop.is_set():
                    claims = self._make_claims() if kind == "new" else None
                    scope = random.choice(SCOPES)
                    with record.call(tokens[scope]):
                        token = await credential.get_token(scope, claims=claims)
                        tokens[scope].keep(token.expires_on)
                    await asyncio.sleep(random.uniform(0, _PAUSE))

            for scope in SCOPES:
                tokens[scope].keep((await credential.get_token(scope)).expires_on)
            self._is_warm.set()
            await asyncio.gather(*(call("new" if number < _NEW else "served") for number in range(CALLERS)))

    def _run_loops(self) -> None:
        record = self._record("new")

        async def once() -> None:
            async with hcpcreds.aio.UserAssignedIdentityCredential(self._file, **self._options) as credential:
                await credential.get_token(SCOPES[0])

        while not self._stop.wait(random.uniform(0, 1)):
            try:
                runner = asyncio.Runner()
                runner.get_loop()
            except OSError:  # no descriptor for the loop itself: no call was made
                continue
            with runner, record.call():
                runner.run(once())

    def _run_forks(self) -> None:
        while not self._stop.wait(random.uniform(0, 4)):
            with suppress(OSError):  # no descriptor or no process available: no call was made
                self._fork()

    def _fork(self) -> None:
        scope = random.choice(SCOPES)
        reading, writing = os.pipe()
        # The child has only what is in memory now. It may ask twice, if that is nothing.
        kinds = ["new" if self._last[scope].is_over() else "served", "new"]
        try:
            child = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            raise
        if child == 0:
            self._be_a_child(writing, scope)
        os.close(writing)
        said = b""
        for word, kind, record in zip(_WORDS, kinds, self._forks, strict=True):
            began = record.began = time.monotonic()
            longest = LONGEST_WAIT if kind == "new" else _LONGEST_FROM_MEMORY
            said += _read_until(reading, began + longest, word) if word not in said else b""
            record.began = None
            record.count(kind, time.monotonic() - began)
            if word not in said:
                reason = said.rpartition(b";")[2].decode()
                if not reason:
                    os.kill(child, signal.SIGUSR1)  # it writes where it is
                    time.sleep(1)
                record.fail(f"in a forked child: {reason or 'never returned'}", began, kind=kind)
                break
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    def _be_a_child(self, writing: int, scope: str) -> None:
        try:
            self._credential.get_token(scope)
            os.write(writing, _WORDS[0])
            self._credential.get_token(scope, claims=self._make_claims())
            os.write(writing, _WORDS[1])
        except BaseException as error:  # noqa: BLE001 (nothing may leave the child)
            os.write(writing, f"{type(error).__name__}: {error}".encode()[:400])
        finally:
            os._exit(0)


class _Alarm(Exception):  # noqa: N818 (raised by a signal, and not an error)
    pass


def _raise_alarm(*_: object) -> None:
    raise _Alarm


def _read_until(descriptor: int, deadline: float, word: bytes) -> bytes:
    said = b""
    while word not in said and (left := deadline - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            more = os.read(descriptor, 4096)
            if not more:
                break
            said += more
    return said


class _Heap(ctypes.Structure):
    """`struct mallinfo2` of the GNU C library."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _HEAP_FIELDS)


def _measure_heap() -> dict[str, float]:
    """Measure what the C library has got from the system, and what of that is in use, in all its arenas."""
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = _Heap
    heap = library.mallinfo2()
    return {
        "heap mib": (heap.arena + heap.hblkhd) / 2**20,
        "used mib": (heap.uordblks + heap.hblkhd) / 2**20,
    }


def _serve(component: Component) -> None:
    for line in sys.stdin:
        command, *given = json.loads(line)
        answer = getattr(component, command)(*given)
        print(json.dumps(answer), flush=True)
        if command == "stop":
            os._exit(0)
    os._exit(1)  # the parent process has ended


def _main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, hard))
    component = Component(*sys.argv[1:])
    component.start()
    threading.Thread(target=_serve, args=(component,), daemon=True).start()
    component.run_interrupted()
    threading.Event().wait()


if __name__ == "__main__":
    _main()
