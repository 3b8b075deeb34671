"""What a worker opens: which model, which index."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.core.model_files import ONNX_FILE
from sqidflow.core.pushes import record_push
from sqidflow.core.settings import Settings, load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.engine import Request
from sqidflow.search.index import Meta
from sqidflow.search.state import choose, find_index, is_newer, open_service
from tests.fixtures.small_index import SmallIndex


@pytest.fixture
def workdir(small_index: SmallIndex, tmp_path: Path) -> Workdir:
    """A workdir with the small index and no model."""
    place = Workdir(tmp_path)
    shutil.copytree(small_index.folder, place.index / "5a11")
    return place


@pytest.fixture
def settings(workdir: Workdir) -> Iterator[Settings]:
    yield load_settings(workdir.root, (), {})


def pushed(workdir: Workdir, name: str) -> str:
    folder = workdir.serving / name
    folder.mkdir(parents=True)
    (folder / ONNX_FILE).touch()
    record_push(folder)
    return name


def index_of(workdir: Workdir, version: str) -> str:
    """A copy of the small index that says it is of a model; its folder's name."""
    folder = Path(shutil.copytree(workdir.index / "5a11", workdir.index / f"of-{version}"))
    replace(Meta.read(folder), model_version=version).write(folder)
    return folder.name


def test_without_a_model_the_untrained_ranker_answers_and_says_so(workdir: Workdir, settings: Settings) -> None:
    with closing(open_service(workdir, settings, {})) as service:
        assert {variant.versions.model_name for variant in service.variants.values()} == {"zero-shot, not trained"}
        assert service.a.versions.model == "zero-shot" and service.a.versions.data_hash == "invented"
        assert service.opened == ("zero-shot", "5a11")
        assert service.a.core.search(Request("red kettle")).hits
        assert service.a.identity != service.variants["b"].identity, "they retrieve in two ways"


def test_the_newest_push_that_has_an_index_answers(workdir: Workdir, settings: Settings) -> None:
    for name in ("300", "100", "200"):  # the clock was set back after the first
        pushed(workdir, name)
    assert choose(workdir, settings)[0] == "zero-shot", "no pushed model has an index"
    for version in ("300", "100"):
        index_of(workdir, version)
    version, folder = choose(workdir, settings)
    assert (version, folder.name) == ("100", "of-100")
    assert is_newer(workdir, "100", than="300") and not is_newer(workdir, "300", than="100")
    assert is_newer(workdir, "300", than="zero-shot") and not is_newer(workdir, "zero-shot", than="300")


def test_a_model_without_an_index_is_said(
    workdir: Workdir, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    pushed(workdir, "300")
    with caplog.at_level(logging.WARNING), closing(open_service(workdir, settings, {})):
        assert "model zero-shot answers: 300 has no index yet" in caplog.text


def test_an_index_of_other_settings_is_not_taken(workdir: Workdir, settings: Settings) -> None:
    other = load_settings(workdir.root, ["search.candidates=50"], {})
    assert find_index(workdir, settings, "zero-shot").name == "5a11"
    with pytest.raises(SqidflowError, match="no product index of model zero-shot; run `sqidflow index`"):
        find_index(workdir, other, "zero-shot")


def test_nothing_to_serve_is_one_line(tmp_path: Path) -> None:
    place = Workdir(tmp_path)
    with pytest.raises(SqidflowError, match="no pushed model and no index; .*quickstart") as caught:
        open_service(place, load_settings(tmp_path, (), {}), {})
    assert "\n" not in caught.value.message


def test_a_damaged_index_is_one_line(workdir: Workdir, settings: Settings) -> None:
    (workdir.index / "5a11" / "text.npy").write_bytes(b"")
    with pytest.raises(SqidflowError, match=r"text\.npy: the index is damaged: the file has 0 bytes"):
        open_service(workdir, settings, {})
