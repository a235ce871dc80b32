"""What the renewer's tests share: a vault of their own, in which no secret is ever heard of again."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.renewal.renewals import Renewals

from hcpcreds.local.azure.azure import LocalAzure


@pytest.fixture
def make_renewals(
    make_azure: Callable[..., LocalAzure], caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[..., Renewals]]:
    """Start an Azure with settings of the test's own, and a vault in it. ``now=`` is every clock's."""
    caplog.set_level(logging.DEBUG)
    made: list[Renewals] = []

    def make(*, now: Any = None, **settings: Any) -> Renewals:
        azure = make_azure(now=now, **settings)
        made.append(Renewals(azure) if now is None else Renewals(azure, now=now))
        return made[-1]

    yield make
    heard = caplog.text
    for renewals in made:
        renewals.azure.faults.clear()
        for shred in renewals.list_shreds():
            assert shred not in heard
            assert not any(shred in said for said in renewals.said)
        renewals.close()


@pytest.fixture
def renewals(make_renewals: Callable[..., Renewals]) -> Renewals:
    """An empty vault."""
    return make_renewals()
