"""A mount with a good file in it, and an authority that knows its certificate."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.credential.authority import Authority
from tests.credential.files import Mount


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "certs")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    authority = Authority(tmp_path)
    yield authority
    authority.close()
