"""Fixtures of the renewal's tests: a vault, and the check that no log and no outcome holds a secret."""

import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.renewal.renewals import Renewals

from hcpcreds.local.azure.azure import LocalAzure


@pytest.fixture
def make_renewals(
    make_azure: Callable[..., LocalAzure], local_azure: LocalAzure, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[..., Renewals]]:
    """Make an empty vault: of the session's Azure, or of a new one with other settings or another clock."""
    caplog.set_level(logging.DEBUG)
    made: list[Renewals] = []

    def make(*, now: Any = None, **settings: Any) -> Renewals:
        azure = make_azure(now=now, **settings) if now or settings else local_azure
        azure.vault().clear()
        made.append(Renewals(azure) if now is None else Renewals(azure, now=now))
        return made[-1]

    yield make
    logged = caplog.text
    for renewals in made:
        for shred in renewals.list_shreds():
            assert shred not in logged
            assert not any(shred in said for said in renewals.said)
        renewals.close()


@pytest.fixture
def renewals(make_renewals: Callable[..., Renewals]) -> Renewals:
    """An empty vault of the session's Azure."""
    return make_renewals()


@pytest.fixture(params=[min, max], ids=["shortest", "longest"])
def spread(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float, float], float]:
    """Make every random wait as short, or as long, as it can be."""
    choose: Callable[[float, float], float] = request.param
    monkeypatch.setattr(random, "uniform", choose)
    return choose
