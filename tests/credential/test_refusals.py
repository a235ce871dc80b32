"""Refused certificates and keys that cannot sign: which certificate is used, and what a chain does."""

import base64
import dataclasses
import gc
import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ChainedTokenCredential, CredentialUnavailableError
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.credential.conftest import OTHER_SCOPE, SCOPE, Identity, Make, get_signer
from tests.credential.files import Clock, make_key, wait_for_generation
from tests.credential.subjects import Subject
from tests.support.heap import find_objects
from tests.support.waiting import wait_until

from hcpcreds.credential import UserAssignedIdentityCredential
from hcpcreds.credential.base import CachedToken
from hcpcreds.credential.registry import open_source
from hcpcreds.credential_file.content import MANAGED_IDENTITY
from hcpcreds.errors import MountFormatError, MountNotReadyError, TokenRefusedError
from hcpcreds.local.azure.azure import LocalAzure

CHALLENGE = '{"access_token": {}}'


def refuse(code: int) -> bytes:
    return json.dumps({"error": "invalid_client", "error_description": f"AADSTS{code}: No."}).encode()


@pytest.mark.parametrize(
    "code", [700027, 1000502, 7000214, 7000215, 7000222, 7000274, 7000277, 700023, 700030, 50012, 5000224]
)
def test_previous_certificate_is_used_when_the_current_one_is_refused(
    identity: Identity, make: Make, azure: LocalAzure, code: int
):
    first = identity.rotate()
    credential = make()
    credential.get_token(SCOPE)
    second = identity.rotate()
    wait_for_generation(credential, 2)
    azure.faults.add("entra", status=401, body=refuse(code), times=1)
    assert get_signer(credential.get_token(SCOPE, claims=CHALLENGE).token) == first
    assert credential.status().refused
    assert credential.status().thumbprint == second
    assert credential.status().gone is None


@pytest.mark.parametrize("code", [700024, 7000218, 700021, 50027, 50048, 700016, 500011])
def test_no_other_certificate_is_tried_when_the_refusal_is_not_about_it(
    identity: Identity, make: Make, azure: LocalAzure, code: int
):
    identity.rotate()
    credential = make()
    credential.get_token(SCOPE)
    identity.rotate()
    wait_for_generation(credential, 2)
    azure.faults.add("entra", status=401, body=refuse(code), times=1)
    before = identity.count_requests()
    with pytest.raises(TokenRefusedError, match=f"AADSTS{code}"):
        credential.get_token(SCOPE, claims=CHALLENGE)
    assert identity.count_requests() == before + 1
    assert not credential.status().refused


def test_no_other_certificate_is_tried_when_the_authority_is_only_overloaded(
    identity: Identity, make: Make, azure: LocalAzure
):
    identity.rotate()
    credential = make(retry_total=0)
    credential.get_token(SCOPE)
    identity.rotate()
    wait_for_generation(credential, 2)
    azure.faults.add("entra", status=503, body=refuse(700027), times=1)
    assert credential.get_token(SCOPE)
    before = identity.count_requests()
    with pytest.raises(Exception, match="HTTP 503"):
        credential.get_token(SCOPE, claims=CHALLENGE)
    assert identity.count_requests() == before + 1
    assert not credential.status().refused


