"""Whether a stored credential may be renewed, and what the data plane answered may take its place."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from hcpcreds.clouds import is_entra_host
from hcpcreds.credential_file.file import CredentialFile, parse_credential_file
from hcpcreds.dataplane.models import (
    ManagedIdentityCredentials,
    UserAssignedIdentitiesRequest,
    UserAssignedIdentityCredentials,
    render_model,
)
from hcpcreds.dataplane.protocol import find_host, is_host_among
from hcpcreds.errors import IssueError, IssueUnavailableError, MountFormatError
from hcpcreds.text import make_safe, show_id
from hcpcreds.vault.secret import (
    CANNOT_RENEW_AFTER_TAG,
    MOST_TAGS,
    RENEW_AFTER_TAG,
    STORE_ANEW,
    Credentials,
    LoadedSecret,
    choose_credential,
    get_identifier,
    parse_time,
    render_identifier,
)

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far the service's clock may be ahead of ours; Entra ID allows as much."""

_RENEWED: Final = UserAssignedIdentityCredentials.__struct_fields__
_ALWAYS_NEW: Final = ("client_secret", "not_before", "not_after", "renew_after", "cannot_renew_after")
_SAME: Final = ("client_id", "tenant_id", "object_id", "resource_id")
_URLS: Final = ("authentication_endpoint", "client_secret_url", "mtls_authentication_endpoint")
_MOST_SHOWN: Final = 3


def check_renewable(loaded: LoadedSecret, *, where: str, now: datetime) -> CredentialFile:
    """See that a stored credential is whole, and names one identity; nothing is asked for any other.

    Opens the certificate: 0.3 ms for PEM, 36 ms for PKCS#12.

    Args:
        loaded: What the vault holds.
        where: Names the secret in an error.
        now: The time, aware.

    Returns:
        The credential as the pods read it; whether its key is the identity's is `KeyProver`'s to find out,
        unless its certificate has expired.

    Raises:
        IssueError: It is not to be renewed. Names every field that is wrong, none with its value.
    """
    one = choose_credential(loaded.credentials)
    problems: list[str] = []
    file = None
    try:
        file = parse_credential_file(render_model(one), path=where)
    except MountFormatError as error:
        problems += error.problems
    if not one.client_secret_url:
        problems.append("it has no client_secret_url, so it cannot be renewed")
    identifier = get_identifier(loaded.stored.name)
    named = bool(one.object_id) and identifier == render_identifier(one.object_id or "")
    # What render_identifier makes has no hyphen; names of one's own, of a cluster and an operator, have one.
    if identifier is not None and not named and "-" not in identifier:
        problems.append("object_id: it is not the one that the secret is named after")
    elif file is not None and file.certificate.not_after <= now and not named:
        # It gets no token any more. A name made of the object id says whose it is: an answer has the same.
        problems.append(
            "client_secret: its certificate has expired, so it cannot prove any more that it is the "
            "identity's, and the secret is not named after the object_id"
        )
    others = loaded.tags.keys() - {RENEW_AFTER_TAG, CANNOT_RENEW_AFTER_TAG}
    if len(others) > MOST_TAGS - 2:
        raise IssueError(
            f"{where}: it has {len(others)} tags, and a vault takes {MOST_TAGS - 2} at most besides "
            "renew_after and cannot_renew_after",
            hint=f"Take {len(others) - MOST_TAGS + 2} of them off; nothing was asked for.",
        )
    if file is None or problems:
        raise IssueError(f"{where}: {'; '.join(problems)}", hint=STORE_ANEW)
    return file


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
    stored: Credentials,
    answer: ManagedIdentityCredentials,
    *,
    where: str,
    now: datetime,
    hosts: Collection[str] = (),
) -> Credentials | None:
    """Take the renewed credential out of an answer, in place of the stored one.

    What the answer does not say stays as it is stored. That the key belongs to the certificate, and all else
    that a pod needs, is `build_secret`'s to check.

    Args:
        stored: What the vault holds.
        answer: What a ``client_secret_url`` answered.
        where: Names the secret in an error.
        now: The time, aware.
        hosts: Of the data plane, each meant with its subdomains.

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
        got = [show_id(each.client_id) for each in candidates if each.client_id]
        more = ["..."] if len(got) > _MOST_SHOWN else []
        shown = ", ".join(got[:_MOST_SHOWN] + more) or "none"
        problems = [f"client_id: expected {show_id(old.client_id)}, got {shown}"]
    elif (new.not_before, new.not_after) == (old.not_before, old.not_after):
        return None
    else:
        problems = [*_find_problems(old, new, now), *_find_strange_hosts(old, new, hosts)]
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
        was = (
            getattr(old, name, None) if hasattr(new, name) else None
        )  # the top of an answer has no resource_id
        is_ = getattr(new, name, None)
        if was and was.lower() != (is_ or "").lower():
            yield f"{name}: expected {show_id(was)}, got {show_id(is_)}"
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


def _find_strange_hosts(old: Credentials, new: Credentials, hosts: Collection[str]) -> Iterator[str]:
    """Name the URLs that lead neither where the stored ones do, nor to Entra ID, nor to the data plane."""
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
    # Each cloud has its mTLS endpoints under mtlsauth where the others are under login.
    # Source: AzureAD/microsoft-authentication-library-for-dotnet, RegionAndMtlsDiscoveryProvider.cs (2026).
    return ".".join("login" if label == "mtlsauth" else label for label in host.split("."))
