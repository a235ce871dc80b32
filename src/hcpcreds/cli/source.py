"""What FILE|- means on the command line."""

import sys

STANDARD_INPUT = "standard input"


def read_file_or_stdin(file: str) -> tuple[bytes, str]:
    """Read a file of manifests, or standard input for ``-``.

    Returns:
        The bytes, and what messages call where they came from.

    Raises:
        InputError: The file cannot be read.
    """
    from hcpcreds.errors import InputError
    from hcpcreds.kubernetes.documents import MAX_BYTES, read_source

    if file == "-":
        if sys.stdin is None:
            raise InputError(STANDARD_INPUT, ["it is closed"])
        return sys.stdin.buffer.read(MAX_BYTES + 1), STANDARD_INPUT
    return read_source(file), file
