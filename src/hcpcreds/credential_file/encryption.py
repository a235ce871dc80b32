"""Decryption of private keys and certificates with a password (RFC 7292, RFC 8018, OpenSSL's PEM).

The writer of an encrypted key decides how often its reader has to hash. OpenSSL obeys, and holds the
interpreter's lock: 2^31 rounds stop the whole process for minutes. A count may even be visible only after
another part has been decrypted. Therefore this module checks each count before it uses it.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from hcpcreds.credential_file import rc2
from hcpcreds.credential_file.der import (
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    encode_oid,
    read_all,
    read_elements,
    read_first,
)

_MAX_ITERATIONS: Final = 600_000
"""Rounds of hashing for one part: 0.1 to 1 s. This is OWASP's advice for PBKDF2; writers use about 2,000."""
_MAX_ALL_ITERATIONS: Final = 3 * _MAX_ITERATIONS
"""Rounds for all parts together: the MAC, the key and the certificates are one part each."""
_MAX_SALT_BYTES: Final = 1024

_PBKDF2: Final = encode_oid("1.2.840.113549.1.5.12")
_PBES2: Final = encode_oid("1.2.840.113549.1.5.13")
_DEFAULT_PRF: Final = encode_oid("1.2.840.113549.2.7")
_PRFS: Final = {
    _DEFAULT_PRF: "sha1",
    encode_oid("1.2.840.113549.2.8"): "sha224",
    encode_oid("1.2.840.113549.2.9"): "sha256",
    encode_oid("1.2.840.113549.2.10"): "sha384",
    encode_oid("1.2.840.113549.2.11"): "sha512",
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
    encode_oid("2.16.840.1.101.3.4.1.2"): _aes(16),
    encode_oid("2.16.840.1.101.3.4.1.22"): _aes(24),
    encode_oid("2.16.840.1.101.3.4.1.42"): _aes(32),
    encode_oid("1.2.840.113549.3.7"): _TRIPLE_DES,
}
_PKCS12_CIPHERS: Final = {
    encode_oid("1.2.840.113549.1.12.1.3"): _TRIPLE_DES,
    encode_oid("1.2.840.113549.1.12.1.5"): _rc2(16),
    encode_oid("1.2.840.113549.1.12.1.6"): _rc2(5),
}
_PEM_CIPHERS: Final = {
    b"AES-128-CBC": _aes(16),
    b"AES-192-CBC": _aes(24),
    b"AES-256-CBC": _aes(32),
    b"DES-EDE3-CBC": _TRIPLE_DES,
}
_DEK_INFO: Final = re.compile(rb"DEK-Info: ([A-Z0-9-]+),([0-9A-Fa-f]+)(?:\s|$)")
# By RFC 7292, the empty password is two zero bytes (appendix B.1) or no bytes at all (B.2); writers differ.
_EMPTY_PASSWORDS: Final = (b"\0\0", b"")


class RefusedError(ValueError):
    """The format is known, but the content is not accepted."""


class PasswordError(RefusedError):
    """It is encrypted, and the password is missing or wrong."""