@contextmanager
def key_that_does_not_sign(path: Path) -> Iterator[None]:
    """Replace the key by one that the parser accepts but OpenSSL does not, after the file was accepted."""
    source, give_back = open_source(
        path, MANAGED_IDENTITY, backstop=timedelta(hours=1), poll=False, read=True, clock=time.time
    )
    good = source.snapshot
    assert good is not None
    numbers = make_key().private_numbers()
    text = render_key(numbers, p=numbers.p + 1)
    key = load_pem_private_key(text, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    certificate = dataclasses.replace(good.certificate, key=key)
    file = dataclasses.replace(good.file, certificate=certificate)
    source._state = dataclasses.replace(source._state, snapshot=dataclasses.replace(good, file=file))
    yield
    give_back()


def render_key(numbers: rsa.RSAPrivateNumbers, *, p: int) -> bytes:
    """PKCS#1 with another first prime."""
    public = numbers.public_numbers
    parts = (0, public.n, public.e, numbers.d, p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
    der = b"".join(wrap(b"\x02", part.to_bytes(part.bit_length() // 8 + 1, "big")) for part in parts)
    text = base64.encodebytes(wrap(b"\x30", der)).decode()
    return f"-----BEGIN RSA PRIVATE KEY-----\n{text}-----END RSA PRIVATE KEY-----\n".encode()


def wrap(tag: bytes, content: bytes) -> bytes:
    size = len(content)
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return tag + (bytes([size]) if size < 128 else bytes([0x80 | len(length)]) + length) + content


def test_error_is_about_the_file_when_its_key_cannot_sign(identity: Identity, make_identity: Make):
    identity.rotate()
    credential = make_identity()
    wait_for_generation(credential, 1)
    with (
        key_that_does_not_sign(identity.mount.path),
        pytest.raises(MountFormatError, match=r"cannot sign \(ValueError\)") as raised,
    ):
        credential.get_token(SCOPE)
    assert "Have a new credential issued" in str(raised.value.hint)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert identity.count_requests() == 0


def test_previous_certificate_is_used_when_the_current_key_cannot_sign(
    identity: Identity, make_identity: Make
):
    first = identity.rotate()
    credential = make_identity()
    credential.get_token(SCOPE)
    identity.rotate()
    wait_for_generation(credential, 2)
    with key_that_does_not_sign(identity.mount.path):
        assert get_signer(credential.get_token(OTHER_SCOPE).token) == first
        assert credential.status().refused


class Stranger:
    """The next credential in a chain: another identity, which must not be used by mistake."""

    def get_token(self, *_: str, **__: Any) -> Any:
        raise AssertionError("the chain went on to another identity")


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Make opening a file fail as in a process with too many open files (EMFILE)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_chain_stops_when_the_file_cannot_be_opened(identity: Identity):
    identity.rotate()
    with no_more_descriptors():
        credential = UserAssignedIdentityCredential(identity.mount.path)
        with pytest.raises(MountNotReadyError, match="Too many open files") as raised:
            credential.get_token(SCOPE)
    assert not isinstance(raised.value, CredentialUnavailableError)
    credential.close()


def test_chain_stops_when_the_credential_is_not_valid_yet(identity: Identity, make: Make, clock: Clock):
    identity.mount.swap(identity.issue(not_before=clock.now() + timedelta(hours=1)))
    credential = make()
    with pytest.raises(MountNotReadyError, match="is not valid before") as raised:
        credential.get_token(SCOPE)
    assert not isinstance(raised.value, CredentialUnavailableError)


def test_chain_stops_when_a_credential_is_not_ready(identity: Identity, clock: Clock):
    identity.mount.swap(identity.issue(not_before=clock.now() + timedelta(hours=1)))
    with UserAssignedIdentityCredential(identity.mount.path) as credential:
        chain = ChainedTokenCredential(credential, Stranger())
        with pytest.raises(Exception, match="is not valid before"):
            chain.get_token(SCOPE)


def answer_with(azure: LocalAzure, text: str) -> None:
    body = json.dumps({"access_token": text, "expires_in": 3600}).encode()
    azure.faults.add("entra", body=body)


def count_tokens(text: str) -> int:
    """Count the objects that hold this test's token; the tokens of other tests come and go."""
    gc.collect()
    return sum(each.access_token.token == text for each in find_objects(CachedToken))


def test_tokens_are_forgotten_when_they_have_expired(
    identity: Identity, make: Make, azure: LocalAzure, clock: Clock
):
    identity.rotate()
    credential = make(clock=clock)
    answer_with(azure, "of-50")
    for number in range(50):
        credential.get_token(f"https://{number}.example/.default")
    assert count_tokens("of-50") == 50
    clock.ahead = 3600
    credential.get_token(SCOPE)
    wait_until(lambda: count_tokens("of-50") <= 1)


def test_cached_tokens_are_limited_when_each_has_another_scope(
    identity: Identity, make: Make, azure: LocalAzure, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hcpcreds.credential.base._MAX_TOKENS", 20)
    identity.rotate()
    assert_limited(make(), 20, identity, azure)


@pytest.mark.unmeasured
def test_cached_tokens_are_a_thousand_when_each_has_another_scope(identity: Identity, azure: LocalAzure):
    identity.rotate()
    with (
        RequestsTransport(connection_verify=str(azure.ca_file)) as transport,  # it keeps its connection
        UserAssignedIdentityCredential(identity.mount.path, transport=transport) as credential,
    ):
        assert_limited(credential, 1_000, identity, azure)


def assert_limited(credential: Subject, limit: int, identity: Identity, azure: LocalAzure) -> None:
    """Assert that the latest tokens are kept, and no more than the limit."""
    count = limit + limit // 20
    answer_with(azure, f"of-{count}")
    for number in range(count):
        credential.get_token(f"https://{number}.example/.default")
    assert limit - 1 <= count_tokens(f"of-{count}") <= limit + 1
    asked = identity.count_requests()
    credential.get_token(f"https://{count - 1}.example/.default")
    assert identity.count_requests() == asked, "the latest are kept"
    credential.get_token("https://0.example/.default")
    assert identity.count_requests() == asked + 1
