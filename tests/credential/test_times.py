"""The documented times, to the second, on a stopped clock."""

import datetime as dt
from collections.abc import Iterator

import pytest
from tests.credential.files import encode, issue, later, render_file
from tests.support.volume import Mount

from hcpcreds.credential import UserAssignedIdentityCredential
from hcpcreds.credential.registry import open_source
from hcpcreds.credential.source import DEFAULT_BACKSTOP, CredentialSource
from hcpcreds.credential_file.content import MANAGED_IDENTITY
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
    """The source of a credential with its defaults."""
    with UserAssignedIdentityCredential(mount.path, clock=clock):
        source, give_back = open_source(
            mount.path, MANAGED_IDENTITY, backstop=DEFAULT_BACKSTOP, poll=False, read=False, clock=clock
        )
        yield source
        give_back()


def test_file_is_due_every_six_hours_when_no_change_is_noticed(source: CredentialSource, mount: Mount):
    mount.swap(render_file(FIRST))
    source.reload()
    assert source.get_delay() == 6 * 3600


def test_file_is_due_after_a_second_when_it_could_not_be_read(source: CredentialSource):
    source.reload()
    assert source.get_delay() == 1


@pytest.mark.parametrize(("ahead", "delay"), [(10, 10), (59, 59), (61, 60), (86400, 60)])
def test_file_is_checked_again_every_minute_when_its_time_lies_ahead(
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


def test_certificate_is_used_for_five_more_minutes_when_it_has_expired(
    source: CredentialSource, mount: Mount, clock: StillClock
):
    mount.swap(render_file(FIRST))
    source.reload()
    clock.at = END + SKEW - SECOND_OF_TIME
    assert [each.certificate.thumbprint for each in source.get_usable()] == [FIRST.thumbprint]
    clock.at = END + SKEW
    with pytest.raises(CredentialExpiredError):
        source.get_usable()


def test_previous_certificate_is_tried_first_for_thirty_seconds_when_the_current_one_is_refused(
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
def test_later_certificate_is_used_five_minutes_early_when_both_belong_to_the_key(
    next_begins: int, turn: dt.timedelta
):
    """The switch happens at the later one's start, or else at the end of the other one."""
    old, new = issue(not_before=START, days=10), issue(not_before=START + next_begins * DAY, days=90)
    content = render_file(old, client_secret=encode(old.certificate_pem + new.certificate_pem + old.key_pem))
    for now, signs in ((turn - SECOND_OF_TIME, old), (turn, new)):
        file = parse_credential_file(content, path="p", now=START + now)
        assert file.certificate.thumbprint == signs.thumbprint


def test_file_is_read_completely_when_it_has_the_maximum_size(mount: Mount):
    content = render_file(FIRST)
    mount.swap(content + b" " * (MAX_FILE_BYTES - len(content)))
    assert MAX_FILE_BYTES == 1024 * 1024
    with UserAssignedIdentityCredential(mount.path) as credential:
        assert credential.status().generation == 1
