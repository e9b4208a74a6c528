"""Chromium without a window, driven over its debugging pipe: real keys, clicks and touches, and what it downloads."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
PATIENCE = 60  # seconds
# the browser reads commands from 3 and writes answers to 4
AS_3_AND_4 = """
import fcntl, os, sys
given = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for number, fd in zip((3, 4), given):
    os.dup2(fd, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """One page of a browser.

    Args:
        folder: of its profile, and of what it downloads.
        width: of the page in pixels; below 500 it is a phone with touch.
        height: likewise.
    """

    def __init__(self, folder: Path, width: int = 1280, height: int = 900) -> None:
        assert CHROMIUM is not None
        self.downloads = folder / "downloads"
        (theirs, self._out), (self._in, ours) = os.pipe(), os.pipe()
        words = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
            f"--user-data-dir={folder / 'profile'}",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", AS_3_AND_4, str(theirs), str(ours), *words],
            pass_fds=(theirs, ours), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        os.close(ours)
        self._buffer, self._number, self._session = b"", 0, ""
        self.said: list[str] = []  # errors, and what the console was told
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        phone = width < 500
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *_: object) -> None:
        self.call("Browser.close")
        self._process.wait(PATIENCE)
        os.close(self._out)
        os.close(self._in)

    def call(self, method: str, **given: Any) -> Any:
        """Calls a method of the DevTools protocol and waits for its answer."""
        self._number += 1
        content: dict[str, Any] = {"id": self._number, "method": method, "params": given}
        if self._session and not method.startswith("Browser."):
            content["sessionId"] = self._session
        os.write(self._out, json.dumps(content).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("method") in (
                "Runtime.exceptionThrown",
                "Log.entryAdded",
                "Runtime.consoleAPICalled",
            ):
                self.said.append(json.dumps(answer["params"]))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> Any:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 2**16)
            assert part, "the browser is gone"
            self._buffer += part
        answer, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(answer)

    def run(self, script: str) -> Any:
        """Returns the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, page: Path) -> None:
        """Opens a page and waits for its scripts."""
        self.call("Page.navigate", url=page.as_uri())
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def wait(self, script: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """Returns the text of an element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).textContent"))

    def press(self, key: str, **others: Any) -> None:
        """Presses a key: a letter, a digit, or a name such as ArrowLeft."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **others)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector: str, touch: bool = False) -> None:
        """Clicks on the middle of an element, or touches it."""
        found = f"document.querySelector({json.dumps(selector)})"
        box = self.run(
            f"({found}.scrollIntoView({{block: 'center'}}), {found}.getBoundingClientRect().toJSON())"
        )
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        if touch:
            self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[at])
            self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            return
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def downloaded(self, name: str) -> Path:
        """Waits for a file that the page saves."""
        path, end = self.downloads / name, time.monotonic() + PATIENCE
        while not path.is_file() or path.with_name(f"{name}.crdownload").exists():
            assert time.monotonic() < end, f"{name} was not saved"
            time.sleep(0.02)
        return path

    def picture(self, path: Path) -> None:
        """Writes what the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
