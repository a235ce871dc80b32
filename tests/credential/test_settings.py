"""Where the path of the credential file comes from."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.credential.conftest import SCOPE, Identity, Make
from tests.support.waiting import wait_until

from hcpcreds.credential.settings import read_cloud_config, read_environment
from hcpcreds.credential_file.file import MAX_FILE_BYTES
from hcpcreds.errors import InputError


@pytest.mark.parametrize(
    ("value", "path"),
    [("/mnt/certs/ingress", "/mnt/certs/ingress"), ("network", "/mnt/certs/network"), ("./here", "./here")],
)
def test_path_comes_from_the_environment_when_it_is_set(value: str, path: str):
    assert read_environment({"MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH": value}) == path


@pytest.mark.parametrize("environment", [{}, {"MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH": ""}])
def test_environment_is_refused_when_the_variable_is_not_set(environment: dict[str, str]):
    with pytest.raises(
        InputError,
        match=r"^environment: MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH: not set.*HyperShift sets it",
    ):
        read_environment(environment)


@pytest.mark.parametrize("value", ["a\nb", "eyJhbGciOiJub25lIn0", "A" * 256])
def test_environment_is_refused_when_the_variable_holds_no_path(value: str):
    with pytest.raises(
        InputError, match=r"^environment: MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH: (holds|expected)"
    ):
        read_environment({"MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH": value})


def test_credential_is_made_when_the_environment_names_its_file(
    identity: Identity, make: Make, monkeypatch: pytest.MonkeyPatch
):
    identity.rotate()
    monkeypatch.setenv("MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", str(identity.mount.path))
    assert make.from_environment().get_token(SCOPE)


def test_credential_is_made_when_a_cloud_config_names_its_file(
    identity: Identity, make: Make, tmp_path: Path
):
    identity.rotate()
    config = write_config(
        tmp_path, aadMSIDataPlaneIdentityPath=str(identity.mount.path), cloud="AzurePublicCloud"
    )
    assert make.from_cloud_config(config).get_token(SCOPE)


def write_config(folder: Path, **settings: Any) -> Path:
    path = folder / "cloud.conf"
    path.write_text(json.dumps({"tenantId": "t", "loadBalancerSku": "standard", **settings}))
    return path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("useFederatedWorkloadIdentityExtension", True),
        ("useManagedIdentityExtension", True),
        ("aadClientSecret", "sentinel-secret"),
        ("aadClientCertPath", "/sentinel-secret"),
    ],
)
def test_warning_is_logged_when_another_setting_wins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, value: object
):
    config = write_config(tmp_path, aadMSIDataPlaneIdentityPath="/mnt/certs/x", **{name: value})
    assert read_cloud_config(config).path == "/mnt/certs/x"
    assert f"{name} stands beside aadMSIDataPlaneIdentityPath" in caplog.text
    assert "sentinel-secret" not in caplog.text


def test_nothing_is_logged_when_no_other_setting_wins(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = write_config(
        tmp_path, aadMSIDataPlaneIdentityPath="/p", useManagedIdentityExtension=False, aadClientSecret=""
    )
    assert read_cloud_config(config) == ("/p", None)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"", "expected a cloud config in JSON"),
        (b"\xff", "expected a cloud config in JSON"),
        (b"[]", "expected a cloud config in JSON"),
        (b"{}", "aadMSIDataPlaneIdentityPath: missing"),
        (b'{"aadMSIDataPlaneIdentityPath": ""}', "aadMSIDataPlaneIdentityPath: missing"),
        (b'{"aadMSIDataPlaneIdentityPath": 5}', r"aadMSIDataPlaneIdentityPath"),
        (b'{"aadMSIDataPlaneIdentityPath": null}', "aadMSIDataPlaneIdentityPath: missing"),
        (
            b'{"aadMSIDataPlaneIdentityPath": "/a\\u0000b"}',
            "aadMSIDataPlaneIdentityPath: holds a NUL, a line break",
        ),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b" " * (MAX_FILE_BYTES + 1), "larger than 1048576 bytes"),
    ],
)
def test_cloud_config_is_refused_when_it_is_none(tmp_path: Path, content: bytes | None, says: str):
    path = tmp_path / "cloud.conf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says) as raised:
        read_cloud_config(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("FIFO", "is not a regular file"),
        ("directory", "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        ("/a\0b", "holds a NUL character"),
    ],
)
def test_cloud_config_is_refused_at_once_when_it_is_no_file(tmp_path: Path, place: str, says: str):
    os.mkfifo(tmp_path / "FIFO")
    (tmp_path / "directory").mkdir()
    with pytest.raises(InputError, match=says):
        read_cloud_config(tmp_path / place)


@pytest.mark.parametrize(
    "secret",
    ["sentinel" * 300, "eyJsentinel.eyJ9.c2ln", "-----BEGIN PRIVATE KEY-----\n" + "senti/nel\n" * 60],
)
def test_secret_is_not_repeated_when_it_stands_where_the_path_belongs(tmp_path: Path, secret: str):
    config = write_config(tmp_path, aadMSIDataPlaneIdentityPath=secret)
    says = (
        f"expected a path, got {len(secret)} characters"
        if secret.isprintable()
        else "holds a NUL, a line break"
    )
    for read in (
        lambda: read_cloud_config(config),
        lambda: read_environment({"MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH": secret}),
    ):
        with pytest.raises(InputError, match=says) as raised:
            read()
        assert "senti" not in str(raised.value)


def test_null_is_as_good_as_absent_when_a_cloud_config_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    config = write_config(
        tmp_path,
        aadMSIDataPlaneIdentityPath="/p",
        cloud=None,
        useManagedIdentityExtension=None,
        useFederatedWorkloadIdentityExtension=None,
        aadClientSecret=None,
        aadClientCertPath=None,
    )
    assert read_cloud_config(config) == ("/p", None)
    assert caplog.text == ""


def test_credential_is_made_when_a_cloud_config_names_the_cloud_in_capitals(make: Make, tmp_path: Path):
    config = write_config(tmp_path, aadMSIDataPlaneIdentityPath=str(tmp_path / "x"), cloud="AZUREPUBLICCLOUD")
    credential = make.from_cloud_config(config)
    wait_until(lambda: credential.status().last_error)  # the asyncio one is read in the background
    assert "does not exist" in str(credential.status().last_error)


def test_cloud_is_checked_when_a_cloud_config_names_it(make: Make, tmp_path: Path):
    with pytest.raises(InputError, match="unknown cloud 'Nimbus'"):
        make.from_cloud_config(write_config(tmp_path, aadMSIDataPlaneIdentityPath="/p", cloud="Nimbus"))


@given(
    content=st.binary()
    | st.dictionaries(st.text(), st.integers()).map(lambda keys: json.dumps(keys).encode())
)
def test_cloud_config_is_read_or_refused_whatever_it_holds(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
):
    path = tmp_path_factory.mktemp("config") / "cloud.conf"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_cloud_config(path)
