"""The results and events of a walk over a vault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from hcpcreds.vault.secret import StoredCredential


class Result(StrEnum):
    """How a walk ended for one credential that was due, or that could not be loaded."""

    RENEWED = "renewed"
    """A newer credential was issued, checked and stored."""
    UNCHANGED = "unchanged"
    """The data plane does not have a newer credential yet."""
    SUPERSEDED = "superseded"
    """Another writer stored a newer credential first; it is on top."""
    DISABLED = "disabled"
    """The secret is disabled, so it can be neither loaded nor used."""
    DUE = "due"
    """The credential is due; a dry run does no more."""
    FAILED = "failed"
    """The credential was not renewed; the stored secret was not changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a walk for one credential. A credential that is not due has none."""

    credential: StoredCredential
    """The credential that is on top in the vault after the walk."""
    result: Result
    reason: str | None = None
    """Why it failed, and the next step. Never holds a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A finished walk over a vault."""

    vault_url: str
    started_at: datetime
    finished_at: datetime
    credentials: Mapping[str, StoredCredential]
    """Every credential in the vault after the walk, by the name of its secret."""
    outcomes: Sequence[Outcome] = field(default=())
    problem: str | None = None
    """Why the walk is incomplete: the vault could not be listed to its end, or the walk was stopped."""

    @property
    def complete(self) -> bool:
        """Whether every credential of the vault was listed, and every due one attempted."""
        return self.problem is None

    def count(self, result: Result) -> int:
        """Count the outcomes with a result."""
        return sum(outcome.result is result for outcome in self.outcomes)


class Observer:
    """Receives the events of walks, on the event loop; must not block. This one ignores them."""

    def walk_started(self, vault_url: str) -> None:
        """A walk has begun."""

    def listed(self, vault_url: str, credential: StoredCredential, *, due: bool) -> None:
        """The vault has listed a credential."""

    def settled(self, vault_url: str, outcome: Outcome) -> None:
        """The walk is done with a credential."""

    def walk_finished(self, walk: Walk) -> None:
        """A walk has ended, complete or not."""
