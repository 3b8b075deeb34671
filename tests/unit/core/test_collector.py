"""The collector is off inside, and afterwards as it was."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqidflow.core.collector import no_collections


@pytest.fixture(autouse=True)
def collector_stays() -> Iterator[None]:
    enabled = gc.isenabled()
    yield
    (gc.enable if enabled else gc.disable)()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "large_library.py").write_text("made = [[number] for number in range(1000)]")
    monkeypatch.syspath_prepend(tmp_path)
    yield "large_library"
    sys.modules.pop("large_library", None)


def test_it_is_off_inside_and_what_was_imported_is_passed_over(module: str) -> None:
    gc.enable()
    before = gc.get_freeze_count()
    with no_collections():
        assert not gc.isenabled()
        made = importlib.import_module(module).made
    assert gc.isenabled() and gc.get_freeze_count() >= before + len(made)


def test_where_nothing_is_imported_nothing_is_passed_over() -> None:
    gc.enable()
    before = gc.get_freeze_count()
    with no_collections():
        made = [[number] for number in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() < before + len(made)


def test_it_is_on_again_after_an_import_that_failed() -> None:
    gc.enable()
    with pytest.raises(ImportError), no_collections():
        raise ImportError("not installed")
    assert gc.isenabled()


def test_who_has_turned_it_off_keeps_it_off() -> None:
    gc.disable()
    with no_collections():
        pass
    assert not gc.isenabled()
