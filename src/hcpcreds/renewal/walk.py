"""Renews what is due in one vault. The vault holds all state: any number of renewers may run, and crash.

A walk lists the vault page by page and meanwhile renews what is due, the most urgent first: it loads the
credential, has its key prove that it belongs to the identity (`hcpcreds.renewal.possession`), has a newer one
issued and checked (`hcpcreds.renewal.issuance`), and stores that (`hcpcreds.renewal.replacement`). A failure
leaves the stored secret unchanged.
"""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Final, TypeVar

from azure.keyvault.secrets.aio import SecretClient

from hcpcreds.errors import HcpCredsError, SecretNotFoundError, StoreUnavailableError
from hcpcreds.renewal.attempts import attempt
from hcpcreds.renewal.issuance import Issuer
from hcpcreds.renewal.outcomes import Observer, Outcome, Result, Walk
from hcpcreds.renewal.replacement import replace_secret, restore_newer
from hcpcreds.vault.aio import list_page, load
from hcpcreds.vault.naming import describe
from hcpcreds.vault.secret import STORE_ANEW, LoadedSecret, StoredCredential

_log = logging.getLogger(__name__)
T = TypeVar("T")
_LONGEST_TRUST: Final = timedelta(days=90)
"""How long after a version was written the dates that its writer set are believed without its value."""
_LONGEST_LIFE: Final = timedelta(days=400)
"""Longer than the life of any certificate that the data plane issues."""
_LAST: Final = float("inf")
"""Sorts behind every credential in the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalSettings:
    """How a renewer works."""

    before: timedelta = timedelta(0)
    """How long before its renew_after a credential is due; the data plane may not have a newer one yet."""
    now: tuple[str, ...] = ()
    """Names of secrets to renew at once, whatever their dates; no other is looked at."""
    dry_run: bool = False
    """Only report what is due."""
    concurrency: int = 32
    """Credentials of one vault that are renewed at the same time."""
    attempts: int = 4
    """Attempts at each step in one walk, besides the Azure SDK's own."""
    backoff_seconds: float = 2.0
    """The longest pause before the second attempt; it doubles with each further one."""


@dataclass
class _Memory:
    """What a renewer remembers of its vault from one walk to the next.

    Keys are names of secrets in lower case, because names are case-insensitive.
    """

    seen: dict[str, StoredCredential] = field(default_factory=dict)
    loaded: dict[str, tuple[StoredCredential, StoredCredential]] = field(default_factory=dict)
    """The entry in the vault's list, and the same entry with the dates of the loaded value."""


@dataclass
class VaultRenewer:
    """Walks over one vault, as often as it is told to."""

    vault: SecretClient
    """Client of the vault, with a `ThrottleGate` among its `per_retry_policies`; stays open."""
    issuer: Issuer
    settings: RenewalSettings = RenewalSettings()
    observers: Sequence[Observer] = ()
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    """Clock giving an aware UTC time."""
    _memory: _Memory = field(default_factory=_Memory, init=False, repr=False)

    @property
    def vault_url(self) -> str:
        """The vault's URL."""
        return self.vault.vault_url

    async def walk(self, stop: asyncio.Event | None = None) -> Walk:
        """Walk over the vault once: find every stored credential, and renew what is due.

        Raises nothing: a failure is an outcome of its credential, or the problem of the walk.

        Args:
            stop: Once it is set, no renewal begins, those in progress finish, and the walk is incomplete.
        """
        started_at = self.now()
        for observer in self.observers:
            observer.walk_started(self.vault_url)
        current = _WalkInProgress(self, stop or asyncio.Event(), self._memory)
        problem = await current.run()
        self._memory = current.memory
        walk = Walk(
            vault_url=self.vault_url,
            started_at=started_at,
            finished_at=self.now(),
            credentials={stored.name: stored for stored in current.memory.seen.values()},
            outcomes=current.outcomes,
            problem=problem,
        )
        for observer in self.observers:
            observer.walk_finished(walk)
        return walk


