"""The path of the credential file, from the environment or a cloud config."""

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
def test_environment_is_refused_when_the_variable_is_not_a_path(value: str):
    with pytest.raises(
        InputError, match=r"^environment: MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH: (contains|expected)"
    ):
        read_environment({"MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH": value})


def test_credential_is_created_when_the_environment_names_its_file(
    identity: Identity, make_identity: Make, monkeypatch: pytest.MonkeyPatch
):
    identity.rotate()
    monkeypatch.setenv("MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", str(identity.mount.path))
    assert make_identity.from_environment().get_token(SCOPE)


def test_credential_is_created_when_a_cloud_config_names_its_file(
    identity: Identity, make_identity: Make, tmp_path: Path
):
    identity.rotate()
    config = write_config(
        tmp_path, aadMSIDataPlaneIdentityPath=str(identity.mount.path), cloud="AzurePublicCloud"
    )
    assert make_identity.from_cloud_config(config).get_token(SCOPE)


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
def test_warning_is_logged_when_another_setting_takes_precedence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, value: object
):
    config = write_config(tmp_path, aadMSIDataPlaneIdentityPath="/mnt/certs/x", **{name: value})
    assert read_cloud_config(config).path == "/mnt/certs/x"
    assert f"{name} takes precedence over aadMSIDataPlaneIdentityPath" in caplog.text
    assert "sentinel-secret" not in caplog.text


def test_nothing_is_logged_when_no_other_setting_takes_precedence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    config = write_config(
        tmp_path, aadMSIDataPlaneIdentityPath="/p", useManagedIdentityExtension=False, aadClientSecret=""
    )
    assert read_cloud_config(config) == ("/p", None)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("content", "message"),
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
            "aadMSIDataPlaneIdentityPath: contains a NUL, a line break",
        ),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b" " * (MAX_FILE_BYTES + 1), "larger than 1048576 bytes"),
    ],
)
def test_cloud_config_is_refused_with_the_reason_when_it_is_unusable(
    tmp_path: Path, content: bytes | None, message: str
):
    path = tmp_path / "cloud.conf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        read_cloud_config(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("FIFO", "is not a regular file"),
        ("directory", "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        ("/a\0b", "contains a NUL character"),
    ],
)
def test_cloud_config_is_refused_at_once_when_it_is_not_a_file(tmp_path: Path, place: str, message: str):
    os.mkfifo(tmp_path / "FIFO")
    (tmp_path / "directory").mkdir()
    with pytest.raises(InputError, match=message):
        read_cloud_config(tmp_path / place)


@pytest.mark.parametrize(
    "secret",
    ["sentinel" * 300, "eyJsentinel.eyJ9.c2ln", "-----BEGIN PRIVATE KEY-----\n" + "senti/nel\n" * 60],
)
def test_secret_is_not_repeated_when_it_is_in_the_place_of_the_path(tmp_path: Path, secret: str):
    config = write_config(tmp_path, aadMSIDataPlaneIdentityPath=secret)
    message = (
        f"expected a path, got {len(secret)} characters"
        if secret.isprintable()
        else "contains a NUL, a line break"
    )
    for read in (
        lambda: read_cloud_config(config),
        lambda: read_environment({"MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH": secret}),
    ):
        with pytest.raises(InputError, match=message) as raised:
            read()
        assert "senti" not in str(raised.value)


def test_null_means_absent_when_a_cloud_config_contains_it(tmp_path: Path, caplog: pytest.LogCaptureFixture):
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


def test_credential_is_created_when_a_cloud_config_names_the_cloud_in_capitals(
    make_identity: Make, tmp_path: Path
):
    config = write_config(tmp_path, aadMSIDataPlaneIdentityPath=str(tmp_path / "x"), cloud="AZUREPUBLICCLOUD")
    credential = make_identity.from_cloud_config(config)
    wait_until(
        lambda: credential.status().last_error
    )  # the asyncio credential reads the file in the background
    assert "does not exist" in str(credential.status().last_error)


def test_cloud_is_checked_when_a_cloud_config_names_it(make_identity: Make, tmp_path: Path):
    with pytest.raises(InputError, match="unknown cloud 'Nimbus'"):
        make_identity.from_cloud_config(
            write_config(tmp_path, aadMSIDataPlaneIdentityPath="/p", cloud="Nimbus")
        )


@given(
    content=st.binary()
    | st.dictionaries(st.text(), st.integers()).map(lambda keys: json.dumps(keys).encode())
)
def test_cloud_config_is_read_or_refused_when_it_is_anything(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
):
    path = tmp_path_factory.mktemp("config") / "cloud.conf"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_cloud_config(path)
