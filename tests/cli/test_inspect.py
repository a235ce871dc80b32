"""`hcpcreds inspect` as its user runs it."""

import datetime as dt
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import uuid
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.credential.files import encrypt_pem, issue, later, render_file
from tests.support.processes import start
from tests.support.volume import Mount
from tests.test_no_secrets import assert_shows_none

from hcpcreds.cli.root import hcpcreds

RENEWAL = {
    "renew_after": (dt.datetime.now(dt.UTC) + dt.timedelta(days=40)).isoformat(),
    "cannot_renew_after": (dt.datetime.now(dt.UTC) + dt.timedelta(days=180)).isoformat(),
}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(hcpcreds, ["inspect", *map(str, arguments)])


def watching(*arguments: str | Path) -> AbstractContextManager[subprocess.Popen[str]]:
    return start(sys.executable, "-m", "hcpcreds", "inspect", "--watch", *arguments)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "certs", "ingress")


def test_inspect_explains_a_good_file_to_a_person_and_shows_no_secret(mount, local_azure):
    client_id = str(uuid.uuid4())
    content = json.dumps(local_azure.issue(client_id)).encode()
    mount.swap(content)
    result = run(mount.path)

    assert result.exit_code == 0, result.output
    shown = result.output
    assert shown.startswith(f"{mount.path}\nnothing is wrong\n")
    for text in (
        f"client id    {client_id}",
        f"tenant       {local_azure.tenant_id}",
        f"subject   CN={client_id}",
        "key       RSA, 2048 bits",
        "the driver's: rotations reach it",
        "file     mode 0644",
    ):
        assert text in shown
    assert re.search(r"E not after           \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  in (89|90) days", shown)
    assert re.search(r"B━{15,}R─{15,}E┄{30,}X\n +▲ now\n", shown)
    assert_shows_none(shown, content)


def test_inspect_gives_a_program_the_same_keys_for_a_good_and_a_broken_file(mount, local_azure):
    content = json.dumps(local_azure.issue(str(uuid.uuid4()))).encode()
    mount.swap(content)
    broken = mount.directory / "broken"
    broken.write_text("{}")
    good, bad = (json.loads(run("--output", "json", each).stdout) for each in (mount.path, broken))

    assert (good["ok"], bad["ok"]) == (True, False)
    (one,), (other,) = good["files"], bad["files"]
    assert one.keys() == other.keys()
    for key in ("identity", "validity", "mount"):
        assert one[key].keys() == other[key].keys()
    assert other["identity"]["client_id"] is None
    fields = json.loads(content)
    assert dt.datetime.fromisoformat(one["validity"]["not_after"]) == dt.datetime.fromisoformat(
        fields["not_after"]
    )
    assert 89 * 86400 < one["validity"]["seconds_until_not_after"] <= 90 * 86400
    (certificate,) = one["certificates"]
    assert (len(certificate["sha256"]), len(certificate["sha1"])) == (64, 40)
    assert other["problems"][0].keys() == {"problem", "hint"}
    assert_shows_none(json.dumps(good), content)


def test_inspect_says_what_is_wrong_and_exits_with_one(tmp_path):
    expired = issue(not_before=dt.datetime(2026, 1, 5, tzinfo=dt.UTC))
    file = tmp_path / "expired"
    file.write_bytes(render_file(expired))
    result = run(file)
    assert result.exit_code == 1
    assert "wrong: renew_after: expected an RFC 3339 time" in result.output
    assert re.search(r"wrong: expired at 2026-04-05T00:00:00Z, \d+ days ago\n +\w+", result.output)
    assert_shows_none(result.output, file.read_bytes())


def test_inspect_explains_every_file_of_a_mount_and_the_worst_decides(mount):
    mount.swap(render_file(issue(), **RENEWAL))
    (mount.directory / "later").symlink_to("..data/later")
    result = run(mount.directory)
    assert result.exit_code == 2
    assert f"{mount.path}\nnothing is wrong" in result.output
    assert f"wrong: the credential file {mount.directory / 'later'} is a dangling symlink" in result.output
    assert json.loads(run("--output", "json", mount.directory).stdout)["ok"] is False


def test_inspect_gives_other_files_of_a_directory_a_line_and_no_panels(tmp_path):
    (tmp_path / "ingress").write_bytes(render_file(issue(), **RENEWAL))
    (tmp_path / "README.md").write_text("# What is here\n")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    result = run(tmp_path)
    assert result.exit_code == 1
    readme, credential, logo = (
        result.output.find(f"{tmp_path}/{name}") for name in ("README.md", "ingress", "logo.png")
    )
    assert result.output[readme:credential].strip().count("\n") == 0
    assert result.output[logo:].strip().count("\n") == 0
    assert "README.md: expected a JSON object" in result.output
    assert f"{tmp_path}/ingress\nnothing is wrong" in result.output


