"""Inputs as templates: short enough to commit and to read, with a secret in them that is never committed.

In a template, `@KEY@` stands for a real certificate with its key (base64), `@PEM@`, `@CERT@`, `@DER@` and
`@P12@` for it in other forms, `@JWT@` and `@BEARER@` for tokens, and `@1000*[@` for 1,000 times what follows
the star. Mutations change templates, so a secret is always whole: whatever shred of it comes out, came out of
a whole one.
"""

import base64
import functools
import re
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs12
from hypothesis import strategies as st
from tests.credential.files import Issued, issue

JWT: Final = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzZW50aW5lbCI6InRva2VuIn0.c2VudGluZWwtc2lnbmF0dXJl"
OPAQUE: Final = "sentinel~opaque~token~4711"
_REPEAT: Final = re.compile(rb"@(\d{1,6})\*([^@]{1,80})@")
_SHRED: Final = 20

ODD_JSON: Final = (
    b"null true -1 0 1e400 -1e400 1e300 NaN Infinity -Infinity [] {} [null] 0.1 1e13 -0 5000000000 "
    b'"" "inf" "NaN" "\\u0000" "\\ud800" "\\u001b]0;x\\u0007" "\\u202e" "\\nFORGED" "@JWT@" "@KEY@" '
    b'"@BEARER@" @400*9@ @100000*[@ "@100000*a@" "9999-12-31T23:59:59-14:00" "0001-01-01T00:00:00Z"'
).split(b" ")
_TOKENS: Final = (
    *ODD_JSON,
    b"\n",
    b"\nFORGED ",
    b"\r\nFORGED ",
    b"\x00",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8FORGED ",
    b"@JWT@",
    b"@KEY@",
    b"@BEARER@",
    b"@16000* @",
    b"@16000*a @",
    b"@16000*a,@",
    b'@16000*"@',
    b"@16000*\\@",
    b'@16000*{"a":@',
    b"@16000*\n@",
    b"AADSTS@5000*7@",
    b",",
    b":",
    b"'",
    b'"',
    b"&a ",
    b"*a",
    b"<<: ",
    b"%",
    b"@",
    b"//",
    b"\\",
)


@functools.cache
def get_issued() -> Issued:
    """The certificate and key of this run."""
    return issue()


@functools.cache
def get_key() -> str:
    """What `@KEY@` stands for."""
    issued = get_issued()
    return base64.b64encode(issued.certificate_pem + issued.key_pem).decode()


@functools.cache
def _get_values() -> dict[bytes, bytes]:
    issued = get_issued()
    archive = pkcs12.serialize_key_and_certificates(
        b"x", issued.key, issued.certificate, None, NoEncryption()
    )
    return {
        b"@KEY@": get_key().encode(),
        b"@JWT@": JWT.encode(),
        b"@BEARER@": f"Bearer {OPAQUE}".encode(),
        b"@CERT@": issued.certificate_pem,
        b"@PEM@": issued.certificate_pem + issued.key_pem,
        b"@DER@": issued.certificate.public_bytes(Encoding.DER),
        b"@P12@": archive,
    }


def expand(template: bytes, *, limit: int) -> bytes:
    """Make the input that a template describes, cut to a length."""
    content = _REPEAT.sub(lambda found: found[2] * min(int(found[1]), limit), template)
    for name, value in _get_values().items():
        content = content.replace(name, value)
    return content[:limit]


@functools.cache
def _get_shreds() -> tuple[str, ...]:
    issued = get_issued()
    pem = issued.key_pem.decode().splitlines()[1:-1]
    texts = [get_key(), *pem]
    shreds = [text[at : at + _SHRED] for text in texts for at in range(0, len(text) - _SHRED, _SHRED)]
    return (*shreds, JWT[:_SHRED], JWT[-_SHRED:], OPAQUE)


def find_secrets(shown: str) -> list[str]:
    """Find the pieces of the templates' secrets in what was shown."""
    return [shred for shred in _get_shreds() if shred in shown]


@st.composite
def mutations(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Templates that are nearly one of the seeds."""
    template = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        template = draw(_mutate(template))
    return template


@st.composite
def _mutate(draw: st.DrawFn, template: bytes) -> bytes:
    values = [*re.finditer(rb"(?<=:)\s*(\"[^\"]*\"|[\w.+-]+)", template)]
    kinds = ["insert", "delete", "repeat", "noise", "cut"] + ["value"] * (3 if values else 0)
    kind = draw(st.sampled_from(kinds))
    if kind == "value":  # of JSON, or of YAML in flow style
        span = draw(st.sampled_from([found.span(1) for found in values]))
        return template[: span[0]] + draw(st.sampled_from(ODD_JSON)) + template[span[1] :]
    start = draw(st.integers(0, len(template)))
    if kind == "cut":
        return template[:start]
    if kind == "insert":
        return template[:start] + draw(st.sampled_from(_TOKENS)) + template[start:]
    if kind == "noise":
        return template[:start] + draw(st.binary(min_size=1, max_size=8)) + template[start + 1 :]
    end = min(len(template), start + draw(st.integers(1, 40)))
    piece = template[start:end]
    if kind == "repeat" and b"@" not in piece and piece:
        return (
            template[:start] + b"@%d*%b@" % (draw(st.sampled_from([2, 50, 16_000])), piece) + template[end:]
        )
    return template[:start] + template[end:]
