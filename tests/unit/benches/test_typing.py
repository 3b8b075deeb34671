"""What is measured of search as people type, and how hand-written cases are judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqidflow.benches import typing
from sqidflow.benches.cases import Cases, fault_of, read_cases, run
from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from tests.fixtures.small_index import KINDS, SmallIndex


@pytest.fixture
def shop(small_index: SmallIndex) -> typing.Shop:
    """The invented catalogue: titles such as "Acme red kettle, model 7"."""
    catalogue = small_index.catalogue
    kinds = {
        product: next(kind for kind in KINDS if kind in title)
        for product, title in zip(catalogue.product_ids, catalogue.titles)
    }
    titles = dict(zip(catalogue.product_ids, catalogue.titles))
    fields = dict(zip(catalogue.product_ids, (f"{b} {c}" for b, c in zip(catalogue.brands, catalogue.colors))))
    return typing.Shop(small_index.core(), kinds, titles, fields)


def test_a_product_has_its_own_colour_and_not_those_it_also_comes_in(small_index: SmallIndex) -> None:
    shop = typing.Shop(small_index.core(), {"P": "kettle"}, {"P": "Green Kettle - Also In Red"}, {"P": "Acme"})
    assert shop.has("P", "green") and shop.has("P", "acme") and not shop.has("P", "red")
    assert shop.of_kind("kettle", "green") and not shop.of_kind("lamp", "green")


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        ({"query": "kettles", "kind": "kettle"}, None),
        ({"query": "kettles", "kind": "lamp"}, "a kettle first"),
        ({"query": "red kettle", "kind": "kettle", "color": "red", "without": "green"}, None),
        ({"query": "red kettle", "without": "red"}, "red: "),
        ({"query": "red kettle", "color": "green"}, "not green"),
        ({"query": "red kettle", "kind": "kettle", "color": "purple"}, None),  # the catalogue has none
        ({"query": "xqzjwk", "refused": True}, None),
        ({"query": "kettles", "refused": True}, "answered with"),
        ({"query": "xqzjwk", "kind": "kettle"}, "refused"),
        ({"query": "kettel", "corrected_to": "kettle"}, None),
        ({"query": "kettel", "corrected_to": "kettel"}, "searched as 'kettle'"),
    ],
)
def test_what_does_not_hold_is_named(shop: typing.Shop, case: dict, fault: str | None) -> None:
    said = fault_of(shop, case)
    assert (said is None) if fault is None else fault in (said or "")


def test_the_share_of_a_kind(shop: typing.Shop) -> None:
    held = run(
        shop, Cases("plurals", "more than one", 0.9, [{"query": "kettles", "kind": k} for k in ("kettle", "lamp")])
    )
    assert held.share == 0.5 and held.count == 2
    assert held.as_dict()["failures"][0].startswith("'kettles': a kettle first")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- 1", "no file of cases"),
        ("about: a\nbar: 0.9\ncases: []", "no file of cases"),
        ("about: a\nbar: 0.9\ncases: [{query: x}]", "case 1"),
        ("about: a\nbar: 0.9\ncases: [{query: x, kind: y}, {query: x, colour: red}]", "case 2"),
    ],
)
def test_a_bad_file_of_cases_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(SqidflowError, match=message):
        read_cases(tmp_path)


def test_a_folder_without_cases_is_named(tmp_path: Path) -> None:
    with pytest.raises(SqidflowError, match="has no file of cases"):
        read_cases(tmp_path)


def test_what_is_not_the_sample_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(SqidflowError, match="is not the sample"):
        typing.open_shop(Workdir(tmp_path), load_settings(tmp_path, ()))


def test_pictures_are_saved_in_other_ways(small_index: SmallIndex) -> None:
    from tests.fixtures.small_index import drawn

    picture = drawn(7)
    whole, half, cropped = (
        typing.opened(change(picture)).size for change in (typing.as_jpeg, typing.halved, typing.cropped)
    )
    assert (whole, half, cropped) == ((120, 120), (60, 60), (108, 108))
