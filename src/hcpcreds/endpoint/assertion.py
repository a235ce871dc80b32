"""Client assertions that other programs send: their audience, lifetime and certificates."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from typing_extensions import override

from hcpcreds.clouds import find_cloud
from hcpcreds.credential.authority import Attempt
from hcpcreds.credential.state import Snapshot

LARGE_BYTES: Final = 4095
"""The most that some programs read: Fluent Bit, .NET's ManagedIdentityCredential."""


class Chain(StrEnum):
    """The certificates that an assertion contains, in its header `x5c`."""

    FULL = "full"
    """The whole chain: for identities that Entra ID trusts by the subject and issuer of their certificate."""
    LEAF = "leaf"
    NONE = "none"
    """For certificates that are registered themselves: the thumbprint is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionSettings:
    """The settings of assertions."""

    authority: str | None = None
    """`https` URL, without a trailing slash, of the authority to which programs send them: the value of their
    AZURE_AUTHORITY_HOST. None stands for the authority that they use without this variable: the best known
    host of the credential file's cloud. MSAL asks that host about the others before it uses them."""
    life: timedelta = timedelta(minutes=30)
    """Programs keep an assertion for ten minutes; see `hcpcreds.endpoint.assertion_file`."""
    chain: Chain = Chain.FULL


DEFAULT_ASSERTION: Final = AssertionSettings()


@dataclass(frozen=True, slots=True)
class Assertion:
    """A signed assertion."""

    text: str = field(repr=False)
    expires_at: int
    """Unix time."""


def find_token_endpoint(snapshot: Snapshot, settings: AssertionSettings) -> str:
    """Return the URL of the token endpoint to which an identity's programs send assertions."""
    cloud = find_cloud(snapshot.file.authority)
    authority = settings.authority or (cloud.authority.rstrip("/") if cloud else snapshot.file.authority)
    return f"{authority}/{snapshot.file.tenant_id}/oauth2/v2.0/token"


def sign_assertion(snapshot: Snapshot, settings: AssertionSettings, *, now: float) -> Assertion:
    """Sign an assertion for an identity's token endpoint. Takes 0.3 ms.

    Args:
        snapshot: The credential that signs it. The assertion expires no later than its certificate:
            Entra ID refuses assertions of expired certificates, even if they have not expired themselves.
        settings: The settings of the assertion.
        now: Unix time.
    """
    last = min(snapshot.file.not_after, snapshot.certificate.not_after).timestamp()
    expires_at = int(min(now + settings.life.total_seconds(), last))
    text = snapshot.certificate.sign_assertion(
        client_id=snapshot.file.client_id,
        audience=find_token_endpoint(snapshot, settings),
        now=now,
        expires_at=expires_at,
        certificates={Chain.FULL: None, Chain.LEAF: 1, Chain.NONE: 0}[settings.chain],
    )
    return Assertion(text, expires_at)


@dataclass(slots=True, kw_only=True)
class Proof(Attempt):
    """A token request with such an assertion, as a program would send it."""

    settings: AssertionSettings

    @override
    def sign_assertion(self) -> str:
        return sign_assertion(self.snapshot, self.settings, now=self.sent.wall).text
