"""What the tests of commands stand on."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.support.processes import end_children, list_children, start
from tests.support.waiting import wait_until


def test_child_is_interrupted_when_the_parent_of_the_tests_ignores_interrupts():
    code = """
        import signal, subprocess, sys
        from tests.support.processes import let_children_be_interrupted
        let_children_be_interrupted()
        child = subprocess.Popen(["sleep", "60"])
        signal.raise_signal(signal.SIGINT)
        child.send_signal(signal.SIGINT)
        print(child.wait(10))
    """
    script = 'trap "" INT HUP; exec "$@"'
    with start("sh", "-c", script, "sh", sys.executable, "-c", code.replace("\n        ", "\n")) as process:
        out, err = process.communicate()
    assert (out, err) == (f"{-signal.SIGINT}\n", "")


def test_children_are_found_and_ended():
    with start("cat", stdin=subprocess.PIPE, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("ready\n")
        process.stdout.readline()
        assert list_children()[process.pid] == "cat "
        end_children({process.pid})
        assert process.pid not in list_children()


def test_what_a_command_has_started_ends_with_its_block():
    code = """
        import subprocess, sys
        subprocess.Popen([sys.executable, "-c", sys.argv[1]]).wait()
    """
    stubborn = """
        import os, signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        signal.pause()
    """
    with start(sys.executable, "-c", *map(textwrap.dedent, (code, stubborn))) as process:
        assert process.stdout is not None
        status = Path(f"/proc/{int(process.stdout.readline())}/stat")
    wait_until(lambda: not status.exists() or ") Z" in status.read_text())
