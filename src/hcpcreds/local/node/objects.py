"""The parameters of a SecretProviderClass, read as the Azure provider reads them.

Source: Azure/secrets-store-csi-driver-provider-azure v1.8, pkg/provider (provider.go, validate.go, types).
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import yaml

from hcpcreds.errors import InputError, MountError

_BOOLEANS: Final = {
    **dict.fromkeys(["1", "t", "T", "TRUE", "true", "True"], True),
    **dict.fromkeys(["0", "f", "F", "FALSE", "false", "False", ""], False),
}
"""What Go's strconv.ParseBool accepts, and the empty string."""
_VAULT_NAME: Final = re.compile(r"[-A-Za-z0-9]{3,24}")
_ENCODINGS: Final = ("utf-8", "hex", "base64")
_FORMATS: Final = ("pem", "pfx")
_DEFAULT_MODE: Final = 0o644


class _Loader(yaml.BaseLoader):
    """Loads every scalar as a string, as Go's YAML library does for a string field."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_Loader.add_constructor("tag:yaml.org,2002:null", lambda _loader, _node: "")


@dataclass(frozen=True, slots=True)
class VaultObject:
    """One entry of `objects`."""

    name: str
    file: str
    version: str = ""
    """Key Vault version; empty means the newest."""
    encoding: str = "utf-8"
    mode: int = _DEFAULT_MODE

    @property
    def id(self) -> str:
        """Its id in a SecretProviderClassPodStatus."""
        return f"secret/{self.name}"


@dataclass(frozen=True, slots=True)
class MountRequest:
    """The parsed parameters of a SecretProviderClass."""

    vault: str
    tenant_id: str
    client_id: str
    """Client id of the identity that reads the vault; empty means the machine's own."""
    objects: tuple[VaultObject, ...]


class _Objects(msgspec.Struct):
    array: list[str] = []


class _Entry(msgspec.Struct, rename="camel"):
    object_name: str = ""
    object_alias: str = ""
    object_version: str = ""
    object_version_history: str = ""
    object_type: str = ""
    object_format: str = ""
    object_encoding: str = ""
    file_permission: str = ""


def parse_parameters(parameters: Mapping[str, str]) -> MountRequest:
    """Parse the parameters of a SecretProviderClass.

    Args:
        parameters: Its `spec.parameters`.

    Raises:
        InputError: The provider would refuse them, or this node does not support them: it supports the
            machine's managed identities only, and no keys, certificates or version histories.
    """
    trimmed = {key: value.strip() for key, value in parameters.items()}
    problems = _find_identity_problems(trimmed)
    vault = trimmed.get("keyvaultName", "")
    tenant_id = trimmed.get("tenantID") or trimmed.get("tenantId", "")
    if not vault:
        problems.append("keyvaultName: is not provided")
    elif not _VAULT_NAME.fullmatch(vault):
        problems.append(f"keyvaultName: {vault!r} must be 3 to 24 characters of [-a-zA-Z0-9]")
    if not tenant_id:
        problems.append("tenantId: is not provided")
    try:
        objects = parse_objects(trimmed.get("objects", ""))
    except InputError as error:
        problems += error.problems
        objects = ()
    if problems:
        raise InputError("parameters", problems)
    return MountRequest(vault, tenant_id, trimmed.get("userAssignedIdentityID", ""), objects)


def _find_identity_problems(parameters: Mapping[str, str]) -> list[str]:
    modes = ("usePodIdentity", "useVMManagedIdentity", "useAzureTokenProxy")
    problems = [
        f"{mode}: {parameters[mode]!r} is not a boolean"
        for mode in modes
        if parameters.get(mode, "") not in _BOOLEANS
    ]
    chosen = [mode for mode in modes if _BOOLEANS.get(parameters.get(mode, ""))]
    if len(chosen) > 1:
        problems.append(f"only one identity mode can be enabled at a time: {', '.join(chosen)}")
    elif chosen != ["useVMManagedIdentity"] and not problems:
        problems.append("useVMManagedIdentity: must be true; this small node supports no other identity")
    return problems


