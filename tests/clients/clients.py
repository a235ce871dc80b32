"""Programs with unmodified SDKs, of several languages, which tests ask for tokens."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from tests.endpoint.endpoints import get_signer
from tests.support.processes import start

_HERE: Final = Path(__file__).parent
_JAVASCRIPT: Final = _HERE / "javascript"
_INSTALL_SECONDS: Final = 45
LANGUAGES: Final = ("python", "python-aio", "javascript")


class Client:
    """A program that runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, scope: str, *, new: bool = False) -> str:
        """Have it ask for a token; tells which certificate that was got with.

        Args:
            scope: The token's scope.
            new: Ask with a credential that has asked for nothing yet, and read no file.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{'new ' if new else ''}{scope}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            _, err = self._process.communicate(timeout=10)
            raise AssertionError(f"the program has ended: {err}")
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return get_signer(answer["token"])


@contextmanager
def run_client(language: str, *, ca_file: Path, **environment: str) -> Iterator[Client]:
    """Run a program for the length of a block.

    Args:
        language: One of `LANGUAGES`.
        ca_file: Whom it trusts.
        environment: All else that it is told.
    """
    trust = {name: str(ca_file) for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")}
    if language == "javascript":
        node, modules = find_javascript()
        command: list[str | Path] = [node, _JAVASCRIPT / "client.cjs"]
        environment["NODE_PATH"] = str(modules)
    else:
        command = [sys.executable, _HERE / "client.py", "aio" if language == "python-aio" else "sync"]
    with start(*command, stdin=subprocess.PIPE, env=trust | environment) as process:
        yield Client(process)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


def install_javascript() -> Path | None:
    """Find the directory that the SDK is installed in; None where it cannot be had."""
    _, modules = _install()
    return None if isinstance(modules, str) else modules


def find_javascript() -> tuple[str, Path]:
    """Find node, and the directory that the SDK is installed in; skips the test where they cannot be had."""
    node, problem_or_modules = _install()
    if isinstance(problem_or_modules, str):
        pytest.skip(problem_or_modules)
    return node, problem_or_modules


@cache
def _install() -> tuple[str, str | Path]:
    """Install what the lock file says, once for all runs; answers why not where that cannot be."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "", "node and npm are needed for this test"
    lock = (_JAVASCRIPT / "package-lock.json").read_bytes()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = caches / "hcpcreds-tests" / f"javascript-{hashlib.sha256(lock).hexdigest()[:16]}"
    directory.mkdir(parents=True, exist_ok=True)
    done = directory / ".done"
    with (directory / ".lock").open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)  # the tests' other processes want it too
        if not done.exists():
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(_JAVASCRIPT / name, directory)
            if problem := _run_npm(npm, directory):
                return node, problem
            done.touch()
    return node, directory / "node_modules"


def _run_npm(npm: str, directory: Path) -> str | None:
    """Install; answers why the registry gave nothing.

    Raises:
        AssertionError: The lock file is at fault.
    """
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    command += ["--fetch-retries=1", "--fetch-timeout=15000"]
    try:
        ended = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"npm did not install the JavaScript SDK within {_INSTALL_SECONDS} s"
    assert not {"EUSAGE", "EINTEGRITY", "EJSONPARSE"} & set(ended.stderr.split()), ended.stderr
    if ended.returncode:
        return f"npm cannot install the JavaScript SDK: {ended.stderr.strip().splitlines()[0]}"
    return None
