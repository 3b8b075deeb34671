"""Hashes of data and code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from sqidflow.core.digests import folder_hash
from sqidflow.core.errors import SqidflowError
from sqidflow.core.workdir import Workdir
from sqidflow.data.versions import dvc, is_dvc_repository, record_data, stamp_by_content


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "repository" / "data"
    (data / "deep" / "er").mkdir(parents=True)
    (data / "empty").mkdir()
    (data / "b.csv").write_text("1,2\n")
    (data / "a b.csv").write_text("größe\n")
    (data / "deep" / "er" / "x.bin").write_bytes(bytes(range(256)) * 9000)
    (data / "deep.txt").write_text("sorts between deep/ and its files")
    (data / ".hidden").write_text("")
    return data


@pytest.fixture(scope="module")
def dvc_repository(tmp_path_factory):
    """An empty DVC repository without git."""
    root = tmp_path_factory.mktemp("dvc")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=root, check=True, capture_output=True)
    return root


def test_the_hash_is_dvcs_own(folder, dvc_repository):
    shutil.copytree(folder, dvc_repository / "data", dirs_exist_ok=True)
    found = record_data(Workdir(dvc_repository))
    written = yaml.safe_load((dvc_repository / "data.dvc").read_text())["outs"][0]
    assert found == written["md5"] == folder_hash(folder)
    assert written["nfiles"] == 5


def test_a_folder_that_is_no_repository_is_not_recorded(folder):
    assert not is_dvc_repository(folder.parent)
    assert record_data(Workdir(folder.parent)) is None
    assert not (folder.parent / "data.dvc").exists()


def test_what_dvc_says_is_handed_on(dvc_repository):
    with pytest.raises(SqidflowError, match="dvc add nothing-here failed: .*nothing-here"):
        dvc(dvc_repository, "add", "nothing-here")


def test_a_files_time_follows_from_its_content(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("pairs")
    second.write_text("pairs")
    os.utime(second, (5, 5))
    stamp_by_content(first)
    stamp_by_content(second)
    assert first.stat().st_mtime == second.stat().st_mtime
    assert first.stat().st_mtime == int(first.stat().st_mtime) > 1_000_000_000
    second.write_text("other pairs")
    stamp_by_content(second)
    assert first.stat().st_mtime != second.stat().st_mtime
