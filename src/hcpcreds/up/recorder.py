"""Turns the events of the chain's processes into records, and reports what a person would want to know."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from hcpcreds.errors import HcpCredsError
from hcpcreds.up.processes import Event
from hcpcreds.up.record import CertificateUse, ComponentRecord
from hcpcreds.up.service_owner import ServiceOwner
from hcpcreds.up.settings import Reporter


class Recorder:
    """Keeps the records of a running chain.

    Args:
        records: By workload.
        secret_names: The name of each workload's secret.
        reporter: Shows what happens; called on the event loop.
        stop: Ends the run.

    Attributes:
        problems: What went wrong so far.
        changed: Set whenever a record may have changed.
    """

    def __init__(
        self,
        records: Mapping[str, ComponentRecord],
        *,
        secret_names: Mapping[str, str],
        reporter: Reporter,
        stop: Callable[[], None],
    ) -> None:
        self.problems: list[str] = []
        self.changed = asyncio.Event()
        self._records = records
        self._secret_names = secret_names
        self._reporter = reporter
        self._stop = stop
        self._owner: ServiceOwner | None = None
        self._lookups: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def looking_up(self, owner: ServiceOwner) -> AsyncIterator[None]:
        """Within the context, look up in the vault each mounted version that this run did not store."""
        self._owner = owner
        try:
            yield
        finally:
            self._owner = None
            for task in self._lookups:
                task.cancel()
            await asyncio.gather(*self._lookups, return_exceptions=True)

    def add_problem(self, text: str) -> None:
        """Add a problem and report it."""
        self.problems.append(text)
        self._reporter.problem(text)

    def on_node_event(self, event: Event) -> None:
        """Record that the node mounted a volume, or could not."""
        record = self._records.get(event.get("pod", ""))
        if record is None or event["volume"] != record.volume:
            return
        if event["event"] == "failed":
            self._report(record, f"the node could not mount {record.volume}: {event['reason']}")
            return
        record.swapped(event["version"], event["at"])
        if self._owner is not None and not record.knows(event["version"]):
            # A renewer stored it: `up --renew`, or somebody's `renew --local`.
            task = asyncio.create_task(self._look_up(record, event["version"], self._owner))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)

    def on_component_event(self, record: ComponentRecord, event: Event) -> None:
        """Record that a component took a new snapshot, or made a call."""
        first_use = False
        if event["event"] == "credential":
            record.reloaded(event["thumbprint"], event["generation"], event["at"])
        elif event["ok"]:
            record.calls_by_login[event["login"]] += 1
            first_use = record.called(event["thumbprint"], event["at"])
        else:
            record.failed(event["error"], event["at"])
            self._report(record, f"call failed: {event['error']}")
        if first_use:
            self._report(record, record.describe_newest())
        self.changed.set()

    def on_component_end(self, record: ComponentRecord, reason: str) -> None:
        """Record that a component's process has ended."""
        record.ended = reason
        self.add_problem(f"{record.component}: its process {reason}")
        self.changed.set()

    def on_renewer_event(self, event: Event) -> None:
        """Report what a walk of the renewer did not renew."""
        for outcome in event["outcomes"]:
            if outcome["result"] == "failed":
                self.add_problem(f"not renewed: {outcome['reason']}")
        if event["problem"] is not None:
            self.add_problem(f"the renewer's walk is not complete: {event['problem']}")

    async def _look_up(self, record: ComponentRecord, version: str, owner: ServiceOwner) -> None:
        try:
            issued = await asyncio.to_thread(owner.load, self._secret_names[record.workload], version)
        except HcpCredsError as error:
            self.add_problem(str(error))
            return
        if record.expect(CertificateUse.expect(issued, version)):
            self._report(record, record.describe_newest())
        self.changed.set()

    def _report(self, record: ComponentRecord, text: str) -> None:
        try:
            self._reporter.happened(record, text)
        except BrokenPipeError:
            # Nobody reads the output any more: that ends the run as Ctrl-C does.
            self._reporter = Reporter()
            self._stop()