def test_inspect_says_once_that_a_directory_holds_no_credential(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("text")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert result.output == f"{tmp_path}: none of its 3 files is a credential file\n"


def test_inspect_shows_no_empty_panels_when_a_file_is_not_an_object(tmp_path):
    (tmp_path / "secret").write_bytes(issue().certificate_pem)
    result = run(tmp_path / "secret")
    assert result.exit_code == 1
    assert (
        "wrong: the file holds PEM without a private key\n       Mount the certificate's secret"
        in result.output
    )
    assert "identity" not in result.output
    assert result.output.count("\n") == 3


@pytest.mark.parametrize("place", ["nothing", "."])
def test_inspect_is_refused_when_the_file_does_not_exist(tmp_path, place):
    result = run(tmp_path / place)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("hcpcreds inspect: ")


def test_watch_prints_a_line_for_each_change_and_ends_with_ctrl_c(mount):
    first = issue()
    second = later(first)
    with watching(mount.directory.parent) as process:
        _, err = process.communicate()
        assert process.returncode == 2, "nothing to watch"
        assert "the directory has no files" in err
    mount.swap(render_file(first))
    with watching(mount.path) as process:
        assert re.search(
            rf"^\d\d:\d\d:\d\d {mount.path}: generation 1: certificate {first.thumbprint[:12]}, valid until",
            read_line(process),
        )
        mount.swap(b"{")
        assert "refused: " in (line := read_line(process))
        assert "generation 1 stays in use" in line
        mount.swap(render_file(second))
        assert f"generation 2: certificate {second.thumbprint[:12]}" in read_line(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "", "")


def test_watch_waits_for_a_file_and_prints_a_document_for_each_change(mount):
    first = issue()
    with watching("--output", "json", mount.path) as process:
        before = json.loads(read_line(process))
        mount.swap(render_file(first))
        after = json.loads(read_line(process))
    assert before.keys() == after.keys()
    assert "does not exist" in before["last_error"]
    assert (after["generation"], after["thumbprint"]) == (1, first.thumbprint)


def test_watch_redraws_a_terminal_and_leaves_it_usable(mount):
    first = issue()
    second = later(first)
    mount.swap(render_file(first))
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    command = (sys.executable, "-m", "hcpcreds", "inspect", "--watch", mount.path)
    with start(*command, stdin=end, stdout=end, stderr=end, env={"TERM": "xterm-256color"}) as process:
        os.close(end)
        shown = b""
        while first.thumbprint.encode() not in shown:
            shown += os.read(terminal, 65536)
        mount.swap(render_file(second))
        while f"generation 2: certificate {second.thumbprint[:12]}".encode() not in shown:
            shown += os.read(terminal, 65536)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # how a terminal says that nobody is at its other end
            while True:
                shown += os.read(terminal, 65536)
        os.close(terminal)
        assert process.wait() == 0
    assert shown.rindex(b"\x1b[?1049l") > shown.rindex(b"\x1b[?1049h"), "the screen is back"
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor is back"
    assert_shows_none(shown.decode(errors="replace"), render_file(second))


def test_inspect_explains_the_certificate_of_a_service_principal(tmp_path):
    issued = issue()
    (tmp_path / "app.pem").write_bytes(issued.key_pem + issued.certificate_pem)
    result = run(tmp_path / "app.pem")
    assert result.exit_code == 0, result.output
    assert issued.thumbprint in result.output
    assert "client id" not in result.output
    (file,) = json.loads(run(tmp_path / "app.pem", "--output", "json").output)["files"]
    assert (file["kind"], file["status"]) == ("certificate", "fine")
    assert [each["sha256"] for each in file["certificates"]] == [issued.thumbprint]


def test_inspect_names_the_password_file_when_a_certificate_is_encrypted(tmp_path):
    issued = issue()
    (tmp_path / "app.pem").write_bytes(encrypt_pem(issued, password="right"))
    (tmp_path / "password").write_text("right\n")
    (tmp_path / "other").write_text("wrong")
    result = run(tmp_path / "app.pem")
    assert result.exit_code == 1
    assert "wrong: the private key is encrypted, but no password was given" in result.output
    assert issued.thumbprint in result.output
    result = run(tmp_path / "app.pem", "--password-file", tmp_path / "other")
    assert "wrong: the password does not decrypt the private key" in result.output
    result = run(tmp_path / "app.pem", "--password-file", tmp_path / "password")
    assert (result.exit_code, "right" in result.output) == (0, False), result.output


def test_inspect_follows_the_certificate_of_a_service_principal(mount, tmp_path):
    first = issue()
    second = later(first)
    (tmp_path / "password").write_text("right\n")
    mount.swap(encrypt_pem(first, password="right"))
    with watching("--password-file", tmp_path / "password", mount.path) as process:
        assert f"generation 1: certificate {first.thumbprint[:12]}" in read_line(process)
        mount.swap(encrypt_pem(second, password="right"))
        assert f"generation 2: certificate {second.thumbprint[:12]}" in read_line(process)
        mount.swap(encrypt_pem(later(second), password="wrong"))
        assert "refused: the certificate file" in read_line(process)
        process.send_signal(signal.SIGINT)
