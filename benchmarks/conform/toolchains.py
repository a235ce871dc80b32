"""Where the programs of each language come from: runtimes, packages, binaries, and their versions."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.support import golang, java, npm

_HERE: Final = Path(__file__).parent / "programs"
_CLIENTS: Final = Path(__file__).parents[2] / "tests/clients"


class MissingError(Exception):
    """A runtime, or a package that a program needs, is missing. The text says which."""


@dataclass(frozen=True)
class Language:
    """A language's program."""

    command: list[str]
    versions: str


@cache
def find_python() -> Language:
    """Find the program in Python: this interpreter's."""
    parts = [f"{name} {version(name)}" for name in ("hcpcreds", "azure-identity", "msal")]
    return Language([sys.executable, str(_HERE / "program.py")], ", ".join([f"Python {_PYTHON}", *parts]))


@cache
def find_javascript() -> Language:
    """Find node and Azure's SDK for it.

    Raises:
        MissingError: There is no node, or the SDK cannot be had.
    """
    node, modules = npm.install(_CLIENTS / "javascript")
    if isinstance(modules, str):
        raise MissingError(modules)
    packages = [
        json.loads((modules / "@azure" / name / "package.json").read_text())
        for name in ("identity", "msal-node")
    ]
    parts = [f"{package['name']} {package['version']}" for package in packages]
    command = ["env", f"NODE_PATH={modules}", node, str(_HERE / "program.cjs")]
    return Language(command, ", ".join([f"node {_run(node, '--version')}", *parts]))


@cache
def find_go() -> Language:
    """Build the program in Go, with Azure's SDK and msi-dataplane.

    Raises:
        MissingError: There is no Go, or it cannot get the modules.
    """
    folder = _CLIENTS / "go"
    program = golang.build(folder)
    if isinstance(program, str):
        raise MissingError(program)
    text = (folder / "go.mod").read_text()
    wanted = ("azure-sdk-for-go/sdk/azidentity", "msi-dataplane", "microsoft-authentication-library-for-go")
    found = {name: re.search(rf"/{name} (v\S+)", text) for name in wanted}
    parts = [f"{name.rpartition('/')[2]} {match[1]}" for name, match in found.items() if match]
    return Language([str(program), "-every", "200ms"], ", ".join([_run("go", "env", "GOVERSION"), *parts]))


@cache
def find_java() -> Language:
    """Compile the program in Java, with Azure's SDK.

    Raises:
        MissingError: There is no JDK or Maven, or it cannot get the packages.
    """
    folder = _CLIENTS / "java"
    classpath = java.build(folder)
    if isinstance(classpath, str):
        raise MissingError(classpath)
    jars = Path(classpath[1]).parent
    parts = [path.stem for name in ("azure-identity-1", "msal4j-1") for path in jars.glob(f"{name}*.jar")]
    runtime = _run("java", "--version").splitlines()[0]
    command = ["java", "-cp", ":".join(classpath), "Client", "--every", "0.2"]
    return Language(
        command, ", ".join([runtime, *(part.replace("y-1", "y 1").replace("j-1", "j 1") for part in parts)])
    )


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


_PYTHON: Final = ".".join(map(str, sys.version_info[:3]))
Find = Callable[[], Language]
