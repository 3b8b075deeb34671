"""A changed catalogue in an index that was built before: equal to a full build but for the lists of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sqidflow.data import formats
from sqidflow.data.prints import prints_of
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.indexing import build as building
from sqidflow.indexing.build import Catalogue, Judgements, RecallError, build
from sqidflow.indexing.changes import Changes, changes_since, newest_of, why_not
from sqidflow.indexing.measured import Measured
from sqidflow.indexing.publish import seal
from sqidflow.ranking.rankers import ZeroShotRanker
from sqidflow.search.engine import Request, SearchCore
from sqidflow.search.index import ProductIndex
from sqidflow.search.rewrite import LocalRewriter
from tests.fixtures.small_index import DIM, FIT, drawn, invented_catalogue, small_meta

GONE, RETITLED, NEW, NEW_PICTURE = "P10", "P20", "A77", "P07"


def changed_catalogue(before: Catalogue) -> Catalogue:
    """One product gone, one retitled, one new, one with another picture: rows move."""
    encoder = OfflineEncoder(dim=DIM)
    rows = {
        product: [*values]
        for product, *values in zip(
            before.product_ids, before.titles, before.brands, before.colors, before.descriptions, before.bullet_points,
            before.text, before.image, before.has_image,
        )
    }  # fmt: skip
    del rows[GONE]
    for product, title in ((RETITLED, "Zephyr violet umbrella"), (NEW, "Acme violet teapot, model 77")):
        text = encoder.encode_texts([title])[0]
        rows[product] = [title, "Zephyr", "violet", "New.", None, text, np.zeros(DIM, np.float32), False]
    rows[NEW_PICTURE][6] = encoder.encode_images([drawn(99)])[0]
    ordered = sorted(rows.items())
    columns = list(zip(*(values for _, values in ordered)))
    return Catalogue(
        [product for product, _ in ordered], *(list(column) for column in columns[:5]),
        np.stack(columns[5]), np.stack(columns[6]), np.array(columns[7]),
    )  # fmt: skip


def pictures_of(catalogue: Catalogue, changed: Sequence[str] = ()) -> list[tuple[int, bytes]]:
    return [
        (row, drawn(99 if catalogue.product_ids[row] in changed else int(catalogue.product_ids[row][1:])))
        for row in np.flatnonzero(catalogue.has_image).tolist()
    ]


def prints(catalogue: Catalogue) -> np.ndarray:
    """Of each product's vectors, as preparation writes them."""
    vectors = [
        list(catalogue.text),
        [row if there else None for row, there in zip(catalogue.image, catalogue.has_image)],
    ]
    return prints_of([pa.array(column, formats.VECTOR_TYPE) for column in vectors])


def written(
    folder: Path,
    catalogue: Catalogue,
    old: ProductIndex | None,
    changed: Sequence[str] = (),
    of_vectors: np.ndarray | None = None,
) -> Path:
    """An index of a catalogue, updated from ``old`` where that is given."""
    ranker, encoder = ZeroShotRanker(DIM), OfflineEncoder(dim=DIM)
    row = list(catalogue.product_ids).index("P03")
    judgements = Judgements(np.array([row]), np.array([7]), ["red kettle"], ["I"])
    queries = encoder.encode_texts([title or "" for title in catalogue.titles[:40]])
    meta = replace(small_meta(catalogue, ranker), products=len(catalogue.product_ids))
    reuse = changes_since(old, catalogue, of_vectors)[0] if old is not None else None
    pictures = pictures_of(catalogue, changed)
    meta = build(folder, catalogue, judgements, pictures, queries, ranker, meta, reuse=reuse, prints=of_vectors)
    built = {"built_products": meta.products, "built_recall_at_10": 0.99, "built_recall_at_100": 0.95}
    seal(folder, replace(meta, fit=FIT, basis="b", **built))
    return folder


def core_of(folder: Path) -> SearchCore:
    index = ProductIndex(folder)
    return SearchCore(index, ZeroShotRanker(DIM), OfflineEncoder(dim=DIM), LocalRewriter(index.document_counts))


@pytest.fixture
def old(tmp_path: Path) -> ProductIndex:
    return ProductIndex(written(tmp_path / "old", invented_catalogue(), None))


