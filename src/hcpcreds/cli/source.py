"""Files, directories and standard input on the command line."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from hcpcreds.errors import InputError

STANDARD_INPUT: Final = "standard input"
_SUFFIXES: Final = (".yaml", ".yml", ".json", "cloud.conf", "kustomization")


@contextmanager
def open_file_or_stdin(file: str) -> Iterator[tuple[io.BufferedReader, str]]:
    """Open a file of manifests, or standard input for `-`.

    Yields:
        The stream, and its name in messages.

    Raises:
        InputError: The file cannot be opened.
    """
    from hcpcreds.kubernetes.documents import open_source

    if file != "-":
        with open_source(file) as stream:
            yield stream, file
    elif sys.stdin is None:
        raise InputError(STANDARD_INPUT, ["it is closed"])
    else:
        yield cast("io.BufferedReader", sys.stdin.buffer), STANDARD_INPUT


def make_error(problems: Sequence[str]) -> InputError:
    """Make one error of problems, each of which begins with the name of its file."""
    where, _, problem = problems[0].partition(": ")
    return InputError(where, [problem]) if len(problems) == 1 else InputError("files", problems)


def find_files(directory: str, report: Callable[[str], None]) -> list[str]:
    """Find every YAML and JSON file below a directory, and every cloud.conf, in the order of their names.

    Args:
        directory: The directory; links in it to other directories are not followed.
        report: Called with each directory that cannot be read.
    """

    def report_error(error: OSError) -> None:
        report(f"{error.filename}: cannot be read: {error.strerror}")

    found = [
        Path(folder, name)
        for folder, _, names in os.walk(directory, onerror=report_error)
        for name in names
        if name.lower().endswith(_SUFFIXES)
    ]
    return [str(file) for file in sorted(found) if file.is_file()]
