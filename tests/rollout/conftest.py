"""A cluster and a vault for the tests of this room; each test has secrets and pods of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rollout.fleet import Fleet

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.kubernetes.api import KubernetesApi


@pytest.fixture
def fleet(local_azure: LocalAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", local_azure.instance_metadata)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with KubernetesApi(tmp_path) as api:
        fleet = Fleet(local_azure, api, tmp_path)
        with fleet.stack:
            yield fleet
