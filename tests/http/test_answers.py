"""Responses that are too long, compressed or not: memory stays limited, and the error says why."""

import asyncio
import gzip
import json
import re
import tracemalloc
import uuid
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.credential.subjects import AioSubject, Loop
from tests.local.clients import AsyncCaller, Caller

import hcpcreds.aio
import hcpcreds.credential
from hcpcreds import dataplane
from hcpcreds.dataplane import aio
from hcpcreds.errors import IssueUnavailableError, TokenUnavailableError
from hcpcreds.http.answers import Unpacker
from hcpcreds.http.failures import UnusableAnswerError
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.renewal.service import Access, open_renewers
from hcpcreds.renewal.walk import RenewalSettings

MEBIBYTE = 1024 * 1024
LIMIT = 5000
BITS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS, "raw deflate": -zlib.MAX_WBITS}


@cache
def make_bomb(encoding: str) -> bytes:
    """300 MiB of blanks in 300 KiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, BITS[encoding])
    block = b" " * MEBIBYTE
    return b"".join(packer.compress(block) for _ in range(300)) + packer.flush()


def make_fault(kind: str) -> dict[str, Any]:
    if kind == "not packed":
        return {"body": b" " * 5 * MEBIBYTE}
    encoding = "deflate" if kind == "deflate" else "gzip"
    fault: dict[str, Any] = {"body": make_bomb(encoding), "headers": {"Content-Encoding": encoding}}
    if kind == "redirect":
        fault |= {"status": 307}
        fault["headers"]["Location"] = "https://127.0.0.1:1/"
    return fault


def measure(call: Callable[[], object]) -> int:
    """Return the peak memory of a call, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Asker:
    """Sends a request to a service of the local Azure with one of the clients, and returns the error."""

    def __init__(self, azure: LocalAzure, file: str) -> None:
        self.azure = azure
        self._file = file
        self._options: dict[str, Any] = {"connection_verify": str(azure.ca_file), "retry_backoff_factor": 0}

    def credential(self) -> str:
        with hcpcreds.credential.UserAssignedIdentityCredential(self._file, **self._options) as credential:
            with pytest.raises(TokenUnavailableError) as caught:
                credential.get_token("https://vault.azure.net/.default")
            return str(caught.value)

    def aio_credential(self) -> str:
        loop = Loop()
        kind = hcpcreds.aio.UserAssignedIdentityCredential
        subject = AioSubject(loop, lambda: kind(self._file, **self._options))
        with pytest.raises(TokenUnavailableError) as caught:
            subject.get_token("https://vault.azure.net/.default")
        subject.close()
        loop.close()
        return str(caught.value)

    def data_plane(self) -> str:
        with dataplane.ManagedIdentityDataPlaneClientFactory(
            Caller(self.azure), self.azure.settings.data_plane_audience, hosts=["127.0.0.1"], **self._options
        ) as factory:
            with pytest.raises(IssueUnavailableError) as caught:
                factory.create_client(self.azure.identity_url).get_system_assigned_identity_credentials()
            return str(caught.value)

    def aio_data_plane(self) -> str:
        async def ask() -> str:
            audience = self.azure.settings.data_plane_audience
            async with aio.ManagedIdentityDataPlaneClientFactory(
                AsyncCaller(self.azure), audience, hosts=["127.0.0.1"], **self._options
            ) as factory:
                client = factory.create_client(self.azure.identity_url)
                with pytest.raises(IssueUnavailableError) as caught:
                    await client.get_system_assigned_identity_credentials()
                return str(caught.value)

        return asyncio.run(ask())

    def renewer(self) -> str:
        access = Access(
            vault_urls=[self.azure.vault_url()],
            audience=self.azure.settings.data_plane_audience,
            data_plane_hosts=["127.0.0.1"],
            credential_file=self._file,
            ca_file=str(self.azure.ca_file),
        )

        async def ask() -> str:
            async with open_renewers(access, RenewalSettings(attempts=1)) as (renewer,):
                return str((await renewer.walk()).problem)

        return asyncio.run(ask())


@pytest.fixture
def asker(local_azure: LocalAzure, tmp_path: Any) -> Asker:
    file = tmp_path / "credential"
    file.write_text(json.dumps(local_azure.issue(str(uuid.uuid4()))))
    return Asker(local_azure, str(file))


WAYS = [
    ("credential", "entra", 1024),
    ("aio_credential", "entra", 1024),
    ("data_plane", "data_plane", 4096),
    ("aio_data_plane", "data_plane", 4096),
    ("renewer", "vault", 4096),
    ("renewer", "entra", 1024),
]


@pytest.mark.parametrize(("way", "service", "kibibytes"), WAYS)
@pytest.mark.parametrize("kind", ["gzip", "deflate", "not packed", "redirect"])
def test_response_is_refused_before_it_is_in_memory_when_it_is_too_long(
    asker: Asker, way: str, service: str, kibibytes: int, kind: str
):
    bomb = asker.azure.faults.add(service, **make_fault(kind))
    errors: list[str] = []
    assert measure(lambda: errors.append(getattr(asker, way)())) < 32 * MEBIBYTE
    assert f"unusable response: it is longer than {kibibytes} KiB" in errors[0]
    assert bomb.met == 1, "the next one would be as long"


@pytest.mark.parametrize("way", ["credential", "aio_credential"])
@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("br", b"anything", "Content-Encoding"),
        ("gzip, gzip", b"anything", "Content-Encoding"),
        ("gzip", b"anything", "cannot be decompressed"),
        ("deflate", b"\x07anything", "cannot be decompressed"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-9], "truncated"),
    ],
)
def test_response_is_refused_with_the_reason_when_it_cannot_be_decompressed(
    asker: Asker, way: str, encoding: str, body: bytes, reason: str
):
    asker.azure.faults.add("entra", body=body, headers={"Content-Encoding": encoding})
    assert re.search(f"unusable response: .*{reason}", getattr(asker, way)())


@pytest.mark.parametrize("way", ["credential", "aio_credential"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate", "identity"])
def test_response_is_decompressed_when_it_is_compressed(asker: Asker, way: str, encoding: str):
    body = pack(encoding, b'{"error": "server_error", "error_description": "as if plain"}')
    headers = {"Content-Encoding": encoding.removeprefix("raw ")}
    asker.azure.faults.add("entra", status=503, body=body, headers=headers)
    assert "server_error: as if plain" in getattr(asker, way)()


def pack(encoding: str, body: bytes) -> bytes:
    if encoding == "identity":
        return body
    packer = zlib.compressobj(9, zlib.DEFLATED, BITS[encoding])
    return packer.compress(body) + packer.flush()


@given(
    st.binary(max_size=2 * LIMIT),
    st.sampled_from([*BITS, "identity"]),
    st.integers(1, 4000),
    st.integers(1, 3),
)
def test_unpacker_returns_the_body_when_it_comes_in_any_chunks(
    body: bytes, encoding: str, size: int, repeats: int
):
    body *= repeats
    packed = pack(encoding, body)
    unpacker = Unpacker(encoding.removeprefix("raw "), limit=LIMIT)

    def unpack() -> bytes:
        for start in range(0, len(packed), size):
            unpacker.feed(packed[start : start + size])
        return unpacker.finish()

    if len(body) <= LIMIT and len(packed) <= LIMIT:
        assert unpack() == body
    else:
        with pytest.raises(UnusableAnswerError, match="longer than 4 KiB"):
            unpack()
