"""A mounted credential, and `hcpcreds exec` as its user runs it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.endpoint.endpoints import Identity
from tests.support.processes import start

from hcpcreds.local.azure.azure import LocalAzure

PYTHON = (sys.executable, "-S", "-E", "-u", "-c")


@pytest.fixture
def identity(local_azure: LocalAzure, tmp_path: Path) -> Identity:
    identity = Identity(local_azure, tmp_path / "mounted", "app")
    identity.rotate()
    return identity


@contextmanager
def running(
    identity: Identity, *arguments: str | Path, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Run `hcpcreds exec` with a credential; what follows `--` is the program."""
    azure = identity.azure
    options = ("--credential", identity.path, "--authority", azure.authority, "--ca-file", azure.ca_file)
    with start(sys.executable, "-m", "hcpcreds", "exec", *options, *arguments, env=environment) as process:
        yield process


def read_line(process: subprocess.Popen[str]) -> str:
    """Read a line that the program has printed."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def wait_for_log(process: subprocess.Popen[str], text: str) -> str:
    """Wait until `hcpcreds exec` has logged something; returns the line."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(f"it never logged {text!r}")
