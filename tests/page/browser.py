"""Headless Chromium, driven through a pipe by the DevTools protocol."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.npm import find_packages

_SETTINGS = (
    "--headless",
    "--no-sandbox",  # containers usually run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)
# Chromium speaks the protocol at descriptors 3 and 4.
_START = """
import fcntl, os, sys
copies = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for number, each in enumerate(copies, 3):
    os.dup2(each, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A page of Chromium."""

    def __init__(self, write: int, read: int) -> None:
        self._write = write
        self._answers = os.fdopen(read, "rb", closefd=False)
        self._rest = b""
        self._session: str | None = None
        self._number = 0
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str, *, width: int = 1100, dark: bool = False, scripts: bool = True) -> None:
        """Open an address, and wait until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        for each in ("about:blank", url):  # the page before must not complain into this one
            self.events.clear()
            self.call("Page.navigate", url=each)
            while "Page.loadEventFired" not in [event["method"] for event in self.events]:
                self._read()

    def run(self, script: str) -> Any:
        """Run a script in the page, whatever its policy; answers its value, or what its promise becomes."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"Enter": "\r"}.get(key)
        more = {"text": text} if text else {}
        code = {"Tab": 9, "Enter": 13}[key]
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def list_complaints(self) -> list[str]:
        """List what the browser complained of since `open`: refused content, failed requests, exceptions."""
        self.run("0")
        return [
            str(event["params"])
            for event in self.events
            if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]

    def take_picture(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(picture))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = self._answers.read1(1 << 16)
            assert more, "Chromium has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


@contextmanager
def run_browser(directory: Path) -> Iterator[Browser]:
    """Run Chromium for the length of a block; skips the test where there is none.

    Args:
        directory: Where it may keep its profile.
    """
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("chromium is needed for this test")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    with subprocess.Popen(
        [
            *(sys.executable, "-c", _START, str(theirs_in), str(theirs_out)),
            *(chromium, *_SETTINGS, f"--user-data-dir={directory}"),
        ],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            for each in (theirs_in, theirs_out):
                os.close(each)
            yield Browser(ours_out, ours_in)
        finally:
            for each in (ours_out, ours_in):
                os.close(each)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def read_axe() -> str:
    """Read the script of axe; skips the test where it cannot be had."""
    _, modules = find_packages(Path(__file__).parent / "axe")
    return (modules / "axe-core/axe.min.js").read_text()
