"""The record of each component while the chain runs: pure bookkeeping of events."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from hcpcreds.up.service_owner import Issued


@dataclass
class CertificateUse:
    """The use of one certificate by a component. Times are Unix seconds."""

    thumbprint: str
    expires: datetime
    version: str | None = None
    """Version of the secret in the vault, once it is stored."""
    generation: int | None = None
    reloaded_at: float | None = None
    first_call_at: float | None = None
    calls: int = 0
    valid_from: datetime | None = None
    renew_from: datetime | None = None

    @classmethod
    def expect(cls, issued: "Issued", version: str | None = None) -> Self:
        """Expect the use of an issued certificate."""
        return cls(
            issued.thumbprint,
            issued.expires,
            version,
            valid_from=issued.valid_from,
            renew_from=issued.renew_from,
        )


@dataclass
class ComponentRecord:
    """A component, its certificates, and its calls."""

    component: str
    workload: str
    volume: str
    secret_provider_class: str
    file: str
    """Path of the credential file in the pod."""
    certificates: list[CertificateUse] = field(default_factory=list)
    calls: int = 0
    failed_calls: int = 0
    last_call_at: float | None = None
    last_error: str | None = None
    language: str = "Python"
    """What its process is written in."""
    logins: tuple[str, ...] = ("key",)
    """How it is to log in: with its key, an assertion, or both for different calls."""
    calls_by_login: Counter[str] = field(default_factory=Counter)
    """How it has: of its calls that have succeeded."""
    ended: str | None = None
    """Why its process has ended, if it has."""
    _swapped_at: dict[str, float] = field(default_factory=dict)
    _early: dict[str, list[tuple[float, int | None]]] = field(default_factory=dict)
    """By thumbprint, of certificates that are not expected (yet): times of calls, and of reloads with their
    generations."""

    def expect(self, certificate: CertificateUse) -> bool:
        """Expect the use of a stored certificate; return whether a call has already been made with it."""
        known = next((each for each in self.certificates if each.thumbprint == certificate.thumbprint), None)
        if known is not None:
            known.version = known.version or certificate.version
            return False
        self.certificates.append(certificate)
        first_use = False
        for at, generation in self._early.pop(certificate.thumbprint, []):
            if generation is not None:
                self.reloaded(certificate.thumbprint, generation, at)
            else:
                self.calls -= 1  # counted when it was made
                first_use |= self.called(certificate.thumbprint, at)
        return first_use

    def knows(self, version: str) -> bool:
        """Whether the certificate in a version of the secret is expected here."""
        return any(certificate.version == version for certificate in self.certificates)

    def swapped(self, version: str, at: float) -> None:
        """Record that the node made a version of the secret visible."""
        self._swapped_at.setdefault(version, at)

    def reloaded(self, thumbprint: str, generation: int, at: float) -> None:
        """Record that the process took a new snapshot."""
        certificate = self._find(thumbprint, at, generation)
        if certificate is not None and certificate.reloaded_at is None:
            certificate.generation, certificate.reloaded_at = generation, at

    def called(self, thumbprint: str, at: float) -> bool:
        """Record a call with a token from a certificate; return whether it is the first."""
        self.calls += 1
        self.last_call_at = at
        certificate = self._find(thumbprint, at, None)
        if certificate is None:
            return False
        certificate.calls += 1
        if certificate.first_call_at is not None:
            return False
        certificate.first_call_at = at
        return True

    def failed(self, reason: str, at: float) -> None:
        """Record a call that failed."""
        self.calls += 1
        self.failed_calls += 1
        self.last_call_at = at
        self.last_error = reason

    @property
    def current(self) -> CertificateUse | None:
        """The newest certificate that the process has taken."""
        taken = [certificate for certificate in self.certificates if certificate.reloaded_at is not None]
        return taken[-1] if taken else None

    @property
    def used_newest(self) -> bool:
        """Whether a call was made with a token from the newest certificate."""
        return bool(self.certificates) and self.certificates[-1].calls > 0

    def describe_newest(self) -> str:
        """Describe how the newest certificate came into use."""
        newest = self.certificates[-1]
        text = f"certificate {newest.thumbprint[:12]}, generation {newest.generation}"
        reload, call = self.reload_milliseconds(newest), self.first_call_milliseconds(newest)
        if reload is None or call is None:
            return f"{text}: first call"
        return f"{text}: reloaded {reload:.1f} ms and first used {call:.0f} ms after the swap"

    @property
    def rotations(self) -> int:
        """Number of rotations that it has come through: of certificates used after the first."""
        return sum(1 for certificate in self.certificates[1:] if certificate.calls)

    def reload_milliseconds(self, certificate: CertificateUse) -> float | None:
        """Time from the swap of the file to the new snapshot; None for the first certificate, and before."""
        return self._since_swap(certificate, certificate.reloaded_at)

    def first_call_milliseconds(self, certificate: CertificateUse) -> float | None:
        """Time from the swap of the file to the first call with its token; None as above."""
        return self._since_swap(certificate, certificate.first_call_at)

    def problems(self, *, ended_early: bool) -> list[str]:
        """List what is wrong with the calls of this component.

        Args:
            ended_early: Whether the run was stopped, so that the newest certificate may be unused.
        """
        found = []
        if self.failed_calls:
            found.append(
                f"{self.component}: {self.failed_calls} failed calls, the last one: {self.last_error}"
            )
        expected = self.certificates[:-1] if ended_early else self.certificates
        unused = [str(number) for number, certificate in enumerate(expected, 1) if not certificate.calls]
        if unused:
            found.append(f"{self.component}: no call with a token from certificate {', '.join(unused)}")
        found += [
            f"{self.component}: no call with its {login}"
            for login in self.logins
            if self.calls_by_login and not ended_early and login not in self.calls_by_login
        ]
        found += [
            f"{self.component}: {count} calls with its {login}, which it was not to use"
            for login, count in self.calls_by_login.items()
            if login not in self.logins
        ]
        found += [
            f"{self.component}: used a certificate that was not issued to it: {thumbprint}"
            for thumbprint in sorted(self._early)
        ]
        return found

    def as_json(self) -> dict[str, Any]:
        """Build the record for `hcpcreds up --output json`; durations in milliseconds."""
        return {
            "component": self.component,
            "workload": self.workload,
            "volume": self.volume,
            "secret_provider_class": self.secret_provider_class,
            "file": self.file,
            "language": self.language,
            "thumbprints": [certificate.thumbprint for certificate in self.certificates],
            "generations": [certificate.generation for certificate in self.certificates],
            "expires": [certificate.expires.isoformat() for certificate in self.certificates],
            "calls_by_certificate": [certificate.calls for certificate in self.certificates],
            "reload_ms": [self.reload_milliseconds(certificate) for certificate in self.certificates[1:]],
            "first_call_ms": [
                self.first_call_milliseconds(certificate) for certificate in self.certificates[1:]
            ],
            "rotations": self.rotations,
            "calls": self.calls,
            "calls_by_login": dict(sorted(self.calls_by_login.items())),
            "failed_calls": self.failed_calls,
            "last_error": self.last_error,
            "ended": self.ended,
        }

    def _find(self, thumbprint: str, at: float, generation: int | None) -> CertificateUse | None:
        for certificate in self.certificates:
            if certificate.thumbprint == thumbprint:
                return certificate
        self._early.setdefault(thumbprint, []).append((at, generation))
        return None

    def _since_swap(self, certificate: CertificateUse, then: float | None) -> float | None:
        swapped_at = self._swapped_at.get(certificate.version or "")
        if certificate is self.certificates[0] or swapped_at is None or then is None:
            return None
        return round((then - swapped_at) * 1000, 3)
