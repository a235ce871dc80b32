"""What all commands have in common: help, version, errors, completion, kubectl's plugin."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner, Result
from tests.support import commands

import hcpcreds
import hcpcreds.cli.root as root_module
from hcpcreds.cli.root import hcpcreds as root
from hcpcreds.errors import InputError, MountError, TokenRefusedError

BIN = Path(sys.executable).parent
COMMANDS = root.list_commands(click.Context(root))


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return commands.run(*arguments, environment=environ)


def complete(shell: str, line: str) -> list[str]:
    """What a shell is told when its user asks for completions at the end of a line."""
    words = line.split(" ")
    result = run(
        _HCPCREDS_COMPLETE=f"{shell}_complete",
        COMP_WORDS=line,
        COMP_CWORD=words[-1] if shell == "fish" else str(len(words) - 1),
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_help_names_every_command_and_what_it_does():
    result = run("--help")
    assert result.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command}  +\S+", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_how_to_call_it_and_an_example(command):
    result = run(command, "--help")
    assert result.returncode == 0, result.stderr
    assert f"Usage: hcpcreds {command}" in result.stdout
    assert re.search(r"^  Examples?\b[^\n]*:", result.stdout, re.MULTILINE)


def test_up_help_shows_options_and_defaults():
    result = run("up", "--help")
    assert result.returncode == 0
    for text in ("--rotate-every DURATION", "[default: 10s", "--rotations N", "--output [text|json]"):
        assert text in result.stdout


def test_version_is_the_packages():
    assert run("--version").stdout == f"hcpcreds, version {hcpcreds.__version__}\n"


def test_unknown_command_is_wrong_usage():
    result = run("fly")
    assert result.returncode == 2
    assert "No such command 'fly'" in result.stderr


def test_full_disk_behind_the_output_is_reported_without_a_traceback():
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "hcpcreds", "completion", "zsh"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 1
    assert result.stderr == "hcpcreds completion: cannot be written: No space left on device\n"


@pytest.fixture
def fail(monkeypatch):
    """Run a command that fails in its own way; the command line knows nothing of it but its name."""

    def fail(error: BaseException) -> Result:
        @click.command("fly")
        def command() -> None:
            key = "a secret that a traceback would show"  # noqa: F841 (a frame holds it)
            raise error

        module = ModuleType("hcpcreds.cli.fly")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(root_module._COMMANDS, "fly", "")
        return CliRunner().invoke(root, ["fly"], prog_name="hcpcreds")

    return fail


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (OverflowError("secret"), 1, "unexpected OverflowError in hcpcreds.cli.root, line "),
        (RecursionError("secret"), 1, "unexpected RecursionError in "),
        (ExceptionGroup("secret", [ValueError("secret")]), 1, "unexpected ValueError"),
        (FileNotFoundError(2, "No such file", "secret"), 1, "unexpected FileNotFoundError in "),
        (ExceptionGroup("", [TokenRefusedError("refused", hint="Do this.")]), 1, "refused. Do this.\n"),
        (InputError("FILE", ["one", "two"]), 2, "FILE: 2 problems\n  one\n  two\n"),
        (MountError("key eyJhbGciOiJQUzI1NiJ9.eyJhdWQi"), 1, "key ***\n"),
        (
            ModuleNotFoundError("secret", name="trustme"),
            1,
            "this needs trustme; install it with: pip install 'hcpcreds[local]'\n",
        ),
        (OSError(28, "No space left on device"), 1, "cannot be written: No space left on device\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_command_reports_an_unexpected_error_in_one_line(fail, error, status, message):
    result = fail(error)
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith(f"hcpcreds fly: {message}")
    assert "secret" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError(32, "Broken pipe")], ids=repr)
def test_command_ends_quietly_when_it_is_interrupted_or_its_output_is_closed(fail, error):
    result = fail(error)
    assert result.exit_code == 1
    assert result.output.strip() in ("Aborted!", "")


def test_closed_standard_input_is_reported():
    result = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m hcpcreds check - <&-"],  # noqa: S607 (whichever shell there is)
        check=False,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (2, "hcpcreds check: standard input: it is closed\n")


def test_text_that_the_terminal_cannot_show_is_replaced(tmp_path):
    (tmp_path / "✓").write_text("{}")
    result = subprocess.run(
        [sys.executable, "-m", "hcpcreds", "inspect", tmp_path / "✓"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.startswith(f"{tmp_path}/?\n")


def test_missing_extra_is_reported_with_the_command_that_installs_it():
    code = "import sys; sys.modules['click'] = None; from hcpcreds.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        "hcpcreds: the command line needs click; install it with: pip install 'hcpcreds[cli]'\n"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_asks_hcpcreds(shell):
    result = run("completion", shell)
    assert result.returncode == 0, result.stderr
    assert f"_HCPCREDS_COMPLETE={shell}_complete" in result.stdout


def test_completion_of_an_unknown_shell_is_wrong_usage():
    result = run("completion", "tcsh")
    assert (result.returncode, result.stdout) == (2, "")
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in result.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hcpcreds ren", ["plain,render", "plain,renew"]),
        ("hcpcreds render --comp", ["plain,--component"]),
        ("hcpcreds render --component cluster-api", ["plain,cluster-api-provider-azure"]),
        ("hcpcreds render --component capi", ["plain,capi-provider"]),
        ("hcpcreds render --kind Sec", ["plain,SecretProviderClass", "plain,Secret"]),
        ("hcpcreds render --output ", ["plain,yaml", "plain,json", "plain,dir="]),
        ("hcpcreds render hosted", ["file,hosted"]),
        ("hcpcreds completion ", ["plain,bash", "plain,zsh", "plain,fish"]),
    ],
)
def test_completion_knows_commands_options_and_their_values(line, expected):
    assert complete("bash", line) == expected


def test_completion_speaks_the_languages_of_zsh_and_fish():
    summary = "Print every object"
    assert complete("zsh", "hcpcreds rend")[:2] == ["plain", "render"]
    assert complete("zsh", "hcpcreds rend")[2].startswith(summary)
    assert any(
        line.startswith("plain,render\t") or "render" in line for line in complete("fish", "hcpcreds rend")
    )


def test_bash_completes_with_the_script():
    script = """
        source <(hcpcreds completion bash)
        COMP_WORDS=(hcpcreds rend); COMP_CWORD=1
        _hcpcreds_completion hcpcreds rend hcpcreds
        echo "${COMPREPLY[*]}"
        complete -p hcpcreds
    """
    result = subprocess.run(
        ["bash", "-c", script],  # noqa: S607 (whichever bash there is)
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    assert result.stdout.splitlines()[0] == "render", result.stderr
    assert "-F _hcpcreds_completion hcpcreds" in result.stdout


def test_kubectl_finds_the_plugin_which_calls_itself_as_its_user_did(tmp_path):
    (plugin,) = entry_points(group="console_scripts", name="kubectl-hcpcreds")
    (script,) = entry_points(group="console_scripts", name="hcpcreds")
    assert plugin.value == script.value
    # Installers write such a script for each entry point.
    path = tmp_path / "kubectl-hcpcreds"
    path.write_text(f"#!{sys.executable}\nfrom hcpcreds.cli import main\nmain()\n")
    path.chmod(0o755)
    assert shutil.which("kubectl-hcpcreds", path=str(tmp_path)) == str(path)
    helped = subprocess.run([path, "render", "--help"], check=True, capture_output=True, text=True)
    assert "Usage: kubectl hcpcreds render" in helped.stdout
    failed = subprocess.run([path, "up", "nowhere"], check=False, capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr.startswith("kubectl hcpcreds up: nowhere: cannot be read")
