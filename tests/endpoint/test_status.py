"""What the page says of credentials that are mounted, rotated, refused, broken, and expired."""

import json
import math
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.endpoint.endpoints import Identity, RunningEndpoint
from tests.serving.servers import running as serving
from tests.support.waiting import wait_until
from tests.test_no_secrets import assert_shows_none

from hcpcreds.endpoint.assertion_file import FileSettings
from hcpcreds.endpoint.service import TokenSettings
from hcpcreds.endpoint.status import describe_endpoint
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.page import Overview, State, Subject, build_page_routes
from hcpcreds.page.document import render_page
from hcpcreds.serving import parse_address

Start = Callable[..., RunningEndpoint]
DAY = timedelta(days=1).total_seconds()


@pytest.fixture
def files(tmp_path: Path) -> FileSettings:
    """Where assertions are written."""
    directory = tmp_path / "assertions"
    directory.mkdir()
    return FileSettings(directory=directory)


def look(running: RunningEndpoint, *, later: float = 0) -> Overview:
    return describe_endpoint(running.endpoint, now=time.time() + later, events=())


def look_at(running: RunningEndpoint, *, later: float = 0) -> Subject:
    (subject,) = look(running, later=later).subjects
    return subject


def list_roles(subject: Subject) -> list[tuple[str, str]]:
    return [(each.role.value, each.thumbprint) for each in subject.certificates]


def list_problems(subject: Subject) -> list[str]:
    return [problem.text for problem in subject.problems]


def get_fact(subject: Subject, label: str) -> object:
    return next(fact.value for fact in subject.facts if fact.label == label)


def test_status_shows_a_rotation_from_the_previous_certificate_to_the_one_in_use(
    identity: Identity, start: Start, files: FileSettings
):
    (first,) = identity.certificates
    running = start(identity, files=files)
    wait_until(lambda: not running.find_unready())
    subject = look_at(running)
    assert (subject.state, list_roles(subject)) == (State.OK, [("in use", first)])
    (certificate,) = subject.certificates
    assert certificate.renew_from is not None
    assert certificate.not_before < certificate.renew_from < certificate.not_after
    assert get_fact(subject, "Client ID") == identity.client_id
    second = identity.rotate()
    wait_until(lambda: list_roles(look_at(running)) == [("previous", first), ("in use", second)])
    assert look(running).summary == "The credential is in order."


def test_status_shows_the_next_certificate_until_the_authority_takes_it(
    identity: Identity, start: Start, files: FileSettings
):
    (first,) = identity.certificates
    running = start(identity, files=files)
    wait_until(lambda: not running.find_unready())
    second = identity.rotate(registration_delay=math.inf)
    wait_until(lambda: running.get_file("ingress").problem)
    subject = look_at(running)
    assert list_roles(subject) == [("in use", first), ("next", second)]
    assert subject.state is State.WARNING
    (problem,) = [each for each in subject.problems if "assertion" in each.text]
    assert problem.text == "The newest assertion is not written; programs use the last one."
    assert "AADSTS700027" in problem.detail
    third = identity.rotate()
    wait_until(lambda: list_roles(look_at(running))[-1] == ("in use", third))
    assert {role for role, _ in list_roles(look_at(running))[:-1]} == {"previous"}
    assert look_at(running).state is State.OK


def test_status_shows_that_tokens_come_from_the_previous_certificate_while_the_next_is_refused(
    identity: Identity, start: Start
):
    (first,) = identity.certificates
    running = start(identity, tokens=TokenSettings(imds=parse_address("127.0.0.1:0")))
    wait_until(lambda: not running.find_unready())
    second = identity.rotate(registration_delay=math.inf)
    refused = "Entra ID refuses the certificate that is mounted now."
    wait_until(lambda: refused in list_problems(look_at(running)))
    subject = look_at(running)
    assert (subject.state, list_roles(subject)) == (State.WARNING, [("in use", first), ("next", second)])
    assert subject.problems[0].detail == "the previous certificate is used while it is valid"


def test_status_says_that_programs_get_no_tokens_when_the_first_certificate_is_refused(
    identity: Identity, start: Start
):
    identity.rotate(registration_delay=math.inf)
    running = start(identity, tokens=TokenSettings(imds=parse_address("127.0.0.1:0")))
    wait_until(lambda: look_at(running).state is State.FAILING and look_at(running).problems[0].detail == "")
    assert list_problems(look_at(running)) == [
        "Entra ID refuses the certificate that is mounted now.",
        "Programs cannot get tokens with this credential.",
    ]


