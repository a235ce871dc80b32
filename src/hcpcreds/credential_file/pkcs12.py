"""PKCS#12 without a password: the bytes of its key and its certificates (RFC 7292, RFC 8018).

The writer of a PKCS#12 decides how often its reader has to hash. OpenSSL obeys, and holds the interpreter's
lock: 2^31 rounds stop the whole process for minutes. A count may even be visible only after another part has
been decrypted. Therefore this module checks each count before it uses it.

The MAC is not computed: its key is the empty password, so it proves nothing.
"""

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from typing_extensions import override

from hcpcreds.credential_file import rc2
from hcpcreds.credential_file.der import (
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    IndefiniteLengthError,
    read_all,
    read_elements,
    read_first,
)

_MAX_ITERATIONS: Final = 600_000
"""Rounds of hashing for one part: 0.1 to 1 s. This is OWASP's advice for PBKDF2; writers use about 2,000."""
_MAX_ALL_ITERATIONS: Final = 3 * _MAX_ITERATIONS
"""Rounds for all parts together: the MAC, the key and the certificates are one part each."""
_MAX_SALT_BYTES: Final = 1024

_EXPLICIT: Final = 0xA0
_IMPLICIT: Final = 0x80


def _oid(text: str) -> bytes:
    first, second, *numbers = map(int, text.split("."))
    encoded = bytearray([40 * first + second])
    for number in numbers:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        encoded += bytes(groups[::-1])
    return bytes(encoded)


_DATA: Final = _oid("1.2.840.113549.1.7.1")
_ENCRYPTED_DATA: Final = _oid("1.2.840.113549.1.7.6")
_KEY_BAG: Final = _oid("1.2.840.113549.1.12.10.1.1")
_SHROUDED_KEY_BAG: Final = _oid("1.2.840.113549.1.12.10.1.2")
_CERTIFICATE_BAG: Final = _oid("1.2.840.113549.1.12.10.1.3")
_X509: Final = _oid("1.2.840.113549.1.9.22.1")
_PBKDF2: Final = _oid("1.2.840.113549.1.5.12")
_PBES2: Final = _oid("1.2.840.113549.1.5.13")
_PBMAC1: Final = _oid("1.2.840.113549.1.5.14")
_DEFAULT_PRF: Final = _oid("1.2.840.113549.2.7")
_PRFS: Final = {
    _DEFAULT_PRF: "sha1",
    _oid("1.2.840.113549.2.8"): "sha224",
    _oid("1.2.840.113549.2.9"): "sha256",
    _oid("1.2.840.113549.2.10"): "sha384",
    _oid("1.2.840.113549.2.11"): "sha512",
}


class _CipherSpec(NamedTuple):
    key_bytes: int
    block_bytes: int
    decipher: Callable[[bytes, bytes, bytes], bytes]
    """Called with the ciphertext, the key and the initialization vector."""


def _decipher(algorithm: BlockCipherAlgorithm, ciphertext: bytes, iv: bytes) -> bytes:
    decryptor = Cipher(algorithm, CBC(iv)).decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


def _aes(key_bytes: int) -> _CipherSpec:
    return _CipherSpec(key_bytes, 16, lambda text, key, iv: _decipher(AES(key), text, iv))


def _rc2(key_bytes: int) -> _CipherSpec:
    return _CipherSpec(key_bytes, rc2.BLOCK_BYTES, lambda text, key, iv: rc2.decipher(text, key=key, iv=iv))


_TRIPLE_DES: Final = _CipherSpec(24, 8, lambda text, key, iv: _decipher(TripleDES(key), text, iv))
_PBES2_CIPHERS: Final = {
    _oid("2.16.840.1.101.3.4.1.2"): _aes(16),
    _oid("2.16.840.1.101.3.4.1.22"): _aes(24),
    _oid("2.16.840.1.101.3.4.1.42"): _aes(32),
    _oid("1.2.840.113549.3.7"): _TRIPLE_DES,
}
_PKCS12_CIPHERS: Final = {
    _oid("1.2.840.113549.1.12.1.3"): _TRIPLE_DES,
    _oid("1.2.840.113549.1.12.1.5"): _rc2(16),
    _oid("1.2.840.113549.1.12.1.6"): _rc2(5),
}
# By RFC 7292, the empty password is two zero bytes (appendix B.1) or no bytes at all (B.2); writers differ.
_EMPTY_PASSWORDS: Final = (b"\0\0", b"")


