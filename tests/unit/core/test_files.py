"""Files are written whole or not at all; a full disk is one line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sqidflow.core.errors import DiskFullError
from sqidflow.core.files import disk_full, disk_guard, write_atomically


def test_text_is_written_whole(tmp_path):
    file = tmp_path / "deep" / "file.json"
    write_atomically(file, "größe")
    write_atomically(file, "second")
    assert file.read_text(encoding="utf-8") == "second"
    assert os.listdir(file.parent) == ["file.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "file"
    write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "new \udcff")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    file = tmp_path / "file"
    texts = {"a" * 200_000, "b" * 300_000}
    write_atomically(file, "a" * 200_000)
    program = (
        "import sys; from pathlib import Path; from sqidflow.core.files import write_atomically\n"
        "for i in range(300): write_atomically(Path(sys.argv[1]), 'ab'[i % 2] * (200_000 + 100_000 * (i % 2)))"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(file)])
    seen = set()
    while writer.poll() is None:
        seen.add(file.read_text())
    assert writer.returncode == 0
    assert seen <= texts


def test_too_little_room_is_refused_before_the_start(tmp_path):
    started = []
    with pytest.raises(DiskFullError) as raised, disk_guard(tmp_path / "new", 10**18):
        started.append(True)
    assert not started
    assert "MB free" in raised.value.message
    assert f"{10**18 / 1e6:.0f} MB are needed" in raised.value.message
    assert "--workdir" in raised.value.message


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "quota"),
        RuntimeError("OperationalError: database or disk is full"),
        RuntimeError("tensorflow: RESOURCE_EXHAUSTED: /x; No space left on device"),
    ],
)
def test_a_disk_that_fills_up_is_one_line(tmp_path, error):
    with pytest.raises(DiskFullError, match="finished components come from the cache"), disk_guard(tmp_path, 1):
        raise error


def test_the_full_disk_is_found_behind_other_errors(tmp_path):
    with pytest.raises(DiskFullError), disk_guard(tmp_path, 1):
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError as error:
            raise ValueError("beam wraps it") from error


@pytest.mark.parametrize(
    "error", [KeyError("x"), OSError(errno.EACCES, "denied"), ValueError("RESOURCE_EXHAUSTED: memory")]
)
def test_other_errors_pass(tmp_path, error):
    assert disk_full(error) is None
    with pytest.raises(type(error)), disk_guard(tmp_path, 1):
        raise error


WRITE = (
    "import resource, sys; from pathlib import Path; from sqidflow.core.errors import SqidflowError\n"
    "from sqidflow.core.files import disk_guard, write_atomically\n"
    "limit = int(sys.argv[2])\n"
    "if limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
    "try:\n"
    "    with disk_guard(Path(sys.argv[1]), 1): write_atomically(Path(sys.argv[1]) / 'big', 'x' * 3_000_000)\n"
    "except SqidflowError as error: print(type(error).__name__, error.message)\n"
)


def written_under(folder: Path, limit: int) -> str:
    done = subprocess.run([sys.executable, "-c", WRITE, str(folder), str(limit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_write_cut_off_leaves_nothing_half_written(tmp_path):
    assert written_under(tmp_path, 100_000).startswith("DiskFullError")
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_really_full(tmp_path):
    """A file system of one megabyte, where this machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        assert "the disk is full" in written_under(disk, 0)
        assert os.listdir(disk) == []
    finally:
        for _ in range(20):
            if not subprocess.run(["umount", str(disk)], capture_output=True).returncode:
                break
            time.sleep(0.1)
