"""Programs in Go for tests, built once for all runs; their modules stay in Go's own caches."""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest


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
    """Build the program of a module once for all processes and runs, beside Go's own build cache.

    Returns:
        The program, or why there is none.
    """
    go = shutil.which("go")
    if go is None:
        return "Go is needed for this test"
    found = subprocess.run([go, "env", "GOCACHE"], capture_output=True, text=True, check=True)
    sources = sorted(path for path in project.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    program = Path(found.stdout.strip(), f"hcpcreds-{project.parent.name}-{digest[:16]}")
    program.parent.mkdir(parents=True, exist_ok=True)
    with program.with_suffix(".lock").open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)  # the tests' other processes want it too
        if not program.exists():
            made = program.with_suffix(f".{os.getpid()}")
            command = [go, "build", "-o", str(made), "."]
            built = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
            if built.returncode:
                return f"Go cannot build {project.parent.name}'s program: {built.stderr.strip()[-300:]}"
            made.replace(program)
    return program
