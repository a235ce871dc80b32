"""What the page shows. Nothing in it is a secret, and every text is printable."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How well something is; the worst one last."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as it should, or not for long."""
    FAILING = "failing"
    """Somebody gets no tokens."""


_SEVERITY = list(State)


class Role(StrEnum):
    """What a certificate is at the moment."""

    PREVIOUS = "previous"
    IN_USE = "in use"
    NEXT = "next"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate of a credential."""

    role: Role
    thumbprint: str
    not_before: datetime
    not_after: datetime
    renew_from: datetime | None = None
    """When its renewal is due; None if nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is wrong."""

    text: str
    """In plain words: one sentence."""
    advice: str
    """What to do."""
    detail: str = ""
    """What the log says."""
    state: State = State.WARNING


@dataclass(frozen=True, slots=True)
class Fact:
    """Something else that one wants to know."""

    label: str
    value: str | int | datetime | None
    """None is not shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A credential, or a component that uses one."""

    name: str
    certificates: tuple[Certificate, ...] = ()
    """The oldest first."""
    problems: tuple[Problem, ...] = ()
    facts: tuple[Fact, ...] = ()

    @property
    def state(self) -> State:
        """The worst of its problems."""
        return find_worst([problem.state for problem in self.problems])


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    at: datetime
    level: str
    """`info`, `warning` or `error`."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All that the page shows."""

    title: str
    kind: str
    """What the subjects are: `credential` or `component`."""
    at: datetime
    subjects: tuple[Subject, ...]
    events: tuple[Event, ...] = ()
    """The newest first."""

    @property
    def state(self) -> State:
        """The worst of its subjects."""
        return find_worst([subject.state for subject in self.subjects])

    @property
    def summary(self) -> str:
        """One sentence about all subjects."""
        count, kinds = len(self.subjects), f"{self.kind}{'' if len(self.subjects) == 1 else 's'}"
        parts = []
        for state, one, several in (
            (State.FAILING, "is failing", "are failing"),
            (State.WARNING, "needs attention", "need attention"),
        ):
            number = sum(subject.state is state for subject in self.subjects)
            if number:
                parts.append(f"{number} of {count} {kinds} {one if number == 1 else several}")
        if parts:
            return f"{'; '.join(parts)}."
        return f"The {kinds} is in order." if count == 1 else f"All {count} {kinds} are in order."

    def as_json(self) -> dict[str, Any]:
        """Build the JSON document; times are RFC 3339 in UTC."""
        return {
            "title": self.title,
            "at": self.at,
            "state": self.state,
            "summary": self.summary,
            f"{self.kind}s": [_describe(subject) for subject in self.subjects],
            "events": self.events,
        }


def find_worst(states: Sequence[State]) -> State:
    """Find the worst of some states; without any, all is well."""
    return max(states, key=_SEVERITY.index, default=State.OK)


def _describe(subject: Subject) -> dict[str, Any]:
    return {
        "name": subject.name,
        "state": subject.state,
        "problems": subject.problems,
        "certificates": subject.certificates,
        "facts": {fact.label.lower().replace(" ", "_"): fact.value for fact in subject.facts},
    }
