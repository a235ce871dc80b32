"""PEM bundles and PKCS#12: which are opened, and which are refused before they cost time."""

import base64
import contextlib
import datetime as dt
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.credential import pfx
from tests.credential.files import CLIENT, Issued, issue, make_key, render_file

from hcpcreds.credential_file.certificate import MAX_SECRET_BYTES, parse_certificate
from hcpcreds.credential_file.file import parse_credential_file
from hcpcreds.credential_file.inspection import inspect_credential_file
from hcpcreds.credential_file.rc2 import decipher
from hcpcreds.errors import MountFormatError

BUNDLES = Path(__file__).parent / "bundles"
HUGE = 1 << 31
NOW = dt.datetime.now(dt.UTC)
ISSUED = issue()
DER = ISSUED.certificate.public_bytes(Encoding.DER)
KEY = ISSUED.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PLAIN = pfx.data(pfx.key_bag(KEY), pfx.certificate_bag(DER))
CHEAP = pfx.pbes2(pfx.pbkdf2(1))
LONG = pfx.shrouded_key_bag(KEY, pfx.pbes2(pfx.pbkdf2(600_000)), iterations=600_000)
PEM = ISSUED.certificate_pem + ISSUED.key_pem


@pytest.mark.parametrize("name", ["rc2-40", "rc2-128", "3des", "aes", "plain"])
def test_pkcs12_is_opened_when_openssl_wrote_it_with_the_empty_password(name: str):
    certificate = parse_certificate((BUNDLES / f"{name}.pfx").read_bytes())
    assert certificate.thumbprint == parse_certificate((BUNDLES / "plain.pfx").read_bytes()).thumbprint
    assert certificate.sign_assertion(client_id=CLIENT, audience="a", now=0)


def test_pkcs12_is_opened_when_its_parts_are_encrypted_or_not():
    for parts in (
        [PLAIN],
        [pfx.encrypted_data(pfx.certificate_bag(DER), algorithm=CHEAP), pfx.data(pfx.key_bag(KEY))],
        [pfx.data(pfx.shrouded_key_bag(KEY, CHEAP)), pfx.data(pfx.certificate_bag(DER))],
        [pfx.encrypted_data(pfx.shrouded_key_bag(KEY, CHEAP), pfx.certificate_bag(DER), algorithm=CHEAP)],
        [pfx.data(pfx.bag(5, pfx.octets(b"a secret bag")), pfx.bag(4, pfx.sequence())), PLAIN],
    ):
        assert parse_certificate(pfx.pfx(*parts, mac=pfx.mac(2048))).thumbprint == ISSUED.thumbprint


@pytest.mark.parametrize("hash_name", ["sha1", *pfx.PRFS])
def test_pkcs12_is_opened_when_its_key_is_derived_with_a_known_hash(hash_name: str):
    algorithm = pfx.pbes2(pfx.pbkdf2(3, hash_name=hash_name))
    key = pfx.shrouded_key_bag(KEY, algorithm, iterations=3, hash_name=hash_name)
    bundle = pfx.pfx(pfx.data(key, pfx.certificate_bag(DER)))
    assert parse_certificate(bundle).thumbprint == ISSUED.thumbprint


