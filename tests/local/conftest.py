"""The local Azure is what is tested here: this one's own lines are measured."""

from collections.abc import Iterator

import pytest

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.settings import AzureSettings


@pytest.fixture(scope="session")
def _session_azure() -> Iterator[LocalAzure]:
    with LocalAzure(AzureSettings(refuse_replayed_assertions=False, key_pool=5)) as azure:
        yield azure
