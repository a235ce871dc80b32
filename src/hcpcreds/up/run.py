"""The chain itself: start everything, rotate until stopped, stop everything, and say what went wrong."""

import asyncio
import signal
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from hcpcreds.errors import HcpCredsError
from hcpcreds.page import EventLog
from hcpcreds.up.plan import Plan
from hcpcreds.up.record import ComponentRecord
from hcpcreds.up.recorder import Recorder
from hcpcreds.up.rotation import Rotation
from hcpcreds.up.running import DIRECTORY_PREFIX
from hcpcreds.up.settings import Reporter, RunSettings
from hcpcreds.up.startup import Startup
from hcpcreds.up.web import EventReporter, serve_page

EXAMPLE: Final = Path(__file__).with_name("example-hosted-cluster.yaml")
PATIENCE_SECONDS: Final = 30.0
"""How long the components may take to use a new certificate before that is a problem."""


class Chain:
    """One run of the whole chain.

    Args:
        file: The HostedCluster or HostedControlPlane.
        settings: How to run.
        reporter: Shows what happens; called on the event loop.

    Raises:
        InputError: The file is not usable; nothing has been started or written.
    """

    def __init__(self, file: Path, settings: RunSettings, reporter: Reporter) -> None:
        self._plan = Plan.read(file, keyless=settings.keyless)
        self._settings = settings
        self._events = EventLog()
        self._reporter = reporter = EventReporter(self._events, reporter)
        self._records = {
            pod.name: ComponentRecord(
                component=pod.component.name,
                workload=pod.name,
                volume=pod.mount.volume_name,
                secret_provider_class=pod.component.secret_provider_class,
                file=pod.file,
            )
            for pod in self._plan.pods
        }
        self._recorder = Recorder(
            self._records,
            secret_names={pod.name: pod.secret_name for pod in self._plan.pods},
            reporter=reporter,
            stop=self._stop,
        )
        self._rotations = 0
        self._main: asyncio.Task[Any] | None = None
        self._broken: str | None = None
        """Why the run cannot go on, once a process has ended that everything depends on."""

    async def run(self) -> list[str]:
        """Start, rotate, stop; removes everything that it made, however it ends.

        Returns:
            What went wrong; nothing when every component used every certificate and no call failed.
        """
        self._main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        ended_early = False
        try:
            with tempfile.TemporaryDirectory(prefix=DIRECTORY_PREFIX) as folder:
                async with AsyncExitStack() as stack:
                    if self._settings.web is not None:
                        page = serve_page(self._settings.web, list(self._records.values()), self._events)
                        self._reporter.step(f"page: {await stack.enter_async_context(page)}")
                    rotation = await self._start(Path(folder), stack)
                    if self._settings.renew:
                        await self._watch_renewals()
                    else:
                        await self._rotate(rotation)
        except asyncio.CancelledError:
            ended_early = True
            self._add_early_end()
        except HcpCredsError as error:
            ended_early = True
            self._recorder.add_problem(str(error))
        for record in self._records.values():
            # The renewer does not wait for the components: the newest certificate may not have had its turn.
            for problem in record.problems(ended_early=ended_early or self._settings.renew):
                self._recorder.add_problem(problem)
        self._reporter.finished(list(self._records.values()))
        return self._recorder.problems

    def as_json(self) -> dict[str, Any]:
        """The run as one JSON document."""
        return {
            "hosted_cluster": f"{self._plan.cluster.namespace}/{self._plan.cluster.name}",
            "rotate_every_seconds": self._settings.rotate_every,
            "rotations": self._rotations,
            "keyless": self._settings.keyless,
            "ok": not self._recorder.problems,
            "problems": self._recorder.problems,
            "components": [record.as_json() for record in self._records.values()],
        }

    async def _start(self, folder: Path, stack: AsyncExitStack) -> Rotation:
        startup = Startup(
            self._plan,
            self._settings,
            records=self._records,
            recorder=self._recorder,
            reporter=self._reporter,
            folder=folder,
            stack=stack,
            on_server_end=self._on_server_end,
        )
        return await startup.run()

    async def _rotate(self, rotation: Rotation) -> None:
        """Renew every credential again and again, each time after the components have used the last ones."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._settings.rotate_every
            await self._wait_until_used()
            if self._rotations == self._settings.rotations:
                return
            await asyncio.sleep(due - loop.time())
            await rotation.renew()
            await rotation.store()
            self._rotations += 1

    async def _watch_renewals(self) -> None:
        """Count the rotations that a real `hcpcreds renew` brings, until there have been enough."""
        while self._settings.rotations is None or self._rotations < self._settings.rotations:
            try:
                async with asyncio.timeout(self._settings.rotate_every + PATIENCE_SECONDS):
                    await self._wait_for_rotation(self._rotations + 1)
            except TimeoutError:
                self._recorder.add_problem(
                    f"rotation {self._rotations + 1} has not come to every component in time"
                )
                return
            if all(record.ended for record in self._records.values()):
                return  # each is a problem already
            self._rotations += 1

    async def _wait_for_rotation(self, number: int) -> None:
        while any(record.rotations < number and not record.ended for record in self._records.values()):
            self._recorder.changed.clear()
            await self._recorder.changed.wait()

    async def _wait_until_used(self) -> None:
        """Wait until every component that still runs has used its newest certificate, or time is up."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not all(record.used_newest or record.ended for record in self._records.values()):
                    self._recorder.changed.clear()
                    await self._recorder.changed.wait()
        except TimeoutError:
            for record in self._records.values():
                if not record.used_newest and not record.ended:
                    self._recorder.add_problem(
                        f"{record.component}: has not used its newest certificate in {PATIENCE_SECONDS:.0f} s"
                    )

    def _on_server_end(self, name: str, reason: str) -> None:
        self._broken = self._broken or f"the {name} is gone: {reason}"
        self._stop()

    def _add_early_end(self) -> None:
        if self._broken is not None:
            self._recorder.add_problem(self._broken)
        elif self._settings.rotations is not None:
            self._recorder.add_problem(
                f"stopped after {self._rotations} of {self._settings.rotations} rotations"
            )

    def _stop(self) -> None:
        """Cancel the run, once: its clean-up must not be cancelled too."""
        if self._main is not None:
            self._main.cancel()
            self._main = None
