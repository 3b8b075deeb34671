"""The data's hash, digests that are remembered, and the checkout's commit."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from sqidflow.core import digests
from sqidflow.core.digests import file_md5, folder_hash
from sqidflow.core.errors import DataError


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


def test_the_hash_follows_contents_and_names_not_times(folder):
    before = folder_hash(folder)
    os.utime(folder / "b.csv", (1, 1))
    assert folder_hash(folder) == before
    assert before.endswith(".dir")
    (folder / "b.csv").write_text("1,3\n")
    changed = folder_hash(folder)
    (folder / "b.csv").rename(folder / "c.csv")
    assert len({before, changed, folder_hash(folder)}) == 3


def test_files_are_read_once(folder, tmp_path, monkeypatch):
    memory = tmp_path / "memory.json"
    before = folder_hash(folder, memory)
    read = []
    monkeypatch.setattr(digests, "file_md5", lambda file: read.append(file.name) or file_md5(file))
    assert folder_hash(folder, memory) == before
    assert read == []
    (folder / "b.csv").write_text("other\n")
    assert folder_hash(folder, memory) != before
    assert read == ["b.csv"]


@pytest.mark.parametrize("spoil", [lambda text: text[:30], lambda text: "[]"])
def test_a_memory_cut_short_or_of_another_kind_is_forgotten(folder, tmp_path, spoil):
    memory = tmp_path / "memory.json"
    before = folder_hash(folder, memory)
    memory.write_text(spoil(memory.read_text()))
    assert folder_hash(folder, memory) == before
    assert len(json.loads(memory.read_text())) == 5


@pytest.mark.parametrize("made", [False, True])
def test_no_data_says_how_to_get_some(tmp_path, made):
    if made:
        (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="sqidflow data sample"):
        folder_hash(tmp_path / "data")


def test_commit_of_a_checkout_and_outside_git(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "CHECKOUT", tmp_path)
    assert digests.git_commit() == "none"
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}

    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    git("init", "-q")
    assert digests.git_commit() == "none"  # no commit yet
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert digests.git_commit() == commit
    (tmp_path / "untracked").write_text("1")
    assert digests.git_commit() == commit
    (tmp_path / "file").write_text("2")
    assert digests.git_commit() == commit + "+changes"


@pytest.mark.parametrize("memory", ["[]", "{", '{"b.csv": "x"}', '{"b.csv": [1, 2]}'])
def test_a_memory_that_makes_no_sense_costs_a_reading(folder, tmp_path, memory):
    file = tmp_path / "memory.json"
    file.write_text(memory)
    assert folder_hash(folder, file) == folder_hash(folder)
    assert len(json.loads(file.read_text())["b.csv"]) == 4


def test_a_file_that_was_read_is_not_read_again_until_it_changes(tmp_path):
    file, read = tmp_path / "a", []
    file.write_text("1")

    def digest(path):
        read.append(path.read_text())
        return path.read_text()

    def asked():
        remembered = digests.FileDigests(digest, tmp_path / "memory.json")
        found = remembered.of(file, "a")
        remembered.save()
        return found

    assert (asked(), asked(), read) == ("1", "1", ["1"])
    file.write_text("22")
    assert (asked(), read) == ("22", ["1", "22"])
