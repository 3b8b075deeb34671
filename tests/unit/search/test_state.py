"""What a worker opens: which model, which index."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.core.model_files import ONNX_FILE
from sqidflow.core.pushes import pin_version, pinned_version, record_push, release_pin
from sqidflow.core.settings import Settings, load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.ranking.rankers import ZeroShotRanker
from sqidflow.search.engine import Request
from sqidflow.search.index import Meta
from sqidflow.search.rollback import roll_back
from sqidflow.search.state import Service, choose, chosen_beside, find_index, is_newer, not_served, open_service
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


def test_a_pinned_version_is_served_whatever_is_pushed(workdir: Workdir, settings: Settings) -> None:
    for version in ("100", "200"):
        index_of(workdir, pushed(workdir, version))
    pin_version(workdir.serving, "100", "200")
    index_of(workdir, pushed(workdir, "300"))
    assert choose(workdir, settings)[0] == "100"
    note = not_served(workdir, "100")
    assert note is not None and "100 answers, it is pinned: 300 is newer" in note
    release_pin(workdir.serving)
    assert choose(workdir, settings)[0] == "300" and not_served(workdir, "300") is None


def test_a_pinned_version_without_an_index_is_one_line_and_no_other_model(workdir: Workdir, settings: Settings) -> None:
    index_of(workdir, pushed(workdir, "100"))
    pushed(workdir, "200")
    pin_version(workdir.serving, "200", "100")
    with pytest.raises(SqidflowError, match="200 is pinned and has no product index; build it: .*--version 200"):
        choose(workdir, settings)


def test_a_pin_is_of_a_version_that_can_answer(workdir: Workdir, settings: Settings) -> None:
    for version in ("100", "200"):
        pushed(workdir, version)
    index_of(workdir, "200")
    with pytest.raises(SqidflowError, match="no pushed model 900; pushed: 200, 100"):
        roll_back(workdir, settings, "900")
    with pytest.raises(SqidflowError, match="100 has no product index .*`sqidflow index --version 100`"):
        roll_back(workdir, settings)
    index_of(workdir, "100")
    with pytest.raises(SqidflowError, match="no model that can be served"):
        roll_back(workdir, settings)  # its ONNX file is empty
    assert pinned_version(workdir.serving) is None


def test_canary_and_shadow_have_versions_of_their_own(workdir: Workdir, settings: Settings) -> None:
    for version in ("100", "200", "300"):
        index_of(workdir, pushed(workdir, version))
    pushed(workdir, "400")
    assert chosen_beside(workdir, settings, "100") == (None, None)

    def beside(served: str, *overrides: str) -> list[str | None]:
        chosen = chosen_beside(workdir, load_settings(workdir.root, overrides, {}), served)
        return [each[0] if each else None for each in chosen]

    assert beside("100", "search.canary_share=0.1") == ["300", None], "the newest that has an index"
    assert beside("300", "search.canary_share=0.1") == [None, None], "it is served anyway"
    assert beside("300", "search.canary_share=0.1", "search.canary_model=200") == ["200", None]
    assert beside("300", "search.canary_share=0", "search.canary_model=200") == [None, None]
    assert beside("300", "search.shadow_model=100") == [None, "100"]
    assert beside("300", "search.shadow_model=900") == [None, None]


def test_a_canary_takes_its_share_of_the_clients_and_keeps_them(workdir: Workdir, settings: Settings) -> None:
    with closing(open_service(workdir, settings, {})) as service:
        names = [f"client-{number}" for number in range(4000)]
        assert all(service.for_client(name) is service for name in names), "there is no canary"

        def canary(share: float, version: str = "300") -> set[str]:
            shared = settings.model_copy(update={"search": settings.search.model_copy(update={"canary_share": share})})
            core: Any = SimpleNamespace(ranker=SimpleNamespace(version=version), index=service.a.core.index)
            other = replace(service, variants={"a": replace(service.a, core=core)})
            both = replace(service, settings=shared, canary=other)
            return {name for name in names if both.for_client(name) is other}

        few, some, all_of_them = canary(0.05), canary(0.2), canary(1.0)
        assert few < some < all_of_them == set(names), "with a larger share more come, and none leaves"
        assert 0.04 < len(few) / 4000 < 0.06 and 0.18 < len(some) / 4000 < 0.22
        assert len(few & canary(0.05, "400")) < len(few) / 2, "others try the next version"


def test_what_is_open_is_not_opened_again(workdir: Workdir, settings: Settings) -> None:
    with closing(open_service(workdir, settings, {})) as first:
        second = open_service(workdir, settings, {}, first)
        assert second.a.core.index is first.a.core.index and second.a.core.ranker is first.a.core.ranker
        assert second.log is first.log and second.cache is first.cache and second.previous is None
        replace(first.a.core.index.meta, git_commit="another").write(workdir.index / "5a11")
        third = open_service(workdir, settings, {}, second)
        assert third.a.versions.git_commit == "another", "an index that was built anew under the same name"


def test_the_model_that_was_served_before_stays_open_to_go_back_to(
    workdir: Workdir, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rankers = {version: ZeroShotRanker(Meta.read(workdir.index / "5a11").dim) for version in ("100", "200", "300")}
    for version, ranker in rankers.items():
        ranker.version = version
        index_of(workdir, pushed(workdir, version))
    monkeypatch.setattr("sqidflow.search.state.load_ranker", lambda serving, version, dim: rankers[version])

    def pinned(version: str, before: Service | None) -> Service:
        pin_version(workdir.serving, version, None)
        return open_service(workdir, settings, {}, before)

    with closing(pinned("100", None)) as first:
        second = pinned("200", first)
        back = pinned("100", second)
        assert back.a.core.index is first.a.core.index, "it was still open"
        assert back.previous is second.variants
        third = pinned("300", back)
        anew = pinned("200", third)
        assert anew.a.core.index is not second.a.core.index, "only the last one stays open"


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
