"""The contents of a local Key Vault: secrets and their versions, in memory."""

from bisect import bisect_right, insort
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

RECOVERABLE_DAYS: Final = 90


@dataclass
class SecretVersion:
    """One version of a secret. Times are Unix seconds."""

    version: str
    value: str = field(repr=False)
    created: int
    updated: int
    content_type: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None


@dataclass
class Secret:
    """A secret: its versions, the newest last."""

    name: str
    versions: dict[str, SecretVersion] = field(default_factory=dict)
    deleted: int | None = None

    @property
    def latest(self) -> SecretVersion:
        """Its newest version."""
        return next(reversed(self.versions.values()))


class SecretStore:
    """Secrets by name, regardless of case; deleted ones are kept until they are purged."""

    def __init__(self) -> None:
        self._secrets: dict[str, Secret] = {}
        self._keys: list[str] = []
        """Sorted names of the secrets that are not deleted, for listing ten thousand page by page."""

    def find(self, name: str) -> Secret | None:
        """Find a secret that is not deleted."""
        secret = self._secrets.get(name.lower())
        return None if secret is None or secret.deleted is not None else secret

    def find_deleted(self, name: str) -> Secret | None:
        """Find a deleted secret."""
        secret = self._secrets.get(name.lower())
        return None if secret is None or secret.deleted is None else secret

    def add(self, name: str, version: SecretVersion) -> Secret:
        """Add a version to a secret that is not deleted, or to a new secret."""
        key = name.lower()
        if key not in self._secrets:
            self._secrets[key] = Secret(name)
            insort(self._keys, key)
        self._secrets[key].versions[version.version] = version
        return self._secrets[key]

    def delete(self, secret: Secret, *, at: int) -> None:
        """Delete a secret; it can be recovered."""
        secret.deleted = at
        self._keys.remove(secret.name.lower())

    def recover(self, secret: Secret) -> None:
        """Recover a deleted secret."""
        secret.deleted = None
        insort(self._keys, secret.name.lower())

    def purge(self, secret: Secret) -> None:
        """Remove a deleted secret permanently."""
        del self._secrets[secret.name.lower()]

    def list_after(self, name: str, count: int) -> list[Secret]:
        """List up to so many secrets whose names come after this one."""
        start = bisect_right(self._keys, name.lower())
        return [self._secrets[key] for key in self._keys[start : start + count]]


def list_versions_after(secret: Secret, version: str, count: int) -> list[SecretVersion]:
    """List up to so many versions after this one, in Key Vault's order: that of their random names."""
    later = (secret.versions[key] for key in sorted(secret.versions) if key > version)
    return list(islice(later, count))