def test_changes_are_counted(old: ProductIndex) -> None:
    reuse, changes = changes_since(old, changed_catalogue(invented_catalogue()))
    assert changes == Changes(added=1, changed=2, deleted=1)
    assert reuse.row[0] == -1 and reuse.row[1] == 0, "A77 stands before P00"
    assert int((reuse.text_row < 0).sum()) == 2 and int((reuse.vector_row < 0).sum()) == 3
    assert changes_since(old, invented_catalogue())[1].count == 0


def test_every_file_is_that_of_a_full_build(old: ProductIndex, tmp_path: Path) -> None:
    catalogue = changed_catalogue(invented_catalogue())
    updated = written(tmp_path / "updated", catalogue, old, [NEW_PICTURE])
    whole = written(tmp_path / "whole", catalogue, None, [NEW_PICTURE])
    names = sorted(file.relative_to(whole).as_posix() for file in whole.rglob("*") if file.is_file())
    assert names == sorted(file.relative_to(updated).as_posix() for file in updated.rglob("*") if file.is_file())
    # Terms are numbered in the order in which they were met; the scores below do not depend on that.
    differing = [name for name in names if (whole / name).read_bytes() != (updated / name).read_bytes()]
    assert all(name == "meta.json" or name.startswith("words/") for name in differing)
    for query in ("red kettle", "violet teapot", "zephyr umbrella", "backpack without blue", "acme desk lamps"):
        answers = [core_of(folder).search(Request(query, k=20, threshold=0.0)) for folder in (updated, whole)]
        hits = [[(hit.product_id, hit.score) for hit in answer.hits] for answer in answers]
        assert hits[0] == hits[1], query
    assert core_of(updated).search(Request("violet teapot", k=1)).hits[0].product_id == NEW


