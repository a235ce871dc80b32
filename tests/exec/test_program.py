"""The program of `hcpcreds exec`: how it starts, what it gets, how it ends."""

import base64
import json
import os
import pty
import select
import signal
import sys
import termios
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.credential.files import Issued, encrypt_pem
from tests.endpoint.endpoints import ARM, Identity, get_signer
from tests.exec.conftest import PYTHON, read_line, running, wait_for_log
from tests.support.processes import start
from tests.support.waiting import wait_until

from hcpcreds.cli.root import hcpcreds

NOTHING = ("--provide", "nothing", "--")
CATCH = """
import signal, sys
def show(number, _):
    print(signal.Signals(number).name)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
    signal.signal(number, show)
print("up")
while True:
    signal.pause()
"""
LEAD = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
TOKEN = """
import sys
import azure.identity
for name in sys.argv[3:]:
    credential = getattr(azure.identity, name)(connection_verify=sys.argv[1])
    print(credential.get_token(sys.argv[2]).token)
"""


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137), ("exit 255", 255)],
)
def test_exit_status_is_the_programs(identity: Identity, script: str, status: int):
    with running(identity, *NOTHING, "sh", "-c", script) as process:
        process.communicate(timeout=30)
    assert process.returncode == status


def test_exit_status_is_a_shells_when_the_program_cannot_be_started(identity: Identity, tmp_path: Path):
    (tmp_path / "text").write_text("no program")
    for program, status, reason in (
        ("no-such-program", 127, "No such file or directory"),
        (tmp_path / "text", 126, "Permission denied"),
    ):
        with running(identity, *NOTHING, program) as process:
            _, err = process.communicate(timeout=30)
        assert process.returncode == status
        assert err.endswith(f"hcpcreds exec: {program}: {reason}\n")


@pytest.mark.measured_processes
@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH"])
def test_signal_is_passed_on_once(identity: Identity, name: str):
    with running(identity, *NOTHING, *PYTHON, CATCH) as process:
        assert read_line(process) == "up"
        process.send_signal(getattr(signal, name))
        assert read_line(process) == name
        process.send_signal(signal.SIGUSR1 if name != "SIGUSR1" else signal.SIGUSR2)
        assert read_line(process) == ("SIGUSR1" if name != "SIGUSR1" else "SIGUSR2")


def test_program_has_a_signal_once_when_it_comes_from_the_terminal(identity: Identity):
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    session = (*PYTHON, LEAD)
    command = (
        sys.executable,
        "-m",
        "hcpcreds",
        "exec",
        "--credential",
        identity.path,
        *NOTHING,
        *PYTHON,
        CATCH,
    )
    with start(*session, *command, stdin=theirs) as process:
        assert read_line(process) == "up"
        os.write(ours, b"\x03")
        assert read_line(process) == "SIGINT"
        process.send_signal(signal.SIGUSR1)
        assert read_line(process) == "SIGUSR1"
    os.close(ours)
    os.close(theirs)


def test_program_starts_with_no_signal_blocked_or_ignored(identity: Identity):
    with running(identity, *NOTHING, "grep", "-E", "SigBlk|SigIgn", "/proc/self/status") as process:
        out, _ = process.communicate(timeout=30)
    blocked, ignored = (int(line.split()[1], 16) for line in out.splitlines())
    # Whoever has started the tests may ignore some; Python ignores two for itself only.
    ours = {number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN}
    ours -= {signal.SIGPIPE, signal.SIGXFSZ}
    assert blocked == 0
    assert {number for number in signal.valid_signals() if ignored >> (number - 1) & 1} <= ours


def test_orphans_are_waited_for_when_they_come_to_this_process(identity: Identity):
    # As process 1 of a container, which is too much for a test: a process that orphans below it come to.
    subreaper = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1); os.execv(sys.argv[1], sys.argv[1:])"
    orphans = """
import os, time
for number in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(number / 100)
        os._exit(3)
print("up")
time.sleep(60)
"""
    command = (sys.executable, "-m", "hcpcreds", "exec", "--credential", identity.path, *NOTHING)
    with start(*PYTHON, subreaper, *command, *PYTHON, orphans) as process:
        assert read_line(process) == "up"

        def list_states() -> list[str]:
            states = []
            for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                    states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0])
            return states

        wait_until(lambda: list_states() == ["S"])
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 143


