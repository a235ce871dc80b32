"""Whether what the data plane answered may take the place of what is stored."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from hcpcreds.dataplane.models import (
    ManagedIdentityCredentials,
    UserAssignedIdentitiesRequest,
    UserAssignedIdentityCredentials,
)
from hcpcreds.dataplane.vault_secret import Credentials, choose_credential, parse_time
from hcpcreds.errors import IssueUnavailableError

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far the service's clock may be ahead of ours; Entra ID allows as much."""

_RENEWED: Final = UserAssignedIdentityCredentials.__struct_fields__
_ALWAYS_NEW: Final = ("client_secret", "not_before", "not_after", "renew_after", "cannot_renew_after")
_SAME: Final = ("client_id", "tenant_id", "object_id", "resource_id")


def build_renewal_request(credentials: Credentials) -> UserAssignedIdentitiesRequest | None:
    """Build what has to be posted to a ``client_secret_url``; None when a GET of it is enough.

    A certificate's custom claims are in it only when they are asked for anew.
    """
    one = choose_credential(credentials)
    if one.custom_claims is None:
        return None
    resource_id = one.resource_id if isinstance(one, UserAssignedIdentityCredentials) else None
    return UserAssignedIdentitiesRequest(
        identity_ids=(resource_id,) if resource_id else None, custom_claims=one.custom_claims
    )


def take_renewed(
    stored: Credentials, answer: ManagedIdentityCredentials, *, where: str, now: datetime
) -> Credentials | None:
    """Take the renewed credential out of an answer, in place of the stored one.

    What the answer does not say stays as it is stored. That the key belongs to the certificate, and all else
    that a pod needs, is `build_secret`'s to check.

    Args:
        stored: What the vault holds.
        answer: What a ``client_secret_url`` answered.
        where: Names the secret in an error.
        now: The time, aware.

    Returns:
        The whole new value of the secret; None when the answer is what is stored already.

    Raises:
        IssueUnavailableError: Another identity's, an older one, an expired one, one of the future, or a part
            of one.
    """
    old = choose_credential(stored)
    client_id = (old.client_id or "").lower()
    candidates: list[Credentials] = [*(answer.explicit_identities or ()), answer]
    new = next((each for each in candidates if (each.client_id or "").lower() == client_id), None)
    if new is None:
        got = ", ".join(each.client_id for each in candidates if each.client_id) or "none"
        problems = [f"client_id: expected {old.client_id}, got {got}"]
    elif (new.not_before, new.not_after) == (old.not_before, old.not_after):
        return None
    else:
        problems = list(_find_problems(old, new, now))
    if new is None or problems:
        raise IssueUnavailableError(
            f"{where}: the data plane answered no renewal of it: {'; '.join(problems)}",
            hint="What is stored was left as it is.",
        )
    changes = {name: value for name in _RENEWED if (value := getattr(new, name, None)) is not None}
    changes = {name: value for name, value in changes.items() if hasattr(old, name)}
    renewed: Credentials = msgspec.structs.replace(old, **changes)
    if old is not stored and isinstance(renewed, UserAssignedIdentityCredentials):
        return msgspec.structs.replace(stored, explicit_identities=(renewed,))
    return renewed


def _find_problems(old: Credentials, new: Credentials, now: datetime) -> Iterator[str]:
    for name in _SAME:
        was, is_ = getattr(old, name, None), getattr(new, name, None)
        if was and is_ and was.lower() != is_.lower():
            yield f"{name}: expected {was}, got {is_}"
    yield from (f"{name}: missing" for name in _ALWAYS_NEW if not getattr(new, name))
    not_before, not_after = parse_time(new.not_before), parse_time(new.not_after)
    if not_before is None or not_after is None:
        return  # build_secret names each time that is none
    for name, time in (("not_before", not_before), ("not_after", not_after)):
        before = parse_time(getattr(old, name))
        if before is not None and time <= before:
            yield f"{name}: {time:%Y-%m-%dT%H:%M:%SZ} is not later than the stored one's"
    if not_after <= now:
        yield f"not_after: it expired at {not_after:%Y-%m-%dT%H:%M:%SZ}; is this machine's clock right?"
    if not_before > now + CLOCK_TOLERANCE:
        yield f"not_before: valid only from {not_before:%Y-%m-%dT%H:%M:%SZ}; is this machine's clock right?"