def test_a_deleted_product_and_its_words_are_nowhere(old: ProductIndex, tmp_path: Path) -> None:
    catalogue = changed_catalogue(invented_catalogue())
    folder = written(tmp_path / "updated", catalogue, old)
    index, core = ProductIndex(folder), core_of(folder)
    title = old.cell("title", old.row_of(GONE))
    assert index.row_of(GONE) is None and GONE not in index.column("product_id")
    for query in (title, title.split(",")[0]):
        assert GONE not in [hit.product_id for hit in core.search(Request(query, k=50, threshold=0.0)).hits]
    again = written(tmp_path / "again", invented_catalogue(), ProductIndex(folder))
    assert "zephyr" in ProductIndex(folder).document_counts and ("Zephyr", 2) in map(tuple, index.facets["brands"])
    gone = ProductIndex(again)
    assert "zephyr" not in gone.document_counts and not gone.words.count("zephyr")
    assert gone.texts.vocabulary.number("umbrella") == -1 and "Zephyr" not in [
        brand for brand, _ in gone.facets["brands"]
    ]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catalogues of fifty products are searched by lists, as those of more than ten thousand are."""
    monkeypatch.setattr(building, "EXACT_UP_TO", 10)


@pytest.mark.usefixtures("listed")
def test_lists_are_kept_and_recall_is_measured_again(tmp_path: Path) -> None:
    old = ProductIndex(written(tmp_path / "old", invented_catalogue(), None))
    catalogue = changed_catalogue(invented_catalogue())
    updated = ProductIndex(written(tmp_path / "updated", catalogue, old))
    assert updated.meta.kind == old.meta.kind == "IVF16,SQ8" and updated.vectors.ntotal == 50
    assert updated.meta.recall_at_10 >= 0.99 and updated.meta.recall_at_100 >= 0.95
    updated.vectors.nprobe = 16
    for row in (0, 1, 7, 30, 49):
        blend = updated.text[row].astype(np.float32)
        if updated.has_image[row]:
            blend = (blend + updated.image[row]) / 2
        assert updated.vectors.search(blend[None, :], 1)[1][0, 0] == row


@pytest.mark.usefixtures("listed")
def test_with_prints_only_the_vectors_of_changed_products_are_looked_at(tmp_path: Path) -> None:
    before, after = invented_catalogue(), changed_catalogue(invented_catalogue())
    of_before, of_after = prints(before), prints(after)
    old = ProductIndex(written(tmp_path / "old", before, None, of_vectors=of_before))
    reuse, changes = changes_since(old, after, of_after)
    assert changes == Changes(added=1, changed=2, deleted=1)
    rest = reuse.vector_row >= 0
    assert int((~rest).sum()) == 3
    text, image = after.text.copy(), after.image.copy()
    text[rest], image[rest] = 0, 0
    few = written(tmp_path / "few", replace(after, text=text, image=image), old, [NEW_PICTURE], of_after)
    all_ = written(tmp_path / "all", after, old, [NEW_PICTURE], of_after)
    names = sorted(file.relative_to(all_).as_posix() for file in all_.rglob("*") if file.is_file())
    assert [name for name in names if (few / name).read_bytes() != (all_ / name).read_bytes()] == []
    # The exact answers, which were not searched for, are those of a search.
    measured = Measured.read(few)
    assert measured.rows.shape == (40, 50)
    nearest = building.nearest_rows(measured.queries, building.Blends(after), 50)
    np.testing.assert_array_equal(measured.rows[:, :40], nearest[:, :40])


@pytest.mark.usefixtures("listed")
def test_exact_answers_are_searched_for_where_too_many_of_them_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "NEAREST", 12)
    monkeypatch.setattr(building, "_RECALLED", 11)
    before, after = invented_catalogue(), changed_catalogue(invented_catalogue())
    old = ProductIndex(written(tmp_path / "old", before, None, of_vectors=prints(before)))
    searched = []
    nearest = building._nearest
    monkeypatch.setattr(
        building, "_nearest", lambda queries, *rest: searched.append(len(queries)) or nearest(queries, *rest)
    )
    folder = written(tmp_path / "updated", after, old, [NEW_PICTURE], prints(after))
    assert 0 < searched[0] < 40 and searched[1] == 3, "some of the old queries, and all that changed"
    measured = Measured.read(folder)
    exact = building.nearest_rows(measured.queries, building.Blends(after), 11)
    np.testing.assert_array_equal(measured.rows[:, :11], exact)


@pytest.mark.usefixtures("listed")
def test_changed_products_that_the_lists_do_not_fit_are_noticed_though_no_measured_query_is_near_them(
    tmp_path: Path,
) -> None:
    """The old queries still find what they found: recall falls for the new products alone."""
    before = invented_catalogue()
    old = ProductIndex(written(tmp_path / "old", before, None, of_vectors=prints(before)))
    old.meta = replace(old.meta, nprobe=1)
    text = before.text.copy()
    text[40:] = np.random.default_rng(1).standard_normal((10, DIM)) * 0.1
    after = replace(before, text=text, image=np.zeros_like(text), has_image=np.zeros(50, bool))
    with pytest.raises(RecallError):
        written(tmp_path / "updated", after, old, (), prints(after))


@pytest.mark.usefixtures("listed")
def test_lists_that_no_longer_fit_are_refused(tmp_path: Path) -> None:
    old = ProductIndex(written(tmp_path / "old", invented_catalogue(), None))
    old.meta = replace(old.meta, nprobe=1)
    others = np.random.default_rng(1).standard_normal((50, DIM)).astype(np.float32)
    moved = replace(invented_catalogue(), text=others, image=others, has_image=np.zeros(50, bool))
    with pytest.raises(RecallError, match="recall 0.* with the lists of 5a11"):
        written(tmp_path / "updated", moved, old)


def test_why_an_index_is_built_anew(old: ProductIndex) -> None:
    meta, one = old.meta, Changes(1, 0, 0)
    assert why_not(meta, 51, one, 0.1) is None
    assert why_not(meta, 51, one, 0.0) == (
        "2.0% of the products changed since all of it was built, search.update_share is 0.0%"
    )
    assert "12.0% of the products" in why_not(replace(meta, changed_since_build=5), 51, one, 0.1), "they add up"
    assert "indexed in another way" in why_not(meta, 20_000, one, 0.5)
    assert why_not(replace(meta, fit=type(FIT)()), 51, one, 0.1) == "the old index is not calibrated"


def test_only_a_whole_index_of_the_same_basis_is_updated(old: ProductIndex, tmp_path: Path) -> None:
    assert newest_of(tmp_path, "another") is None
    assert newest_of(tmp_path, "b").folder == tmp_path / "old"
    file = tmp_path / "old" / "text.npy"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert newest_of(tmp_path, "b") is None, "what is damaged gets no new checksums"
