"""Judges who uses which certificate. Pure: facts and nothing else.

The question behind it is whether an earlier certificate may be revoked. So a pod counts as done only if that
follows from what was seen; what is not known counts as in use.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from hcpcreds.cluster.rollout.facts import Facts, Program, Seen, StoredSecret, Use, Version

DRAIN: Final = timedelta(minutes=11)
"""How long programs may send an assertion that is no longer in its file: SDKs keep what they read for up to
ten minutes, and a request may be under way."""
CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far the clocks of a node and the API server may differ."""


class State(StrEnum):
    """What a pod uses of a secret."""

    NEW = "new"
    """Only the newest certificate: the earlier ones may be revoked as far as this pod is concerned."""
    OLD = "old"
    """An earlier certificate."""
    DRAINING = "draining"
    """The newest one, but programs may still send an assertion of the one before."""
    REFUSED = "refused"
    """The newest one, but the authority does not accept it."""
    WAITING = "waiting"
    """Nothing yet: it has not started."""
    UNKNOWN = "unknown"
    """That cannot be seen; the reason says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A pod, and what it uses of a secret."""

    vault: str
    secret: str
    client_id: str | None
    namespace: str
    pod: str
    newest: Version | None
    """In the vault."""
    mounted_version: str | None
    mounted: str | None
    """The thumbprint of the mounted certificate, where it is known."""
    in_use: tuple[str, ...]
    """The thumbprints of the certificates that the pod's programs are known to use."""
    state: State
    reason: str
    """Why it counts as that."""
    hint: str | None = None
    """What to do about it."""

    @property
    def is_done(self) -> bool:
        """Whether it uses the newest certificate only."""
        return self.state is State.NEW


@dataclass(frozen=True, slots=True)
class _Verdict:
    state: State
    reason: str
    hint: str | None = None
    in_use: tuple[str, ...] = ()


def judge_rollout(facts: Facts) -> list[Row]:
    """Judge every pod that mounts a secret of the vaults, in the order of secrets, namespaces and pods."""
    rows = []
    for use in sorted(facts.uses, key=lambda use: (use.key, use.namespace, use.pod)):
        secret = facts.secrets.get(use.key)
        verdict = _judge(use, secret)
        mounted = None if secret is None or use.version is None else secret.find(use.version)
        rows.append(
            Row(
                vault=secret.vault if secret else use.key[0],
                secret=use.secret,
                client_id=secret.client_id if secret else None,
                namespace=use.namespace,
                pod=use.pod,
                newest=secret.newest if secret else None,
                mounted_version=use.version,
                mounted=mounted.thumbprint if mounted else None,
                in_use=verdict.in_use,
                state=verdict.state,
                reason=verdict.reason,
                hint=verdict.hint,
            )
        )
    return rows


def find_unused(secret: StoredSecret, rows: Sequence[Row]) -> list[Version]:
    """Find the earlier versions whose certificate no pod uses any more; none as long as a pod is not done.

    Args:
        secret: The secret.
        rows: Every row, also those of other secrets, which may hold the same certificate.
    """
    own = [row for row in rows if (row.vault, row.secret.lower()) == (secret.vault, secret.name.lower())]
    if not own or not all(row.is_done for row in own):
        return []
    used = {row.newest.thumbprint for row in rows if row.newest is not None}
    used |= {thumbprint for row in rows for thumbprint in (row.mounted, *row.in_use)}
    return [each for each in secret.earlier if each.thumbprint is not None and each.thumbprint not in used]


def _judge(use: Use, secret: StoredSecret | None) -> _Verdict:
    if use.problem or secret is None:
        return _Verdict(State.UNKNOWN, use.problem or "the vault was not asked for this secret")
    newest = secret.newest
    if newest is None or newest.thumbprint is None:
        return _Verdict(State.UNKNOWN, secret.problem or "the newest version is not known")
    verdict = _judge_pod(use, secret, newest)
    if verdict.state is not State.NEW:
        return verdict
    if secret.obstacle is None:
        return _judge_copies(use, verdict) if use.copies else verdict
    if secret.refusal is not None:
        return _Verdict(State.REFUSED, secret.obstacle, "Do not revoke the earlier one.", verdict.in_use)
    return _Verdict(State.UNKNOWN, secret.obstacle, None, verdict.in_use)


def _judge_pod(use: Use, secret: StoredSecret, newest: Version) -> _Verdict:
    if use.is_waiting:
        return _Verdict(
            State.WAITING,
            "its volume is not mounted yet",
            f"See why: kubectl describe pod {use.pod} --namespace {use.namespace}",
        )
    mounted = None if use.version is None else secret.find(use.version)
    certificate = mounted.thumbprint if mounted else None
    if use.version != newest.version and certificate != newest.thumbprint:
        return _Verdict(
            State.OLD,
            f"the mount has an earlier version, {use.version}",
            "The driver mounts the newest one within minutes if its rotation is on, and the class names no "
            f"version. If not, restart it: {_render_restart(use)}",
            _list_in_use(use, secret),
        )
    verdicts = [
        verdict for program in use.programs for verdict in _judge_program(program, use, secret, newest)
    ]
    in_use = tuple(dict.fromkeys(each for verdict in verdicts for each in verdict.in_use))
    for state in (State.OLD, State.UNKNOWN, State.DRAINING):
        for verdict in verdicts:
            if verdict.state is state:
                return _Verdict(state, verdict.reason, verdict.hint, in_use)
    reason = "; ".join(verdict.reason for verdict in verdicts) or "no container mounts it"
    return _Verdict(State.NEW, reason, None, in_use)


