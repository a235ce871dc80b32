"""Admission policies as the API server evaluates them: with its own library, in a small Go program.

No package on PyPI evaluates their expressions (2026-11): cel-python 0.5 and common-expression-language 0.10
do not parse optionals; cel-expr-python 0.1 has no comprehensions with two variables, none of Kubernetes'
libraries and types, and no limits of cost.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.golang import find_program

SOURCES = Path(__file__).with_name("go")


@dataclass(frozen=True)
class Answer:
    """What becomes of an object that somebody creates."""

    object: dict[str, Any]
    errors: tuple[str, ...] = ()
    """Of expressions; the policy's failurePolicy would decide."""
    denied: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    audited: tuple[str, ...] = ()


class ApiServer:
    """Admits objects; without an API server's own defaults, controllers and built-in admission."""

    def __init__(
        self, process: "subprocess.Popen[str]", policies: Sequence[Mapping[str, Any]], kubernetes: str
    ) -> None:
        self._process = process
        self.problems = self._ask({"policies": policies, "kubernetes": kubernetes}).get("problems", [])
        """Why an API server of that release would refuse a policy."""

    def create(
        self,
        manifest: Mapping[str, Any],
        *params: Mapping[str, Any],
        labels: Mapping[str, str] | None = None,
        user: str = "system:serviceaccount:kube-system:replicaset-controller",
    ) -> Answer:
        """Create an object.

        Args:
            manifest: The object.
            params: The HostedControlPlanes of its namespace.
            labels: The namespace's.
            user: Who creates it.
        """
        namespace = manifest["metadata"].get("namespace", "clusters-otter")
        answer = self._ask(
            {
                "object": manifest,
                "params": params,
                "namespace": {"metadata": {"name": namespace, "labels": labels or {}}},
                "user": user,
            }
        )
        told = {key: tuple(answer.get(key, ())) for key in ("errors", "denied", "warned", "audited")}
        return Answer(answer.get("object", {}), **told)

    def _ask(self, question: object) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def start_api_server(policies: Sequence[Mapping[str, Any]], kubernetes: str = "1.36") -> Iterator[ApiServer]:
    """Start the program with policies and their bindings, as a release of Kubernetes takes them.

    The test is skipped where Go is missing, or where it cannot get its modules.
    """
    program = find_program(SOURCES)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield ApiServer(process, policies, kubernetes)
        assert process.stdin
        process.stdin.close()
