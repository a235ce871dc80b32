"""The inspection of valid and broken credential files, and of their layout on disk."""

import base64
import datetime as dt
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs12
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.credential.files import CLIENT, TENANT, Issued, encode, issue, make_key, render_file
from tests.support.volume import Mount
from tests.test_no_secrets import assert_shows_none

from hcpcreds.credential_file.inspection import (
    Inspection,
    find_credential_files,
    inspect_credential_file,
    render_relative,
)
from hcpcreds.errors import InputError

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)


def render_good(issued: Issued | None = None, **changes: Any) -> bytes:
    """Render a valid file with some changes."""
    renewal: dict[str, Any] = {
        "renew_after": (NOW + 40 * DAY).isoformat(),
        "cannot_renew_after": (NOW + 180 * DAY).isoformat(),
    }
    return render_file(issued or issue(), **(renewal | changes))


def inspect(file: Path, *, now: dt.datetime = NOW, **options: Any) -> Inspection:
    return inspect_credential_file(str(file), now=now, **options)


def texts_of(inspection: Inspection) -> str:
    return "\n".join(problem.text for problem in inspection.problems)


def test_inspection_shows_every_detail_when_a_mounted_file_is_valid(mount, local_azure):
    client_id = str(uuid.uuid4())
    fields = local_azure.issue(client_id)
    mount.swap(json.dumps(fields).encode())
    inspection = inspect(mount.path, now=dt.datetime.now(dt.UTC))

    assert (inspection.status, inspection.problems) == ("fine", ())
    assert inspection.client_id == client_id
    assert inspection.tenant_id == local_azure.tenant_id
    assert inspection.object_id == fields["object_id"]
    assert inspection.resource_id == fields["resource_id"]
    assert inspection.authority == local_azure.authority.rstrip("/")
    for name in ("not_before", "renew_after", "not_after", "cannot_renew_after"):
        assert getattr(inspection, name) == dt.datetime.fromisoformat(fields[name])
    (certificate,) = inspection.certificates
    application = local_azure.directory.find_application(client_id)
    assert certificate.sha256.hex() in application.certificates
    assert certificate.subject == f"CN={client_id}"
    assert certificate.issuer == "CN=hcpcreds local managed identities"
    assert (certificate.key_type, certificate.key_bits) == ("RSA", 2048)
    assert inspection.mount.layout == "atomic"
    assert inspection.mount.data_directory == str((mount.directory / "..data").readlink())
    assert inspection.mount.size == len(json.dumps(fields))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"client_id": "me", "tenant_id": ...}, "client_id: expected a UUID\ntenant_id: missing"),
        ({"client_secret": "!"}, "client_secret: expected base64"),
        ({"authentication_endpoint": "http://login.example"}, "authentication_endpoint: expected an https"),
        (
            {"authentication_endpoint": "https://login.example/99999999-8888-7777-6666-555555555555/"},
            "authentication_endpoint: expected the authority alone",
        ),
        ({"not_before": ...}, "not_before is missing; using the certificate's"),
        ({"not_after": ...}, "not_after is missing; using the certificate's"),
        ({"renew_after": "whenever"}, "renew_after: expected an RFC 3339 time"),
        ({"cannot_renew_after": 5}, "cannot_renew_after: expected an RFC 3339 time"),
        ({"renew_after": "9999-12-31T23:59:59-12:00"}, "renew_after: expected an RFC 3339 time"),
        ({"not_after": "9999-12-31T23:59:59-12:00"}, "not_after: expected a time within the years"),
        ({"object_id": "me"}, "object_id: expected a UUID"),
        ({"resource_id": "me"}, "resource_id: expected the ARM resource id"),
        ({"not_after": (NOW + 400 * DAY).isoformat()}, "not_after: later than the certificate's"),
        ({"not_before": (NOW - 400 * DAY).isoformat()}, "not_before: earlier than the certificate's"),
        ({"renew_after": (NOW - 2 * DAY).isoformat()}, "its renewal was due at"),
        ({"cannot_renew_after": (NOW - DAY).isoformat()}, "renewal was only possible until"),
    ],
)
def test_inspection_names_the_field_when_its_value_is_wrong(tmp_path, changes, text):
    file = tmp_path / "credential"
    file.write_bytes(render_good(**changes))
    inspection = inspect(file)
    assert inspection.status == "wrong"
    assert text in texts_of(inspection)
    assert len(inspection.problems) == text.count("\n") + 1


