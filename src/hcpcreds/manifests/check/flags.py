"""Command lines, read as Go's packages `flag` and `pflag` read them."""

import posixpath
from typing import Final, NamedTuple

from typing_extensions import override

from hcpcreds.kubernetes.nodes import Node
from hcpcreds.manifests.check.subjects import Container

TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
"""The texts that strconv.ParseBool reads as true."""
FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_SHELLS: Final = frozenset({"sh", "bash", "ash", "dash"})
_LONGEST_DASH: Final = 2


class Flag(NamedTuple):
    """A flag as it is set on a command line."""

    node: Node
    """The argument with the flag's name."""
    value: str
    """`true` for a flag without a value."""

    @override
    def __repr__(self) -> str:
        return f"Flag({self.node.json_path})"  # another program's flag may contain a password


def read_flags(
    container: Container, *, booleans: frozenset[str] = frozenset(), is_interspersed: bool = False
) -> dict[str, Flag] | None:
    """Read a container's flags by their names, without dashes; the last of repeated flags wins.

    Args:
        container: The container.
        booleans: Flags that take a value only after `=`. An unknown flag counts as
            one of them if another flag follows it.
        is_interspersed: Whether flags may follow other arguments, as `pflag` allows and `flag` does not.

    Returns:
        None if a shell builds the command line, because its result is not known.
    """
    if posixpath.basename(container.node["command"][0].text) in _SHELLS:
        return None
    flags: dict[str, Flag] = {}
    arguments = list(container.arguments)
    while arguments:
        argument = arguments.pop(0)
        text = argument.plain
        name, separator, value = text.lstrip("-").partition("=")
        dashes = len(text) - len(text.lstrip("-"))
        if text == "--" or (not dashes and not is_interspersed):
            break
        if not 1 <= dashes <= _LONGEST_DASH or not name:
            continue
        takes_next = not separator and name not in booleans
        if takes_next and arguments and not arguments[0].plain.startswith("-"):
            value, separator = arguments.pop(0).plain, "="
        flags[name] = Flag(argument, value if separator else "true")
    return flags