@dataclass
class _WalkInProgress:
    renewer: VaultRenewer
    stop: asyncio.Event
    before: _Memory
    memory: _Memory = field(default_factory=_Memory)
    outcomes: list[Outcome] = field(default_factory=list)
    queue: "asyncio.PriorityQueue[tuple[float, int, StoredCredential | None]]" = field(
        default_factory=asyncio.PriorityQueue
    )
    """The most urgent first, then in order of listing; None ends a worker."""
    numbers: Iterator[int] = field(default_factory=count)

    async def run(self) -> str | None:
        """Walk, and return why the walk is incomplete, if it is."""
        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(self._work()) for _ in range(self.renewer.settings.concurrency)]
            problem = await self._find()
            for _ in workers:
                self.queue.put_nowait((_LAST, next(self.numbers), None))
        return "stopped before its end" if self.stop.is_set() else problem

    # Finding

    async def _find(self) -> str | None:
        """Queue what is due or has to be loaded; returns why the vault was not listed to its end."""
        if self.renewer.settings.now:
            for name in self.renewer.settings.now:
                self._note(_make_entry(name), due=True)
            return None
        problem = None
        seen = self.memory.seen
        try:
            async for listed in self._list():
                if listed.name.lower() not in seen:  # a list that changes meanwhile can repeat an entry
                    self._note_listed(listed)
        except HcpCredsError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 (what is listed so far is renewed)
            problem = _log_unexpected(error, describe(self.renewer.vault_url))
        for name, stored in self.before.seen.items():
            if name not in seen:
                if name in self.before.loaded:
                    self.memory.loaded[name] = self.before.loaded[name]
                # Absent from a whole list: deleted, or lost between two pages. Loading it tells which.
                self._note(stored, due=problem is None or self._is_due(stored.renew_after))
        return problem

    async def _list(self) -> AsyncIterator[StoredCredential]:
        """List page by page; after a failure only the page is requested again, not the whole list."""
        token: str | None = None
        tokens: set[str] = set()
        while not self.stop.is_set():
            entries, token = await self._attempt(partial(list_page, self.renewer.vault, token), self.stop)
            for stored in entries:
                yield stored
            if not token:
                return
            if token in tokens:
                where = describe(self.renewer.vault_url)
                raise StoreUnavailableError(f"{where}: the list never ends (repeated continuation token)")
            tokens.add(token)

    def _note_listed(self, listed: StoredCredential) -> None:
        name = listed.name.lower()
        loaded = self.before.loaded.get(name)
        if loaded is not None and (loaded[0], loaded[0].created_on) == (listed, listed.created_on):
            self.memory.loaded[name] = loaded
            self._note(loaded[1], due=self._is_due(loaded[1].renew_after))
        else:
            self._note(listed, due=self._is_due(listed.renew_after) or not _is_plausible(listed))

    def _note(self, stored: StoredCredential, *, due: bool) -> None:
        self.memory.seen[stored.name.lower()] = stored
        for observer in self.renewer.observers:
            observer.listed(self.renewer.vault_url, stored, due=due)
        if not stored.enabled:
            self._settle(stored, Result.DISABLED)
        elif stored.problem is not None:
            where = describe(self.renewer.vault_url, stored.name)
            self._settle(stored, Result.FAILED, reason=f"{where}: {stored.problem}. {STORE_ANEW}")
        elif due:
            urgency = stored.expires_on.timestamp() if stored.expires_on else 0.0
            self.queue.put_nowait((urgency, next(self.numbers), stored))

    # Renewing

    async def _work(self) -> None:
        while True:
            _, _, stored = await self.queue.get()
            if stored is None or self.stop.is_set():
                return
            try:
                await self._look_at(stored)
                continue
            except HcpCredsError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 (one failure must not stop the others)
                reason = _log_unexpected(error, describe(self.renewer.vault_url, stored.name))
            found = self.memory.seen.get(stored.name.lower(), stored)
            self._settle(found, Result.FAILED, reason=reason)

    async def _look_at(self, stored: StoredCredential) -> None:
        """Renew a credential that is due, or load one to find out whether it is."""
        listed_due = stored.renew_after is not None and self._is_due(stored.renew_after)
        if self.renewer.settings.dry_run and listed_due:
            self._settle(stored, Result.DUE)
            return
        name = stored.name.lower()
        try:
            current = await self._attempt(partial(load, self.renewer.vault, stored.name), self.stop)
        except SecretNotFoundError:  # deleted meanwhile
            if self.renewer.settings.now:
                raise
            del self.memory.seen[name]
            self.memory.loaded.pop(name, None)
            return
        self.memory.seen[name] = current.stored
        self.memory.loaded[name] = current.listed, current.stored
        if self.renewer.settings.now:
            await self._renew(current)
        elif not self._is_due(current.stored.renew_after):
            if listed_due:
                self._settle(current.stored, Result.SUPERSEDED)
        elif self.renewer.settings.dry_run:
            self._settle(current.stored, Result.DUE)
        else:
            await self._renew(current)

    async def _renew(self, current: LoadedSecret) -> None:
        await self._attempt(partial(self.renewer.issuer.check, current), self.stop)
        secret = await self._attempt(partial(self.renewer.issuer.issue, current), self.stop)
        if secret is None:
            reason = _explain_unchanged(current.stored) if self.renewer.settings.now else None
            self._settle(current.stored, Result.UNCHANGED, reason=reason)
            return
        # Whatever was issued is stored, even when the walk has to stop.
        write = partial(replace_secret, self.renewer.vault, current, secret, lost=self.stop)
        result, on_top = await self._attempt(write)
        reason = None
        if result is Result.RENEWED:
            restore = partial(
                restore_newer, self.renewer.vault, secret, now=self.renewer.now(), lost=self.stop
            )
            try:
                newer = await self._attempt(restore)
            except HcpCredsError as error:
                newer, reason = None, f"stored, but a newer version may have been buried: {error}"
            if newer is not None:
                result, on_top = Result.SUPERSEDED, newer
        self._settle(on_top, result, reason=reason)

    def _settle(self, stored: StoredCredential, result: Result, *, reason: str | None = None) -> None:
        self.memory.seen[stored.name.lower()] = stored
        outcome = Outcome(credential=stored, result=result, reason=reason)
        self.outcomes.append(outcome)
        for observer in self.renewer.observers:
            observer.settled(self.renewer.vault_url, outcome)

    async def _attempt(self, step: Callable[[], Awaitable[T]], stop: asyncio.Event | None = None) -> T:
        settings = self.renewer.settings
        return await attempt(
            step, attempts=settings.attempts, backoff_seconds=settings.backoff_seconds, stop=stop
        )

    def _is_due(self, renew_after: datetime | None) -> bool:
        """Tell whether it is time to renew; without a date the credential has to be loaded."""
        return renew_after is None or renew_after - self.renewer.settings.before <= self.renewer.now()