@pytest.mark.parametrize(
    "name",
    ["object_id", "resource_id", "renew_after", "cannot_renew_after", "client_secret_url", "custom_claims"],
)
def test_inspection_accepts_null_when_the_pod_does_not_need_the_field(tmp_path, name):
    file = tmp_path / "credential"
    file.write_bytes(render_good(**{name: None}))
    assert texts_of(inspect(file)) == ""


@pytest.mark.parametrize(("seconds", "is_late"), [(86399, False), (86400, True)])
def test_inspection_reports_the_renewal_when_it_is_a_day_overdue(tmp_path, seconds, is_late):
    file = tmp_path / "credential"
    file.write_bytes(render_good(renew_after=(NOW - dt.timedelta(seconds=seconds)).isoformat()))
    assert ("its renewal was due at" in texts_of(inspect(file))) is is_late


@pytest.mark.parametrize(
    ("days", "text"), [(-1, "not valid before"), (95, "expired at"), (30, ""), (40.5, "")]
)
def test_inspection_checks_the_times_when_given_a_clock(tmp_path, days, text):
    file = tmp_path / "credential"
    file.write_bytes(render_good())
    inspection = inspect(file, now=NOW + dt.timedelta(days=days))
    assert text in texts_of(inspection)
    assert bool(inspection.problems) == bool(text)


def test_inspection_shows_the_certificate_when_the_key_belongs_to_another(tmp_path):
    mine, other = issue(), issue(key=make_key(1))
    file = tmp_path / "credential"
    file.write_bytes(render_good(mine, client_secret=encode(mine.certificate_pem + other.key_pem)))
    inspection = inspect(file)
    assert texts_of(inspection) == "client_secret: the private key belongs to another certificate"
    assert [each.sha256.hex() for each in inspection.certificates] == [mine.thumbprint]
    assert (inspection.client_id, inspection.tenant_id) == (CLIENT, TENANT)
    assert inspection.not_after == mine.certificate.not_valid_after_utc


@pytest.mark.parametrize("is_pem", [True, False])
def test_inspection_names_the_curve_when_the_key_is_not_rsa(tmp_path, is_pem):
    issued = issue(key=ec.generate_private_key(ec.SECP256R1()))
    archive = pkcs12.serialize_key_and_certificates(
        None, issued.key, issued.certificate, None, NoEncryption()
    )
    file = tmp_path / "credential"
    file.write_bytes(render_good(issued, **({} if is_pem else {"client_secret": encode(archive)})))
    inspection = inspect(file)
    assert "not RSA" in texts_of(inspection)
    assert inspection.certificates[0].key_type == "EC secp256r1"
    assert inspection.certificates[0].sha256.hex() == issued.thumbprint


def test_inspection_shows_printable_names_when_the_chain_holds_escape_sequences(tmp_path):
    keys = [make_key(), make_key(1)]
    root = build_certificate("root\x1b[2J", "root\x1b[2J", keys[1], keys[1])
    leaf = build_certificate("leaf", "root\x1b[2J", keys[0], keys[1])
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in (root, leaf)) + Issued(leaf, keys[0]).key_pem
    file = tmp_path / "credential"
    file.write_bytes(render_good(Issued(leaf, keys[0]), client_secret=encode(pem)))
    inspection = inspect(file)
    assert [each.subject for each in inspection.certificates] == ["CN=leaf", "CN=root\ufffd[2J"]
    assert inspection.problems == ()


def build_certificate(subject: str, issuer: str, key: Any, issuer_key: Any) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + 90 * DAY)
        .sign(issuer_key, SHA256())
    )


