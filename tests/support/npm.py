"""Packages of npm for tests, installed into a cache outside of the clone."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from tests.support.caches import open_cache

_INSTALL_SECONDS: Final = 45


def find_packages(project: Path) -> tuple[str, Path]:
    """Find node, and the directory that a project's packages are installed in; skips the test without them.

    Args:
        project: A directory with a package.json, its lock file and an .npmrc.
    """
    node, problem_or_modules = install(project)
    if isinstance(problem_or_modules, str):
        pytest.skip(problem_or_modules)
    return node, problem_or_modules


@cache
def install(project: Path) -> tuple[str, str | Path]:
    """Install what a project's lock file says, once for all runs.

    Returns:
        Node, and the directory of the packages, or why there is none.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "", "node and npm are needed for this test"
    with open_cache(project.name, [project / "package-lock.json"]) as directory:
        done = directory / ".done"
        if not done.exists():
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(project / name, directory)
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
        return f"npm did not install the packages within {_INSTALL_SECONDS} s"
    assert not {"EUSAGE", "EINTEGRITY", "EJSONPARSE"} & set(ended.stderr.split()), ended.stderr
    if ended.returncode:
        return f"npm cannot install the packages: {ended.stderr.strip().splitlines()[0]}"
    return None
