"""Renews what is due in one vault. All state lies in the vault: any number of renewers may run, and die.

A vault is listed page by page while the most urgent of what is known to be due is renewed: its credential is
read, a new one issued and judged, and put in its place (see `hcpcreds.dataplane.replacement`). Whatever fails
leaves what was stored as it was.
"""

import asyncio
import logging
import random
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, Final, TypeVar

from azure.keyvault.secrets import SecretProperties
from azure.keyvault.secrets.aio import SecretClient

from hcpcreds.dataplane.aio.client import ManagedIdentityDataPlaneClientFactory
from hcpcreds.dataplane.aio.vault import load
from hcpcreds.dataplane.judgement import build_renewal_request, take_renewed
from hcpcreds.dataplane.renewal import Observer, Outcome, Result, Walk
from hcpcreds.dataplane.replacement import build_replacement, uncover_newest, write_newer
from hcpcreds.dataplane.vault import describe, explaining
from hcpcreds.dataplane.vault_secret import (
    Credentials,
    LoadedSecret,
    StoredCredential,
    choose_credential,
    parse_time,
    read_stored,
)
from hcpcreds.errors import HcpCredsError, InputError, IssueError, SecretNotFoundError, StoreUnavailableError

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_LAST: Final = float("inf")
"""Sorts behind every credential in the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalSettings:
    """How a renewer goes about it."""

    before: timedelta = timedelta(0)
    """How long ahead of its renew_after a credential counts as due; the data plane may have none yet."""
    dry_run: bool = False
    """Only say what is due."""
    concurrency: int = 32
    """Credentials of one vault that are worked on at once."""
    attempts: int = 4
    """How often each step is tried in one walk, over what the Azure SDK tries by itself."""
    backoff_seconds: float = 2.0
    """The longest pause before the second attempt; it doubles with each."""


@dataclass
class _Round:
    """What one walk knows so far."""

    stop: asyncio.Event
    seen: dict[str, StoredCredential] = field(default_factory=dict)
    """By the secret's name in lower case: names know no case."""
    outcomes: list[Outcome] = field(default_factory=list)
    queue: "asyncio.PriorityQueue[tuple[float, int, StoredCredential | None]]" = field(
        default_factory=asyncio.PriorityQueue
    )
    """The most urgent first, then the first; None ends a worker."""
    numbers: Iterator[int] = field(default_factory=count)


