"""One API server for all the tests of this room, which skip where there is none to start."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.api_server import ApiServer, find_assets, run_api_server
from tests.cluster.crds import install


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server that knows HyperShift's kinds and the driver's."""
    assets = find_assets()
    if not isinstance(assets, Path):
        pytest.skip(assets)
    with run_api_server(assets, tmp_path_factory.mktemp("api-server")) as server:
        install(server)
        yield server
