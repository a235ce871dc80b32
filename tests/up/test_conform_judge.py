"""How `hcpcreds conform` judges by what has arrived."""

from typing import Any

import pytest

from hcpcreds.local.azure.faults import SeenRequest
from hcpcreds.up.conform.judge import History, Incident, Row, find_longest_gap, find_pause, judge

OLD, NEW = "a" * 64, "b" * 64
PROGRAM, SIDECAR = "azsdk-python-identity/1.27", "azsdk-python-hcpcreds/0.1 Python/3.13"


def see(at: float, certificate: str = OLD, status: int = 200, **changes: Any) -> SeenRequest:
    values = {"service": "entra", "agent": PROGRAM, **changes}
    return SeenRequest(at=at, certificate=certificate, status=status, **values)


def call(at: float, certificate: str = OLD, status: int = 200) -> SeenRequest:
    return see(at, certificate, status, service="resource_manager")


def judge_rotation(*requests: SeenRequest, over: float = 20, **changes: Any) -> Row:
    incident = Incident(fault="rotation", began=10, ended=10, over=over, steady=True, wanted=NEW)
    return judge(incident, History(requests, **changes), shortest=3, deadline=10)


def test_program_passes_when_it_uses_the_new_certificate_in_time():
    row = judge_rotation(see(9), see(11), see(12, NEW), over=12)
    assert (row.passed, row.seconds, row.requests, row.refused) == (True, 2, 2, 0)
    assert row.seen == "tokens all the time, new certificate in use after 2.0 s"


def test_program_fails_when_it_keeps_to_the_old_certificate():
    row = judge_rotation(*(see(at) for at in range(21)))
    assert row.passed is False
    assert row.seen == "the new certificate is not in use after 10 s"


def test_use_of_the_new_certificate_before_its_time_does_not_count():
    assert not judge_rotation(see(9, NEW), *(see(at) for at in range(10, 21))).passed


@pytest.mark.parametrize(("next_token", "problem"), [(12.6, None), (12.8, "no token for 2.8 s")])
def test_program_fails_when_it_is_without_a_token_for_most_of_a_fault(next_token: float, problem: str | None):
    row = judge_rotation(see(10), see(next_token, NEW), over=next_token)
    assert row.passed is (problem is None)
    assert row.seen == (problem or "tokens all the time, new certificate in use after 2.6 s")


def test_refusals_are_told_by_their_codes_and_nothing_else_of_them():
    refusal: dict[str, Any] = {
        "status": 401,
        "error": '{"error_description": "AADSTS700027: \x1b[2J evil eyJ0eXAi"}',
    }
    row = judge_rotation(
        see(11, NEW, **refusal), see(11, NEW, **refusal), see(11, status=0), see(12, NEW), over=12
    )
    assert row.seen.endswith("(2 x AADSTS700027, 1 x no answer)")
    assert (row.requests, row.refused) == (4, 3)


def test_tokens_of_the_sidecar_do_not_count_as_the_programs():
    requests = (see(10), *(see(at, NEW, agent=SIDECAR) for at in range(11, 21)))
    assert judge_rotation(*requests, has_sidecar=True).seen == "no token for 10.0 s"
    assert judge_rotation(*requests, see(20, OLD)).passed


def test_certificate_is_in_use_when_the_sidecar_of_a_program_that_keeps_its_assertion_uses_it():
    requests = (see(10), see(11, NEW, agent=SIDECAR), see(11), see(12))
    assert judge_rotation(*requests, has_sidecar=True, over=12).seconds == 1


def test_program_that_calls_is_judged_by_its_calls():
    row = judge_rotation(call(9), call(9.5, status=401), call(11), see(11, NEW), call(12, NEW), over=12)
    assert (row.passed, row.seconds) == (True, 2)


def test_tokens_do_not_count_when_the_program_has_to_call():
    row = judge_rotation(see(11, NEW), must_call=True)
    assert row.seen == "no call with a token for 10.0 s; the new certificate is not in use after 10 s"


@pytest.mark.parametrize(("times", "pause"), [([1, 2, 4], 2), ([1, 2, 4.1], None), ([1], None), ([], None)])
def test_program_that_asks_too_seldom_cannot_be_judged(times: list[float], pause: float | None):
    assert find_pause(times) == pause


def test_program_that_must_recover_passes_with_any_certificate_but_not_too_late():
    incident = Incident(fault="failing", began=10, ended=13, over=24, recovers=True)
    quick, slow = History([see(9), see(14)]), History([see(9), see(23.5)])
    assert judge(incident, quick, shortest=3, deadline=10).seen == "a token after 1.0 s"
    assert judge(incident, slow, shortest=3, deadline=10).seen == "no token after 10 s"


def test_program_that_has_ended_fails_whatever_it_has_done_before():
    incident = Incident(fault="torn", began=10, ended=13, over=14, wanted=NEW, death="the program ended")
    row = judge(incident, History([see(13.5, NEW)]), shortest=3, deadline=10)
    assert (row.passed, row.seen) == (False, "the program ended")


def test_longest_gap_begins_with_the_last_success_before():
    assert find_longest_gap([1, 8, 9, 11], 10, 12) == 2
    assert find_longest_gap([], 10, 12) == 2


def test_skipped_row_has_a_result_of_its_own():
    assert Row.skip("inotify", "not here").as_json()["result"] == "skipped"