@pytest.mark.parametrize(
    ("encoding", "undo"),
    [
        ("base64", base64.b64encode),
        ("base64", base64.encodebytes),
        ("hex", lambda content: content.hex().encode()),
    ],
)
def test_inspection_names_object_encoding_when_the_file_was_left_encoded(tmp_path, encoding, undo):
    file = tmp_path / "credential"
    file.write_bytes(undo(render_good()))
    (problem,) = inspect(file).problems
    assert f"a credential encoded in {encoding}" in problem.text
    assert problem.hint is not None
    assert f"objectEncoding to {encoding}" in problem.hint
    assert inspect(file).client_id == CLIENT


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty"),
        (b"[]", "expected a JSON object"),
        (b"{" * 100_000, "expected a JSON object"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b"-----BEGIN CERTIFICATE-----\n", "PEM without a private key"),
        (b'{"explicit_identities": [{}]}', "the data plane's complete response"),
        (b" " * (1 << 20) + b" ", "larger than"),
    ],
)
def test_inspection_explains_the_content_when_it_is_not_a_credential(tmp_path, content, text):
    file = tmp_path / "credential"
    file.write_bytes(content)
    (problem,) = inspect(file).problems
    assert text in problem.text


def test_inspection_warns_when_no_rotation_reaches_the_file(tmp_path):
    file = tmp_path / "my file"
    file.write_bytes(render_good())
    table = tmp_path / "mountinfo"
    point = str(file.resolve()).replace(" ", r"\040")
    table.write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"36 21 0:45 /..2026_11_23/my//deleted {point} ro - tmpfs tmpfs rw\n"
    )
    inspection = inspect(file, mountinfo=table)
    assert inspection.mount.layout == "mounted file"
    assert "subPath" in texts_of(inspection)
    assert "has been rotated since" in texts_of(inspection)
    assert inspect(file).mount.layout == "plain"
    assert inspect(file, mountinfo=tmp_path / "none").status == "fine"


def test_inspection_warns_when_the_next_rotation_removes_the_path(mount):
    mount.swap(render_good())
    inspection = inspect(mount.path.resolve())
    assert "which the next rotation removes" in texts_of(inspection)
    assert inspect(mount.directory / "..data" / mount.name).mount.layout == "atomic"


def test_inspection_resolves_the_path_like_the_kernel_when_it_has_links_and_dots(mount, tmp_path):
    mount.swap(render_good())
    (mount.directory / "deep").mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "link").symlink_to(mount.directory / "deep")
    (tmp_path / "app" / mount.name).write_text("another file")
    inspection = inspect(tmp_path / "app" / "link" / ".." / mount.name)
    assert (inspection.status, inspection.mount.layout) == ("fine", "atomic")


def test_inspection_reports_an_unreadable_file_when_the_working_directory_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert inspect(Path("ingress")).status == "unreadable"
    with pytest.raises(InputError):
        find_credential_files("ingress")


def test_inspection_reports_an_unreadable_file_when_symlinks_loop(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert inspect(tmp_path / "loop" / "x").status == "unreadable"


@pytest.mark.parametrize("call", [find_credential_files, lambda path: inspect(Path(path))])
def test_path_is_refused_when_it_contains_nul(tmp_path, call):
    with pytest.raises(InputError, match="NUL"):
        call(f"{tmp_path}/\0x")


def test_inspection_warns_when_any_user_may_change_the_file(tmp_path):
    file = tmp_path / "credential"
    file.write_bytes(render_good())
    file.chmod(0o646)
    assert texts_of(inspect(file)) == "its mode is 0646: any user may change it"


def _remove_data_link(mount: Mount) -> None:
    (mount.directory / "..data").unlink()


def _remove_data_directory(mount: Mount) -> None:
    mount.path.resolve().unlink()
    (mount.directory / "..data").resolve().rmdir()


def _remove_file(mount: Mount) -> None:
    mount.path.resolve().unlink()


def _link_elsewhere(mount: Mount) -> None:
    mount.path.unlink()
    mount.path.symlink_to("nowhere")


def _link_to_itself(mount: Mount) -> None:
    mount.path.unlink()
    mount.path.symlink_to(mount.path.name)


def _make_directory(mount: Mount) -> None:
    mount.path.unlink()
    mount.path.mkdir()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (_remove_data_link, "the driver has not written this volume yet"),
        (_remove_data_directory, "which does not exist"),
        (_remove_file, "is a dangling symlink"),
        (_link_elsewhere, "the symlink leads to nowhere, which does not exist"),
        (_link_to_itself, "symbolic links"),
        (_make_directory, "is not a regular file"),
    ],
)
def test_inspection_gives_the_reason_when_the_file_cannot_be_read(mount, damage, text):
    mount.swap(render_good())
    damage(mount)
    inspection = inspect(mount.path)
    assert inspection.status == "unreadable"
    assert text in texts_of(inspection)


