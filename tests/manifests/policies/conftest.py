"""One evaluator of the mutating policies for all the tests of this room: it compiles them for a while."""

from collections.abc import Iterator

import pytest
from tests.manifests.policies.api_server import ApiServer, start_api_server
from tests.manifests.policies.policy_examples import POLICIES


@pytest.fixture(scope="session")
def server() -> Iterator[ApiServer]:
    """The API server's own evaluation of the mutating policies."""
    mutating = [item for item in POLICIES if item["kind"].startswith("Mutating")]
    with start_api_server(mutating) as found:
        assert found.problems == []
        yield found
