"""A real browser for tests: headless Chromium, spoken to over its DevTools pipe, so that nothing else is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-default-browser-check",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """The browser's program, or None where none is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a Chromium of its own, with a new profile in ``folder``. A context manager; ends the browser."""

    def __init__(self, program: str, folder: Path, width: int = 1600, height: int = 1100) -> None:
        self._command = [program, *FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"]
        self._messages = 0
        self._buffer = b""
        self._session: str | None = None

    def __enter__(self) -> Browser:
        # Chromium reads commands from its descriptor 3 and answers on 4. Numbers from 10 on are safe to copy from.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for pair in (os.pipe(), os.pipe()) for end in pair]
        command_read, self._write, self._read, answer_write = ends

        def connect() -> None:
            os.dup2(command_read, 3)
            os.dup2(answer_write, 4)

        self._process = subprocess.Popen(
            self._command,
            preexec_fn=connect,
            close_fds=False,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_read)
        os.close(answer_write)
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def _message(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(until - time.monotonic(), 0))
            part = os.read(self._read, 1 << 20) if ready else b""
            if not part:
                raise TimeoutError("Chromium ended" if ready else "Chromium does not answer")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method: str, timeout_s: float = 60, **params: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        self._messages += 1
        own = {"id": self._messages, "method": method, "params": params}
        if self._session:
            own["sessionId"] = self._session
        os.write(self._write, json.dumps(own).encode() + b"\0")
        until = time.monotonic() + timeout_s
        while (answer := self._message(until)).get("id") != self._messages:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def text(self) -> str:
        """What the page shows."""
        return self.evaluate("document.body ? document.body.innerText : ''") or ""

    def wait_for(self, *texts: str, timeout_s: float = 60) -> str:
        """Wait until the page shows all of ``texts``; returns what it shows."""
        until = time.monotonic() + timeout_s
        while True:
            shown = self.text()
            missing = [text for text in texts if text not in shown]
            if not missing:
                return shown
            assert time.monotonic() < until, f"the page never showed {missing}; it shows:\n{shown[:3000]}"
            time.sleep(0.25)

    def wait_until(self, script: str, timeout_s: float = 60) -> Any:
        """Evaluate a JavaScript expression until it is true; returns its value."""
        until = time.monotonic() + timeout_s
        while not (value := self.evaluate(script)):
            assert time.monotonic() < until, f"never true: {script}; the page shows:\n{self.text()[:3000]}"
            time.sleep(0.25)
        return value

    def screenshot(self, file: Path) -> None:
        """The visible part of the page as a PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
