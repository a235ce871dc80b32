"""Who uses which certificate: what is not known counts as in use."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcpcreds.cluster.rollout.facts import Assertions, Facts, Program, Seen, StoredSecret, Use, Version
from hcpcreds.cluster.rollout.judgement import Row, State, find_unused, judge_rollout

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SWAPPED = NOW - 60 * MINUTE
OLD, NEW, OTHER = "1" * 64, "2" * 64, "3" * 64
SECRET = StoredSecret(
    vault="harbour",
    name="ingress",
    client_id="aaaaaaaa-0000-0000-0000-000000000001",
    newest=Version(version="v2", thumbprint=NEW),
    earlier=(Version(version="v1", thumbprint=OLD),),
)
USE = Use(
    namespace="clusters-a",
    pod="ingress-operator-1",
    owner="deployment/ingress-operator",
    key=("harbour", "ingress"),
    secret="ingress",
    version="v2",
    changed_at=SWAPPED,
)


def make_seen(thumbprint: str = NEW, **changes: Any) -> Seen:
    made = Seen(thumbprint=thumbprint, is_refused=False, keeps_assertions=False, assertions=None, at=NOW)
    return replace(made, **changes)


def make_sidecar(signs: str | None, *, since: datetime = SWAPPED, **changes: Any) -> Program:
    assertions = None if signs is None else Assertions(thumbprint=signs, since=since)
    return make_program(make_seen(keeps_assertions=True, assertions=assertions, **changes))


def make_program(*seen: Seen, started: datetime | None = SWAPPED - 60 * MINUTE, **changes: Any) -> Program:
    return Program(name="main", started_at=started, seen=seen, **changes)


def judge(*programs: Program, secret: StoredSecret = SECRET, **changes: Any) -> Row:
    use = replace(USE, programs=programs, **changes)
    (row,) = judge_rollout(Facts(secrets={("harbour", "ingress"): secret}, uses=(use,)))
    assert row.is_done == (row.state is State.NEW)
    return row


@pytest.mark.parametrize(
    "programs",
    [
        [make_program(make_seen())],
        [make_program(make_seen(OTHER), make_seen())],
        [make_sidecar(NEW)],
        [make_program(started=SWAPPED + 6 * MINUTE)],
        [make_program(started=None)],
        [make_program(started=SWAPPED + 6 * MINUTE, has_ended=True)],
        [],
    ],
    ids=[
        "shows it",
        "shows others too",
        "signs with it",
        "started later",
        "does not run",
        "has ended",
        "none mounts it",
    ],
)
def test_pod_is_done_when_every_program_uses_the_newest_certificate(programs: list[Program]):
    assert judge(*programs).is_done


def test_pod_is_done_when_it_has_had_the_newest_version_from_its_start():
    assert judge(make_program(started=SWAPPED), is_first=True).is_done
    sidecar = judge(make_sidecar(NEW, since=NOW), is_first=True, changed_at=SWAPPED - 60 * MINUTE)
    assert sidecar.is_done, "it holds no earlier assertion"


def test_pod_is_done_when_the_vault_holds_the_newest_certificate_twice():
    again = Version(version="v3", thumbprint=NEW)
    secret = replace(SECRET, newest=again, earlier=(Version(version="v2", thumbprint=NEW),))
    assert judge(make_program(make_seen()), secret=secret).is_done


@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        ([make_program(make_seen(OLD))], "main uses an earlier certificate, 111111111111"),
        ([make_program(make_seen(is_refused=True))], "refuses the newest certificate of main"),
        ([make_sidecar(OLD)], "main still signs assertions with an earlier certificate, 111111111111"),
        ([make_program(make_seen()), make_program(make_seen(OLD))], "uses an earlier certificate"),
        ([make_program(make_seen(), make_seen(OLD))], "uses an earlier certificate"),
        ([make_program(), make_program(make_seen(OLD))], "uses an earlier certificate"),
    ],
)
def test_pod_is_old_when_a_program_uses_an_earlier_certificate(programs: list[Program], reason: str):
    row = judge(*programs)
    assert row.state is State.OLD
    assert reason in row.reason


def test_pod_is_old_when_its_mount_is():
    row = judge(make_program(make_seen(OLD)), version="v1")
    assert (row.state, row.mounted, row.in_use) == (State.OLD, OLD, (OLD,))
    assert "kubectl rollout restart deployment/ingress-operator --namespace clusters-a" in str(row.hint)
    row = judge(make_program(make_seen()), version="v0")
    assert (row.state, row.mounted) == (State.OLD, None), "a version that the vault does not list"
    assert "kubectl delete pod/a" in str(judge(version="v1", owner="pod/a").hint)


def test_pod_is_draining_while_programs_may_send_an_earlier_assertion():
    row = judge(make_sidecar(NEW, since=NOW - 10 * MINUTE))
    assert (row.state, row.in_use) == (State.DRAINING, (NEW,))
    assert row.reason == "programs may send an earlier assertion of main for 1 minute more"
    assert judge(make_sidecar(NEW, since=NOW - 11 * MINUTE)).is_done


@pytest.mark.parametrize(
    ("programs", "changes", "reason"),
    [
        ([make_program(problem="it has no port")], {}, "may not have read it: it has no port"),
        ([make_program(make_seen(OTHER))], {}, "it shows no certificate of this secret"),
        ([make_program(make_seen()), make_program()], {}, "has run since before"),
        ([make_program(started=SWAPPED + 4 * MINUTE)], {}, "has run since before"),
        ([make_program(started=NOW)], {"changed_at": None}, "has run since before"),
        ([make_program(started=NOW, keeps_assertions=True)], {}, "has run since before"),
        ([make_program(started=None, keeps_assertions=True)], {}, "the last assertion that it wrote"),
        ([make_sidecar(None)], {}, "has written no assertion since it started"),
        ([make_program(make_seen(), keeps_assertions=True)], {}, "has written no assertion since it started"),
        ([make_program()], {"is_first": True}, "has run since before"),
        ([make_program(has_ended=True)], {}, "the init container main ended before"),
        ([make_program(make_seen())], {"copies": ("hcp/a-copy",)}, "who reads those is not seen: hcp/a-copy"),
        ([make_program(make_seen())], {"problem": "pods is forbidden"}, "pods is forbidden"),
        ([make_program(make_seen())], {"key": ("harbour", "kms")}, "was not asked"),
    ],
)
def test_pod_is_unknown_with_the_reason_when_a_fact_is_hidden(
    programs: list[Program], changes: dict[str, Any], reason: str
):
    row = judge(*programs, **changes)
    assert row.state is State.UNKNOWN
    assert reason in row.reason


def test_pod_is_waiting_when_nothing_is_mounted_yet():
    assert judge(version=None, is_waiting=True).state is State.WAITING


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"newest": None, "problem": "the vault refused"}, State.UNKNOWN),
        ({"newest": Version(version="v2"), "problem": "not a credential"}, State.UNKNOWN),
        ({"refusal": "AADSTS700027"}, State.REFUSED),
        ({"unproven": "the authority did not answer"}, State.UNKNOWN),
    ],
)
def test_no_pod_is_done_when_the_newest_certificate_is_unknown_or_not_accepted(
    changes: dict[str, Any], state: State
):
    row = judge(make_program(make_seen()), secret=replace(SECRET, **changes))
    assert row.state is state
    assert (changes.get("problem") or changes.get("refusal") or changes["unproven"]) in row.reason


def test_earlier_certificates_are_unused_only_when_every_pod_is_done():
    done, old = judge(make_program(make_seen())), judge(version="v1")
    assert find_unused(SECRET, [done]) == list(SECRET.earlier)
    assert find_unused(SECRET, [done, old]) == []
    assert find_unused(SECRET, []) == [], "nothing was seen"
    shared = replace(done, secret="copy", newest=Version(version="v9", thumbprint=OLD))
    assert find_unused(SECRET, [done, shared]) == [], "another secret has it"
    newest = Version(version="v2", thumbprint=NEW)
    assert find_unused(SECRET, [replace(done, newest=newest)]) == list(SECRET.earlier)
    twice = replace(SECRET, earlier=(Version(version="v1", thumbprint=NEW), Version(version="v0")))
    assert find_unused(twice, [done]) == [], "the certificate in use, and one that is not known"


THUMBPRINTS = st.sampled_from([OLD, NEW, OTHER])
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
TIMES = st.sampled_from([SWAPPED - 60 * MINUTE, SWAPPED, SWAPPED + MINUTE, NOW - MINUTE, NOW, END_OF_TIME])
ASSERTIONS = st.builds(Assertions, thumbprint=THUMBPRINTS, since=TIMES)
SEEN = st.builds(
    make_seen,
    thumbprint=THUMBPRINTS,
    is_refused=st.booleans(),
    keeps_assertions=st.booleans(),
    assertions=ASSERTIONS,
) | st.builds(make_seen, thumbprint=THUMBPRINTS, keeps_assertions=st.booleans())
PROGRAMS = st.builds(
    Program,
    name=st.just("main"),
    started_at=st.none() | TIMES,
    seen=st.lists(SEEN, max_size=2).map(tuple),
    keeps_assertions=st.booleans(),
)


@given(programs=st.lists(PROGRAMS, max_size=3), version=st.sampled_from(["v0", "v1", "v2"]))
@settings(max_examples=150)
def test_pod_is_never_done_when_a_running_program_shows_or_may_have_the_old_certificate(
    programs: list[Program], version: str
):
    row = judge(*programs, version=version)
    if row.is_done:
        assert version == "v2"
        for program in programs:
            if program.started_at is None:
                continue
            shown = {seen.thumbprint for seen in program.seen}
            kept = [each.assertions for each in program.seen if each.keeps_assertions]
            assert OLD not in shown | {each.thumbprint for each in kept if each is not None}
            assert NEW in shown or program.started_at > SWAPPED
