"""Rejected content is not kept: nothing of an invalid file stays in the memory of the process."""

import gc
import os
from collections.abc import Iterator
from types import ModuleType

import pytest
from tests.credential.conftest import SCOPE, Identity, Make
from tests.credential.files import encode, issue, make_key, render_file
from tests.support.waiting import wait_until

pytestmark = pytest.mark.unmeasured  # the search through all objects would be most of it

SENTINEL = os.urandom(16).hex()
SECRET = SENTINEL + "x" * 40


@pytest.fixture(autouse=True)
def _whole_heap() -> Iterator[None]:
    """Let the garbage collector also know what was there before the first test: a registry, for instance."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


def find_holders() -> Iterator[str]:
    """Find the objects that hold the sentinel, among all that the garbage collector knows."""
    for holder in gc.get_objects():
        if isinstance(holder, ModuleType):
            continue  # its dict is searched instead; on Python 3.12, that of a C extension never ends
        for held in gc.get_referents(holder):
            is_found = (type(held) is str and SENTINEL in held) or (
                type(held) is bytes and SENTINEL.encode() in held
            )
            if is_found and held not in (SENTINEL, SECRET):
                yield type(holder).__name__


def render_rejected(*, is_parsed: bool) -> bytes:
    """Render a file that is rejected: by the parser or, with a valid certificate, for its identity."""
    if is_parsed:
        return render_file(issue(key=make_key(1)), custom=SECRET)
    return render_file(issue(), client_secret=encode(SECRET.encode()), custom=SECRET)


@pytest.mark.parametrize("is_parsed", [True, False])
def test_content_is_not_kept_in_memory_when_it_was_rejected(
    identity: Identity, make_identity: Make, *, is_parsed: bool
):
    identity.rotate()
    credential = make_identity()
    credential.get_token(SCOPE)
    identity.mount.swap(render_rejected(is_parsed=is_parsed))
    wait_until(lambda: credential.status().last_error)
    gc.collect()
    assert list(find_holders()) == []


def test_content_is_not_kept_in_memory_when_its_error_was_raised_to_callers(
    identity: Identity, make_identity: Make
):
    identity.mount.swap(render_rejected(is_parsed=False))
    credential = make_identity()
    for _ in range(2):
        try:
            credential.get_token(SCOPE)
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not lead to the content)
            assert "client_secret" in str(error)  # noqa: PT017 (the rest is what this is about)
            assert list(find_holders()) == []
        else:
            pytest.fail("a rejected file gave a token")
    gc.collect()
    assert list(find_holders()) == []
