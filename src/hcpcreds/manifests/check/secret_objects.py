"""HC321 to HC323: the Secrets that the driver creates from mounted files (`secretObjects`).

Sources: kubernetes-sigs/secrets-store-csi-driver, pkg/util/secretutil/secret.go and
controllers/secretproviderclasspodstatus_controller.go.
"""

import re
from collections.abc import Iterator
from typing import Final

from hcpcreds.kubernetes.nodes import Node
from hcpcreds.kubernetes.placeholders import is_placeholder
from hcpcreds.manifests.check.rules import Finding, report
from hcpcreds.manifests.check.subjects import Named, Pod, Subjects, is_same

_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY: Final = re.compile(r"(?!\.\.?\Z)(?!\.\.)[-._a-zA-Z0-9]{1,253}")
_TLS: Final = "kubernetes.io/tls"
_TLS_KEYS: Final = ("tls.crt", "tls.key")
_REQUIRED_KEYS: Final = {
    _TLS: _TLS_KEYS,
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
"""The keys without which the API server refuses a Secret of the type."""


def check_secret_objects(item: Named, subjects: Subjects) -> Iterator[Finding]:
    """Check the Secrets that the driver creates for a SecretProviderClass."""
    files = subjects.find_files(item.name, item.namespace)
    for secret in item.node.at("spec", "secretObjects").items():
        yield from _check_secret(secret)
        for entry in secret["data"].items():
            yield from _check_entry(entry, secret, files)
        yield from _check_is_made(secret, item, subjects)


def _check_secret(secret: Node) -> Iterator[Finding]:
    name, kind = secret["secretName"], secret["type"]
    for node in (name, kind):
        if node.is_set and not isinstance(node.value, str):
            reason = f"{node.path[-1]} is not text, and the API server refuses it"
            yield report("HC321", node, reason, "Put it in quotes.")
            return
    if not is_placeholder(name.text) and not _NAME.fullmatch(name.text.strip()):
        yield report(
            "HC321",
            name,
            f"secretName is {name.text!r}, which is not a valid name"
            if name.is_set
            else "secretName is not set",
            "Use lower-case letters, digits, '-' and '.', at most 253 characters.",
        )
    if not kind.is_set:
        yield report(
            "HC321",
            kind,
            "type is not set, and the driver makes no Secret",
            "Set type, for instance to Opaque.",
        )
    keys = [entry["key"].text.strip() for entry in secret["data"].items()]
    if not keys:
        yield report(
            "HC321",
            secret["data"],
            "data is empty, and the driver makes no Secret",
            "Add an entry with objectName and key.",
        )
        return
    lacking = [key for key in _REQUIRED_KEYS.get(kind.text.strip(), ()) if key not in keys]
    others = [key for key in keys if key not in _TLS_KEYS] if kind.text.strip() == _TLS else []
    if lacking and not any(map(is_placeholder, keys)):
        yield report(
            "HC321",
            secret["data"],
            f"a Secret of the type {kind.text} needs the key {' and '.join(lacking)}",
            "Add it, or set type: Opaque.",
        )
    elif others and not any(map(is_placeholder, others)):
        yield report(
            "HC321",
            secret["data"],
            f"of a Secret of the type {_TLS}, the driver takes no key but {' and '.join(_TLS_KEYS)}",
            f"Remove {', '.join(others)}, or put it into a Secret of its own.",
        )


def _check_entry(entry: Node, secret: Node, files: frozenset[str]) -> Iterator[Finding]:
    name, key = entry["objectName"], entry["key"]
    if not is_placeholder(key.text) and not _KEY.fullmatch(key.text.strip()):
        yield report(
            "HC321",
            key,
            f"key is {key.text!r}, which is not a valid key" if key.is_set else "key is not set",
            "Use letters, digits, '-', '_' and '.'.",
        )
    file = name.text.strip()
    if not file:
        yield report("HC322", name, "objectName is not set", "Set it to the name of a mounted file.")
    elif files and not is_placeholder(file) and not is_written(file, files):
        yield report(
            "HC322",
            name,
            f"objectName {file!r} is not a mounted file, so the Secret {secret['secretName'].text} is never "
            f"made; mounted is {', '.join(sorted(files))}",
            "Use the name of the mounted file: objectAlias where there is one, else objectName.",
        )


def is_written(file: str, files: frozenset[str]) -> bool:
    """Return whether a file may be among the mounted ones.

    With `--write-cert-and-key-in-separate-files`, the provider writes two more files per certificate.
    """
    return file in files or (file.endswith((".crt", ".key")) and file[: -len(".crt")] in files)


def _check_is_made(secret: Node, item: Named, subjects: Subjects) -> Iterator[Finding]:
    """Check that a pod mounts the SecretProviderClass: only then does the driver create the Secret."""
    name = secret["secretName"].text.strip()
    readers = subjects.secret_readers.get(name, {}).items()
    reader = next((pod for namespace, pod in readers if is_same(namespace, item.namespace)), None)
    is_mounted = subjects.find_users(item) or any(
        is_same(pod.namespace, item.namespace) for pod, _ in subjects.users_of_classes.get("", ())
    )
    if reader and not is_mounted:
        yield report(
            "HC323",
            secret,
            f"{reader} reads the Secret {name}, which the driver makes when a pod mounts {item.name}, and no "
            "pod does",
            f"Mount {item.name} in {reader}: a CSI volume, and a mount in a container.",
        )


def find_read_secrets(pod: Pod) -> set[str]:
    """List the Secrets that a pod reads, in variables and volumes."""
    names = {volume.at("secret", "secretName").text for volume in pod.volumes}
    for volume in pod.volumes:
        names |= {source.at("secret", "name").text for source in volume.at("projected", "sources").items()}
    for container in pod.containers:
        names |= {variable.at("valueFrom", "secretKeyRef", "name").text for variable in container.env}
        names |= {source.at("secretRef", "name").text for source in container.node["envFrom"].items()}
    return names - {""}