class Contents(NamedTuple):
    """The contents of a PKCS#12, in DER."""

    keys: tuple[bytes, ...]
    """PKCS#8."""
    certificates: tuple[bytes, ...]

    @override
    def __repr__(self) -> str:
        return f"Contents({len(self.keys)} keys, {len(self.certificates)} certificates)"


class _RefusedError(ValueError):
    """The bundle is a PKCS#12, but is not accepted."""


def open_pkcs12(bundle: bytes) -> Contents:
    """Open a PKCS#12 with no password or the empty password.

    Raises:
        ValueError: The bundle is not a PKCS#12, has a password, or requires too much work. The text reveals
            nothing of its content.
    """
    try:
        return _Opener().open(bundle)
    except _RefusedError:
        raise
    except IndefiniteLengthError:
        reason = "the PKCS#12 is BER with indefinite lengths; expected DER"
    except ValueError:
        reason = "expected a PEM bundle or a PKCS#12 without a password"
    raise ValueError(reason)


class _Opener:
    """Opens one PKCS#12, and counts its rounds of hashing."""

    def __init__(self) -> None:
        self._iterations = 0
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
                self._read_bags(self._decrypt(algorithm, ciphertext))
        return Contents(tuple(self._keys), tuple(self._certificates))

    def _read_bags(self, bags: bytes) -> None:
        for bag in read_elements(read_first(bags, SEQUENCE)):
            kind, content = read_all(bag.content, OID, _EXPLICIT)[:2]
            if kind == _KEY_BAG:
                self._keys.append(content)
            elif kind == _SHROUDED_KEY_BAG:
                algorithm, ciphertext = read_all(read_first(content, SEQUENCE), SEQUENCE, OCTET_STRING)
                self._keys.append(self._decrypt(algorithm, ciphertext))
            elif kind == _CERTIFICATE_BAG:
                form, certificate = read_all(read_first(content, SEQUENCE), OID, _EXPLICIT)
                if form == _X509:
                    self._certificates.append(read_first(certificate, OCTET_STRING))

    def _decrypt(self, algorithm: bytes, ciphertext: bytes) -> bytes:
        name, parameters = read_all(algorithm, OID, SEQUENCE)
        if name == _PBES2:
            cipher, key, iv = self._read_pbes2(parameters)
            plain = _open_blocks(cipher, ciphertext, key, iv)
            if plain is not None:
                return plain
        elif name in _PKCS12_CIPHERS:
            cipher = _PKCS12_CIPHERS[name]
            salt, iterations = self._read_cost(parameters)
            for password in _EMPTY_PASSWORDS:
                key = _derive(1, password, salt, iterations, cipher.key_bytes)
                iv = _derive(2, password, salt, iterations, cipher.block_bytes)
                plain = _open_blocks(cipher, ciphertext, key, iv)
                if plain is not None:
                    return plain
        else:
            raise _RefusedError("the PKCS#12 is encrypted in a way that is not supported; expected AES")
        raise _RefusedError(
            "the PKCS#12 has a password; expected a PEM bundle or a PKCS#12 without a password"
        )

    def _read_pbes2(self, parameters: bytes) -> tuple[_CipherSpec, bytes, bytes]:
        derivation, encryption = read_all(parameters, SEQUENCE, SEQUENCE)
        name, iv = read_all(encryption, OID, OCTET_STRING)
        cipher = _PBES2_CIPHERS.get(name)
        if cipher is None or len(iv) != cipher.block_bytes:
            raise _RefusedError("the PKCS#12 is encrypted in a way that is not supported; expected AES")
        prf, salt, iterations = self._read_pbkdf2(derivation)
        return cipher, hashlib.pbkdf2_hmac(prf, b"", salt, iterations, cipher.key_bytes), iv

    def _read_pbkdf2(self, derivation: bytes) -> tuple[str, bytes, int]:
        name, parameters = read_all(derivation, OID, SEQUENCE)
        if name != _PBKDF2:
            raise _RefusedError("the PKCS#12 derives its key in a way that is not supported; expected PBKDF2")
        salt, iterations = self._read_cost(parameters)
        prf = _DEFAULT_PRF
        for element in list(read_elements(parameters))[
            2:
        ]:  # the cipher determines the length of the key, too
            if element.tag == SEQUENCE:
                prf = read_first(element.content, OID)
        if prf not in _PRFS:
            raise _RefusedError("the PKCS#12 derives its key in a way that is not supported; expected PBKDF2")
        return _PRFS[prf], salt, iterations

    def _read_cost(self, parameters: bytes) -> tuple[bytes, int]:
        salt, count = read_all(parameters, OCTET_STRING, INTEGER)[:2]
        if len(salt) > _MAX_SALT_BYTES:
            raise _RefusedError(f"the PKCS#12 has a salt of more than {_MAX_SALT_BYTES} bytes")
        return salt, self._count(count)

    def _count(self, count: bytes) -> int:
        iterations = int.from_bytes(count, signed=True)
        if not 0 < iterations <= _MAX_ITERATIONS:
            raise _RefusedError(f"the PKCS#12 requires more than {_MAX_ITERATIONS} iterations")
        self._iterations += iterations
        if self._iterations > _MAX_ALL_ITERATIONS:
            raise _RefusedError(f"the PKCS#12 requires more than {_MAX_ALL_ITERATIONS} iterations in total")
        return iterations

    def _check_mac(self, mac: bytes) -> None:
        # Its count matters although the MAC is not computed: other programs that read the secret compute it.
        digest, _, *count = read_all(mac, SEQUENCE, OCTET_STRING)
        if count:
            self._count(count[0])
        name, *parameters = read_all(read_all(digest, SEQUENCE, OCTET_STRING)[0], OID)
        if name == _PBMAC1:
            self._read_pbkdf2(read_all(parameters[0], SEQUENCE)[0])


