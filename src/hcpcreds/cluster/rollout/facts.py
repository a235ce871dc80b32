"""What is read of a rollout, from the vault, the cluster and the pods. No fact holds a secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

SecretKey = tuple[str, str]
"""A vault and a secret in it, both in lower case, because their names are case-insensitive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a secret, without its value."""

    version: str
    created_on: datetime | None = None
    not_after: datetime | None = None
    thumbprint: str | None = None
    """SHA-256 of its certificate in lower-case hex; None when it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """A secret of the vault, with its versions."""

    vault: str
    name: str
    client_id: str | None = None
    newest: Version | None = None
    """What the provider mounts; None when it is not known."""
    earlier: tuple[Version, ...] = ()
    """The versions before it that have not expired, newest first, as far as they are looked at."""
    problem: str | None = None
    """Why the newest version, or its certificate, is not known."""
    refusal: str | None = None
    """Why the authority gives no token for the newest certificate."""
    unproven: str | None = None
    """Why it is not known whether the authority gives a token for it."""

    @property
    def obstacle(self) -> str | None:
        """Why no pod can be done, whatever it uses."""
        if self.refusal is not None:
            return f"the authority gives no token for the newest certificate: {self.refusal}"
        if self.unproven is not None:
            return f"whether the authority accepts the newest certificate is not known: {self.unproven}"
        return self.problem

    def find(self, version: str) -> Version | None:
        """Find a version."""
        for each in (self.newest, *self.earlier):
            if each is not None and each.version == version:
                return each
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertions:
    """The assertions that a sidecar keeps in a file for other programs."""

    thumbprint: str
    """Of the certificate that signs them."""
    since: datetime
    """When the first one of this certificate was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a process shows of one of its credentials."""

    thumbprint: str
    is_refused: bool
    """Whether the authority refuses this certificate, and the previous one is used."""
    keeps_assertions: bool
    """Whether it keeps an assertion file."""
    assertions: Assertions | None
    """None when it has written none since it started."""
    at: datetime
    """When it showed that, by its own clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A container that mounts the secret."""

    name: str
    started_at: datetime | None
    """When it was started; None when it does not run, unless it `has_ended`."""
    seen: tuple[Seen, ...] = ()
    """All credentials that it shows; which of them is the secret's is told by the certificates."""
    problem: str = ""
    """Why it shows none."""
    keeps_assertions: bool = False
    """Whether it is set up to keep an assertion file, which others may read when it does not run."""
    has_ended: bool = False
    """Whether it is an init container that has ended. It may have copied what it read for the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A pod that mounts a secret."""

    namespace: str
    pod: str
    owner: str
    """What to restart: `deployment/ingress-operator`, or a pod that its controller replaces; else empty."""
    key: SecretKey
    secret: str
    version: str | None
    """The mounted version; None when it is not known, or nothing is mounted."""
    problem: str = ""
    """Why it is not known."""
    is_waiting: bool = False
    """Whether nothing is mounted yet, because the pod has not started."""
    is_first: bool = False
    """Whether the status has never changed; made anew, it forgets the versions before."""
    changed_at: datetime | None = None
    """When the mounted version last changed, by the API server's clock."""
    programs: tuple[Program, ...] = ()
    copies: tuple[str, ...] = ()
    """The Kubernetes Secrets into which its class has the driver copy secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is read for one judgement."""

    secrets: Mapping[SecretKey, StoredSecret]
    uses: tuple[Use, ...]
