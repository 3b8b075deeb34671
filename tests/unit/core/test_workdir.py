"""The lock, the disk guard, and writing whole files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from sqidflow.core.errors import SqidflowError, WorkdirBusyError
from sqidflow.core.files import disk_guard
from sqidflow.core.workdir import Workdir, refuse_patterns

HOLD = (
    "import sys, time; from pathlib import Path; from sqidflow.core.workdir import Workdir\n"
    "with Workdir(Path(sys.argv[1])).locked('features'):\n"
    "    print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the workdir."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_folders_lie_where_the_design_says(tmp_path):
    place = Workdir(tmp_path)
    assert place.pairs == tmp_path / "artifacts" / "prepared" / "pairs.csv"
    assert place.mlmd == tmp_path / "artifacts" / "tfx" / "metadata.db"
    assert place.serving == tmp_path / "artifacts" / "serving"
    assert (place.data, place.metrics, place.logs) == (
        tmp_path / "data",
        tmp_path / "metrics",
        tmp_path / "var" / "logs",
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("hold", [lambda root: Workdir(root).locked("run"), lambda root: disk_guard(root, 1)])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, hold):
    file = tmp_path / "file"
    file.write_text("")
    message = r"file/work: the folder cannot be created or written \(Not a directory\); .*--workdir"
    with pytest.raises(SqidflowError, match=message), hold(file / "work"):
        pass


def test_a_lock_that_cannot_be_opened_is_one_line(tmp_path):
    """As that of a workdir that belongs to somebody else."""
    (tmp_path / "var" / "lock").mkdir(parents=True)
    match = r"the folder cannot be created or written .*--workdir DIR"
    with pytest.raises(SqidflowError, match=match), Workdir(tmp_path).locked("features"):
        pass


def test_the_second_process_is_told_who_is_at_work(tmp_path, holder):
    with pytest.raises(WorkdirBusyError) as raised, Workdir(tmp_path).locked("run"):
        pass
    message = raised.value.message
    assert f"process {holder.pid} (features) is already writing to this workdir" in message
    assert str(tmp_path) in message
    assert "--workdir" in message
    # Being refused does not spoil what the lock says.
    assert json.loads((tmp_path / "var" / "lock_holder.json").read_text())["pid"] == holder.pid


def test_a_killed_process_leaves_no_lock(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with Workdir(tmp_path).locked("run"):
        assert json.loads((tmp_path / "var" / "lock_holder.json").read_text()) == {"pid": os.getpid(), "what": "run"}


def test_the_lock_ends_with_its_block_and_with_an_error(tmp_path):
    place = Workdir(tmp_path)
    with pytest.raises(KeyError), place.locked("run"):
        raise KeyError
    with place.locked("features"), pytest.raises(WorkdirBusyError), place.locked("run"):
        pass
    with place.locked("run"):
        pass


def test_a_lock_file_cut_short_still_refuses(tmp_path, holder):
    (tmp_path / "var" / "lock_holder.json").write_text('{"pid"')
    with pytest.raises(WorkdirBusyError, match="another process is already writing"), Workdir(tmp_path).locked("run"):
        pass


def test_two_workdirs_do_not_mind_each_other(tmp_path):
    with Workdir(tmp_path / "a").locked("run"), Workdir(tmp_path / "b").locked("run"):
        pass


@pytest.mark.parametrize("name", ["shop[1]", "what?", "a*b", "back\\slash"])
def test_a_path_that_reads_as_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(SqidflowError, match="a workdir's path may not have .*--workdir DIR"):
        refuse_patterns(tmp_path / name)
    with pytest.raises(SqidflowError):
        refuse_patterns(tmp_path / name / "below")


@pytest.mark.parametrize("name", ["shop 1", "50%", "a#b&c", "caf\u00e9", "{x}", "(1)", "~x", "-y"])
def test_other_paths_are_none(tmp_path, name):
    refuse_patterns(tmp_path / name)
