"""Programs in Go for tests, built once for all runs; their modules stay in Go's own cache."""

import functools
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.caches import open_cache


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
    """
    go = shutil.which("go")
    if go is None:
        return "Go is needed for this test"
    sources = sorted(path for path in project.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    with open_cache("go", sources) as directory:
        program = directory / "program"
        if not program.exists():
            made = directory / "made"
            command = [go, "build", "-o", str(made), "."]
            built = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
            if built.returncode:
                return f"Go cannot build {project.parent.name}'s program: {built.stderr.strip()[-300:]}"
            made.rename(program)
    return program
