"""The links of a pod's chain, from what says that it needs a credential to the program that uses it."""

from typing import Literal

import msgspec

from hcpcreds.text import make_safe

State = Literal["ok", "broken", "unknown", "absent"]
"""`unknown`: it could not be looked at, or cannot be seen from the cluster. `absent`: this pod has none."""

_LONGEST = 700


class Link(msgspec.Struct, frozen=True):
    """A link of the chain; its texts are safe to show."""

    name: str
    state: State
    what: str
    """What was found."""
    fix: str = ""
    """What to do about it; empty if there is nothing to do."""


class Explanation(msgspec.Struct, frozen=True):
    """The chain of a pod, or of a workload that has no pods."""

    kind: str
    namespace: str
    name: str
    component: str
    """Its name in the table or its own; empty if it is not known."""
    links: tuple[Link, ...]

    @property
    def title(self) -> str:
        """Kind and name, as kubectl writes them."""
        return make_safe(f"{self.kind.lower()}/{self.name}")

    @property
    def broken(self) -> Link | None:
        """The first broken link; those behind it may be broken only because of it."""
        return next((link for link in self.links if link.state == "broken"), None)

    @property
    def verdict(self) -> str:
        """The state of the chain, in a few words."""
        if self.broken is not None:
            return f"broken at {self.broken.name}"
        return "ok" if self.links[-1].state == "ok" else "nothing broken, but its program does not run"


def ok(name: str, what: str) -> Link:
    """Make a link that holds."""
    return _make(name, "ok", what)


def broken(name: str, what: str, fix: str) -> Link:
    """Make a link that does not hold."""
    return _make(name, "broken", what, fix)


def unknown(name: str, what: str, fix: str = "") -> Link:
    """Make a link that could not be looked at."""
    return _make(name, "unknown", what, fix)


def absent(name: str, what: str) -> Link:
    """Make a link that this pod does not have."""
    return _make(name, "absent", what)


def _make(name: str, state: State, what: str, fix: str = "") -> Link:
    return Link(name, state, make_safe(what, limit=_LONGEST), make_safe(fix, limit=_LONGEST))
