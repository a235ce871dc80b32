"""The rooms of the package, and the tests that matter for each."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.mutations import Mutation

ROOT: Final = Path(__file__).parents[2]
EQUIVALENT: Final = Path(__file__).with_name("equivalent.json")


@dataclass(frozen=True)
class Room:
    """Files, and the tests that ought to notice a mistake in them; both below the repository's root."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]

    def list_files(self) -> list[str]:
        """Every source file of the room."""
        paths = [ROOT / "src/hcpcreds" / source for source in self.sources]
        files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))]
        return sorted(str(file.relative_to(ROOT)) for file in files)


ROOMS: Final = {
    "credential": Room(
        ("credential", "credential_file", "aio.py", "fork_locks.py", "metrics.py", "workers.py"),
        ("tests/credential", "tests/test_workers.py", "tests/test_no_secrets.py"),
    ),
    "watch": Room(("watch",), ("tests/watch", "tests/credential")),
    "serving": Room(("serving",), ("tests/serving", "tests/renewal/test_metrics.py")),
    "page": Room(("page",), ("tests/page",)),
    "exec": Room(("exec",), ("tests/exec",)),
    "http": Room(("http",), ("tests/http", "tests/credential")),
    "endpoint": Room(("endpoint",), ("tests/endpoint", "tests/cli/test_serve.py")),
    "cluster": Room(("cluster",), ("tests/cluster", "tests/rollout")),
    "dataplane": Room(("dataplane",), ("tests/dataplane", "tests/vault")),
    "vault": Room(("vault",), ("tests/vault", "tests/renewal")),
    "renewal": Room(("renewal",), ("tests/renewal", "tests/cli/test_renew.py")),
    "manifests": Room(("manifests",), ("tests/manifests",)),
    "documents": Room(
        ("kubernetes", "hosted_cluster", "components", "roles.py", "azureutil.py"),
        (
            "tests/kubernetes",
            "tests/test_hosted_cluster.py",
            "tests/test_hosted_cluster_rules.py",
            "tests/test_components.py",
            "tests/test_roles.py",
            "tests/test_azureutil.py",
            "tests/manifests",
        ),
    ),
    "names": Room(
        ("_version.py", "clouds.py", "constants.py", "errors.py", "text.py"),
        (
            "tests/test_clouds.py",
            "tests/test_constants.py",
            "tests/test_text.py",
            "tests/cli",
            "tests/credential",
        ),
    ),
    "local": Room(("local",), ("tests/local",)),
    "up": Room(("up",), ("tests/up", "tests/cli")),
    "cli": Room(("cli",), ("tests/cli",)),
}


def read_equivalent() -> dict[tuple[str, str, str, str], str]:
    """Mutations that change nothing which anybody could notice, by what they change, with the reason."""
    entries = json.loads(EQUIVALENT.read_text())
    return {
        (entry["file"], entry["within"], entry["line"], entry["becomes"]): entry["reason"]
        for entry in entries
    }


def describe(mutation: Mutation, source: bytes) -> tuple[str, str, str, str]:
    """What names a mutation as long as its line stays as it is."""
    return (mutation.file, mutation.within, *mutation.show(source))
