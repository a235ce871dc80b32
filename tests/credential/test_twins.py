"""The sync and the asyncio credential have the same interface."""

import inspect
from typing import get_type_hints

import pytest
from azure.core.credentials import SupportsTokenInfo, TokenCredential
from azure.core.credentials_async import AsyncSupportsTokenInfo, AsyncTokenCredential

import hcpcreds
import hcpcreds.aio
import hcpcreds.credential

SYNC = hcpcreds.credential.UserAssignedIdentityCredential
AIO = hcpcreds.aio.UserAssignedIdentityCredential
METHODS = [
    "__init__",
    "get_token",
    "get_token_info",
    "close",
    "status",
    "from_environment",
    "from_cloud_config",
]


@pytest.mark.parametrize("method", METHODS)
def test_twins_have_the_same_signature(method: str):
    sync, aio = getattr(SYNC, method), getattr(AIO, method)
    assert inspect.signature(sync) == inspect.signature(aio)
    assert get_type_hints(sync) == get_type_hints(aio)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "__init__"])
def test_twins_have_the_same_docstrings(method: str):
    sync, aio = inspect.getdoc(getattr(SYNC, method)), inspect.getdoc(getattr(AIO, method))
    assert sync is not None
    assert aio is not None
    assert sync.replace("Blocks on the authority", "Waits for the authority") == aio


def test_twins_document_the_same_arguments():
    assert read_arguments(SYNC) == read_arguments(AIO)


def read_arguments(kind: type) -> str:
    return str(inspect.getdoc(kind)).partition("Args:")[2].partition("It may be used")[0].strip()


def test_credentials_implement_azures_protocols():
    assert issubclass(SYNC, TokenCredential)
    assert issubclass(AIO, AsyncTokenCredential)
    for kind, protocol in ((SYNC, SupportsTokenInfo), (AIO, AsyncSupportsTokenInfo)):
        assert all(hasattr(kind, name) for name in dir(protocol) if not name.startswith("_"))


def test_package_exports_the_sync_credential():
    assert hcpcreds.UserAssignedIdentityCredential is SYNC
