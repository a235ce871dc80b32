"""Locks that a fork waits for.

A lock that one thread holds while another one forks stays locked in the child, where nobody can release it.
Code that calls other code with locks holds one of these meanwhile; `hcpcreds.watch` and
`hcpcreds.credential` take them before a fork, and release them after it.
"""

import threading
from typing import Final

first_use: Final = threading.RLock()
"""Held around imports inside functions, and around what is made with them: an import takes a lock for each
module, and some standard functions take one when they are first called (`platform.platform`, say)."""
openssl: Final = threading.RLock()
"""Held while a private key signs, and in each step of a TLS handshake: about a millisecond for each token
request. OpenSSL has a lock in each key, and others for the whole process."""
