"""The collector is off inside, and afterwards as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from sqidflow.core.collector import no_collections


@pytest.fixture(autouse=True)
def collector_stays() -> Iterator[None]:
    enabled = gc.isenabled()
    yield
    (gc.enable if enabled else gc.disable)()


def test_it_is_off_inside_and_what_was_made_is_passed_over() -> None:
    gc.enable()
    before = gc.get_freeze_count()
    with no_collections():
        assert not gc.isenabled()
        made = [[number] for number in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() >= before + len(made)


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
