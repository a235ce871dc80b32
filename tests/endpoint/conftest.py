"""Identities that are mounted, and endpoints that serve them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.endpoint.endpoints import Identity, RunningEndpoint, running

from hcpcreds.local.azure.azure import LocalAzure


@pytest.fixture
def identity(local_azure: LocalAzure, tmp_path: Path) -> Identity:
    """A managed identity, whose credential is mounted."""
    identity = Identity(local_azure, tmp_path / "mounted", "ingress")
    identity.rotate()
    return identity


@pytest.fixture
def start() -> Iterator[Callable[..., RunningEndpoint]]:
    """Starts endpoints, and stops them."""
    with ExitStack() as stack:

        def begin(*identities: Identity, **options: Any) -> RunningEndpoint:
            return stack.enter_context(running(*identities, **options))

        yield begin
