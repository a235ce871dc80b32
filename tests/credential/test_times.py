"""The times that are promised, to the second, on a clock that stands still."""

import datetime as dt
from collections.abc import Iterator

import pytest
from tests.credential.files import encode, issue, later, render_file
from tests.support.volume import Mount

from hcpcreds.credential import UserAssignedIdentityCredential
from hcpcreds.credential.registry import open_source
from hcpcreds.credential.source import DEFAULT_BACKSTOP, CredentialSource
from hcpcreds.credential_file.file import MAX_FILE_BYTES, parse_credential_file
from hcpcreds.errors import CredentialExpiredError

FIRST = issue()
SECOND = later(FIRST)
START = FIRST.not_before
END = FIRST.certificate.not_valid_after_utc
DAY = dt.timedelta(days=1)
SKEW = dt.timedelta(minutes=5)
SECOND_OF_TIME = dt.timedelta(seconds=1)


class StillClock:
    def __init__(self, at: dt.datetime) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at.timestamp()


@pytest.fixture
def clock() -> StillClock:
    return StillClock(START + dt.timedelta(hours=1))


@pytest.fixture
def source(mount: Mount, clock: StillClock) -> Iterator[CredentialSource]:
    """The source that a credential with its defaults has."""
    with UserAssignedIdentityCredential(mount.path, clock=clock):
        source, give_back = open_source(
            mount.path, backstop=DEFAULT_BACKSTOP, poll=False, read=False, clock=clock
        )
        yield source
        give_back()


def test_file_is_read_every_six_hours_when_nothing_tells_of_a_change(source: CredentialSource, mount: Mount):
    mount.swap(render_file(FIRST))
    source.reload()
    assert source.get_delay() == 6 * 3600


def test_file_is_read_again_after_a_second_when_it_could_not_be_read(source: CredentialSource):
    source.reload()
    assert source.get_delay() == 1


@pytest.mark.parametrize(("ahead", "delay"), [(10, 10), (59, 59), (61, 60), (86400, 60)])
def test_file_is_judged_again_at_its_time_and_each_minute_when_it_lies_ahead(
    source: CredentialSource, mount: Mount, clock: StillClock, ahead: int, delay: int
):
    clock.at = START - SKEW - ahead * SECOND_OF_TIME
    mount.swap(render_file(FIRST))
    source.reload()
    assert source.get_delay() == delay
    clock.at += (ahead - 1) * SECOND_OF_TIME
    source.reload()
    assert source.status().generation == 0
    clock.at += SECOND_OF_TIME
    source.reload()
    assert source.status().generation == 1


def test_certificate_is_used_for_five_minutes_more_when_it_has_expired(
    source: CredentialSource, mount: Mount, clock: StillClock
):
    mount.swap(render_file(FIRST))
    source.reload()
    clock.at = END + SKEW - SECOND_OF_TIME
    assert [each.certificate.thumbprint for each in source.get_usable()] == [FIRST.thumbprint]
    clock.at = END + SKEW
    with pytest.raises(CredentialExpiredError):
        source.get_usable()


def test_earlier_certificate_is_asked_with_first_for_thirty_seconds_when_the_current_is_refused(
    source: CredentialSource, mount: Mount, clock: StillClock
):
    for issued in (FIRST, SECOND):
        mount.swap(render_file(issued))
        source.reload()
    current, _ = source.get_usable()
    source.set_refused(current, refused=True)
    for seconds, first in ((0, FIRST), (29, FIRST), (1, SECOND)):
        clock.at += seconds * SECOND_OF_TIME
        assert source.get_usable()[0].certificate.thumbprint == first.thumbprint


@pytest.mark.parametrize(("next_begins", "turn"), [(5, 5 * DAY - SKEW), (15, 10 * DAY + SKEW)])
def test_next_of_two_certificates_signs_with_five_minutes_of_skew(next_begins: int, turn: dt.timedelta):
    """From its own beginning, or else from the end of the other one."""
    old, new = issue(not_before=START, days=10), issue(not_before=START + next_begins * DAY, days=90)
    content = render_file(old, client_secret=encode(old.certificate_pem + new.certificate_pem + old.key_pem))
    for now, signs in ((turn - SECOND_OF_TIME, old), (turn, new)):
        file = parse_credential_file(content, path="p", now=START + now)
        assert file.certificate.thumbprint == signs.thumbprint


def test_file_is_read_whole_when_it_is_as_large_as_it_may_be(mount: Mount):
    content = render_file(FIRST)
    mount.swap(content + b" " * (MAX_FILE_BYTES - len(content)))
    assert MAX_FILE_BYTES == 1024 * 1024
    with UserAssignedIdentityCredential(mount.path) as credential:
        assert credential.status().generation == 1
