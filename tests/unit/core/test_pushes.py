"""The order of pushes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.core.model_files import ONNX_FILE, PUSHED_MARK
from sqidflow.core.pushes import (
    DELIVERY_FILE,
    Pin,
    delivery_stamp,
    newest_model,
    pin_version,
    pinned_version,
    pushed_models,
    read_delivery,
    record_push,
    release_pin,
    served_before,
    versions_to_keep,
)


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


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    """Three pushes, 1 to 3."""
    for name in ("1", "2", "3"):
        record_push(push(tmp_path / "serving", name))
    return tmp_path / "serving"


def test_nothing_is_pinned_at_first(serving: Path) -> None:
    assert pinned_version(serving) is None and delivery_stamp(serving) is None
    assert release_pin(serving) is None
    assert not (serving.parent / DELIVERY_FILE).exists(), "a release of nothing writes nothing"
    assert [served_before(serving, version) for version in ("3", "2", "1", "zero-shot")] == ["2", "1", None, "3"]


def test_a_pin_stays_over_later_pushes_until_it_is_released(serving: Path) -> None:
    pin = pin_version(serving, "1", "3")
    assert read_delivery(serving).pin == pin == Pin("1", pin.at, "3")
    record_push(push(serving, "4"))
    record_push(push(serving, "5"))
    assert pinned_version(serving) == "1" and read_delivery(serving).passed_over == ("4", "5")
    assert release_pin(serving) == pin
    assert pinned_version(serving) is None
    assert served_before(serving, "5") == "3", "4 was never to be served"
    assert read_delivery(serving).passed_over == ("4",), "5 is served now"


def test_a_version_that_was_passed_over_and_then_pinned_was_served(serving: Path) -> None:
    pin_version(serving, "1", "3")
    record_push(push(serving, "4"))
    pin_version(serving, "4", "1")
    release_pin(serving)
    record_push(push(serving, "5"))
    assert served_before(serving, "5") == "4"


def test_every_change_has_a_stamp_of_its_own(serving: Path) -> None:
    stamps = [delivery_stamp(serving)]
    pin_version(serving, "1", None)
    stamps.append(delivery_stamp(serving))
    pin_version(serving, "2", None)
    stamps.append(delivery_stamp(serving))
    release_pin(serving)
    stamps.append(delivery_stamp(serving))
    assert len(set(stamps)) == 4


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"pin": {"version": ""}, "passed_over": []}', '{"pin": 3}', "\0" * 90]
)
def test_a_damaged_record_is_said_and_not_taken_for_no_pin(serving: Path, content: str) -> None:
    pin_version(serving, "1", None)
    (serving.parent / DELIVERY_FILE).write_text(content)
    for call in (pinned_version, release_pin, versions_to_keep):
        with pytest.raises(SqidflowError, match="delivery record cannot be read.*rollback VERSION"):
            call(serving)
    with pytest.raises(SqidflowError, match="delivery record"):
        record_push(push(serving, "4"))
    pin_version(serving, "2", None)
    assert pinned_version(serving) == "2", "a rollback repairs it"
    assert record_push(serving / "4") == 4


def test_pins_of_many_at_once_leave_one_whole_record(serving: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda at: pin_version(serving, str(1 + at % 3), None), range(60)))
    assert pinned_version(serving) in {"1", "2", "3"}
    assert sorted(path.name for path in serving.parent.iterdir() if path.suffix != ".lock") == [
        DELIVERY_FILE,
        "serving",
    ]


def test_what_is_likely_to_be_served_next_is_kept(serving: Path) -> None:
    for name in ("4", "5"):
        record_push(push(serving, name))
    assert versions_to_keep(serving) == {"3", "4", "5"}
    pin_version(serving, "1", "2")
    assert versions_to_keep(serving) == {"1", "2", "3", "4", "5"}
