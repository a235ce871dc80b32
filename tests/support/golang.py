"""Programs in Go for tests, built once for all runs; their modules stay in Go's own cache."""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from tests.support.caches import open_cache

MAY_BUILD: Final = pytest.mark.timeout(600)
"""Of tests whose program may have to be fetched and built before, by them or while they wait."""


def find_program(project: Path) -> Path:
    """Find the program of a module; skips the test where Go is missing, or cannot get the modules.

    Args:
        project: A directory with a go.mod, its go.sum and the sources.
    """
    program = build(project)
    if isinstance(program, str):
        pytest.skip(program)
    return program


@functools.cache
def build(project: Path) -> Path | str:
    """Build the program of a module.

    Returns:
        The program, or why there is none.

    Raises:
        AssertionError: The sources are at fault.
    """
    go = shutil.which("go")
    if go is None:
        return "Go is needed for this test"
    sources = sorted(path for path in project.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    with open_cache("go", sources) as directory:
        program = directory / "program"
        if not program.exists():
            fetched = _run(project, go, "mod", "download")
            if fetched.returncode:
                return f"Go cannot fetch the modules: {fetched.stderr.strip()[:300]}"
            made = directory / "made"
            built = _run(project, go, "build", "-o", str(made), ".")
            assert not built.returncode, built.stderr
            made.rename(program)
    return program


def _run(project: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
