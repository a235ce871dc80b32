"""Judges a program by the requests that arrived at the local Azure while something was wrong. Pure."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self

from hcpcreds.local.azure.faults import SeenRequest

_OK: Final = 200
LONGEST_PAUSE: Final = 2.0
"""Seconds from one token of a program to the next: it has to ask every second, and this has some patience."""
_SIDECAR: Final = "python-hcpcreds/"
"""What the User-Agent of this library holds."""
_CODE: Final = re.compile("AADSTS[0-9]+")
_SOME_CODES: Final = 2
_SHORTEST_GAP: Final = 0.9
"""The part of a fault's time for which a program has to be without a token to have failed: on a busy machine,
programs wait as well."""


@dataclass(frozen=True, kw_only=True)
class Incident:
    """What happened, and when. Times are by the monotonic clock."""

    fault: str
    began: float
    ended: float
    """When the fault was over, or the next certificate was mounted."""
    over: float
    """When nobody waited any longer."""
    steady: bool = False
    """Whether the program has to have tokens all the time."""
    wanted: str | None = None
    """Thumbprint of the certificate that has to come into use after the fault."""
    recovers: bool = False
    """Whether the program has to have a token again after the fault, with whatever certificate."""
    death: str | None = None
    """Why the program does not run any more."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The result of one fault."""

    fault: str
    passed: bool | None
    """None when the fault cannot be judged here."""
    seen: str
    """What was seen at the local Azure."""
    seconds: float | None = None
    """How long it took until a token was requested as it should."""
    requests: int = 0
    """Token requests during the fault and after it."""
    refused: int = 0
    """Those of them that were not answered with a token."""

    @classmethod
    def skip(cls, fault: str, reason: str) -> Self:
        """Make the row of a fault that cannot be judged."""
        return cls(fault=fault, passed=None, seen=reason)

    def as_json(self) -> dict[str, Any]:
        """Build the row for `--output json`."""
        result = {True: "passed", False: "failed", None: "skipped"}[self.passed]
        return {
            "fault": self.fault,
            "result": result,
            "seen": self.seen,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "requests": self.requests,
            "refused": self.refused,
        }


@dataclass(frozen=True)
class History:
    """The requests so far, and whose they are.

    Args:
        requests: In the order of their answers.
        has_sidecar: Whether requests of this library are those of a sidecar.
        must_call: Whether only what the program does with its tokens tells that it has some.
    """

    requests: Sequence[SeenRequest]
    has_sidecar: bool = False
    must_call: bool = False

    @property
    def success(self) -> str:
        """What shows that the program has a token, for people."""
        return "call with a token" if self.must_call else "token"

    def list_successes(self) -> list[SeenRequest]:
        """List what shows that the program had a token.

        If it has ever called ARM, these are its calls, else the tokens that were issued to it.
        """
        good = [each for each in self.requests if each.status == _OK]
        calls = [each for each in good if each.service == "resource_manager"]
        if calls or self.must_call:
            return calls
        return [each for each in good if not (self.has_sidecar and _SIDECAR in each.agent)]

    def find_use(self, thumbprint: str | None, since: float) -> float | None:
        """Find when a certificate was used first, by the program or its sidecar; None for any certificate."""
        found: Iterable[SeenRequest] = self.list_successes()
        if thumbprint is not None and self.has_sidecar and not self.must_call:
            found = [each for each in self.requests if each.status == _OK]  # programs keep their assertion
        return next(
            (each.at for each in found if each.at >= since and thumbprint in (None, each.certificate)), None
        )


def find_pause(times: Sequence[float]) -> float | None:
    """Find the longest pause of a program between two tokens; None if it asks too seldom to be judged."""
    pause = max((later - earlier for earlier, later in pairwise(times)), default=math.inf)
    return pause if pause <= LONGEST_PAUSE else None


def find_longest_gap(times: Iterable[float], began: float, over: float) -> float:
    """Find the longest time without a success, from the last one before `began` to the end."""
    all_times = list(times)
    before = [at for at in all_times if at <= began]
    within = [at for at in all_times if began < at <= over]
    ends = [max(before, default=began), *within, over]
    return max(later - earlier for earlier, later in pairwise(ends))


def judge(incident: Incident, history: History, *, shortest: float, deadline: float) -> Row:
    """Judge a program.

    Args:
        incident: What happened.
        history: Every request so far.
        shortest: How long the faults last, in seconds.
        deadline: How long the program may take to go on, in seconds.
    """
    asked = [
        each
        for each in history.requests
        if each.service == "entra" and incident.began <= each.at <= incident.over
    ]
    refused = [each for each in asked if each.status != _OK]
    problems = [incident.death] if incident.death else []
    used = history.find_use(incident.wanted, incident.ended)
    seconds = None if used is None else used - incident.ended
    who = " by the sidecar" if history.has_sidecar and not history.must_call else ""
    expects_use = incident.wanted is not None or incident.recovers
    if not incident.death:
        gap = find_longest_gap((each.at for each in history.list_successes()), incident.began, incident.over)
        if incident.steady and gap >= _SHORTEST_GAP * shortest:
            problems.append(f"no {history.success} for {gap:.1f} s")
        if expects_use and (seconds is None or seconds > deadline):
            what = "the new certificate is not in use" if incident.wanted else f"no {history.success}"
            problems.append(f"{what} after {deadline:g} s")
    return Row(
        fault=incident.fault,
        passed=not problems,
        seen=_describe("; ".join(problems) or _praise(incident, seconds, who), refused),
        seconds=seconds if incident.wanted or (incident.recovers and not incident.steady) else None,
        requests=len(asked),
        refused=len(refused),
    )


def _praise(incident: Incident, seconds: float | None, who: str) -> str:
    parts = ["tokens all the time"] if incident.steady else []
    if seconds is not None and incident.wanted:
        parts.append(f"new certificate in use{who} after {seconds:.1f} s")
    elif seconds is not None and incident.recovers and not incident.steady:
        parts.append(f"a token after {seconds:.1f} s")
    return ", ".join(parts)


def _describe(seen: str, refused: Sequence[SeenRequest]) -> str:
    """Add why requests were not answered with a token: codes only, for the rest is foreign text."""
    reasons = Counter(_find_reason(each) for each in refused).most_common(_SOME_CODES)
    return f"{seen} ({', '.join(f'{count} x {reason}' for reason, count in reasons)})" if reasons else seen


def _find_reason(request: SeenRequest) -> str:
    found = _CODE.search(request.error)
    return found[0] if found else str(request.status or "no answer")