def _swap(**changes: Any) -> Callable[[Mount], None]:
    return lambda mount: mount.swap(render_good(**changes))


def _let_anybody_write(mount: Mount) -> None:
    mount.path.chmod(0o666)


@pytest.mark.parametrize(
    ("damage", "days", "hint"),
    [
        (_remove_data_link, 0, "See the pod's events, and the logs of the driver and its provider."),
        (_remove_data_directory, 0, "Restart the pod, so that the driver mounts the volume again."),
        (_remove_file, 0, "It is read as soon as it exists. If it never appears, see the pod's events"),
        (_link_to_itself, 0, "Check the mode and owner of the file, the symlinks in its path"),
        (_make_directory, 0, "Name the file inside the mount, not its directory."),
        (_let_anybody_write, 0, "The driver's default is 0644."),
        (_swap(client_id="me"), 0, "Check the value of the Key Vault secret, and the objectEncoding"),
        (_swap(not_after=(NOW + 400 * DAY).isoformat()), 0, "The certificate's time counts."),
        (_swap(not_before=(NOW - 400 * DAY).isoformat()), 0, "The certificate's time counts."),
        (
            _swap(renew_after=(NOW - 2 * DAY).isoformat()),
            0,
            "Is the service that renews the vault's credentials running?",
        ),
        (
            _swap(cannot_renew_after=(NOW - DAY).isoformat()),
            0,
            "Request a new credential from the data plane.",
        ),
        (_swap(), -400, "If the clock of this machine is right, it will be used from then on."),
        (_swap(), 400, "Did the renewal write a new version to the vault, and is it mounted?"),
        (lambda mount: mount.swap(b"-----BEGIN X"), 0, "(objectType: secret, not cert)"),
        (lambda mount: mount.swap(b'{"explicit_identities": []}'), 0, "in a secret of its own"),
        (lambda mount: mount.swap(render_good().hex().encode()), 0, "Set objectEncoding to hex"),
    ],
)
def test_inspection_gives_the_next_step_when_there_is_a_problem(mount, damage, days, hint):
    mount.swap(render_good())
    damage(mount)
    hints = [problem.hint or "" for problem in inspect(mount.path, now=NOW + days * DAY).problems]
    assert any(hint in each for each in hints)


def test_find_lists_the_files_when_the_path_is_a_mount(mount):
    mount.swap(render_good())
    (mount.directory / "another").symlink_to("..data/another")
    (mount.directory / "folder").mkdir()
    (mount.directory / ".hidden").touch()
    expected = [f"{mount.directory}/another", f"{mount.directory}/secret"]
    assert find_credential_files(str(mount.directory)) == expected
    assert find_credential_files(f"{mount.directory}/") == expected
    assert find_credential_files(expected[0]) == expected[:1]


def test_find_refuses_the_path_when_there_is_no_file(tmp_path):
    with pytest.raises(InputError, match=r"No such file.* Expected a credential file, or the directory"):
        find_credential_files(str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"the directory has no files.*see the pod's events"):
        find_credential_files(str(tmp_path))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (43 * 86400 + 5, "in 43 days"),
        (-3 * 3600 - 5, "3 hours ago"),
        (60, "in 1 minute"),
        (-1, "1 second ago"),
        (1, "in 1 second"),
        (0.5, "now"),
    ],
)
def test_relative_time_is_rendered_in_its_largest_unit(seconds, text):
    assert render_relative(NOW + dt.timedelta(seconds=seconds), NOW) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    "authentication_endpoint",
    "client_id",
    "tenant_id",
    "client_secret",
    "object_id",
    "resource_id",
    "not_before",
    "not_after",
    "renew_after",
    "cannot_renew_after",
)
GOOD = json.loads(render_good())
SECRET = GOOD["client_secret"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.just(SECRET) | st.just(f"/{SECRET}"), min_size=1))
def test_inspection_shows_no_secret_when_the_fields_are_anything(tmp_path_factory, changes):
    file = tmp_path_factory.getbasetemp() / "any-fields"
    file.write_text(json.dumps(GOOD | changes))
    assert_shows_none(repr(inspect(file)), json.dumps(GOOD).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_inspection_finds_a_problem_when_the_content_is_anything(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any-content"
    file.write_bytes(content)
    assert inspect(file).status == "wrong"
