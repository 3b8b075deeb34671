"""What a process puts into the temporary folder is gone when it ends, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sqidflow.core.temporary import PREFIX, remove_unlocked

PROGRAM = """
import os, sys, tempfile, time
from pathlib import Path
from sqidflow.core.temporary import OwnFolder, ended_by_signal

own = OwnFolder.make()
with ended_by_signal(own):
    handle, name = tempfile.mkstemp()
    Path(os.environ["TMPDIR"], "of a library").mkdir()
    print(name, flush=True)
    {then}
"""
WAIT = "time.sleep(60)"
SWALLOW = """
    try:
        time.sleep(60)
    except BaseException:
        raise RuntimeError("a library's own error")
"""


def start(then: str, temporary: Path) -> tuple[subprocess.Popen, Path]:
    """A process that has made a temporary file, and that file."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(then=then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("then, code", [("pass", 0), ("sys.exit(2)", 2), ("raise ValueError", 1)])
def test_the_folder_is_gone_at_the_end(tmp_path, then, code):
    process, file = start(then, tmp_path)
    assert process.wait(30) == code
    assert file.parent.parent == tmp_path and file.parent.name.startswith(f"{PREFIX}{process.pid}.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("then", [WAIT, SWALLOW])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_process_and_removes_the_folder(tmp_path, then, number):
    process, file = start(then, tmp_path)
    assert file.is_file()
    process.send_signal(number)
    assert process.wait(30) == -number, "whoever started it sees that it was ended"
    assert list(tmp_path.iterdir()) == []


def test_the_next_process_removes_what_a_killed_one_left_and_nothing_of_a_live_one(tmp_path):
    killed, left = start(WAIT, tmp_path)
    live, used = start(WAIT, tmp_path)
    killed.kill()
    killed.wait(30)
    assert left.is_file()
    (tmp_path / f"{PREFIX}notes").mkdir()
    try:
        remove_unlocked(tmp_path)
        assert used.is_file() and not left.parent.exists()
        assert (tmp_path / f"{PREFIX}notes").is_dir(), "not a folder of this kind"
    finally:
        live.terminate()
        live.wait(30)


def test_a_folder_whose_lock_was_never_made_goes_with_its_process(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    for process in (ended.pid, os.getpid()):
        (tmp_path / f"{PREFIX}{process}.abcd").mkdir()
    remove_unlocked(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == [f"{PREFIX}{os.getpid()}.abcd"]


def test_the_folder_stays_for_the_program_that_replaces_this_one(tmp_path):
    """`serve` becomes the service by exec."""
    service = (
        "import sys, tempfile; from pathlib import Path; from sqidflow.core.temporary import *\n"
        "own = OwnFolder.take_over(Path(sys.argv[1]), int(sys.argv[2])); remove_unlocked(Path(sys.argv[1]).parent)\n"
        "assert tempfile.gettempdir() == sys.argv[1] and Path(sys.argv[1]).is_dir(), 'removed while it is in use'\n"
    )
    then = (
        "own.keep_for_next_program(); "
        f"os.execv(sys.executable, [sys.executable, '-c', {service!r}, str(own.folder), str(own.lock)])"
    )
    process, file = start(then, tmp_path)
    assert process.wait(30) == 0
    assert list(tmp_path.iterdir()) == []


def test_nowhere_to_write_is_no_failure(tmp_path, monkeypatch):
    import tempfile

    from sqidflow.core.temporary import OwnFolder

    def nowhere() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert OwnFolder.make() is None
