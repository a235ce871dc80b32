import re
import subprocess
import sys

import hcpcreds


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hcpcreds", *arguments], check=False, capture_output=True, text=True
    )


def test_help_names_every_command_and_what_it_does():
    result = run("--help")
    assert result.returncode == 0
    assert re.search(r"^  up +Run the whole chain", result.stdout, re.MULTILINE)


def test_up_help_shows_options_defaults_and_an_example():
    result = run("up", "--help")
    assert result.returncode == 0
    for text in (
        "--rotate-every SECONDS",
        "[default: 10.0",
        "--rotations N",
        "--output [text|json]",
        "Example: ",
    ):
        assert text in result.stdout


def test_version_is_the_packages():
    assert run("--version").stdout == f"hcpcreds, version {hcpcreds.__version__}\n"


def test_unknown_command_is_wrong_usage():
    result = run("fly")
    assert result.returncode == 2
    assert "No such command 'fly'" in result.stderr


def test_missing_extra_is_told_with_the_command_that_installs_it():
    code = "import sys; sys.modules['click'] = None; from hcpcreds.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        "hcpcreds: the command line needs click; install it with: pip install 'hcpcreds[cli]'\n"
    )
