"""PKCS#12: the bytes of its key and its certificates (RFC 7292).

The MAC is not computed: whoever can replace the file can write one without a password, so it proves nothing.
"""

from typing import Final, NamedTuple

from typing_extensions import override

from hcpcreds.credential_file.der import (
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    IndefiniteLengthError,
    encode_oid,
    read_all,
    read_elements,
    read_first,
)
from hcpcreds.credential_file.encryption import Decrypter, RefusedError

_EXPLICIT: Final = 0xA0
_IMPLICIT: Final = 0x80

_DATA: Final = encode_oid("1.2.840.113549.1.7.1")
_ENCRYPTED_DATA: Final = encode_oid("1.2.840.113549.1.7.6")
_KEY_BAG: Final = encode_oid("1.2.840.113549.1.12.10.1.1")
_SHROUDED_KEY_BAG: Final = encode_oid("1.2.840.113549.1.12.10.1.2")
_CERTIFICATE_BAG: Final = encode_oid("1.2.840.113549.1.12.10.1.3")
_X509: Final = encode_oid("1.2.840.113549.1.9.22.1")
_PBMAC1: Final = encode_oid("1.2.840.113549.1.5.14")


class Contents(NamedTuple):
    """The contents of a PKCS#12, in DER."""

    keys: tuple[bytes, ...]
    """PKCS#8."""
    certificates: tuple[bytes, ...]

    @override
    def __repr__(self) -> str:
        return f"Contents({len(self.keys)} keys, {len(self.certificates)} certificates)"


def open_pkcs12(bundle: bytes, *, password: bytes | None = None) -> Contents:
    """Open a PKCS#12.

    Args:
        bundle: The PKCS#12.
        password: UTF-8; None for a bundle with no password or the empty one.

    Raises:
        PasswordError: The password is wrong.
        ValueError: The bundle is not a PKCS#12, or requires too much work. The text reveals nothing of its
            content.
    """
    try:
        return _Opener(password).open(bundle)
    except RefusedError:
        raise
    except IndefiniteLengthError:
        reason = "the PKCS#12 is BER with indefinite lengths; expected DER"
    except ValueError:
        reason = "expected a PEM bundle or a PKCS#12"
    raise ValueError(reason)


class _Opener:
    """Opens one PKCS#12."""

    def __init__(self, password: bytes | None) -> None:
        self._decrypter = Decrypter("the PKCS#12", password)
        self._keys: list[bytes] = []
        self._certificates: list[bytes] = []

    def open(self, bundle: bytes) -> Contents:
        _, safe, *mac = read_all(read_first(bundle, SEQUENCE), INTEGER, SEQUENCE)
        if mac:
            self._check_mac(mac[0])
        for part in read_elements(read_first(_read_content(safe, _DATA), SEQUENCE)):
            kind, content = read_all(part.content, OID, _EXPLICIT)
            if kind == _DATA:
                self._read_bags(read_first(content, OCTET_STRING))
            elif kind == _ENCRYPTED_DATA:
                _, encrypted = read_all(read_first(content, SEQUENCE), INTEGER, SEQUENCE)[:2]
                _, algorithm, ciphertext = read_all(encrypted, OID, SEQUENCE, _IMPLICIT)
                self._read_bags(self._decrypter.decrypt(algorithm, ciphertext))
        return Contents(tuple(self._keys), tuple(self._certificates))

    def _read_bags(self, bags: bytes) -> None:
        for bag in read_elements(read_first(bags, SEQUENCE)):
            kind, content = read_all(bag.content, OID, _EXPLICIT)[:2]
            if kind == _KEY_BAG:
                self._keys.append(content)
            elif kind == _SHROUDED_KEY_BAG:
                algorithm, ciphertext = read_all(read_first(content, SEQUENCE), SEQUENCE, OCTET_STRING)
                self._keys.append(self._decrypter.decrypt(algorithm, ciphertext))
            elif kind == _CERTIFICATE_BAG:
                form, certificate = read_all(read_first(content, SEQUENCE), OID, _EXPLICIT)
                if form == _X509:
                    self._certificates.append(read_first(certificate, OCTET_STRING))

    def _check_mac(self, mac: bytes) -> None:
        # Its count matters although the MAC is not computed: other programs that read the secret compute it.
        digest, _, *count = read_all(mac, SEQUENCE, OCTET_STRING)
        if count:
            self._decrypter.count(count[0])
        name, *parameters = read_all(read_all(digest, SEQUENCE, OCTET_STRING)[0], OID)
        if name == _PBMAC1:
            self._decrypter.read_pbkdf2(read_all(parameters[0], SEQUENCE)[0])


def _read_content(info: bytes, kind: bytes) -> bytes:
    found, content = read_all(info, OID, _EXPLICIT)
    if found != kind:
        raise ValueError("another kind of content")
    return read_first(content, OCTET_STRING)
