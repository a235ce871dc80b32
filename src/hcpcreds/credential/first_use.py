"""What is set up late, and what a fork therefore waits for (see `hcpcreds.credential.registry`).

A lock that one thread holds when another one forks stays held for ever in the child. Importing takes a lock
for each module, and so do some standard functions when they are first called (`platform.platform`, say).
"""

import threading
from typing import Final

first_use: Final = threading.RLock()
"""Held around imports inside functions, and around what is made with them."""
