"""No torn, older or foreign credential is ever used, whatever happens to the file."""

import shutil
import tempfile
import threading
from datetime import timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.credential.files import CLIENT, Clock, Issued, issue, make_key, render_file
from tests.support.volume import Mount
from tests.support.waiting import wait_until
from typing_extensions import override

from hcpcreds.credential import UserAssignedIdentityCredential

FOREIGN = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
BAD = (b"", b"{", b"{}", b"\xff", b"[]", b"not a credential")
BASE = issue()


class CredentialFileMachine(RuleBasedStateMachine):
    """Does to a mount what drivers and people do, and knows which credential must be in use."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.mount = Mount(self.folder / "certs")
        self.clock = Clock()
        self.newest = 0
        self.file: Issued | bytes | None = None
        """The current content at the path."""
        self.floor: Issued | None = None
        """The oldest credential that may be in use; later ones may have been noticed since."""
        self.passing: list[Issued] = []
        """The credentials mounted since, perhaps too briefly to be noticed."""
        self.written: dict[str, Issued] = {}
        self.credential = self.open()

    def open(self) -> UserAssignedIdentityCredential:
        return UserAssignedIdentityCredential(
            self.mount.path, clock=self.clock, backstop=timedelta(seconds=30)
        )

    def issue_later(self, steps: int) -> Issued:
        self.newest += steps
        return self.issue_at(self.newest)

    def issue_at(self, minute: int) -> Issued:
        issued = issue(not_before=BASE.not_before + timedelta(minutes=minute), key=make_key(minute % 2))
        self.written[issued.thumbprint] = issued
        return issued

    def put(self, how: str, content: bytes, means: Issued | bytes) -> None:
        if how == "swap":
            if not self.mount.path.is_symlink():
                # The driver creates a missing link before it swaps: the old target would be back for a
                # moment, and be mounted, although this machine does not expect it.
                self.delete_directory()
            self.mount.swap(content)
        elif how == "rename":
            new = self.mount.directory / "new"
            self.mount.directory.mkdir(exist_ok=True)
            new.write_bytes(content)
            new.rename(self.mount.path)
        else:
            self.mount.directory.mkdir(exist_ok=True)
            if self.mount.path.is_symlink() and not self.mount.path.exists():
                self.mount.path.unlink()
            self.mount.path.write_bytes(content)
        self.file = means
        self.expect()

    def expect(self) -> None:
        if isinstance(self.file, Issued):
            self.passing.append(self.file)

    hows = st.sampled_from(["swap", "rename", "write"])

    @initialize(how=hows)
    def start(self, how: str) -> None:
        self.write_later(how, 1)

    @rule(how=hows, steps=st.integers(1, 3))
    def write_later(self, how: str, steps: int) -> None:
        issued = self.issue_later(steps)
        self.put(how, render_file(issued), issued)

    @rule(how=hows, back=st.integers(0, 20))
    def write_older_or_equal(self, how: str, back: int) -> None:
        issued = self.issue_at(self.newest - back)
        self.put(how, render_file(issued), issued)

    @rule(how=hows, content=st.sampled_from(BAD))
    def write_bad(self, how: str, content: bytes) -> None:
        self.put(how, content, content)

    @rule(how=hows)
    def write_torn(self, how: str) -> None:
        content = render_file(self.issue_later(1))
        self.put(how, content[: len(content) * 2 // 3], b"torn")

    @rule(how=hows)
    def write_foreign(self, how: str) -> None:
        self.settle()
        if self.floor is None:
            return  # the first credential cannot be foreign
        content = render_file(self.issue_later(1), client_id=FOREIGN)
        self.put(how, content, b"foreign")

    @rule()
    def delete(self) -> None:
        self.mount.path.unlink(missing_ok=True)
        self.file = None

    @rule()
    def delete_directory(self) -> None:
        shutil.rmtree(self.mount.directory, ignore_errors=True)
        self.file = None

    @rule()
    def move_directory_away_and_back(self) -> None:
        if not self.mount.directory.exists():
            return
        away = self.mount.directory.rename(self.folder / "away")
        file, self.file = self.file, None
        self.settle()
        away.rename(self.mount.directory)
        self.file = file
        self.expect()

    @rule(seconds=st.floats(-86400, 86400))
    def tick(self, seconds: float) -> None:
        self.clock.ahead = max(-86400.0, min(86400.0, self.clock.ahead + seconds)) % 3600

    @rule()
    def reopen(self) -> None:
        self.settle()
        self.credential.close()
        wait_until(lambda: "hcpcreds-watcher" not in {thread.name for thread in threading.enumerate()})
        if self.file == b"foreign":
            self.delete()  # in a new process it would not be foreign
        self.floor, self.passing = None, [self.file] if isinstance(self.file, Issued) else []
        self.credential = self.open()

    @rule()
    def settle(self) -> None:
        if isinstance(self.file, Issued) and (
            self.floor is None or self.file.not_before > self.floor.not_before
        ):
            least: Issued | None = self.file
        else:
            least = self.floor
        wait_until(lambda: self.has_reached(least))
        self.floor = floor = self.get_current()
        if floor is not None:
            self.passing = [issued for issued in self.passing if issued.not_before > floor.not_before]

    def has_reached(self, least: Issued | None) -> bool:
        current = self.get_current()
        return least is None or (current is not None and current.not_before >= least.not_before)

    def get_current(self) -> Issued | None:
        thumbprint = self.credential.status().thumbprint
        return self.written[thumbprint] if thumbprint else None

    @invariant()
    def only_what_was_mounted_and_is_later_is_served(self) -> None:
        status = self.credential.status()
        assert status.client_id in (CLIENT, None)
        current = self.get_current()
        if self.floor is not None:
            assert current is not None
            assert current is self.floor or current.not_before > self.floor.not_before
        assert current in (self.floor, None, *self.passing)

    @override
    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.credential.close()
            shutil.rmtree(self.folder)


CredentialFileMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestCredentialFile = CredentialFileMachine.TestCase
