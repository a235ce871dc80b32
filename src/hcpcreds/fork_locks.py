"""Locks that a fork waits for, and forks that need nothing else.

A lock that one thread holds while another one forks stays locked in the child, where nobody can release it.
Code that calls other code with locks holds one of these meanwhile; `hcpcreds.watch` and
`hcpcreds.credential` take them before a fork, and release them after it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

first_use: Final = threading.RLock()
"""Held around imports inside functions, and around what is made with them: an import takes a lock for each
module, and some standard functions take one when they are first called (`platform.platform`, say)."""
openssl: Final = threading.RLock()
"""Held while a private key signs, and in each step of a TLS handshake: about a millisecond for each token
request. OpenSSL has a lock in each key, and others for the whole process."""
_forking: Final = threading.local()


@contextmanager
def becoming_another_program() -> Iterator[None]:
    """Within the context, this thread forks only for a child that becomes another program at once.

    Nothing is restarted in such a child. It would watch credential files, and log what it sees, until it has
    become that program.
    """
    _forking.becomes_another = True
    try:
        yield
    finally:
        _forking.becomes_another = False


def becomes_another_program() -> bool:
    """Whether this child, in which nothing has been done yet, becomes another program at once."""
    return getattr(_forking, "becomes_another", False)
