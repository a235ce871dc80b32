"""The private key of a credential: an RSA key that can sign in an acceptable time."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from hcpcreds.credential_file.der import (
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    read_all,
    read_elements,
    read_first,
)

_MIN_BITS: Final = 2048
_MAX_BITS: Final = 8192
"""A signature takes 0.1 s with 8,192 bits, and 0.9 s with 16,384."""
_MAX_EXPONENT: Final = (1 << 32) - 1

_RSA_ALGORITHMS: Final = (
    bytes.fromhex("2a864886f70d010101"),  # rsaEncryption, 1.2.840.113549.1.1.1
    bytes.fromhex("2a864886f70d01010a"),  # id-RSASSA-PSS, 1.2.840.113549.1.1.10
)
_PKCS1_NUMBERS: Final = 9


def read_rsa_key(der: bytes) -> rsa.RSAPrivateKey:
    """Read a private key, PKCS#8 or PKCS#1, and check that it can sign.

    The key is not opened before it is known to be RSA, because a DSA key may require endless work. The
    numbers are checked for consistency, but the primes not for primality, which would take 36 ms.

    Raises:
        ValueError: The key is not RSA, too short, too long, or inconsistent. The text reveals nothing of it.
    """
    n, e, d, p, q, dmp1, dmq1, iqmp = _read_numbers(der)
    if not _MIN_BITS <= n.bit_length() <= _MAX_BITS:
        raise ValueError(
            f"the private key is RSA with {n.bit_length()} bits; expected {_MIN_BITS} to {_MAX_BITS}"
        )
    if not 1 < e <= _MAX_EXPONENT:
        raise ValueError(f"the private key has an unusable public exponent; expected 2 to {_MAX_EXPONENT}")
    is_consistent = (
        min(p, q) > 1
        and p & q & e & 1
        and p * q == n
        and 0 < d < n
        and d * e % (p - 1) == 1
        and d * e % (q - 1) == 1
        and dmp1 == d % (p - 1)
        and dmq1 == d % (q - 1)
        and 0 < iqmp < p
        and iqmp * q % p == 1
    )
    try:
        if is_consistent:
            numbers = rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, rsa.RSAPublicNumbers(e, n))
            return numbers.private_key(unsafe_skip_rsa_key_validation=True)
    except ValueError:
        pass
    raise ValueError("the private key is invalid: its numbers are inconsistent")


def _read_numbers(der: bytes) -> tuple[int, ...]:
    try:
        top = list(read_elements(read_first(der, SEQUENCE)))
        if [each.tag for each in top[:3]] == [INTEGER, SEQUENCE, OCTET_STRING]:
            is_rsa = read_first(top[1].content, OID) in _RSA_ALGORITHMS
            numbers = read_all(read_first(top[2].content, SEQUENCE), INTEGER) if is_rsa else []
        else:
            is_rsa = [each.tag for each in top] == [INTEGER] * _PKCS1_NUMBERS
            numbers = [each.content for each in top]
    except ValueError:
        raise ValueError("the private key cannot be parsed") from None
    if not is_rsa:
        raise ValueError("the private key is not RSA; Entra ID accepts only RSA keys for assertions")
    if len(numbers) != _PKCS1_NUMBERS:
        raise ValueError("the private key cannot be parsed")
    return tuple(int.from_bytes(each, signed=True) for each in numbers[1:])
