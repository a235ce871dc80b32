"""A reader of a file that the watch tells of changes: in this process, and as code for others."""

from pathlib import Path
from typing import Any

from hcpcreds.watch import Watch, Watcher
from hcpcreds.watch.shared import shared_watcher

HOUR = 3600.0


class Reader:
    """Reads a file each time that it is told to, and knows what it held last."""

    def __init__(
        self,
        path: Path | str,
        *,
        watcher: Watcher = shared_watcher,
        poll: bool = False,
        delay: Any = HOUR,
    ) -> None:
        self.path = path
        self.delay = delay
        self.calls = 0
        self.content: bytes | None = None
        self.handle: Watch = watcher.watch(str(path), self.read, poll=poll)

    def read(self) -> float:
        try:
            self.content = Path(self.path).read_bytes()
        except OSError:
            self.content = None
        self.calls += 1
        delay: float = self.delay
        return delay


PRELUDE = """
import os, sys, threading, time
folder = sys.argv[1]
path = f"{folder}/certs/secret"
def wait_until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
class Reader:
    content = None
    def __init__(self, path, delay=3600.0):
        from hcpcreds.watch import watch
        self.path, self.delay = path, delay
        self.handle = watch(path, self.read)
    def read(self):
        try:
            with open(self.path) as file:
                self.content = file.read()
        except OSError:
            self.content = None
        return self.delay
def follows(reader, content):
    # To be renamed over the file, there are files in the folder with their names for content.
    os.rename(f"{folder}/{content}", path)
    wait_until(lambda: reader.content == content)
def list_descriptors(kind):
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if kind in link and int(name) > 2:
            found.append(int(name))
    return found
def watches(reader):
    return reader.handle.mode == "watching" and list_descriptors("inotify")
"""
"""What the code in other processes begins with."""
OPEN = """
reader = Reader(path)
wait_until(lambda: reader.content == "1" and watches(reader))
"""