def test_status_says_what_to_do_when_nothing_is_mounted(
    local_azure: LocalAzure, start: Start, files: FileSettings, tmp_path: Path
):
    identity = Identity(local_azure, tmp_path / "mounted", "ingress")
    running = start(identity, files=files)
    wait_until(lambda: running.get_file("ingress").problem)
    subject = look_at(running)
    assert (subject.state, list_problems(subject)) == (State.FAILING, ["No usable credential is mounted."])
    assert "does not exist" in subject.problems[0].detail
    assert "pod's events" in subject.problems[0].advice


def test_status_says_that_a_broken_file_is_not_used(identity: Identity, start: Start, files: FileSettings):
    running = start(identity, files=files)
    wait_until(lambda: not running.find_unready())
    identity.mount.swap(b'{"client_id": ')
    wait_until(lambda: list_problems(look_at(running)))
    assert list_problems(look_at(running)) == [
        "What is mounted now is not used; the last valid certificate is."
    ]
    assert look_at(running).state is State.WARNING


def test_status_says_that_the_renewal_is_overdue_and_later_that_the_certificate_has_expired(
    identity: Identity, start: Start, files: FileSettings
):
    running = start(identity, files=files)
    wait_until(lambda: not running.find_unready())
    (certificate,) = look_at(running).certificates
    assert certificate.renew_from is not None
    due = certificate.renew_from.timestamp() - time.time()
    assert list_problems(look_at(running, later=due + DAY / 2)) == []
    assert list_problems(look_at(running, later=due + 2 * DAY)) == [
        "The renewal of the certificate is overdue."
    ]
    end = certificate.not_after.timestamp() - time.time()
    expired = look_at(running, later=end + 1)
    assert (expired.state, list_problems(expired)[0]) == (
        State.FAILING,
        "The certificate has expired, and no newer one is mounted.",
    )


def test_status_says_that_the_end_is_near_when_the_file_does_not_say_when_to_renew(
    identity: Identity, start: Start, files: FileSettings
):
    content, _ = identity.issue()
    fields = json.loads(content)
    fields["renew_after"] = {"not": "a time"}
    identity.mount.swap(json.dumps(fields).encode())
    running = start(identity, files=files)
    wait_until(lambda: not running.find_unready())
    (certificate,) = look_at(running).certificates
    assert certificate.renew_from is None
    end = certificate.not_after.timestamp() - time.time()
    near = look_at(running, later=end - DAY)
    assert list_problems(near) == ["The certificate expires soon, and no newer one is mounted."]
    assert list_problems(look_at(running, later=end - 20 * DAY)) == []


def test_status_says_that_entra_does_not_know_the_identity(
    identity: Identity, start: Start, files: FileSettings
):
    content, _ = identity.issue()
    fields = json.loads(content)
    fields["client_id"] = "11111111-2222-3333-4444-555555555555"
    identity.mount.swap(json.dumps(fields).encode())
    running = start(identity, files=files)
    wait_until(lambda: running.get_file("ingress").problem)
    subject = look_at(running)
    assert subject.state is State.FAILING
    assert "Programs cannot get tokens with this credential." in list_problems(subject)


def test_page_and_json_show_no_secret(identity: Identity, start: Start, files: FileSettings):
    content, _ = identity.issue()
    identity.mount.swap(content)
    running = start(identity, files=files)
    wait_until(lambda: not running.find_unready())
    with serving(build_page_routes(lambda: look(running))) as server:
        for path in ("/", "/status.json"):
            status, body = server.ask(path)
            assert (status, identity.client_id in body.decode()) == (200, True)
            assert_shows_none(body.decode(), content)


def test_hostile_names_and_paths_are_shown_as_text(local_azure: LocalAzure, start: Start, tmp_path: Path):
    identity = Identity(local_azure, tmp_path / "<script>alert('mounted')</script>", "<b>\x1b[2Jx")
    running = start(identity)
    document = render_page(look(running), seconds=5)
    assert "alert('mounted')" not in document
    assert "<b>\x1b" not in document
    assert "&lt;script&gt;alert(" in document