def _make_entry(name: str) -> StoredCredential:
    """Make the entry of a secret that was not listed."""
    return StoredCredential(
        name=name, enabled=True, not_before=None, expires_on=None, renew_after=None, cannot_renew_after=None
    )


def _explain_unchanged(stored: StoredCredential) -> str:
    when = f" before {stored.renew_after:%Y-%m-%dT%H:%M:%SZ}" if stored.renew_after else ""
    return (
        f"the data plane returned the certificate that is stored, and may have no newer one{when}. Do not "
        "revoke that one yet: ask the operator of the data plane for a new one"
    )


def _is_plausible(listed: StoredCredential) -> bool:
    """Tell whether the listed dates can be those of the credential in the value.

    Otherwise the value is loaded: a writer could set dates in the far future, and silence its renewal.
    """
    expires_on, renew_after = listed.expires_on, listed.renew_after
    if listed.created_on is None or expires_on is None or renew_after is None:
        return False
    return (
        renew_after <= min(expires_on, listed.created_on + _LONGEST_TRUST)
        and expires_on <= listed.created_on + _LONGEST_LIFE
    )


def _log_unexpected(error: Exception, where: str) -> str:
    # Only where it happened: the message of an unknown error could hold a secret.
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s: %s\n%s", where, type(error).__name__, frames)
    return f"{where}: {type(error).__name__}; see the log"