EXPENSIVE = {
    "MAC": pfx.pfx(PLAIN, mac=pfx.mac(HUGE)),
    "MAC just above": pfx.pfx(PLAIN, mac=pfx.mac(600_001)),
    "MAC of 4,000 digits": pfx.pfx(PLAIN, mac=pfx.mac(1 << 13_000)),
    "MAC below zero": pfx.pfx(PLAIN, mac=pfx.mac(-5)),
    "PBMAC1": pfx.pfx(PLAIN, mac=pfx.pbmac1(HUGE)),
    "PBES2 of the certificates": pfx.pfx(
        pfx.data(pfx.key_bag(KEY)),
        pfx.encrypted_data(pfx.certificate_bag(DER), algorithm=pfx.pbes2(pfx.pbkdf2(HUGE))),
    ),
    "PBES2 of the key": pfx.pfx(pfx.data(pfx.shrouded_key_bag(KEY, pfx.pbes2(pfx.pbkdf2(HUGE))))),
    "PKCS#12's own PBE": pfx.pfx(pfx.data(pfx.shrouded_key_bag(KEY, pfx.pkcs12_pbe(HUGE)))),
    "hidden in what is encrypted": pfx.pfx(
        pfx.encrypted_data(pfx.shrouded_key_bag(KEY, pfx.pbes2(pfx.pbkdf2(HUGE))), algorithm=CHEAP)
    ),
    "many parts": pfx.pfx(*[pfx.data(LONG)] * 9),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_pkcs12_is_refused_at_once_when_it_requires_too_many_iterations(name: str, tmp_path: Path):
    content = render_file(ISSUED, client_secret=base64.b64encode(EXPENSIVE[name]).decode())
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(
        MountFormatError, match=r"client_secret: the PKCS#12 requires more than \d+ iteration"
    ):
        parse_credential_file(content, path="p")
    inspection = inspect_credential_file(str(tmp_path / "secret"), now=NOW)
    assert "iterations" in inspection.problems[0].text


@pytest.mark.parametrize(
    ("bundle", "message"),
    [
        (pfx.pfx(pfx.data(pfx.shrouded_key_bag(KEY, pfx.pbes2(pfx.scrypt(1 << 30))))), "expected PBKDF2"),
        (pfx.pfx(pfx.data(pfx.shrouded_key_bag(KEY, pfx.sequence(pfx.oid("1.2.3"), pfx.sequence())))), "AES"),
        (
            pfx.pfx(pfx.data(pfx.shrouded_key_bag(KEY, pfx.pbes2(pfx.pbkdf2(1, salt=bytes(2000)))))),
            "a salt of more than 1024 bytes",
        ),
        (b"\x30\x80" + pfx.pfx(PLAIN)[4:] + b"\0\0", "BER with indefinite lengths"),
        (pfx.pfx(pfx.data(pfx.key_bag(KEY), pfx.key_bag(KEY))), "2 private keys"),
        (
            (BUNDLES / "password.pfx").read_bytes(),
            "the PKCS#12 is encrypted, but no password was given",
        ),
        (PEM + bytes(MAX_SECRET_BYTES), "larger than 131072 bytes"),
        (pfx.sequence(*[pfx.sequence()] * 1000), "expected a PEM bundle or a PKCS#12"),
        (b"\x30\x84\xff\xff\xff\xff\x02", "expected a PEM bundle or a PKCS#12"),
        (b"\x30\x88" + b"\xff" * 8, "expected a PEM bundle or a PKCS#12"),
    ],
)
def test_bundle_is_refused_with_the_reason_when_it_is_unusable(bundle: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        parse_certificate(bundle)


def test_bundle_is_refused_when_it_holds_too_many_certificates():
    first, *others = (issue(days=90 + each).certificate_pem for each in range(33))
    assert parse_certificate(b"".join(others) + ISSUED.key_pem).unused == 31
    with pytest.raises(ValueError, match="more than 32 certificates"):
        parse_certificate(b"".join([first, *others]) + ISSUED.key_pem)


def test_bundle_is_opened_when_it_has_the_maximum_size():
    assert parse_certificate(PEM + b"\n" * (128 * 1024 - len(PEM))).thumbprint == ISSUED.thumbprint


# Damage may make a serial number negative.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(st.data())
def test_bundle_is_opened_or_refused_when_it_is_damaged(data: st.DataObject):
    good = data.draw(st.sampled_from([PEM, pfx.pfx(PLAIN), *map(Path.read_bytes, BUNDLES.glob("*.pfx"))]))
    at = data.draw(st.integers(0, len(good)))
    kept = data.draw(st.integers(0, 4))
    secret = good[:at] + data.draw(st.binary(max_size=4)) + good[at + kept :]
    began = time.process_time()
    with contextlib.suppress(ValueError):
        parse_certificate(secret)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "secret",
    [
        b"-----BEGIN X-----" * 7_000,
        b"-----BEGIN CERTIFICATE-----\n" * 4_000,
        b"-----BEGIN " * 11_000,
        b"\x30\x00" * 60_000,
        pfx.pfx(*[pfx.encrypted_data(pfx.sequence(), algorithm=CHEAP)] * 500),
        pfx.pfx(*[pfx.data(*[pfx.bag(5, pfx.octets(b""))] * 2_000)]),
    ],
)
def test_bundle_is_refused_quickly_when_it_is_crafted_to_be_slow(secret: bytes):
    began = time.process_time()
    with pytest.raises(ValueError, match=r"."):
        parse_certificate(secret)
    assert time.process_time() - began < 1


# The key


def test_key_is_not_opened_when_that_would_take_endless_work():
    # OpenSSL computes the public part of a DSA key from its parameters, however long they are.
    huge = (1 << 400_000) - 1
    parameters = pfx.sequence(pfx.integer(huge), pfx.integer(huge), pfx.integer(2))
    key = pfx.sequence(
        pfx.integer(0),
        pfx.sequence(pfx.oid("1.2.840.10040.4.1"), parameters),
        pfx.octets(pfx.integer(huge >> 1)),
    )
    for bundle in (render_pem(key), pfx.pfx(pfx.data(pfx.shrouded_key_bag(key, CHEAP)))):
        with pytest.raises(ValueError, match=r"not RSA|larger than"):
            parse_certificate(bundle)


def render_pem(key: bytes, label: str = "PRIVATE KEY") -> bytes:
    encoded = base64.encodebytes(key).decode()
    return ISSUED.certificate_pem + f"-----BEGIN {label}-----\n{encoded}-----END {label}-----\n".encode()


def test_key_is_refused_when_it_is_dsa():
    key = dsa.generate_private_key(2048)
    for form, label in (
        (PrivateFormat.PKCS8, "PRIVATE KEY"),
        (PrivateFormat.TraditionalOpenSSL, "DSA PRIVATE KEY"),
    ):
        with pytest.raises(ValueError, match="the private key is not RSA"):
            parse_certificate(render_pem(key.private_bytes(Encoding.DER, form, NoEncryption()), label))


NUMBERS = ISSUED.key.private_numbers()
SOUND = {
    "n": NUMBERS.public_numbers.n,
    "e": NUMBERS.public_numbers.e,
    "d": NUMBERS.d,
    "p": NUMBERS.p,
    "q": NUMBERS.q,
    "dmp1": NUMBERS.dmp1,
    "dmq1": NUMBERS.dmq1,
    "iqmp": NUMBERS.iqmp,
}
HARMED: dict[str, tuple[dict[str, int], str]] = {
    "modulus of 2047 bits": ({"n": SOUND["n"] >> 1}, "RSA with 2047 bits; expected 2048 to 8192"),
    "modulus of 8193 bits": ({"n": 1 << 8192}, "RSA with 8193 bits"),
    "modulus of 400,000 bits": ({"n": 1 << 400_000}, "RSA with 400001 bits"),
    "negative modulus": ({"n": -SOUND["n"]}, "inconsistent"),
    "exponent of 33 bits": ({"e": (1 << 32) + 1}, "public exponent; expected 2 to 4294967295"),
    "exponent 1": ({"e": 1}, "public exponent"),
    "even exponent": ({"e": 65536}, "inconsistent"),
    **{
        f"another {name}": ({name: SOUND[name] + 2}, "inconsistent")
        for name in ("d", "p", "q", "dmp1", "dmq1", "iqmp")
    },
    "endless private exponent": (
        {"d": SOUND["d"] + (SOUND["p"] - 1) * (SOUND["q"] - 1) << 100_000},
        "inconsistent",
    ),
    "primes 1 and n": ({"p": 1, "q": SOUND["n"]}, "inconsistent"),
    "zero primes": ({"p": 0, "q": 0}, "inconsistent"),
}


def render_rsa(**changes: int) -> bytes:
    return pfx.sequence(pfx.integer(0), *map(pfx.integer, {**SOUND, **changes}.values()))


@pytest.mark.parametrize("name", HARMED)
def test_key_is_refused_when_its_numbers_are_unusable(name: str):
    changes, message = HARMED[name]
    with pytest.raises(ValueError, match=message):
        parse_certificate(render_pem(render_rsa(**changes), "RSA PRIVATE KEY"))


def test_key_is_accepted_when_its_numbers_are_unchanged():
    secret = render_pem(render_rsa(), "RSA PRIVATE KEY")
    assert parse_certificate(secret).thumbprint == ISSUED.thumbprint


def test_key_is_refused_when_it_is_short():
    short = issue(key=rsa.generate_private_key(65537, 1024))  # noqa: S505 (that is the point)
    with pytest.raises(ValueError, match="expected 2048 to 8192"):
        parse_certificate(short.certificate_pem + short.key_pem)


# PEM


def test_key_is_accepted_when_only_a_bag_attribute_says_encrypted():
    attributes = (
        b"Bag Attributes\n    friendlyName: ENCRYPTED PRIVATE KEY-----\nKey Attributes: <No Attributes>\n"
    )
    secret = attributes + ISSUED.certificate_pem + attributes + ISSUED.key_pem
    assert parse_certificate(secret).thumbprint == ISSUED.thumbprint


# Several certificates for one key


def certify(*, begins: float, ends: float, key: Any = None) -> Issued:
    start = NOW.replace(microsecond=0) + dt.timedelta(days=begins)
    return issue(not_before=start, days=ends - begins, key=key or make_key())


OLD, CURRENT, NEWER, COMING = (
    certify(begins=-90, ends=-1),
    certify(begins=-60, ends=30),
    certify(begins=-1, ends=89),
    certify(begins=20, ends=110),
)


@pytest.mark.parametrize(
    ("held", "used"),
    [
        ([OLD, CURRENT], CURRENT),
        ([CURRENT, OLD], CURRENT),
        ([OLD, CURRENT, NEWER], NEWER),
        ([NEWER, COMING], NEWER),
        ([COMING, NEWER], NEWER),
        ([OLD], OLD),
        ([OLD, COMING], COMING),
    ],
)
def test_latest_valid_certificate_is_used_when_several_belong_to_the_key(held: list[Issued], used: Issued):
    pems = b"".join(each.certificate_pem for each in held)
    packed = pfx.pfx(
        pfx.data(
            pfx.key_bag(KEY),
            *(pfx.certificate_bag(each.certificate.public_bytes(Encoding.DER)) for each in held),
        )
    )
    for secret in (pems + ISSUED.key_pem, packed):
        content = render_file(used, client_secret=base64.b64encode(secret).decode())
        file = parse_credential_file(content, path="p", now=NOW)
        assert file.certificate.thumbprint == used.thumbprint
        warned = f"client_secret: holds {len(held)} certificates for its key" in " ".join(file.warnings)
        assert warned == (len(held) > 1)


def test_file_has_no_warning_when_it_repeats_the_certificate():
    content = render_file(ISSUED, client_secret=base64.b64encode(PEM + ISSUED.certificate_pem).decode())
    file = parse_credential_file(content, path="p", now=NOW)
    assert file.warnings == ()
    assert file.certificate.chain == (DER,)


@pytest.mark.parametrize(
    ("key", "plain", "cipher"),
    [  # RFC 2268, section 5: the vectors in which all bits of the key are effective
        ("ffffffffffffffff", "ffffffffffffffff", "278b27e42e2f0d49"),
        ("3000000000000000", "1000000000000001", "30649edf9be7d2c2"),
        ("88bca90e90875a7f0f79c384627bafb2", "0000000000000000", "2269552ab0f85ca6"),
    ],
)
def test_rc2_decrypts_the_test_vectors_of_the_rfc(key: str, plain: str, cipher: str):
    read = partial(decipher, key=bytes.fromhex(key), iv=bytes(8))
    assert read(bytes.fromhex(cipher)).hex() == plain
