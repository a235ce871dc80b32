"""Programs with unmodified SDKs, of several languages, which tests ask for tokens."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.endpoint.endpoints import get_signer
from tests.support.golang import find_program
from tests.support.java import find_command, write_trust
from tests.support.npm import find_packages, install
from tests.support.processes import start

_HERE: Final = Path(__file__).parent
_JAVASCRIPT: Final = _HERE / "javascript"
_GO: Final = _HERE / "go"
_JAVA: Final = _HERE / "java"
LANGUAGES: Final = ("python", "python-aio", "javascript", "go", "java")


class Client:
    """A program that runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.login: str | None = None
        """How it got its last token, if it tells: with a `key`, an `assertion` or an `endpoint`."""

    def ask(self, scope: str, *, new: bool = False) -> str:
        """Have it ask for a token; tells which certificate that was got with.

        Args:
            scope: The token's scope.
            new: Ask with a credential that has asked for nothing yet, and read no file.
        """
        answer = self._ask(f"{'new ' if new else ''}{scope}")
        assert "error" not in answer, answer["error"]
        self.login = answer.get("login")
        return get_signer(answer["token"])

    def fail(self, scope: str) -> str:
        """Have it ask for a token that it cannot get; tells why it got none."""
        return self._ask(scope)["error"]

    def _ask(self, question: str) -> dict[str, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            _, err = self._process.communicate(timeout=10)
            raise AssertionError(f"the program has ended: {err}")
        answer: dict[str, str] = json.loads(line)
        return answer


@contextmanager
def run_client(language: str, *arguments: str | Path, ca_file: Path, **environment: str) -> Iterator[Client]:
    """Run a program for the length of a block.

    Args:
        language: One of `LANGUAGES`.
        arguments: Of the program; Go's knows some.
        ca_file: Whom it trusts.
        environment: All else that it is told.
    """
    trust = {name: str(ca_file) for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")}
    if language == "javascript":
        node, modules = find_packages(_JAVASCRIPT)
        command: list[str | Path] = [node, _JAVASCRIPT / "client.cjs"]
        environment["NODE_PATH"] = str(modules)
    elif language == "go":
        command = [find_program(_GO)]
    elif language == "java":
        command = [*find_command(_JAVA)]
        environment["JAVA_TOOL_OPTIONS"] = write_trust(ca_file, ca_file.with_name("trust.p12"))
    else:
        command = [sys.executable, _HERE / "client.py", "aio" if language == "python-aio" else "sync"]
    with start(*command, *arguments, stdin=subprocess.PIPE, env=trust | environment) as process:
        yield Client(process)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


def install_javascript() -> Path | None:
    """Find the directory that the SDK is installed in; None where it cannot be had."""
    _, modules = install(_JAVASCRIPT)
    return None if isinstance(modules, str) else modules
