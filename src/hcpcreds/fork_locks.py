"""What a fork waits for (see `hcpcreds.credential.registry`).

A lock that one thread holds when another one forks stays held for ever in the child. So these two are held
around what takes locks that are not ours.
"""

import threading
from typing import Final

first_use: Final = threading.RLock()
"""Held around imports inside functions, and around what is made with them: importing takes a lock for each
module, and so do some standard functions when they are first called (`platform.platform`, say)."""
signing: Final = threading.Lock()
"""Held while a private key signs: OpenSSL has a lock in each key. That takes 0.3 ms, once a token request."""