class VaultRenewer:
    """Walks over one vault, again and again.

    Args:
        vault: Of the vault, with a `ThrottleGate` among its ``per_retry_policies``; stays open.
        data_plane: Makes the clients that renew; stays open.
        settings: How to go about it.
        observer: Is told what happens.
        now: Clock giving an aware UTC time.
    """

    def __init__(
        self,
        vault: SecretClient,
        data_plane: ManagedIdentityDataPlaneClientFactory,
        settings: RenewalSettings | None = None,
        *,
        observer: Observer | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._vault = vault
        self._data_plane = data_plane
        self._settings = settings or RenewalSettings()
        self._observer = observer or Observer()
        self._now = now
        self._known: dict[str, StoredCredential] = {}

    @property
    def vault_url(self) -> str:
        """The vault's URL."""
        return self._vault.vault_url

    async def walk(self, stop: asyncio.Event | None = None) -> Walk:
        """Walk over the vault once: find every stored credential, renew what is due.

        A failure is an outcome of its credential; nothing is raised for it.

        Args:
            stop: Once set, nothing new is begun, what is under way is finished, and the walk is incomplete.
        """
        started_at = self._now()
        self._observer.walk_started(self.vault_url)
        round_ = _Round(stop or asyncio.Event())
        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(self._work(round_)) for _ in range(self._settings.concurrency)]
            problem = await self._find(round_)
            for _ in workers:
                round_.queue.put_nowait((_LAST, next(round_.numbers), None))
        if round_.stop.is_set():
            problem = "stopped before its end"
        self._known = round_.seen
        walk = Walk(
            vault_url=self.vault_url,
            started_at=started_at,
            finished_at=self._now(),
            credentials={stored.name: stored for stored in round_.seen.values()},
            outcomes=round_.outcomes,
            problem=problem,
        )
        self._observer.walk_finished(walk)
        return walk

    async def _find(self, round_: _Round) -> str | None:
        """Queue what is due, or has to be looked at; says why the vault was not seen to its end."""
        problem = None
        try:
            async for stored in self._list(round_.stop):
                if stored.name.lower() not in round_.seen:  # a list that changes meanwhile can show one twice
                    self._note(round_, stored, due=self._is_due(stored.renew_after))
        except HcpCredsError as error:
            problem = str(error)
        for name, stored in self._known.items():
            if name not in round_.seen:
                # After a whole list it was deleted, or forgotten between two pages: it has to be looked at.
                self._note(round_, stored, due=problem is None or self._is_due(stored.renew_after))
        return problem

    def _note(self, round_: _Round, stored: StoredCredential, *, due: bool) -> None:
        round_.seen[stored.name.lower()] = stored
        self._observer.listed(self.vault_url, stored, due=due)
        if not stored.enabled:
            self._settle(round_, stored, Result.DISABLED)
        elif due:
            urgency = stored.expires_on.timestamp() if stored.expires_on else 0.0
            round_.queue.put_nowait((urgency, next(round_.numbers), stored))

    async def _list(self, stop: asyncio.Event) -> AsyncIterator[StoredCredential]:
        """List page by page; a page that cannot be had is asked for again, not the whole list."""
        token: str | None = None
        tokens: set[str] = set()
        while not stop.is_set():
            entries, token = await self._retry(partial(self._list_page, token), stop)
            for stored in map(read_stored, entries):
                if stored is not None:
                    yield stored
            if not token:
                return
            if token in tokens:
                raise StoreUnavailableError(f"{describe(self.vault_url)}: its list goes round in circles")
            tokens.add(token)

    async def _list_page(self, token: str | None) -> tuple[list[SecretProperties], str | None]:
        pages: Any = self._vault.list_properties_of_secrets().by_page(continuation_token=token)
        with explaining(self.vault_url):
            page = await anext(pages)
            return [entry async for entry in page], pages.continuation_token

    async def _work(self, round_: _Round) -> None:
        while True:
            _, _, stored = await round_.queue.get()
            if stored is None or round_.stop.is_set():
                return
            try:
                await self._look_at(round_, stored)
            except HcpCredsError as error:
                self._settle(round_, stored, Result.FAILED, reason=str(error))
            except Exception as error:  # noqa: BLE001 - no fault of one may stop the others
                # Only where it happened: the text of an unknown error could hold anything.
                where = "".join(traceback.format_tb(error.__traceback__))
                _log.error("%s: %s\n%s", stored.name, type(error).__name__, where)
                reason = (
                    f"{describe(self.vault_url, stored.name)}: {type(error).__name__}; the log says where"
                )
                self._settle(round_, stored, Result.FAILED, reason=reason)

    async def _look_at(self, round_: _Round, stored: StoredCredential) -> None:
        """Do what there is to do about a credential that is due, or of which that is not known."""
        listed_due = stored.renew_after is not None and self._is_due(stored.renew_after)
        if self._settings.dry_run and listed_due:
            self._settle(round_, stored, Result.DUE)
            return
        try:
            current = await self._retry(partial(load, self._vault, stored.name), round_.stop)
        except SecretNotFoundError:  # deleted since
            del round_.seen[stored.name.lower()]
            return
        round_.seen[stored.name.lower()] = current.stored
        if not self._is_due(_read_renew_after(current)):
            if listed_due:
                self._settle(round_, current.stored, Result.SUPERSEDED)
            return
        if self._settings.dry_run:
            self._settle(round_, current.stored, Result.DUE)
            return
        renewed = await self._retry(partial(self._issue, current), round_.stop)
        if renewed is None:
            self._settle(round_, current.stored, Result.UNCHANGED)
            return
        # What has been issued is stored, stopped or not.
        result, on_top = await self._retry(partial(write_newer, self._vault, current, renewed))
        reason = None
        if result is Result.RENEWED:
            try:
                look = partial(uncover_newest, self._vault, on_top, renewed, now=self._now())
                newer = await self._retry(look)
            except HcpCredsError as error:
                newer, reason = None, f"stored; whether that buried a newer one could not be seen: {error}"
            if newer is not None:
                result, on_top = Result.SUPERSEDED, newer
        self._settle(round_, on_top, result, reason=reason)

    async def _issue(self, current: LoadedSecret) -> Credentials | None:
        """Have a newer credential issued, and judge it; None when the data plane has none yet."""
        where = describe(self.vault_url, current.stored.name)
        one = choose_credential(current.credentials)
        if not one.client_secret_url:
            raise IssueError(
                f"{where}: it has no client_secret_url, so it cannot be renewed",
                hint="Have the identity's credential issued anew, and store that.",
            )
        request = build_renewal_request(current.credentials)
        try:
            client = self._data_plane.create_client(one.client_secret_url)
            answer = (
                await client.get_system_assigned_identity_credentials()
                if request is None
                else await client.get_user_assigned_identities_credentials(request)
            )
        except InputError as error:
            raise IssueError(f"{where}: client_secret_url: {error.problems[0]}", hint=error.hint) from None
        except IssueError as error:
            raise type(error)(f"{where}: {error.message}", hint=error.hint) from None
        renewed = take_renewed(current.credentials, answer, where=where, now=self._now())
        if renewed is not None:
            await build_replacement(current, renewed, where=where)
        return renewed

    def _settle(
        self, round_: _Round, stored: StoredCredential, result: Result, *, reason: str | None = None
    ) -> None:
        round_.seen[stored.name.lower()] = stored
        outcome = Outcome(
            name=stored.name,
            result=result,
            expires_on=stored.expires_on,
            cannot_renew_after=stored.cannot_renew_after,
            reason=reason,
        )
        round_.outcomes.append(outcome)
        self._observer.settled(self.vault_url, outcome)

    def _is_due(self, renew_after: datetime | None) -> bool:
        """Whether it is time; a credential that does not say has to be looked at."""
        return renew_after is None or renew_after - self._settings.before <= self._now()

    async def _retry(
        self, step: Callable[[], Awaitable[_Answer]], stop: asyncio.Event | None = None
    ) -> _Answer:
        """Take a step again while it fails for a passing reason, and no one wants to stop."""
        attempt = 1
        while True:
            try:
                return await step()
            except HcpCredsError as error:
                if not error.retryable or attempt == self._settings.attempts:
                    raise
                await self._pause(attempt, stop)
                if stop is not None and stop.is_set():
                    raise
            attempt += 1

    async def _pause(self, attempt: int, stop: asyncio.Event | None) -> None:
        longest = self._settings.backoff_seconds * 2 ** (attempt - 1)
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0, longest)):  # noqa: S311 - no secret
                await (stop or asyncio.Event()).wait()


def _read_renew_after(loaded: LoadedSecret) -> datetime | None:
    """When a credential is to be renewed by its value and its tags, which should agree: the earlier."""
    said = (loaded.stored.renew_after, parse_time(choose_credential(loaded.credentials).renew_after))
    return min((time for time in said if time), default=None)
