"""`make bench`: runs all benchmarks, or those that its arguments name.

With `--write`, the table of `credential` replaces that in docs/performance.md and in the README.
"""

import os
import platform
import sys
from collections.abc import Callable
from typing import Final

from benchmarks import credential, endpoint, manifests, policies, renewal

_BENCHMARKS: Final[dict[str, Callable[[], None]]] = {
    "credential": credential.run,
    "endpoint": endpoint.run,
    "manifests": manifests.run,
    "policies": policies.run,
    "renewal": renewal.run,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    named = [name for name in sys.argv[1:] if name != "--write"]
    unknown = [name for name in named if name not in _BENCHMARKS]
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(unknown)}; expected {', '.join(_BENCHMARKS)}")
    os.environ["NO_PROXY"] = "127.0.0.1"  # everything is on this machine
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    )
    for name in named or _BENCHMARKS:
        _BENCHMARKS[name]()


if __name__ == "__main__":
    main()