def parse_objects(text: str) -> tuple[VaultObject, ...]:
    """Parse the parameter `objects`: YAML with a list of strings, each of them YAML.

    Raises:
        InputError: The provider, or this node, would refuse an entry; lists every such entry.
    """
    if not text.strip():
        raise InputError("objects", ["objects: is not set"])
    try:
        entries = msgspec.convert(_load_yaml(text), _Objects).array
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise InputError("objects", [f"objects: {_first_line(error)}"]) from None
    if not entries:
        raise InputError("objects", ["objects.array: is empty, so that the driver would mount nothing"])
    objects, problems = [], []
    for index, entry_text in enumerate(entries):
        where = f"objects.array[{index}]"
        try:
            entry = msgspec.convert(_load_yaml(entry_text), _Entry)
        except (yaml.YAMLError, msgspec.ValidationError) as error:
            problems.append(f"{where}: {_first_line(error)}")
            continue
        entry = msgspec.structs.replace(
            entry, **{name: value.strip() for name, value in msgspec.structs.asdict(entry).items()}
        )
        found = [f"{where}.{problem}" for problem in _find_entry_problems(entry)]
        problems += found
        if not found:
            objects.append(_build_object(entry))
    if problems:
        raise InputError("objects", problems)
    return tuple(objects)


def _load_yaml(text: str) -> object:
    # To Go, an empty document is an object without fields.
    return yaml.load(text, Loader=_Loader) or {}  # noqa: S506 (a BaseLoader builds strings only)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _find_entry_problems(entry: _Entry) -> list[str]:
    problems = []
    file = entry.object_alias or entry.object_name
    if entry.object_type != "secret":
        problems.append(
            f"objectType: {entry.object_type!r} must be secret; this small node supports nothing else"
        )
    if entry.object_format and entry.object_format.lower() not in _FORMATS:
        problems.append(f"objectFormat: {entry.object_format!r} must be one of {', '.join(_FORMATS)}")
    if entry.object_encoding and entry.object_encoding.lower() not in _ENCODINGS:
        problems.append(f"objectEncoding: {entry.object_encoding!r} must be one of {', '.join(_ENCODINGS)}")
    if entry.object_version_history not in {"", "0", "1"}:
        problems.append("objectVersionHistory: this small node mounts one version")
    if not file:
        problems.append("objectName: must not be empty")
    elif file.startswith("/") or ".." in file:
        problems.append(f"objectAlias: {file!r} must be a relative path without '..'")
    if entry.file_permission and not re.fullmatch("[0-7]{1,4}", entry.file_permission):
        problems.append(f"filePermission: {entry.file_permission!r} must be a valid octal number")
    return problems


def _build_object(entry: _Entry) -> VaultObject:
    return VaultObject(
        name=entry.object_name,
        file=entry.object_alias or entry.object_name,
        version="" if entry.object_version == "latest" else entry.object_version,
        encoding=entry.object_encoding.lower() or "utf-8",
        mode=int(entry.file_permission, 8) if entry.file_permission else _DEFAULT_MODE,
    )


def decode_content(content: str, encoding: str) -> bytes:
    """Decode the value of a secret to the content of its file.

    Args:
        content: Value of the secret.
        encoding: `utf-8`, `hex` or `base64` (standard alphabet, padded; line breaks are ignored).

    Raises:
        MountError: The value does not have that encoding. Fix the value or `objectEncoding`.
    """
    try:
        if encoding == "hex":
            return binascii.unhexlify(content)
        if encoding == "base64":
            return base64.b64decode(content.replace("\r", "").replace("\n", ""), validate=True)
        return content.encode()
    except ValueError:
        raise MountError(
            f"the value is not {encoding}",
            hint="Set objectEncoding to the encoding that the secret was stored in.",
        ) from None