@pytest.mark.measured_processes
def test_stop_ends_the_wait_when_the_program_was_not_started(identity: Identity):
    identity.path.unlink()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with running(identity, *NOTHING, "true") as process:
            wait_for_log(process, "waiting: app: the credential file")
            process.send_signal(number)
            process.communicate(timeout=30)
        assert process.returncode == 128 + number


def test_stop_is_heeded_when_it_comes_while_the_command_is_being_loaded(identity: Identity):
    environment = {"PYTHONPROFILEIMPORTTIME": "1"}  # prints each import
    with running(identity, *NOTHING, "echo", "started", **environment) as process:
        wait_for_log(process, "click")
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (143, "")
    assert "hcpcreds.exec.supervisor" in err, "it came too late to be early"


def test_program_is_killed_when_this_process_is_killed(identity: Identity):
    program = (*PYTHON, f"import os; print(os.getpid()); {CATCH}")
    with running(identity, *NOTHING, *program) as process:
        descriptor = os.pidfd_open(int(read_line(process)))
        assert read_line(process) == "up"
        process.kill()
        has_ended, _, _ = select.select([descriptor], [], [], 30)
        if not has_ended:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)
    assert has_ended


def test_program_waits_for_a_credential_when_there_is_none_yet(identity: Identity):
    content = identity.path.read_bytes()
    identity.mount.swap(content[:100])
    with running(identity, *NOTHING, "echo", "up") as process:
        wait_for_log(process, "waiting: app: the credential file")
        identity.mount.swap(content)
        assert read_line(process) == "up"
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("provision", "kind"), [("endpoint", "ManagedIdentityCredential"), ("file", "WorkloadIdentityCredential")]
)
def test_program_gets_tokens_without_a_key(identity: Identity, provision: str, kind: str):
    azure = identity.azure
    program = (sys.executable, "-c", TOKEN, azure.ca_file, f"{ARM}/.default", kind, "DefaultAzureCredential")
    # Azure's libraries ask the public cloud about hosts that they do not know, unless they are told not to.
    others = {"AZURE_TOKEN_CREDENTIALS": kind, "AZURE_CLIENT_SECRET": "x", "MSI_ENDPOINT": "x"}
    others |= {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
    with running(identity, "--provide", provision, "--", *program, **others) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [get_signer(token) for token in out.split()] == list(identity.certificates) * 2


@pytest.mark.measured_processes
def test_program_gets_tokens_with_the_certificate_of_a_service_principal(identity: Identity, tmp_path: Path):
    azure = identity.azure
    secret = base64.b64decode(json.loads(identity.path.read_bytes())["client_secret"])
    issued = Issued(x509.load_pem_x509_certificate(secret), load_pem_private_key(secret, None))
    (tmp_path / "app.pem").write_bytes(encrypt_pem(issued, password="secret-sentinel"))
    (tmp_path / "password").write_text("secret-sentinel")
    told = f"tenant_id={azure.tenant_id},client_id={identity.client_id},password_file={tmp_path / 'password'}"
    program = (sys.executable, "-c", TOKEN, azure.ca_file, f"{ARM}/.default", "ManagedIdentityCredential")
    command = ("exec", "--authority", azure.authority, "--ca-file", azure.ca_file, "--", *program)
    with start(
        *(sys.executable, "-m", "hcpcreds", *command),
        env={"HCPCREDS_CREDENTIAL": f"{tmp_path / 'app.pem'},{told}"},
    ) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert get_signer(out.strip()) == issued.thumbprint
    assert "sentinel" not in err


def test_program_names_one_of_several_credentials(identity: Identity, tmp_path: Path):
    other = Identity(identity.azure, tmp_path / "other", "other")
    other.rotate()
    script = """
import sys
from azure.identity import ManagedIdentityCredential
for client_id in sys.argv[1:]:
    print(ManagedIdentityCredential(client_id=client_id).get_token("https://management.azure.com/.default").token)
"""
    program = (sys.executable, "-c", script, identity.client_id, other.client_id)
    with running(identity, "--credential", other.path, "--", *program) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [get_signer(token) for token in out.split()] == [*identity.certificates, *other.certificates]


def test_program_has_no_other_way_to_tokens_than_the_one_that_is_given(identity: Identity):
    others = [
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "AZURE_CLIENT_SECRET",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_CLIENT_CERTIFICATE_PASSWORD",
        "AZURE_USERNAME",
        "AZURE_PASSWORD",
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "IDENTITY_SERVER_THUMBPRINT",
        "IMDS_ENDPOINT",
        "MSI_ENDPOINT",
        "MSI_SECRET",
    ]
    with running(
        identity, "--provide", "file", "--", "env", **dict.fromkeys([*others, "MINE", "AZURE_TENANT_ID"], "x")
    ) as process:
        out, err = process.communicate(timeout=30)
    variables = dict(line.partition("=")[::2] for line in out.splitlines())
    assert process.returncode == 0, err
    assert variables.keys().isdisjoint(others)
    assert (variables["MINE"], variables["AZURE_CLIENT_ID"]) == ("x", identity.client_id)
    assert variables["AZURE_TENANT_ID"] == identity.azure.tenant_id
    assert variables["AZURE_AUTHORITY_HOST"].rstrip("/") == identity.azure.authority.rstrip("/")


def test_assertion_is_gone_when_the_program_has_ended(identity: Identity):
    script = "echo $AZURE_FEDERATED_TOKEN_FILE; stat -c %a $AZURE_FEDERATED_TOKEN_FILE"
    with running(identity, "--provide", "file", "--", "sh", "-c", script) as process:
        out, err = process.communicate(timeout=30)
    file, mode = out.split()
    assert mode == "400", err
    assert not Path(file).parent.exists()
    assert "eyJ" not in out + err


def test_assertion_of_a_killed_process_is_removed_by_the_next_one(identity: Identity):
    program = ("--provide", "file", "--", "sh", "-c", "echo $AZURE_FEDERATED_TOKEN_FILE; exec sleep 60")
    with running(identity, *program) as killed, running(identity, *program) as other:
        left, kept = (Path(read_line(process)).parent for process in (killed, other))
        killed.kill()
        killed.wait()
        assert left.exists()
        with running(identity, *program) as process:
            read_line(process)
            assert (left.exists(), kept.exists()) == (False, True)
            for each in (process, other):
                each.terminate()
                each.wait()


def test_settings_come_from_the_environment(identity: Identity):
    with start(
        *(sys.executable, "-m", "hcpcreds", "exec", "--", "sh", "-c", "exit 5"),
        env={
            "HCPCREDS_CREDENTIAL": f"x={identity.path}",
            "HCPCREDS_PROVIDE": "nothing",
            "HCPCREDS_GRACE": "1s",
        },
    ) as process:
        process.communicate(timeout=30)
    assert process.returncode == 5


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--", "true"], "Give at least one --credential."),
        (["--credential", "/mnt/a"], "Missing argument"),
        (["--credential", "/mnt/a", "--signal-on-rotation", "NUP", "--", "true"], "NUP is not a signal"),
        (
            ["--credential", "/mnt/a", "--signal-on-rotation", "HUP", "--restart-on-rotation", "--", "true"],
            "Give either --restart-on-rotation or --signal-on-rotation.",
        ),
        (["--credential", "/mnt/a", "--provide", "x", "--", "true"], "'x' is not one of"),
    ],
)
def test_exec_starts_nothing_and_says_why_when_it_is_told_nonsense(arguments: list[str], problem: str):
    done = CliRunner().invoke(hcpcreds, ["exec", *arguments])
    assert done.exit_code == 2
    assert problem in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--hook", "http://", "--provide", "nothing"], "hook: expected http://HOST/ or a command"),
        (["--hook", "'", "--provide", "nothing"], "hook: not a command"),
        (["--hook", " ", "--provide", "nothing"], "hook: expected a URL or a command"),
        (["--credential", "other=/mnt/other", "--provide", "file"], "credentials: expected only one"),
    ],
)
def test_exec_is_refused_when_its_settings_do_not_fit(identity: Identity, arguments: list[str], problem: str):
    with running(identity, *arguments, "--", "echo", str(uuid.uuid4())) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert problem in err
