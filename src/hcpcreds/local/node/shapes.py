"""The fields of Kubernetes objects that the node reads; others are ignored."""

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec

from hcpcreds.errors import InputError

# Names become directories, so they have to be DNS subdomains.
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]


class Metadata(msgspec.Struct):
    """Metadata of a pod or a SecretProviderClass."""

    name: _Name
    namespace: _Name = "default"
    uid: str = ""


class CsiVolumeSource(msgspec.Struct, rename="camel"):
    """A volume that a CSI driver provides."""

    driver: str
    read_only: bool = False
    volume_attributes: dict[str, str] = {}


class Volume(msgspec.Struct):
    """A volume of a pod; only CSI volumes are read."""

    name: _Name
    csi: CsiVolumeSource | None = None


class VolumeMount(msgspec.Struct, rename="camel"):
    """The mount of a volume in a container."""

    name: str
    mount_path: str
    sub_path: str = ""


class Container(msgspec.Struct, rename="camel"):
    """The mounts of a container."""

    volume_mounts: list[VolumeMount] = []


class PodSpec(msgspec.Struct):
    """Spec of a pod."""

    containers: list[Container]
    volumes: list[Volume] = []


class Pod(msgspec.Struct):
    """A pod."""

    metadata: Metadata
    spec: PodSpec


class SecretProviderClassSpec(msgspec.Struct):
    """Spec of a SecretProviderClass."""

    provider: str = ""
    parameters: dict[str, str] = {}


class SecretProviderClass(msgspec.Struct):
    """A SecretProviderClass."""

    metadata: Metadata
    spec: SecretProviderClassSpec


_Shape = TypeVar("_Shape", Pod, SecretProviderClass)


def parse_objects_of(kind: type[_Shape], objects: Iterable[Any]) -> list[_Shape]:
    """Read API objects of one kind.

    Raises:
        InputError: An object does not have the shape of the API; lists every such object.
    """
    parsed, problems = [], []
    for index, found in enumerate(objects):
        try:
            parsed.append(msgspec.convert(found, kind))
        except msgspec.ValidationError as error:
            problems.append(f"[{index}]: {error}")
    if problems:
        raise InputError(kind.__name__, problems)
    return parsed
