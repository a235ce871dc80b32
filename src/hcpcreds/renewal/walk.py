"""Renews what is due in one vault. All state lies in the vault: any number of renewers may run, and die.

A vault is listed page by page while the most urgent of what is known to be due is renewed: its credential is
read and has to prove that it is the identity's (see `hcpcreds.renewal.possession`), a new one is issued
and judged, and put in its place (see `hcpcreds.renewal.replacement`). Whatever fails leaves what was
stored as it was.
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

from hcpcreds.dataplane.aio import (
    ManagedIdentityDataPlaneClient,
    ManagedIdentityDataPlaneClientFactory,
)
from hcpcreds.errors import HcpCredsError, InputError, IssueError, SecretNotFoundError, StoreUnavailableError
from hcpcreds.renewal.acceptance import build_renewal_request, check_renewable, take_renewed
from hcpcreds.renewal.outcomes import Observer, Outcome, Result, Walk
from hcpcreds.renewal.possession import KeyProver
from hcpcreds.renewal.replacement import build_replacement, uncover_newest, write_newer
from hcpcreds.vault.aio import load
from hcpcreds.vault.secret import (
    STORE_ANEW,
    Credentials,
    LoadedSecret,
    StoredCredential,
    choose_credential,
    read_stored,
)
from hcpcreds.vault.storing import describe, explaining

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_LONGEST_TRUST: Final = timedelta(days=90)
"""How long after a version was written what its writer says of it is believed without a look at its value."""
_LONGEST_LIFE: Final = timedelta(days=400)
"""No certificate that the data plane issues lives for so long."""
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
        prover: Sees that a stored key is the identity's; stays open.
        settings: How to go about it.
        observer: Is told what happens.
        now: Clock giving an aware UTC time.
    """

    def __init__(  # noqa: PLR0913 - its parts, each by its name
        self,
        vault: SecretClient,
        data_plane: ManagedIdentityDataPlaneClientFactory,
        prover: KeyProver,
        settings: RenewalSettings | None = None,
        *,
        observer: Observer | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._vault = vault
        self._data_plane = data_plane
        self._prover = prover
        self._settings = settings or RenewalSettings()
        self._observer = observer or Observer()
        self._now = now
        self._known: dict[str, StoredCredential] = {}
        self._looked: dict[str, tuple[StoredCredential, StoredCredential]] = {}
        """What the vault listed of a version, and what its value says as well; by the secret's name."""

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
        self._looked = {name: looked for name, looked in self._looked.items() if name in round_.seen}
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
            async for listed in self._list(round_.stop):
                if listed.name.lower() not in round_.seen:  # a list that changes meanwhile can show one twice
                    self._note_listed(round_, listed)
        except HcpCredsError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - what is listed so far is renewed
            problem = _tell_unexpected(error, self.vault_url)
        for name, stored in self._known.items():
            if name not in round_.seen:
                # After a whole list it was deleted, or forgotten between two pages: it has to be looked at.
                self._note(round_, stored, due=problem is None or self._is_due(stored.renew_after))
        return problem

    def _note_listed(self, round_: _Round, listed: StoredCredential) -> None:
        then, found = self._looked.get(listed.name.lower(), (None, None))
        if found is not None and then == listed and then.created_on == listed.created_on:
            self._note(round_, found, due=self._is_due(found.renew_after))
        else:
            self._note(round_, listed, due=self._is_due(listed.renew_after) or not _is_plausible(listed))

    def _note(self, round_: _Round, stored: StoredCredential, *, due: bool) -> None:
        round_.seen[stored.name.lower()] = stored
        self._observer.listed(self.vault_url, stored, due=due)
        if not stored.enabled:
            self._settle(round_, stored, Result.DISABLED)
        elif stored.problem is not None:
            where = describe(self.vault_url, stored.name)
            self._settle(round_, stored, Result.FAILED, reason=f"{where}: {stored.problem}. {STORE_ANEW}")
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
                continue
            except HcpCredsError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 - no fault of one may stop the others
                reason = _tell_unexpected(error, self.vault_url, stored.name)
            found = round_.seen.get(stored.name.lower(), stored)
            self._settle(round_, found, Result.FAILED, reason=reason)

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
        self._looked[stored.name.lower()] = current.listed, current.stored
        if not self._is_due(current.stored.renew_after):
            if listed_due:
                self._settle(round_, current.stored, Result.SUPERSEDED)
            return
        if self._settings.dry_run:
            self._settle(round_, current.stored, Result.DUE)
            return
        await self._check(current, round_.stop)
        renewed = await self._retry(partial(self._issue, current), round_.stop)
        if renewed is None:
            self._settle(round_, current.stored, Result.UNCHANGED)
            return
        # What has been issued is stored, stopped or not.
        write = partial(write_newer, self._vault, current, renewed, lost=round_.stop)
        result, on_top = await self._retry(write)
        reason = None
        if result is Result.RENEWED:
            try:
                look = partial(
                    uncover_newest, self._vault, on_top, renewed, now=self._now(), lost=round_.stop
                )
                newer = await self._retry(look)
            except HcpCredsError as error:
                newer, reason = None, f"stored; whether that buried a newer one could not be seen: {error}"
            if newer is not None:
                result, on_top = Result.SUPERSEDED, newer
        self._settle(round_, on_top, result, reason=reason)

    async def _check(self, current: LoadedSecret, stop: asyncio.Event) -> None:
        """See that a credential may be renewed, before anything is asked for its identity."""
        where, now = describe(self.vault_url, current.stored.name), self._now()
        # Off the loop: a PKCS#12 takes 36 ms to open.
        file = await asyncio.to_thread(check_renewable, current, where=where, now=now)
        self._create_client(current)  # of a host that can be asked
        if file.certificate.not_after > now:
            await self._retry(partial(self._prover.prove, file, where=where), stop)

    async def _issue(self, current: LoadedSecret) -> Credentials | None:
        """Have a newer credential issued, and judge it; None when the data plane has none yet."""
        where = describe(self.vault_url, current.stored.name)
        request = build_renewal_request(current.credentials)
        client = self._create_client(current)
        try:
            answer = (
                await client.get_system_assigned_identity_credentials()
                if request is None
                else await client.get_user_assigned_identities_credentials(request)
            )
        except IssueError as error:
            raise type(error)(f"{where}: {error.message}", hint=error.hint) from None
        renewed = take_renewed(
            current.credentials, answer, where=where, now=self._now(), hosts=self._data_plane.hosts
        )
        if renewed is not None:
            await build_replacement(current, renewed, where=where)
        return renewed

    def _create_client(self, current: LoadedSecret) -> ManagedIdentityDataPlaneClient:
        try:
            return self._data_plane.create_client(
                choose_credential(current.credentials).client_secret_url or ""
            )
        except InputError as error:
            where = describe(self.vault_url, current.stored.name)
            raise IssueError(f"{where}: client_secret_url: {error.problems[0]}", hint=error.hint) from None

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


def _tell_unexpected(error: Exception, vault_url: str, name: str | None = None) -> str:
    # Only where it happened: the text of an unknown error could hold anything.
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s: %s\n%s", name or vault_url, type(error).__name__, frames)
    return f"{describe(vault_url, name)}: {type(error).__name__}; the log says where"


def _is_plausible(listed: StoredCredential) -> bool:
    """Whether the dates that a secret's writer gave it can be those of the credential in it.

    Else they are looked up in the value: dates of the far future would keep it from being renewed, and quiet.
    """
    expires_on, renew_after = listed.expires_on, listed.renew_after
    if listed.created_on is None or expires_on is None or renew_after is None:
        return False
    return (
        renew_after <= min(expires_on, listed.created_on + _LONGEST_TRUST)
        and expires_on <= listed.created_on + _LONGEST_LIFE
    )
