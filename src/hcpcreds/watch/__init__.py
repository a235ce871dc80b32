"""The process's one watch over files: it says when a file may have changed, and does not read it.

    handle = watch("/mnt/certs/tls.crt", reload)  # returns the seconds until the next call at the latest
    handle.close()

All watches of a process share one inotify instance and one thread, and go on in a forked child.
"""

from hcpcreds.watch.paths import make_absolute
from hcpcreds.watch.shared import keep_running, post, watch
from hcpcreds.watch.watcher import Watch, Watcher, WatchMode

__all__ = ["Watch", "WatchMode", "Watcher", "keep_running", "make_absolute", "post", "watch"]
