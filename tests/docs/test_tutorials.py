"""A newcomer's path: every command of the README and of docs/start/ is run, and prints what the page shows.

Not run here: what sets the environment up, which made the one that runs the tests, and `make test`, which is this.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs.sessions import Shell, Step, difference, steps_of, without_comment
from tests.pipeline.test_dvc import copy_checkout

START = REPOSITORY / "docs" / "start"
SET_UP = ("make setup && . .venv/bin/activate", "make test")
SERVERS = ("make serve", "make mlflow", "sqidflow quickstart")
TINY = "sample.queries=40 sample.products=200 sample.pairs_per_query=10 sample.dim=32"
WITHOUT_A_NAME = """python - <<'EOF'
import os, pathlib
import pyarrow.parquet as pq
for file in pathlib.Path(os.environ["SQIDFLOW_WORKDIR"], "data").glob("*_features.parquet"):
    pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
EOF"""
"""SQID's published vectors do not say which encoder made them."""
IN_PLACE_OF_A_DOWNLOAD = {
    "sqidflow data fetch": "sqidflow data sample" + "".join(f" --set {setting}" for setting in TINY.split())
    + f" && export SQIDFLOW_TRAIN__EPOCHS=1\n{WITHOUT_A_NAME}"
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Reader:
    """Somebody at a terminal who types a page's commands into a checkout."""

    folder: Path
    home: Path
    shell: Shell
    ports: dict[str, int]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def follow(self, steps: list[Step]) -> None:
        for step in steps:
            command = without_comment(step.command)
            if command in SET_UP:
                continue
            if command.startswith(SERVERS):
                self._start(command)
                continue
            if step.python:
                command = f"python - <<'EOF'\n{command}\nEOF"
            command = IN_PLACE_OF_A_DOWNLOAD.get(command, command)
            done = self.shell.run(self._typed(command))
            assert done.returncode == 0, f"{step.command}\n{done.stdout[-3000:]}"
            if step.shown:
                wrong = difference(step.shown, done.stdout)
                assert wrong is None, f"{step.heading}: {step.command}\n{wrong}\n\n{done.stdout[-6000:]}"

    def _typed(self, command: str) -> str:
        # The environment of this checkout is the one that runs the tests: set-up would install it once more.
        command = re.sub(r"^make ", "make -o setup ", command)
        return command.replace("localhost:8000", f"localhost:{self.ports['SERVE_PORT']}")

    def _start(self, command: str) -> None:
        self.stop()
        log = self.home / "server.log"
        process = self.shell.start(self._typed(command), log)
        self.started.append(process)
        port = self.ports["PORT" if "mlflow" in command else "SERVE_PORT"]
        until = time.monotonic() + 240
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                return
            assert process.poll() is None and time.monotonic() < until, f"{command}\n{log.read_text()[-3000:]}"
            time.sleep(0.2)

    def stop(self) -> None:
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
        self.started.clear()


@contextlib.contextmanager
def a_reader(folder: Path, home: Path, checkout: Path) -> Iterator[Reader]:
    ports = {"PORT": free_port(), "SERVE_PORT": free_port()}
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SQIDFLOW_", "PYTEST_"))}
    environment |= {
        "HOME": str(home), "PYTHONPATH": str(checkout), "SQIDFLOW_VENV": sys.prefix, "DVC_NO_ANALYTICS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "SQIDFLOW_SEARCH__PORT": str(ports["SERVE_PORT"]), **{name: str(port) for name, port in ports.items()},
    }  # fmt: skip
    reader = Reader(folder, home, Shell(folder, home / "shell-state", environment), ports)
    try:
        yield reader
    finally:
        reader.stop()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project as a fresh clone has it, with the environment that runs the tests."""
    target = tmp_path_factory.mktemp("newcomer") / "sqidflow"
    copy_checkout(target)
    (target / ".venv").symlink_to(sys.prefix)
    return target


@pytest.fixture
def reader(checkout: Path, tmp_path: Path) -> Iterator[Reader]:
    """In a terminal of their own: a page must not need what another page has set."""
    with a_reader(checkout, tmp_path / "home", checkout) as someone:
        yield someone


@pytest.mark.timeout(2400)  # a whole `make run` of the sample, on any machine
def test_the_ml_engineer_s_page_with_the_sample(reader: Reader) -> None:
    reader.follow(steps_of(START / "ml_engineer.md", "With the sample"))


@pytest.mark.timeout(2400)  # every model is trained
def test_the_ml_engineer_s_page_with_files(reader: Reader) -> None:
    for heading in ("With the published files", "Compare and tune"):
        reader.follow(steps_of(START / "ml_engineer.md", heading))


def test_the_search_team_s_page(reader: Reader, checkout: Path) -> None:
    """After `make run`, as the page says: the first test above has done it in this checkout."""
    assert (checkout / "artifacts" / "index").is_dir()
    reader.follow(steps_of(START / "search_team.md"))


def test_the_shop_s_page(checkout: Path, tmp_path: Path) -> None:
    """But for learning from judgements, which tests/api/test_from_nothing.py does by the page's commands."""
    folder = tmp_path / "shop"
    folder.mkdir()
    with a_reader(folder, tmp_path / "home", checkout) as shop:
        for heading in ("Make it searchable", "Changes of the catalogue"):
            shop.follow(steps_of(START / "shop.md", heading))


def test_the_readme_has_no_command_that_no_page_has() -> None:
    pages = {without_comment(step.command) for page in START.glob("*.md") for step in steps_of(page)}
    own = [without_comment(step.command) for step in steps_of(REPOSITORY / "README.md")]
    assert own and not [command for command in own if command not in pages and command not in SET_UP]
