"""The parameter `objects` of a SecretProviderClass: the secrets to mount, and their files.

Sources: Azure/secrets-store-csi-driver-provider-azure, pkg/provider (provider.go, validate.go,
types/parameters.go); kubernetes-sigs/secrets-store-csi-driver, pkg/util/fileutil.
"""

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from hcpcreds.hosted_cluster.forms import CREDENTIALS_SECRET_NAME, OBJECT_ENCODING
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.spelling import find_misspelt
from hcpcreds.manifests.check.subjects import (
    COMPONENT_BY_CLASS,
    Named,
    Subjects,
    get_history,
)

_TYPES: Final = ("secret", "key", "cert")
_FORMATS: Final = ("", "pem", "pfx")
_KEYS: Final = frozenset(
    {
        *("objectName", "objectAlias", "objectVersion", "objectVersionHistory", "objectType"),
        *("objectFormat", "objectEncoding", "filePermission"),
    }
)
_OCTAL: Final = re.compile(r"[-+]?[0-7]+")
_MAX_PERMISSION: Final = 2**31
_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 4096
_LONGEST_ECHO: Final = 80


def check_objects(item: Named, subjects: Subjects) -> Iterator[Finding]:
    """Check the objects that a SecretProviderClass mounts."""
    objects = item.node.at("spec", "parameters", "objects")
    entries = subjects.get_objects(item)
    if is_placeholder(objects.text) and not entries:
        return
    yield from _check_list(objects)
    files: set[str] = set()
    for entry in entries:
        file = entry["objectAlias"].plain or entry["objectName"].plain
        if file and file in files and not is_placeholder(file):
            yield report(
                "HC313",
                entry,
                f"two objects are written to the file {file!r}, and one of them is lost",
                "Give one of them another objectAlias, or remove it.",
            )
        files.add(file)
        misspelt = list(find_misspelt(entry, _KEYS))
        for key, node, meant in misspelt:
            yield report("HC320", node, f"the provider does not read the key {key!r}", f"Call it {meant}.")
        if not misspelt:
            yield from _check_type(entry, item)
            yield from _check_names(entry, item)
        yield from _check_form(entry)
        yield from _check_versions(entry, item)


def _check_list(objects: Node) -> Iterator[Finding]:
    """Check that objects is a list of texts, each of which is a mapping."""
    if not objects.is_set:
        yield report("HC306", objects, "objects is not set, and the provider refuses to mount", _FIX_OBJECTS)
        return
    parsed = objects.parse()
    if parsed.document.problem:
        problem = f"objects cannot be read: {parsed.document.problem}"
        yield report("HC306", parsed, problem, "Correct the YAML in objects.")
        return
    entries = parsed["array"]
    for key, node, meant in find_misspelt(parsed, ("array",)):
        yield report("HC320", node, f"the provider does not read the key {key!r}", f"Call it {meant}.")
        return
    if not entries.items():
        reason = "objects has no key array with entries, so nothing would be mounted"
        yield report("HC306", objects, reason, _FIX_OBJECTS)
    for entry in entries.items():
        read = entry.parse()
        if is_placeholder(entry.text):
            continue
        if not isinstance(entry.value, str):
            reason = "an entry of array is not text"
            yield report("HC306", entry, reason, _FIX_OBJECTS)
        elif read.document.problem:
            reason = f"an entry of array cannot be read: {read.document.problem}"
            yield report("HC306", read, reason, "Correct the YAML of the entry.")
        elif not isinstance(read.value, dict):
            yield report("HC306", entry, "an entry of array is not a mapping", _FIX_OBJECTS)


_FIX_OBJECTS: Final = (
    "Write each entry of array as a text of its own (`- |`), with objectName and objectType."
)