class Decrypter:
    """Decrypts the parts of one bundle, and counts its rounds of hashing.

    Args:
        name: Name of the bundle, for messages.
        password: UTF-8; None stands for the empty password.
    """

    def __init__(self, name: str, password: bytes | None) -> None:
        self._name = name
        self._password = password or b""
        self._iterations = 0

    def decrypt(self, algorithm: bytes, ciphertext: bytes) -> bytes:
        """Decrypt one SEQUENCE of DER.

        Args:
            algorithm: The content of its AlgorithmIdentifier.
            ciphertext: Whole blocks.

        Raises:
            PasswordError: The password does not decrypt it.
            RefusedError: The algorithm is not supported, or requires too much work.
            ValueError: The algorithm cannot be parsed.
        """
        name, parameters = read_all(algorithm, OID, SEQUENCE)
        if name == _PBES2:
            cipher, key, iv = self._read_pbes2(parameters)
            plain = _open_blocks(cipher, ciphertext, key, iv)
            if plain is not None:
                return plain
        elif name in _PKCS12_CIPHERS:
            cipher = _PKCS12_CIPHERS[name]
            salt, iterations = self._read_cost(parameters)
            for password in _spell_for_pkcs12(self._password):
                key = _derive(1, password, salt, iterations, cipher.key_bytes)
                iv = _derive(2, password, salt, iterations, cipher.block_bytes)
                plain = _open_blocks(cipher, ciphertext, key, iv)
                if plain is not None:
                    return plain
        else:
            raise self._refuse("is encrypted in a way that is not supported; expected AES")
        raise self._miss_password()

    def decrypt_pem(self, headers: bytes, ciphertext: bytes) -> bytes:
        """Decrypt a key as OpenSSL's older PEM encrypts it.

        Args:
            headers: `Proc-Type` and `DEK-Info`.
            ciphertext: Whole blocks.

        Raises:
            PasswordError: The password does not decrypt it.
            RefusedError: The cipher is not supported.
        """
        found = _DEK_INFO.search(headers)
        cipher = _PEM_CIPHERS.get(found[1]) if found else None
        iv = bytes.fromhex(found[2].decode()) if found and len(found[2]) % 2 == 0 else b""
        if cipher is None or len(iv) != cipher.block_bytes:
            raise self._refuse("is encrypted in a way that is not supported; expected AES")
        key = digest = b""
        while len(key) < cipher.key_bytes:
            digest = hashlib.md5(digest + self._password + iv[:8], usedforsecurity=False).digest()
            key += digest
        plain = _open_blocks(cipher, ciphertext, key[: cipher.key_bytes], iv)
        if plain is None:
            raise self._miss_password()
        return plain

    def read_pbkdf2(self, derivation: bytes) -> tuple[str, bytes, int]:
        """Read the parameters of PBKDF2: hash, salt, and the rounds, which are counted.

        Raises:
            RefusedError: They are not supported, or require too much work.
            ValueError: They cannot be parsed.
        """
        name, parameters = read_all(derivation, OID, SEQUENCE)
        if name != _PBKDF2:
            raise self._refuse("derives its key in a way that is not supported; expected PBKDF2")
        salt, iterations = self._read_cost(parameters)
        prf = _DEFAULT_PRF
        # The length of the key, which may stand there too, follows from the cipher.
        for element in list(read_elements(parameters))[2:]:
            if element.tag == SEQUENCE:
                prf = read_first(element.content, OID)
        if prf not in _PRFS:
            raise self._refuse("derives its key in a way that is not supported; expected PBKDF2")
        return _PRFS[prf], salt, iterations

    def count(self, count: bytes) -> int:
        """Read a number of rounds.

        Raises:
            RefusedError: The number is too large, alone or together with the previous ones.
        """
        iterations = int.from_bytes(count, signed=True)
        if not 0 < iterations <= _MAX_ITERATIONS:
            raise self._refuse(f"requires more than {_MAX_ITERATIONS} iterations")
        self._iterations += iterations
        if self._iterations > _MAX_ALL_ITERATIONS:
            raise self._refuse(f"requires more than {_MAX_ALL_ITERATIONS} iterations in total")
        return iterations

    def _read_pbes2(self, parameters: bytes) -> tuple[_CipherSpec, bytes, bytes]:
        derivation, encryption = read_all(parameters, SEQUENCE, SEQUENCE)
        name, iv = read_all(encryption, OID, OCTET_STRING)
        cipher = _PBES2_CIPHERS.get(name)
        if cipher is None or len(iv) != cipher.block_bytes:
            raise self._refuse("is encrypted in a way that is not supported; expected AES")
        prf, salt, iterations = self.read_pbkdf2(derivation)
        return cipher, hashlib.pbkdf2_hmac(prf, self._password, salt, iterations, cipher.key_bytes), iv

    def _read_cost(self, parameters: bytes) -> tuple[bytes, int]:
        salt, count = read_all(parameters, OCTET_STRING, INTEGER)[:2]
        if len(salt) > _MAX_SALT_BYTES:
            raise self._refuse(f"has a salt of more than {_MAX_SALT_BYTES} bytes")
        return salt, self.count(count)

    def _miss_password(self) -> PasswordError:
        if not self._password:
            return PasswordError(f"{self._name} is encrypted, but no password was given")
        return PasswordError(f"the password does not decrypt {self._name}")

    def _refuse(self, reason: str) -> RefusedError:
        return RefusedError(f"{self._name} {reason}")


def _spell_for_pkcs12(password: bytes) -> tuple[bytes, ...]:
    """Encode the password as for the keys of a PKCS#12: UTF-16 with a zero at the end."""
    if not password:
        return _EMPTY_PASSWORDS
    try:
        text = password.decode()
    except UnicodeDecodeError:
        text = password.decode("latin-1")
    return (f"{text}\0".encode("utf-16-be"),)


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