def _judge_copies(use: Use, verdict: _Verdict) -> _Verdict:
    """Judge a pod that is done itself, but has the driver copy the secret for others."""
    return _Verdict(
        State.UNKNOWN,
        f"the driver also copies it to Kubernetes Secrets, and who reads those is not seen: "
        f"{', '.join(use.copies)}",
        "Restart what reads them, and judge those by hand.",
        verdict.in_use,
    )


def _judge_program(program: Program, use: Use, secret: StoredSecret, newest: Version) -> Iterator[_Verdict]:
    """Judge a container whose mount has the newest certificate, by each credential that it shows."""
    own = _find_own(program, secret)
    if program.started_at is None or not own:
        yield _judge_unseen(program, use, newest)
        return
    for seen in own:
        yield _judge_seen(program, seen, use, newest)


def _judge_unseen(program: Program, use: Use, newest: Version) -> _Verdict:
    """Judge it by what it must have read when it started."""
    name, read = program.name, tuple(filter(None, [newest.thumbprint]))
    if program.started_at is None:
        if program.keeps_assertions:
            reason = f"{name} does not run, and programs may use the last assertion that it wrote"
            return _Verdict(State.UNKNOWN, reason, f"See its log: kubectl logs {use.pod} {name}")
        return _Verdict(State.NEW, f"{name} does not run, and reads the mount when it starts")
    if _is_first(program, use):
        return _Verdict(State.NEW, f"the pod of {name} has had it from its start", None, read)
    if (
        not program.keeps_assertions  # others may still send what it wrote before it was started again
        and use.changed_at is not None
        and program.started_at - use.changed_at >= CLOCK_TOLERANCE
    ):
        return _Verdict(State.NEW, f"{name} has started after it was mounted", None, read)
    if program.has_ended:
        return _Verdict(
            State.UNKNOWN,
            f"the init container {name} ended before the newest one was mounted, and may have copied another",
            f"If others use such a copy, restart it: {_render_restart(use)}",
        )
    why = program.problem or "it shows no certificate of this secret"
    return _Verdict(
        State.UNKNOWN,
        f"{name} has run since before the newest one was mounted, and may not have read it: {why}",
        f"If it does not reload, restart it: {_render_restart(use)}",
    )


def _is_first(program: Program, use: Use) -> bool:
    """Tell whether the newest version was mounted before a container was started, and no other ever was.

    A status that was made later than the container may follow one that was deleted, and tells nothing.
    """
    return (
        use.is_first
        and use.changed_at is not None
        and program.started_at is not None
        and use.changed_at - program.started_at <= CLOCK_TOLERANCE
    )


def _judge_seen(program: Program, seen: Seen, use: Use, newest: Version) -> _Verdict:
    name = program.name
    if seen.thumbprint != newest.thumbprint:
        return _Verdict(
            State.OLD,
            f"{name} uses an earlier certificate, {shorten(seen.thumbprint)}",
            f"See its log. If it does not follow, restart it: {_render_restart(use)}",
            (seen.thumbprint,),
        )
    if seen.is_refused:
        reason = f"the authority refuses the newest certificate of {name}, which uses the one before"
        return _Verdict(State.OLD, reason, "Do not revoke the earlier one.")
    if not (seen.keeps_assertions or program.keeps_assertions):
        return _Verdict(State.NEW, f"{name} uses it", None, (seen.thumbprint,))
    return _judge_assertions(program, seen, use, newest)


def _judge_assertions(program: Program, seen: Seen, use: Use, newest: Version) -> _Verdict:
    name, assertions = program.name, seen.assertions
    if assertions is None:
        reason = f"{name} has written no assertion since it started; an earlier one may be in the file"
        return _Verdict(State.UNKNOWN, reason, "See its log, and its page.", (seen.thumbprint,))
    if assertions.thumbprint != newest.thumbprint:
        reason = (
            f"{name} still signs assertions with an earlier certificate, {shorten(assertions.thumbprint)}"
        )
        return _Verdict(State.OLD, reason, "See its log, and its page.", (assertions.thumbprint,))
    left = DRAIN - (seen.at - assertions.since)
    if left > timedelta(0) and not _is_first(program, use):
        reason = f"programs may send an earlier assertion of {name} for {_render_minutes(left)} more"
        return _Verdict(State.DRAINING, reason, None, (seen.thumbprint,))
    return _Verdict(State.NEW, f"{name} signs assertions with it", None, (seen.thumbprint,))


def _list_in_use(use: Use, secret: StoredSecret) -> tuple[str, ...]:
    found = [seen.thumbprint for program in use.programs for seen in _find_own(program, secret)]
    return tuple(dict.fromkeys(found))


def _find_own(program: Program, secret: StoredSecret) -> list[Seen]:
    """Find a secret's credentials among those that a program shows, by the certificates in the vault."""
    known = {each.thumbprint for each in (secret.newest, *secret.earlier) if each is not None}
    return [
        seen
        for seen in program.seen
        if seen.thumbprint in known or (seen.assertions is not None and seen.assertions.thumbprint in known)
    ]


def _render_restart(use: Use) -> str:
    """Render the command that replaces a pod, and so mounts the newest version."""
    if not use.owner:
        return "it has no controller, so replace it by hand"
    if use.owner.startswith("pod/"):
        return f"kubectl delete {use.owner} --namespace {use.namespace}"
    return f"kubectl rollout restart {use.owner} --namespace {use.namespace}"


def _render_minutes(left: timedelta) -> str:
    minutes = -(-int(left.total_seconds()) // 60)
    return f"{minutes} minute{'' if minutes == 1 else 's'}"


def shorten(thumbprint: str) -> str:
    """Shorten a thumbprint as people compare it."""
    return thumbprint[:12]