def _check_type(entry: Node, item: Named) -> Iterator[Finding]:
    kind, encoding = entry["objectType"].plain, entry["objectEncoding"].plain
    if is_placeholder(kind) or is_placeholder(encoding):
        return
    if kind not in _TYPES:
        yield report(
            "HC308",
            entry,
            f"the provider does not know the objectType {kind!r}" if kind else "objectType is not set",
            "Set it to secret (or, for what is not a credential file, to key or cert).",
        )
    elif kind != "secret" and item.name in COMPONENT_BY_CLASS:
        yield report(
            "HC308",
            entry,
            f"objectType is {kind!r}, but a credential file is a secret",
            "Set objectType: secret.",
        )
    if encoding and not OBJECT_ENCODING.pattern.fullmatch(encoding.lower()):
        yield report(
            "HC307",
            entry,
            f"the provider does not know the objectEncoding {encoding!r}",
            f"Use {OBJECT_ENCODING.expected}.",
        )
    elif encoding and kind in ("key", "cert"):
        yield report(
            "HC307",
            entry,
            f"objectEncoding is only for secrets, and objectType is {kind!r}",
            "Remove objectEncoding.",
        )


def _check_names(entry: Node, item: Named) -> Iterator[Finding]:
    name, alias = entry["objectName"].plain, entry["objectAlias"].plain
    if is_placeholder(name) or is_placeholder(alias):
        return
    if not CREDENTIALS_SECRET_NAME.pattern.fullmatch(name):
        yield report(
            "HC309",
            entry,
            f"objectName is {name!r}, which is not a name that Key Vault takes"
            if name
            else "objectName is not set",
            f"Name the secret: {CREDENTIALS_SECRET_NAME.expected}.",
        )
    if alias and not _is_file_name(alias):
        yield report(
            "HC311",
            entry,
            f"objectAlias {alias[:_LONGEST_ECHO]!r} is not a file name that provider and driver take",
            "Use a relative path without '..', '.' or empty parts, each of at most 255 characters.",
        )
    elif alias and alias != name and item.name in COMPONENT_BY_CLASS:
        yield report(
            "HC310",
            entry,
            f"the file would be {alias!r}, but {COMPONENT_BY_CLASS[item.name].name} looks for {name!r}",
            "Remove objectAlias.",
        )


def _is_file_name(alias: str) -> bool:
    is_clean = posixpath.normpath(alias) == alias and not alias.startswith("/") and ".." not in alias
    return (
        is_clean
        and len(alias.encode()) <= _LONGEST_PATH
        and all(len(part.encode()) <= _LONGEST_NAME for part in alias.split("/"))
    )


def _check_form(entry: Node) -> Iterator[Finding]:
    form, mode = entry["objectFormat"].plain, entry["filePermission"].plain
    if form and form.lower() not in _FORMATS and not is_placeholder(form):
        yield report(
            "HC318",
            entry,
            f"the provider does not know the objectFormat {form!r}",
            "Use pem or pfx, or remove it.",
        )
    elif form == "pfx" and entry["objectType"].plain in ("key", "cert"):
        yield report(
            "HC318",
            entry,
            f"objectFormat pfx is only for secrets, and objectType is {entry['objectType'].plain!r}",
            "Set objectType: secret, which holds the key of a certificate too; or remove objectFormat.",
        )
    if (
        mode
        and not is_placeholder(mode)
        and not (_OCTAL.fullmatch(mode) and abs(int(mode, 8)) < _MAX_PERMISSION)
    ):
        yield report(
            "HC318",
            entry,
            f"filePermission {mode!r} is not an octal number, so the file gets no permissions at all",
            'Write it as text, such as "0644".',
        )


def _check_versions(entry: Node, item: Named) -> Iterator[Finding]:
    version, history = entry["objectVersion"].plain, entry["objectVersionHistory"].plain
    if version not in ("", "latest") and not is_placeholder(version):
        yield report(
            "HC312",
            entry,
            "objectVersion is pinned, so a renewed credential is never mounted",
            "Remove objectVersion.",
        )
    if get_history(entry) > 1 and item.name in COMPONENT_BY_CLASS:
        name = entry["objectAlias"].plain or entry["objectName"].plain
        yield report(
            "HC324",
            entry,
            f"with objectVersionHistory {history}, {name!r} is a directory of versions and not a file",
            "Remove objectVersionHistory.",
        )
