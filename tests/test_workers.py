"""Work in the background: bounded threads, and none that is lost unseen."""

import functools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.waiting import no_new_threads, wait_until

from hcpcreds.workers import Workers

WORKERS = Workers("test-workers")


@pytest.fixture
def workers() -> Iterator[Workers]:
    yield WORKERS
    wait_until(lambda: not count_threads())
    WORKERS.reset_after_fork()


def count_threads() -> int:
    return sum(thread.name == "test-workers" for thread in threading.enumerate())


def test_submit_returns_false_when_no_thread_can_be_started(workers: Workers):
    done = threading.Event()
    with no_new_threads():
        assert not workers.submit(done.set)
    assert workers.submit(lambda: None)
    wait_until(lambda: not count_threads())
    assert not done.is_set(), "who was told that nobody calls it may have done it otherwise"


def test_work_continues_when_more_threads_cannot_be_started(workers: Workers):
    release, done = threading.Event(), threading.Event()
    assert workers.submit(release.wait)
    with no_new_threads():
        assert workers.submit(done.set)
    release.set()
    assert done.wait(8)


def test_each_of_two_gets_a_thread_when_one_is_idle_and_the_first_hangs(workers: Workers):
    release, done = threading.Event(), threading.Event()
    workers.call(lambda: None).result(8)
    assert workers.submit(release.wait)
    assert workers.submit(done.set)
    assert done.wait(8)
    release.set()


def test_threads_and_waiting_work_are_bounded_when_everything_hangs(workers: Workers):
    release = threading.Event()
    try:
        taken = sum(workers.submit(release.wait) for _ in range(2_000))
        wait_until(lambda: count_threads() == 4)
        # A thread that was started for nothing hands its work on.
        assert 1_000 <= taken <= 1_020
    finally:
        release.set()


def test_thread_continues_when_work_raises(workers: Workers, caplog: pytest.LogCaptureFixture):
    done = threading.Event()

    def fail() -> None:
        raise ValueError("no secret in here")

    assert workers.submit(fail)
    assert workers.submit(done.set)
    assert done.wait(8)
    wait_until(lambda: "work in the background failed: ValueError in hcpcreds." in caplog.text)
    assert "secret" not in caplog.text


def test_call_returns_the_result_or_raises_the_error(workers: Workers):
    assert workers.call(lambda: 5).result(8) == 5
    assert isinstance(workers.call(Path("/nowhere").stat).exception(8), FileNotFoundError)


def test_call_is_done_here_when_no_thread_can_be_started(workers: Workers):
    with no_new_threads():
        assert workers.call(threading.current_thread).result(0) is threading.current_thread()


def test_call_is_not_made_when_nobody_waits_for_it(workers: Workers):
    release, done = threading.Event(), threading.Event()
    for _ in range(4):
        assert workers.submit(release.wait)
    future = workers.call(done.set)
    assert future.cancel()
    release.set()
    wait_until(lambda: not count_threads())
    assert not done.is_set()


def test_everything_is_called_once_when_many_submit_at_once(workers: Workers):
    done: list[int] = []
    taken: list[int] = []

    def submit(first: int) -> None:
        numbers = range(first, first + 500)
        taken.extend(each for each in numbers if workers.submit(functools.partial(done.append, each)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(submit, range(0, 4_000, 500)))
    wait_until(lambda: len(done) >= len(taken))
    assert sorted(done) == sorted(taken)
