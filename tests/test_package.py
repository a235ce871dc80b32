"""The names in `hcpcreds`, and the cost of importing it."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

import hcpcreds
from hcpcreds import errors
from hcpcreds.credential import UserAssignedIdentityCredential
from hcpcreds.errors import HcpCredsError, InputError


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_package_exports_the_promised_names():
    assert set(hcpcreds.__all__) <= set(dir(hcpcreds))
    assert hcpcreds.UserAssignedIdentityCredential is UserAssignedIdentityCredential
    assert hcpcreds.HcpCredsError is HcpCredsError
    assert hcpcreds.__version__ == version("hcpcreds")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hcpcreds.nothing  # noqa: B018 (the look-up is what is tested)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("hcpcreds", ("azure", "cryptography", "aiohttp", "msgspec", "click", "yaml")),
        ("hcpcreds.azureutil", ("azure", "cryptography", "aiohttp", "click", "yaml")),
        ("hcpcreds.manifests", ("azure", "cryptography", "aiohttp", "click", "yaml")),
        ("hcpcreds.credential", ("azure.identity", "msal", "aiohttp", "requests", "click", "yaml")),
        ("hcpcreds.cli.root", ("azure", "cryptography", "aiohttp", "rich", "yaml")),
    ],
)
def test_import_loads_only_what_is_needed(module, unwanted):
    loaded = json.loads(run_python(f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"))
    assert [name for name in unwanted if name in loaded] == []


@pytest.mark.measured_processes  # what modules run when they are imported is measured here only
def test_every_module_can_be_imported():
    run_python(
        "import importlib, pkgutil, hcpcreds\n"
        "for module in pkgutil.walk_packages(hcpcreds.__path__, 'hcpcreds.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)"
    )


def test_input_error_lists_every_problem_and_the_next_step():
    one = InputError("file.yaml", ["spec: missing"], hint="Add it.")
    two = InputError("file.yaml", ["a: missing", "b: missing"], hint="Add them.")
    assert str(one) == "file.yaml: spec: missing. Add it."
    assert str(two) == "file.yaml: 2 problems\n  a: missing\n  b: missing\nAdd them."
    assert two.problems == ("a: missing", "b: missing")


def test_error_is_retryable_when_the_same_call_may_succeed_later():
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    kinds = [each for each in classes if issubclass(each, HcpCredsError)]
    assert {kind.__name__ for kind in kinds if kind.retryable} == {
        "MountNotReadyError",
        "MountAbsentError",
        "TokenUnavailableError",
        "IssueUnavailableError",
        "StoreUnavailableError",
        "KubernetesUnavailableError",
        "LeaseUnavailableError",
    }
