"""A catalogue that changes: imported, encoded, prepared, and in the index that was there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.data.encode import EncodeReport, encode_missing
from sqidflow.data.importing import import_files
from sqidflow.data.prepare import prepare
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.indexing.make import IndexMade, make_index
from sqidflow.search.engine import Request
from sqidflow.search.state import open_service

HEAD = "product_id,product_title,product_brand,product_color\n"


def change(shop: Workdir, rows: str, remove: tuple[str, ...] = ()) -> EncodeReport:
    """Merge rows of a products file, then encode and prepare."""
    file = shop.root / "changed.csv"
    file.write_text(HEAD + rows)
    import_files(shop.data, products=file, merge=True, remove=remove)
    report = encode_missing(shop.data, OfflineEncoder())
    prepare(shop.data, shop.artifacts, **load_settings(shop.root, (), {}).data.filters())
    return report


def indexed(shop: Workdir, *settings: str, full: bool = False) -> tuple[IndexMade, list[str]]:
    said: list[str] = []
    return make_index(shop, load_settings(shop.root, settings, {}), full=full, say=said.append), said


def test_only_what_changed_is_encoded(shop: Workdir) -> None:
    title = "Acme red kettle, model 0"
    report = change(shop, f'P00,"{title}",Other brand,red\nP01,Violet teapot,Zephyr,violet\nN1,New lamp,Zephyr,red\n')
    assert (report.product_texts_encoded, report.product_texts_renewed, report.product_texts_kept) == (1, 1, 39)
    again = encode_missing(shop.data, OfflineEncoder())
    assert (again.product_texts_encoded, again.product_texts_renewed, again.product_texts_kept) == (0, 0, 41)


def test_the_index_is_updated_and_what_is_gone_is_gone(shop: Workdir) -> None:
    before, _ = indexed(shop)
    assert before.cached and before.meta.updated_from is None and before.meta.built_products == 40
    change(shop, "N1,Zephyr violet teapot,Zephyr,violet\n", remove=("P05",))
    made, said = indexed(shop)
    assert f"updating index {before.meta.digest}: 1 products added, 0 changed, 1 deleted" in said
    assert made.meta.updated_from == before.meta.digest and made.meta.changed_since_build == 2
    assert (made.meta.fit, made.meta.picture_cutoff) == (before.meta.fit, before.meta.picture_cutoff)
    assert made.meta.data_hash != before.meta.data_hash and not made.cached
    again, _ = indexed(shop)
    assert again.cached and again.folder == made.folder

    with closing(open_service(shop, load_settings(shop.root, ["search.query_log=false"], {}), {})) as service:
        core = service.a.core
        assert service.a.versions.index == made.meta.digest
        assert core.search(Request("violet teapot", k=1)).hits[0].product_id == "N1"
        hits = core.search(Request("Borealis blue kettle, model 5", k=40, threshold=0.0)).hits
        assert len(hits) > 10 and "P05" not in [hit.product_id for hit in hits] and core.index.row_of("P05") is None

    whole, _ = indexed(shop, full=True)
    assert whole.meta.updated_from is None and whole.meta.changed_since_build == 0 and not whole.cached
    assert whole.folder != made.folder, "answers of one are not those of the other"


def test_changes_add_up_until_all_is_built(shop: Workdir) -> None:
    change(shop, "N1,New lamp,Zephyr,red\n")
    assert indexed(shop, "search.update_share=0.05")[0].meta.changed_since_build == 1
    change(shop, "N2,New kettle,Zephyr,red\nN3,New shoe,Zephyr,red\n")
    made, said = indexed(shop, "search.update_share=0.05")
    assert made.meta.updated_from is None and made.meta.built_products == 43
    assert said[1] == (
        "building all of it: 7.5% of the products changed since all of it was built, search.update_share is 5.0%"
    )


def test_other_settings_are_another_index(shop: Workdir) -> None:
    change(shop, "N1,New lamp,Zephyr,red\n")
    assert indexed(shop, "search.candidates=50")[0].meta.updated_from is None


def test_a_killed_update_leaves_the_old_index(shop: Workdir, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = indexed(shop)
    change(shop, "N1,New lamp,Zephyr,red\n")

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sqidflow.indexing.publish.seal", killed)
    with pytest.raises(KeyboardInterrupt):
        indexed(shop)
    assert [folder.name for folder in Path(shop.index).iterdir()] == [before.meta.digest]
