"""Builds PKCS#12 files that no library would write, with any number of iterations."""

import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

SALT = b"saltsalt"


def tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*contents: bytes) -> bytes:
    return tlv(0x30, *contents)


def integer(number: int) -> bytes:
    return tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, signed=True))


def octets(content: bytes) -> bytes:
    return tlv(0x04, content)


def explicit(content: bytes) -> bytes:
    return tlv(0xA0, content)


def oid(text: str) -> bytes:
    first, second, *numbers = map(int, text.split("."))
    content = bytearray([40 * first + second])
    for number in numbers:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        content += bytes(groups[::-1])
    return tlv(0x06, bytes(content))


PRFS = {
    "sha224": "1.2.840.113549.2.8",
    "sha256": "1.2.840.113549.2.9",
    "sha384": "1.2.840.113549.2.10",
    "sha512": "1.2.840.113549.2.11",
}


def pbkdf2(iterations: int, *, salt: bytes = SALT, hash_name: str = "sha256") -> bytes:
    """SHA-1 is the default, so it is left out."""
    prf = b"" if hash_name == "sha1" else sequence(oid(PRFS[hash_name]), tlv(0x05))
    parameters = sequence(octets(salt), integer(iterations), integer(32), prf)
    return sequence(oid("1.2.840.113549.1.5.12"), parameters)


def scrypt(cost: int) -> bytes:
    parameters = sequence(octets(SALT), integer(cost), integer(8), integer(1))
    return sequence(oid("1.3.6.1.4.1.11591.4.11"), parameters)


def pbes2(derivation: bytes) -> bytes:
    aes = sequence(oid("2.16.840.1.101.3.4.1.42"), octets(bytes(16)))
    return sequence(oid("1.2.840.113549.1.5.13"), sequence(derivation, aes))


def pkcs12_pbe(iterations: int) -> bytes:
    return sequence(oid("1.2.840.113549.1.12.1.3"), sequence(octets(SALT), integer(iterations)))


def encrypt(plain: bytes, *, iterations: int = 1, hash_name: str = "sha256") -> bytes:
    """Encrypt with the empty password, using PBES2 with AES-256."""
    key = hashlib.pbkdf2_hmac(hash_name, b"", SALT, iterations, 32)
    padding = 16 - len(plain) % 16
    encryptor = Cipher(AES(key), CBC(bytes(16))).encryptor()
    return encryptor.update(plain + bytes([padding]) * padding) + encryptor.finalize()


def bag(number: int, content: bytes) -> bytes:
    return sequence(oid(f"1.2.840.113549.1.12.10.1.{number}"), explicit(content))


def key_bag(pkcs8: bytes) -> bytes:
    return bag(1, pkcs8)


def shrouded_key_bag(
    pkcs8: bytes, algorithm: bytes, *, iterations: int = 1, hash_name: str = "sha256"
) -> bytes:
    ciphertext = encrypt(pkcs8, iterations=iterations, hash_name=hash_name)
    return bag(2, sequence(algorithm, octets(ciphertext)))


def certificate_bag(certificate: bytes) -> bytes:
    return bag(3, sequence(oid("1.2.840.113549.1.9.22.1"), explicit(octets(certificate))))


def data(*bags: bytes) -> bytes:
    return sequence(oid("1.2.840.113549.1.7.1"), explicit(octets(sequence(*bags))))


def encrypted_data(*bags: bytes, algorithm: bytes) -> bytes:
    content = sequence(oid("1.2.840.113549.1.7.1"), algorithm, tlv(0x80, encrypt(sequence(*bags))))
    return sequence(oid("1.2.840.113549.1.7.6"), explicit(sequence(integer(0), content)))


def mac(iterations: int) -> bytes:
    sha256 = sequence(oid("2.16.840.1.101.3.4.2.1"), tlv(0x05))
    return sequence(sequence(sha256, octets(bytes(32))), octets(SALT), integer(iterations))


def pbmac1(iterations: int) -> bytes:
    algorithm = sequence(
        oid("1.2.840.113549.1.5.14"),
        sequence(pbkdf2(iterations), sequence(oid("1.2.840.113549.2.9"), tlv(0x05))),
    )
    return sequence(sequence(algorithm, octets(bytes(32))), octets(SALT))


def pfx(*parts: bytes, mac: bytes = b"") -> bytes:
    return sequence(integer(3), data_of(sequence(*parts)), mac)


def data_of(content: bytes) -> bytes:
    return sequence(oid("1.2.840.113549.1.7.1"), explicit(octets(content)))
