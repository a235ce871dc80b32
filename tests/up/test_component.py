"""How the components of `hcpcreds up` choose their way to log in: as the real ones do, by their manifests."""

import argparse
from pathlib import Path

import pytest

from hcpcreds.components import COMPONENTS
from hcpcreds.errors import InputError
from hcpcreds.up.component import Assertion, Login, find_login
from hcpcreds.up.plan import Plan
from hcpcreds.up.pods import ComponentPod, read_environment
from hcpcreds.up.run import EXAMPLE

PODS = {keyless: Plan.read(EXAMPLE, keyless=keyless).pods for keyless in (False, True)}
ROWS = {component.name: component.consumer.keyless for component in COMPONENTS}
ENVIRONMENT = {
    "AZURE_FEDERATED_TOKEN_FILE": "/assertion",
    "AZURE_CLIENT_ID": "app",
    "AZURE_TENANT_ID": "tenant",
}


def choose(pod: ComponentPod, root: Path, environment: dict[str, str]) -> Login:
    names = ("cloud_config", "kms_config", "azure_cluster_identity", "hosted_control_plane")
    options = argparse.Namespace(root=str(root), **dict.fromkeys(names))
    arguments = pod.container["args"]
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        setattr(options, option.removeprefix("--").replace("-", "_"), value)
    pod.write_configuration(root)
    return find_login(options, environment)


def find_pod(name: str, *, keyless: bool) -> ComponentPod:
    return next(pod for pod in PODS[keyless] if pod.component.name == name)


@pytest.mark.parametrize("name", ROWS)
def test_component_takes_its_key_when_its_pod_has_one(name: str, tmp_path: Path):
    pod = find_pod(name, keyless=False)
    assert choose(pod, tmp_path, pod.environment) == Login(pod.file)


@pytest.mark.parametrize("name", ROWS)
def test_component_logs_in_as_its_row_says_when_its_pod_is_keyless(name: str, tmp_path: Path):
    row, pod = ROWS[name], find_pod(name, keyless=True)
    assert row is not None
    assert pod.keyless_spec is not None
    [container] = pod.keyless_spec["containers"]
    login = choose(pod, tmp_path, read_environment(container))
    has_sidecar = "initContainers" in pod.keyless_spec
    assert (has_sidecar, login.assertion is not None) == (not row.refused, not row.refused)
    assert login.key == (pod.file if row.refused or row.keeps_mount else None)
    if login.assertion is not None:
        assert login.assertion.file == f"/var/run/hcpcreds/{pod.identity.credentials_secret_name}"
        assert login.assertion.client_id == pod.identity.client_id


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row is not None and row.beside])
def test_component_keeps_its_key_when_the_object_beside_it_still_names_that(name: str, tmp_path: Path):
    pod = find_pod(name, keyless=False)
    assert choose(pod, tmp_path, pod.environment | ENVIRONMENT) == Login(pod.file)


def test_ingress_operator_keeps_its_key_when_its_environment_still_names_that(tmp_path: Path):
    pod = find_pod("ingress-operator", keyless=False)
    assert choose(pod, tmp_path, pod.environment | ENVIRONMENT) == Login(pod.file)


def test_cloud_controller_manager_needs_no_key_when_its_environment_overrides_its_config(tmp_path: Path):
    pod = find_pod("cloud-controller-manager", keyless=False)
    login = choose(pod, tmp_path, pod.environment | ENVIRONMENT)
    assert login == Login(assertion=Assertion("/assertion", "app", "tenant"))


def test_component_is_refused_when_it_is_told_of_no_way(tmp_path: Path):
    with pytest.raises(InputError, match="neither its configuration nor its environment"):
        choose(find_pod("ingress-operator", keyless=False), tmp_path, {"AZURE_CLIENT_ID": "app"})
