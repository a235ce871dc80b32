"""What a program asks the token endpoint for: a resource, and perhaps an identity."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from hcpcreds.credential_file.file import CredentialFile
from hcpcreds.endpoint.refusals import build_delay, build_refusal
from hcpcreds.text import make_safe

IDENTITY_NAMES: Final = {
    "client_id": "client_id",
    "object_id": "object_id",
    "principal_id": "object_id",
    "mi_res_id": "resource_id",
    "msi_res_id": "resource_id",
}
"""Query parameters that name an identity, and by what.

Every SDK has its own: Java's calls the resource id `mi_res_id` where others' say `msi_res_id`, and older ones
call the object id `principal_id` (App Service)."""
_MAX_FIELDS: Final = 20
_RESOURCE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}")
"""A scope-token of RFC 6749, appendix A.4, for it becomes one."""
_VERSION: Final = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")


class Question(NamedTuple):
    """A program's question."""

    resource: str
    identity: tuple[tuple[str, str], ...]
    """What names the identity: fields of a credential file and their values in lower case; empty for none."""

    @property
    def scope(self) -> str:
        """What the authority is asked for."""
        return f"{self.resource}/.default"


def read_question(query: str, *, oldest_version: str) -> Question:
    """Read the query of a request.

    Args:
        query: As it was sent.
        oldest_version: The first api-version whose answer has the shape that is given here.

    Raises:
        Refusal: It does not ask for a token.
    """
    try:
        fields = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS, separator="&"
        )
    except ValueError:  # too many, or not UTF-8
        raise build_refusal("invalid_request", "The query is not one") from None
    values: dict[str, str] = {}
    for name, value in fields:
        if name in values and (name in IDENTITY_NAMES or name in ("resource", "api-version")):
            raise build_refusal("invalid_request", f"The query has {name} twice")
        values[name] = value
    version, resource = values.get("api-version", ""), values.get("resource", "")
    if not _VERSION.fullmatch(version) or version < oldest_version:
        raise build_refusal("invalid_request", f"Expected an api-version of {oldest_version} or later")
    if not _RESOURCE.fullmatch(resource):
        raise build_refusal(
            "invalid_resource", "Expected a resource, for instance https://management.azure.com"
        )
    identity = {
        (IDENTITY_NAMES[name], value.lower())
        for name, value in values.items()
        if name in IDENTITY_NAMES and value
    }
    return Question(resource, tuple(sorted(identity)))


def find_identity(question: Question, files: Mapping[str, CredentialFile | None]) -> str:
    """Find the credential that a question is for.

    Args:
        question: The question.
        files: The credentials' files by name; None where there was none yet.

    Returns:
        The credential's name.

    Raises:
        Refusal: There is none, or more than one.
    """
    if not question.identity:
        if len(files) == 1:
            return next(iter(files))
        raise build_refusal(
            "invalid_request",
            "Multiple user assigned identities exist, please specify the clientId / resourceId of the "
            "identity in the token request",
            reason="identity_missing",
        )
    for name, file in files.items():
        if file is not None and _has(file, question.identity):
            return name
    missing = [name for name, file in files.items() if file is None]
    if missing:
        raise build_delay(
            f"There is no credential file of {make_safe(', '.join(missing))} yet",
            seconds=1,
            reason="not_mounted",
        )
    raise build_refusal("invalid_request", "Identity not found", reason="identity_unknown")


def _has(file: CredentialFile, identity: Sequence[tuple[str, str]]) -> bool:
    return all((getattr(file, field) or "").lower() == value for field, value in identity)
