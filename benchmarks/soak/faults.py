# ruff: noqa: S311 (not for secrets)
"""The faults around the component: of its file, of the authority, and of its own process."""

import gzip
import json
import os
import random
import shutil
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.volumes import FILE_NAME, write
from hcpcreds.local.azure.azure import LocalAzure

_DATA: Final = "..data"


class FileFaults:
    """Rotates the mounted credential; in between, the file is invalid.

    Attributes:
        thumbprint: Of the certificate that was mounted last.
        count: How often each fault happened.
    """

    def __init__(self, azure: LocalAzure, volume: Path) -> None:
        self.path = volume / FILE_NAME
        self.thumbprint = ""
        self.count: Counter[str] = Counter()
        self._azure = azure
        self._volume = volume
        self._client_id = str(uuid.uuid4())
        self._other = json.dumps(azure.issue(str(uuid.uuid4()))).encode()
        self._contents: list[bytes] = []
        self.rotate()

    def happen(self) -> None:
        """Make the file invalid for a moment, then mount the next valid one."""
        fault = random.choice(
            (
                self._nothing,
                self._nothing,
                self._nothing,
                self._be_torn,
                self._be_empty,
                self._name_another_identity,
                self._name_another_authority,
                self._be_older,
                self._be_missing,
                self._be_a_pipe,
                self._be_a_directory,
                self._be_moved,
                self._be_written_in_place,
            )
        )
        fault()
        self.count[f"file: {fault.__name__.strip('_').replace('_', ' ')}"] += fault != self._nothing
        time.sleep(random.uniform(0.02, 1.0))
        # Entra ID knows a certificate a moment later: an earlier one is used meanwhile.
        self.rotate(registration_delay=random.choice((0.0, 0.0, random.uniform(0.5, 8))))

    def rotate(self, *, registration_delay: float = 0.0) -> None:
        """Mount the next certificate."""
        issued = self._azure.issue(self._client_id, registration_delay=registration_delay)
        content = json.dumps(issued).encode()
        self._contents = [*self._contents[-3:], content]
        if self.path.is_dir() or (self.path.exists() and not self.path.is_file()):
            self._remove()
        write(self._volume, content)
        application = self._azure.directory.find_application(self._client_id)
        assert application is not None
        self.thumbprint = list(application.certificates)[-1]
        self.count["file: rotated"] += 1
        self.count["file: rotated before it is registered"] += registration_delay > 0

    def _nothing(self) -> None:
        pass

    def _be_torn(self) -> None:
        content = self._contents[-1]
        write(self._volume, content[: random.randrange(1, len(content))])

    def _be_empty(self) -> None:
        write(self._volume, b"")

    def _name_another_identity(self) -> None:
        write(self._volume, self._other)

    def _name_another_authority(self) -> None:
        fields = json.loads(self._contents[-1])
        write(
            self._volume, json.dumps({**fields, "authentication_endpoint": "https://evil.example/"}).encode()
        )

    def _be_older(self) -> None:
        if self._contents[0] != self._contents[-1]:
            write(self._volume, self._contents[0])

    def _be_missing(self) -> None:
        (self._volume / _DATA).unlink()

    def _be_a_pipe(self) -> None:
        self._remove()
        os.mkfifo(self.path)

    def _be_a_directory(self) -> None:
        self._remove()
        self.path.mkdir()

    def _be_moved(self) -> None:
        aside = self._volume.with_name("aside")
        self._volume.rename(aside)
        time.sleep(random.uniform(0, 0.3))
        aside.rename(self._volume)

    def _be_written_in_place(self) -> None:
        for part in (self._contents[-1][:700], self._contents[-1]):
            (self._volume / _DATA / FILE_NAME).write_bytes(part)
            time.sleep(random.uniform(0, 0.05))

    def _remove(self) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


class AuthorityFaults:
    """For some seconds, no token request gets a token.

    Attributes:
        windows: The faults, with their start and end by the monotonic clock.
    """

    def __init__(self, azure: LocalAzure) -> None:
        self.windows: list[tuple[str, float, float]] = []
        self.count: Counter[str] = Counter()
        self._azure = azure
        self._active: tuple[str, float] | None = None
        self._until = 0.0

    def happen(self) -> None:
        """Begin a fault, or end the current one when its time is over."""
        if self._active is not None:
            if time.monotonic() > self._until:
                self.end()
            return
        name, options = random.choice(_AUTHORITY_FAULTS)
        self._active = (name, time.monotonic())
        self._until = time.monotonic() + random.uniform(1, 8)
        if name == "slow":
            self._azure.faults.latency("entra", random.uniform(0.5, 3))
        else:
            self._azure.faults.add("entra", match="/token", **options)
        self.count[f"authority: {name}"] += 1

    def end(self) -> None:
        """End the current fault."""
        self._azure.faults.clear()
        if self._active is not None:
            name, began = self._active
            self.windows.append((f"authority: {name}", began, time.monotonic()))
        self._active = None


_TOKEN: Final = {"access_token": "x", "token_type": "Bearer"}
_AUTHORITY_FAULTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("429", {"status": 429, "retry_after": 1}),
    ("429 for a day", {"status": 429, "retry_after": 86_400}),
    ("500", {"status": 500}),
    ("503 with an endless Retry-After", {"status": 503, "headers": {"Retry-After": "inf"}}),
    ("hangs", {"hang": True}),
    ("slow", {}),
    ("dropped connection", {"drop": True}),
    ("a firewall's page", {"status": 403, "body": b"<html>Forbidden</html>"}),
    ("not JSON", {"body": b"<html>"}),
    ("a token that never expires", {"body": json.dumps({**_TOKEN, "expires_in": "1e400"}).encode()}),
    ("a token of null", {"body": json.dumps({"access_token": None, "expires_in": 60}).encode()}),
    ("nested 100,000 deep", {"body": b"[" * 100_000}),
    (
        "200 MB in 200 KB",
        {"body": gzip.compress(b"a" * 200_000_000, 1), "headers": {"Content-Encoding": "gzip"}},
    ),
)


class ComponentFaults:
    """Faults of the component's process."""

    def __init__(self, ask: Callable[..., Any], pid: int) -> None:
        self.windows: list[tuple[str, float, float]] = []
        self.count: Counter[str] = Counter()
        self._ask = ask
        self._pid = pid

    def happen(self) -> None:
        """Cause a fault, or none."""
        fault = random.choice((self._lose_descriptors, self._lose_watch, self._stand_still, None, None, None))
        if fault is not None:
            fault()
            self.count[f"process: {fault.__name__.strip('_').replace('_', ' ')}"] += 1

    def _lose_descriptors(self) -> None:
        began = time.monotonic()
        self._ask("exhaust_descriptors", random.uniform(0.2, 2))
        self.windows.append(("process: no descriptors", began, time.monotonic()))

    def _lose_watch(self) -> None:
        self._ask("close_watch")

    def _stand_still(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)
        time.sleep(random.uniform(0.1, 1))
        os.kill(self._pid, signal.SIGCONT)
