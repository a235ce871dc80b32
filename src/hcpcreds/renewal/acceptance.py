"""Which stored credentials may be renewed, and which answers may replace them."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from hcpcreds.clouds import is_entra_host
from hcpcreds.credential_file.file import CredentialFile, parse_credential_file
from hcpcreds.dataplane.hosts import find_host, is_host_among
from hcpcreds.dataplane.models import (
    ManagedIdentityCredentials,
    UserAssignedIdentitiesRequest,
    UserAssignedIdentityCredentials,
    render_model,
)
from hcpcreds.errors import InputError, IssueError, IssueUnavailableError, MountFormatError
from hcpcreds.text import make_safe, show_id
from hcpcreds.vault.naming import (
    CANNOT_RENEW_AFTER_TAG,
    RENEW_AFTER_TAG,
    get_identifier,
    render_identifier,
)
from hcpcreds.vault.secret import (
    MOST_TAGS,
    STORE_ANEW,
    Credentials,
    LoadedSecret,
    VaultSecret,
    parse_time,
)

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far the service's clock may be ahead of ours; Entra ID allows as much."""

_RENEWED: Final = UserAssignedIdentityCredentials.__struct_fields__
_ALWAYS_NEW: Final = ("client_secret", "not_before", "not_after", "renew_after", "cannot_renew_after")
_SAME: Final = ("client_id", "tenant_id", "object_id", "resource_id")
_URLS: Final = ("authentication_endpoint", "client_secret_url", "mtls_authentication_endpoint")
_MOST_SHOWN: Final = 3
_NOT_A_RENEWAL: Final = "not a renewal of the stored credential"
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


def check_renewable(current: LoadedSecret, *, now: datetime) -> CredentialFile:
    """Check that a stored credential is complete and names one identity, before anything is requested for it.

    Opens the certificate: 0.3 ms for PEM, 36 ms for PKCS#12.

    Args:
        current: The stored credential.
        now: The time, aware.

    Returns:
        The credential as pods read it. Unless its certificate has expired, `KeyProver` has to prove next that
        its key belongs to the identity.

    Raises:
        IssueError: It may not be renewed. Names every wrong field, never a value.
    """
    one, where = current.credential, current.where
    problems: list[str] = []
    file = None
    try:
        file = parse_credential_file(render_model(one), path=where)
    except MountFormatError as error:
        problems += error.problems
    if not one.client_secret_url:
        problems.append("it has no client_secret_url, so it cannot be renewed")
    identifier = get_identifier(current.stored.name)
    fits = bool(one.object_id) and identifier == render_identifier(one.object_id or "")
    # Names that people choose, of a cluster and an operator, have hyphens; those of render_identifier do not.
    if identifier is not None and not fits and "-" not in identifier:
        problems.append("object_id: the secret is named after another object id")
    elif file is not None and file.certificate.not_after <= now and not fits:
        # It cannot get a token any more. Its name tells the identity, and the answer must be for the same.
        problems.append(
            "client_secret: the certificate has expired, so it can no longer prove that it belongs to the "
            "identity, and the secret is not named after the object_id"
        )
    others = current.tags.keys() - {RENEW_AFTER_TAG, CANNOT_RENEW_AFTER_TAG}
    if len(others) > MOST_TAGS - 2:
        raise IssueError(
            f"{where}: {len(others)} tags; Key Vault allows {MOST_TAGS - 2} besides renew_after and "
            "cannot_renew_after",
            hint=f"Remove {len(others) - MOST_TAGS + 2} of them; no renewal was requested.",
        )
    if file is None or problems:
        raise IssueError(f"{where}: {'; '.join(problems)}", hint=STORE_ANEW)
    return file


def build_renewal_request(current: Credentials) -> UserAssignedIdentitiesRequest | None:
    """Build the body to post to a `client_secret_url`, or return None when a GET is enough.

    The new certificate has custom claims only when they are requested again.
    """
    if current.custom_claims is None:
        return None
    resource_id = current.resource_id if isinstance(current, UserAssignedIdentityCredentials) else None
    return UserAssignedIdentitiesRequest(
        identity_ids=(resource_id,) if resource_id else None, custom_claims=current.custom_claims
    )


