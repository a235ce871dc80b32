"""What a walk over a vault does and finds: values and events, without I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from typing_extensions import override

from hcpcreds.vault.secret import StoredCredential


class Result(StrEnum):
    """How it ended for one credential that was due, or could not be looked at."""

    RENEWED = "renewed"
    """A newer credential was issued, judged and stored."""
    UNCHANGED = "unchanged"
    """The data plane still answers the credential that is stored."""
    SUPERSEDED = "superseded"
    """Another writer stored a newer one first; nothing was written, or what was newer was put back on top."""
    DISABLED = "disabled"
    """The secret is disabled, so it can be neither read nor used."""
    DUE = "due"
    """A dry run leaves it at that."""
    FAILED = "failed"
    """It was not renewed; what was stored before is untouched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a walk did about one credential. What is current or not due has none."""

    name: str
    """Of the secret."""
    result: Result
    expires_on: datetime | None
    """When the credential that is stored now expires."""
    cannot_renew_after: datetime | None
    reason: str | None = None
    """Why it failed, and the next step; never a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One walk over a vault."""

    vault_url: str
    started_at: datetime
    finished_at: datetime
    credentials: Mapping[str, StoredCredential]
    """Every credential that the vault holds, by the name of its secret, as it is after the walk."""
    outcomes: Sequence[Outcome] = field(default=())
    problem: str | None = None
    """Why it is not complete: the vault could not be listed to its end, or the walk was stopped."""

    @property
    def complete(self) -> bool:
        """Whether every credential of the vault was seen, and every due one tried."""
        return self.problem is None

    def count(self, result: Result) -> int:
        """Count the outcomes with a result."""
        return sum(outcome.result is result for outcome in self.outcomes)


class Observer:
    """Is told what happens, on the renewer's event loop, and must not block. This one keeps quiet."""

    def walk_started(self, vault_url: str) -> None:
        """A walk begins."""

    def listed(self, vault_url: str, credential: StoredCredential, *, due: bool) -> None:
        """The vault listed a credential."""

    def settled(self, vault_url: str, outcome: Outcome) -> None:
        """Nothing more is done about a credential in this walk."""

    def walk_finished(self, walk: Walk) -> None:
        """A walk ended, complete or not."""


class Observers(Observer):
    """Tells several observers, in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    @override
    def walk_started(self, vault_url: str) -> None:
        for observer in self._observers:
            observer.walk_started(vault_url)

    @override
    def listed(self, vault_url: str, credential: StoredCredential, *, due: bool) -> None:
        for observer in self._observers:
            observer.listed(vault_url, credential, due=due)

    @override
    def settled(self, vault_url: str, outcome: Outcome) -> None:
        for observer in self._observers:
            observer.settled(vault_url, outcome)

    @override
    def walk_finished(self, walk: Walk) -> None:
        for observer in self._observers:
            observer.walk_finished(walk)