def _read_content(info: bytes, kind: bytes) -> bytes:
    found, content = read_all(info, OID, _EXPLICIT)
    if found != kind:
        raise ValueError("another kind of content")
    return read_first(content, OCTET_STRING)


def _open_blocks(cipher: _CipherSpec, ciphertext: bytes, key: bytes, iv: bytes) -> bytes | None:
    """Decrypt and remove the padding; None if the result is not one SEQUENCE, because the key is wrong."""
    if not ciphertext or len(ciphertext) % cipher.block_bytes:
        return None
    padded = cipher.decipher(ciphertext, key, iv)
    plain = padded[: -padded[-1]]
    try:
        return plain if [each.tag for each in read_elements(plain)] == [SEQUENCE] else None
    except ValueError:
        return None


def _derive(purpose: int, password: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    """Derive a key (1) or an initialization vector (2) by RFC 7292, appendix B.2, with SHA-1."""
    block = 64
    state = _fill(salt, block) + _fill(password, block)
    derived = b""
    while len(derived) < length:
        digest = hashlib.sha1(bytes([purpose]) * block + state).digest()  # noqa: S324 (prescribed by the format)
        for _ in range(iterations - 1):
            digest = hashlib.sha1(digest).digest()  # noqa: S324 (prescribed by the format)
        derived += digest
        addend = int.from_bytes((digest * 4)[:block]) + 1
        state = b"".join(
            ((int.from_bytes(state[at : at + block]) + addend) % (1 << (8 * block))).to_bytes(block)
            for at in range(0, len(state), block)
        )
    return derived[:length]


def _fill(data: bytes, block: int) -> bytes:
    size = -(-len(data) // block) * block
    return (data * block)[:size] if data else b""