def accept_answer(
    current: LoadedSecret,
    answer: ManagedIdentityCredentials,
    *,
    now: datetime,
    hosts: Collection[str] = (),
) -> VaultSecret | None:
    """Build the secret that replaces the stored one from an answer, if the answer is a renewal of it.

    Fields that the answer lacks are kept. Opens the certificate: 0.3 ms for PEM, 36 ms for PKCS#12.

    Args:
        current: The stored credential.
        answer: The answer from its `client_secret_url`.
        now: The time, aware.
        hosts: The hosts of the data plane, each including its subdomains.

    Returns:
        The new version of the secret, or None when the answer is the stored credential.

    Raises:
        IssueUnavailableError: The answer is for another identity, is older, expired, not valid yet, or
            incomplete, or a pod could not use it.
    """
    old, new = current.credential, _find_identity(current, answer)
    if (new.not_before, new.not_after) == (old.not_before, old.not_after):
        return None
    if problems := [*_find_problems(old, new, now), *_find_foreign_hosts(old, new, hosts)]:
        raise _build_refusal(current, _NOT_A_RENEWAL, problems)
    changes = {
        name: value
        for name in _RENEWED
        if hasattr(old, name) and (value := getattr(new, name, None)) is not None
    }
    try:
        return current.build_replacement(msgspec.structs.replace(old, **changes))
    except InputError as error:
        raise _build_refusal(current, "not usable by a pod", error.problems) from None


def _build_refusal(current: LoadedSecret, reason: str, problems: Collection[str]) -> IssueUnavailableError:
    return IssueUnavailableError(
        f"{current.where}: the answer of the data plane is {reason}: {'; '.join(problems)}",
        hint="The stored secret was not changed.",
    )


def _find_identity(current: LoadedSecret, answer: ManagedIdentityCredentials) -> Credentials:
    """Find the credential of the same identity in an answer; raises when it is missing."""
    wanted = current.credential.client_id or ""
    candidates: list[Credentials] = [*(answer.explicit_identities or ()), answer]
    for each in candidates:
        if (each.client_id or "").lower() == wanted.lower():
            return each
    got = [show_id(each.client_id) for each in candidates if each.client_id]
    shown = ", ".join(got[:_MOST_SHOWN] + ["..."] * (len(got) > _MOST_SHOWN)) or "none"
    problem = f"client_id: expected {show_id(current.credential.client_id)}, got {shown}"
    raise _build_refusal(current, _NOT_A_RENEWAL, [problem])


def _find_problems(old: Credentials, new: Credentials, now: datetime) -> Iterator[str]:
    for name in _SAME:
        # An answer has no resource_id at its top.
        expected = getattr(old, name, None) if hasattr(new, name) else None
        got = getattr(new, name, None)
        if expected and expected.lower() != (got or "").lower():
            yield f"{name}: expected {show_id(expected)}, got {show_id(got)}"
    yield from (f"{name}: missing" for name in _ALWAYS_NEW if not getattr(new, name))
    not_before, not_after = parse_time(new.not_before), parse_time(new.not_after)
    if not_before is None or not_after is None:
        return  # build_secret names each unreadable time
    for name, time in (("not_before", not_before), ("not_after", not_after)):
        before = parse_time(getattr(old, name))
        if before is not None and time <= before:
            yield f"{name}: {time:{_TIME}} is not later than that of the stored credential"
    if not_after <= now:
        yield f"not_after: expired at {not_after:{_TIME}}; is this machine's clock right?"
    if not_before > now + CLOCK_TOLERANCE:
        yield f"not_before: not valid before {not_before:{_TIME}}; is this machine's clock right?"


def _find_foreign_hosts(old: Credentials, new: Credentials, hosts: Collection[str]) -> Iterator[str]:
    """Name the URLs whose host is neither a stored one, nor Entra ID's, nor the data plane's."""
    stored = {find_host(getattr(old, name) or "") for name in _URLS}
    for name in _URLS:
        url = getattr(new, name)
        if not url:
            continue
        host = find_host(url)
        if host is None:
            yield f"{name}: expected an https URL"
        elif not (host in stored or is_entra_host(_replace_mtls(host)) or is_host_among(host, hosts)):
            yield f"{name}: {make_safe(host)} is neither a stored host, nor Entra ID's, nor the data plane's"


def _replace_mtls(host: str) -> str:
    # Every cloud has its mTLS endpoints under mtlsauth where the others are under login.
    # Source: AzureAD/microsoft-authentication-library-for-dotnet, RegionAndMtlsDiscoveryProvider.cs (2026).
    return ".".join("login" if label == "mtlsauth" else label for label in host.split("."))
