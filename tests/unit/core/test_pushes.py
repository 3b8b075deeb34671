"""The order of pushes."""

from __future__ import annotations

from pathlib import Path

from sqidflow.core.model_files import ONNX_FILE, PUSHED_MARK
from sqidflow.core.pushes import newest_model, pushed_models, record_push


def push(serving: Path, name: str) -> Path:
    folder = serving / name
    folder.mkdir(parents=True)
    (folder / ONNX_FILE).touch()
    return folder


def test_the_model_pushed_last_is_the_newest_though_the_clock_was_set_back(tmp_path: Path) -> None:
    numbers = [record_push(push(tmp_path, name)) for name in ("1700000300", "1700000100", "1700000200")]
    assert numbers == [1, 2, 3]
    assert [folder.name for folder in pushed_models(tmp_path)] == ["1700000200", "1700000100", "1700000300"]
    assert record_push(tmp_path / "1700000100") == 2, "a push keeps its number"
    assert newest_model(tmp_path) == tmp_path / "1700000200"


def test_pushes_without_a_number_stand_before_those_with_one(tmp_path: Path) -> None:
    for name in ("8", "9"):
        (push(tmp_path, name) / PUSHED_MARK).touch()  # as an older version marked them
    push(tmp_path, "10")  # a copy that was cut short, or somebody else's
    record_push(push(tmp_path, "7"))
    assert [folder.name for folder in pushed_models(tmp_path)] == ["7", "9", "8"]


def test_a_damaged_mark_is_no_number(tmp_path: Path) -> None:
    (push(tmp_path, "5") / PUSHED_MARK).write_bytes(b"\xff\xfe")
    record_push(push(tmp_path, "4"))
    assert newest_model(tmp_path) == tmp_path / "4"
    assert record_push(tmp_path / "5") == 2


def test_without_any_mark_the_folders_names_decide(tmp_path: Path) -> None:
    assert newest_model(tmp_path) is None
    for name in ("9", "10", ".11", "notes"):
        push(tmp_path, name)
    assert newest_model(tmp_path) == tmp_path / "10"
