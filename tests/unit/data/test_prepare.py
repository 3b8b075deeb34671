"""Raw files to pairs and feature sources: joins, filters, point in time, all or nothing."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError
from sqidflow.data import formats
from sqidflow.data import prepare as prepare_module
from sqidflow.data.prepare import FEATURE_EPOCH, OUTPUTS, load_report, prepare
from sqidflow.data.prints import PRINT, prints_of
from sqidflow.ranking import features

DIM = 4


def judgement(query_id: int, product_id: str, label: str = "E", **changes: Any) -> dict[str, Any]:
    row = {
        "example_id": query_id * 100,
        "query": f"query {query_id}",
        "query_id": query_id,
        "product_id": product_id,
        "product_locale": "us",
        "esci_label": label,
        "small_version": 1,
        "large_version": 1,
        "split": "test",
        "event_timestamp": None,
    }
    return {**row, **changes}


def product(product_id: str, **changes: Any) -> dict[str, Any]:
    row = dict.fromkeys(formats.PRODUCTS_SCHEMA.names)
    return {
        **row,
        "product_id": product_id,
        "product_title": f"title of {product_id}",
        "product_locale": "us",
    } | changes


def vector(seed: int) -> list[float]:
    return np.random.default_rng(seed).standard_normal(DIM).astype("f4").tolist()


class Raw:
    """A folder of raw files that a test changes row by row."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.judgements = [
            judgement(2, "B2", "S"),
            judgement(1, "B2", "I"),
            judgement(1, "B1", "E"),
            judgement(2, "B3", "C", split="train"),
            judgement(3, "J1", "E", product_locale="jp"),
            judgement(4, "B1", "E", small_version=0),
        ]
        self.products = [product("B1", product_brand="Acme", product_color="Red"), product("B2"), product("B3")]
        self.products.append(product("J1", product_locale="jp"))
        self.queries = [
            {"query_id": str(i), "clip_text_features": vector(i), "event_timestamp": None} for i in (1, 2, 9)
        ]
        self.vectors = [
            {"product_id": name, "clip_text_features": vector(i), "clip_image_features": image, "event_timestamp": None}
            for i, (name, image) in enumerate([("B9", vector(7)), ("B1", vector(8)), ("B2", None), ("B3", vector(9))])
        ]

    def write(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        time = pa.field(formats.TIMESTAMP, formats.TIMESTAMP_TYPE)
        for name, rows, schema in (
            (formats.EXAMPLES_FILE, self.judgements, formats.EXAMPLES_SCHEMA.append(time)),
            (formats.PRODUCTS_FILE, self.products, formats.PRODUCTS_SCHEMA),
            (formats.QUERY_FEATURES_FILE, self.queries, formats.QUERY_FEATURES_SCHEMA.append(time)),
            (formats.PRODUCT_FEATURES_FILE, self.vectors, formats.PRODUCT_FEATURES_SCHEMA.append(time)),
        ):
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), self.folder / name)
        return self.folder


@pytest.fixture
def raw(tmp_path: Path) -> Raw:
    return Raw(tmp_path / "data")


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def pairs_of(artifacts: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((artifacts / "prepared/pairs.csv").read_text(encoding="utf-8"))))


def test_joins_filters_and_counts(raw: Raw, artifacts: Path) -> None:
    report = prepare(raw.write(), artifacts)
    assert [(row["query_id"], row["product_id"], row["esci_label"]) for row in pairs_of(artifacts)] == [
        ("1", "B1", "E"),
        ("1", "B2", "I"),
        ("2", "B2", "S"),
        ("2", "B3", "C"),
    ]
    first = pairs_of(artifacts)[0]
    assert (first["query"], first["product_title"]) == ("query 1", "title of B1")
    assert (first["product_brand"], first["product_color"]) == ("Acme", "Red")
    assert report.judgements == 6
    assert report.filtered == {"repeated": 0, "locale": 1, "small_version": 1}
    assert report.pairs == 4 == report.judgements - sum(report.filtered.values())
    assert report.labels == {"E": 1, "S": 1, "C": 1, "I": 1}
    assert (report.queries, report.products, report.products_without_picture) == (2, 3, 1)
    assert report.dims == {"query_vec": DIM, "product_text_vec": DIM, "product_image_vec": DIM}
    assert not report.cached
    assert load_report(artifacts).outputs == report.outputs


def test_the_kind_of_a_query_goes_along(raw: Raw, artifacts: Path) -> None:
    file = raw.write() / formats.EXAMPLES_FILE
    prepare(raw.folder, artifacts)
    assert formats.QUERY_KIND not in pairs_of(artifacts)[0]
    table = pq.read_table(file)
    kinds = pa.array(["typed, by hand"] * (table.num_rows - 1) + [None], pa.string())
    pq.write_table(table.append_column(formats.QUERY_KIND, kinds), file)
    prepare(raw.folder, artifacts)
    assert {pair[formats.QUERY_KIND] for pair in pairs_of(artifacts)} == {"typed, by hand"}


def test_a_repeated_judgement_is_counted_once(raw: Raw, artifacts: Path) -> None:
    raw.judgements.append(judgement(1, "B1", "E", example_id=7))
    report = prepare(raw.write(), artifacts)
    assert report.filtered["repeated"] == 1
    assert report.pairs == 4


def test_splits_and_versions_are_filters(raw: Raw, artifacts: Path) -> None:
    report = prepare(raw.write(), artifacts, splits=["train"])
    assert report.filtered["splits"] == 3
    assert [row["product_id"] for row in pairs_of(artifacts)] == ["B3"]
    raw.queries.append({"query_id": "4", "clip_text_features": vector(4), "event_timestamp": None})
    report = prepare(raw.write(), artifacts, small_version=False)
    assert report.filtered == {"repeated": 0, "locale": 1}
    assert report.pairs == 5


def test_nothing_left_names_the_filter_and_what_there_is(raw: Raw, artifacts: Path) -> None:
    with pytest.raises(DataError, match=r"locale keeps es, the file has us, jp.*data\.locale") as caught:
        prepare(raw.write(), artifacts, locale="es")
    assert caught.value.column == "product_locale"
    assert not (artifacts / "prepared").exists()


def test_sources_hold_the_vectors_in_use_alone(raw: Raw, artifacts: Path) -> None:
    prepare(raw.write(), artifacts)
    queries = pq.read_table(artifacts / "features/queries.parquet")
    products = pq.read_table(artifacts / "features/products.parquet")
    assert queries["query_id"].to_pylist() == [1, 2]
    assert queries["query_vec"].to_pylist() == [vector(1), vector(2)]
    assert products["product_id"].to_pylist() == ["B1", "B2", "B3"]
    assert products["product_text_vec"].to_pylist() == [vector(1), vector(2), vector(3)]
    assert products["product_image_vec"].to_pylist() == [vector(8), None, vector(9)]
    assert products["has_image"].to_pylist() == [1, 0, 1]
    assert set(products["event_timestamp"].to_pylist()) == {FEATURE_EPOCH}
    assert products.schema.field("event_timestamp").type == pa.timestamp("us", tz="UTC")


def test_every_pair_is_one_physical_line(raw: Raw, artifacts: Path) -> None:
    nasty = 'a\nb\r\nc\td\u2028e\u2029f\x85g\x0bh\x0ci\x1cj\u00a0k "quoted", x \x00'
    raw.products[0]["product_title"] = nasty
    prepare(raw.write(), artifacts)
    text = (artifacts / "prepared/pairs.csv").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1 + 4
    assert pairs_of(artifacts)[0]["product_title"] == 'a b c d e f g h i j k "quoted", x'


def test_pairs_without_a_time_get_that_of_the_newest_vector_in_use(raw: Raw, artifacts: Path) -> None:
    newest = datetime(2025, 3, 27, 7, 1, 4, 332726, UTC)
    raw.queries[0]["event_timestamp"] = newest
    raw.queries[2]["event_timestamp"] = newest + timedelta(days=1)  # query 9 is not in use
    report = prepare(raw.write(), artifacts)
    assert {row["event_timestamp"] for row in pairs_of(artifacts)} == {"2025-03-27T07:01:04.332726Z"}
    assert report.latest_feature == "2025-03-27T07:01:04.332726Z"


def test_a_pair_keeps_its_own_time_and_may_not_be_older_than_its_vectors(raw: Raw, artifacts: Path) -> None:
    known = datetime(2025, 3, 27, tzinfo=UTC)
    raw.vectors[2]["event_timestamp"] = known
    raw.judgements[1]["event_timestamp"] = known
    prepare(raw.write(), artifacts)
    assert pairs_of(artifacts)[1]["event_timestamp"] == "2025-03-27T00:00:00.000000Z"
    raw.judgements[1]["event_timestamp"] = known - timedelta(microseconds=1)
    with pytest.raises(DataError, match="product_id B2 has no vector before 2025-03-27T00:00:00") as caught:
        prepare(raw.write(), artifacts)
    assert caught.value.row == 2
    assert caught.value.column == "event_timestamp"


def test_vectors_without_a_time_are_known_at_the_earliest_judgement(raw: Raw, artifacts: Path) -> None:
    old = datetime(2019, 5, 1, tzinfo=UTC)
    raw.judgements[0]["event_timestamp"] = old
    raw.judgements[1]["event_timestamp"] = old + timedelta(days=30)
    prepare(raw.write(), artifacts)
    assert set(pq.read_table(artifacts / "features/queries.parquet")["event_timestamp"].to_pylist()) == {old}
    assert "2019-05-01T00:00:00.000000Z" in {row["event_timestamp"] for row in pairs_of(artifacts)}
    raw.vectors[2]["event_timestamp"] = old + timedelta(days=1)
    with pytest.raises(DataError, match="judged at 2019-05-01.* has no vector before 2019-05-02"):
        prepare(raw.write(), artifacts)


def test_an_id_may_have_a_history_but_not_two_vectors_of_one_time(raw: Raw, artifacts: Path) -> None:
    later = FEATURE_EPOCH + timedelta(days=9)
    raw.vectors.append({**raw.vectors[1], "clip_text_features": vector(99), "event_timestamp": later})
    report = prepare(raw.write(), artifacts)
    assert (report.products, report.products_without_picture) == (3, 1)
    assert pq.read_table(artifacts / "features/products.parquet").num_rows == 4
    raw.vectors[-1]["event_timestamp"] = None
    with pytest.raises(DataError, match="B1 has two vectors of one time, the other in row 2") as caught:
        prepare(raw.write(), artifacts)
    assert caught.value.row == 5


def _no_product_row(raw: Raw) -> None:
    del raw.products[1]


def _no_query_vector(raw: Raw) -> None:
    del raw.queries[1]


def _no_product_vector(raw: Raw) -> None:
    del raw.vectors[1]


def _other_dim(raw: Raw) -> None:
    for row in raw.queries:
        row["clip_text_features"] = [1.0] * (DIM + 1)


def _product_twice(raw: Raw) -> None:
    raw.products.append(product("B1", product_title="another"))


@pytest.mark.parametrize(
    ("spoil", "message", "file", "row"),
    [
        (_no_product_row, "product B2 .us. is judged but is not in", formats.EXAMPLES_FILE, 1),
        (_no_query_vector, "a judged id has no vector, the first is 2", formats.QUERY_FEATURES_FILE, None),
        (_no_product_vector, "no vector, the first is B1.*data encode", formats.PRODUCT_FEATURES_FILE, None),
        (_other_dim, "vectors of 5 values where those of product texts have 4", formats.QUERY_FEATURES_FILE, None),
        (_product_twice, "product B1 stands in row 1 too", formats.PRODUCTS_FILE, 5),
    ],
)
def test_bad_data_is_named_and_leaves_the_old_outputs(
    raw: Raw, artifacts: Path, spoil: Callable[[Raw], None], message: str, file: str, row: int | None
) -> None:
    prepare(raw.write(), artifacts)
    before = {name: (artifacts / name).read_bytes() for name in OUTPUTS}
    spoil(raw)
    with pytest.raises(DataError, match=message) as caught:
        prepare(raw.write(), artifacts)
    assert caught.value.file == raw.folder / file
    assert caught.value.row == row
    assert {name: (artifacts / name).read_bytes() for name in OUTPUTS} == before
    assert load_report(artifacts).pairs == 4
    assert not (artifacts / ".prepare.part").exists()


def test_vectors_of_two_encoders_are_refused_although_their_lengths_agree(raw: Raw, artifacts: Path) -> None:
    data = raw.write()
    for name, encoder in ((formats.QUERY_FEATURES_FILE, "one"), (formats.PRODUCT_FEATURES_FILE, "two")):
        table = pq.read_table(data / name)
        pq.write_table(table.replace_schema_metadata({formats.ENCODER_KEY: encoder}), data / name)
    with pytest.raises(DataError, match="vectors by encoder two, those of the queries are by one"):
        prepare(data, artifacts)
    assert not (artifacts / prepare_module.REPORT).exists()


@pytest.mark.parametrize(
    ("name", "hint"), [(formats.EXAMPLES_FILE, "data sample"), (formats.PRODUCT_FEATURES_FILE, "data encode")]
)
def test_a_missing_file_says_how_to_get_it(raw: Raw, artifacts: Path, name: str, hint: str) -> None:
    (raw.write() / name).unlink()
    with pytest.raises(DataError, match=f"{name}: does not exist; .*{hint}"):
        prepare(raw.folder, artifacts)


def _stamps(artifacts: Path) -> dict[str, int]:
    return {name: (artifacts / name).stat().st_mtime_ns for name in (*OUTPUTS, prepare_module.REPORT)}


def test_nothing_changed_is_nothing_done(raw: Raw, artifacts: Path) -> None:
    first = prepare(raw.write(), artifacts)
    before = _stamps(artifacts)
    second = prepare(raw.folder, artifacts)
    assert second.cached
    assert (second.outputs, second.filtered) == (first.outputs, first.filtered)
    assert _stamps(artifacts) == before


def test_other_arguments_with_the_same_outcome_keep_the_files(raw: Raw, artifacts: Path) -> None:
    raw.judgements = raw.judgements[:3]
    prepare(raw.write(), artifacts)
    before = _stamps(artifacts)
    again = prepare(raw.folder, artifacts, splits=["test", "train"])
    assert not again.cached
    after = _stamps(artifacts)
    assert {name: after[name] for name in OUTPUTS} == {name: before[name] for name in OUTPUTS}
    assert prepare(raw.folder, artifacts, splits=["train", "test"]).cached


def test_an_output_changed_by_hand_is_made_anew(raw: Raw, artifacts: Path) -> None:
    prepare(raw.write(), artifacts)
    good = (artifacts / "prepared/pairs.csv").read_bytes()
    (artifacts / "prepared/pairs.csv").write_bytes(good + b"1,2\n")
    assert not prepare(raw.folder, artifacts).cached
    assert (artifacts / "prepared/pairs.csv").read_bytes() == good


@pytest.mark.parametrize("changed", [formats.EXAMPLES_FILE, formats.PRODUCT_FEATURES_FILE, *OUTPUTS])
@pytest.mark.parametrize("gone", [True, False])
def test_a_report_that_is_no_longer_true_is_refused(raw: Raw, artifacts: Path, changed: str, gone: bool) -> None:
    done = prepare(raw.write(), artifacts)
    assert load_report(artifacts, raw.folder).outputs == done.outputs
    file = (artifacts if changed in OUTPUTS else raw.folder) / changed
    if gone:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes() + b"x")
    words = "no longer exists" if gone else "is not the file that the features were made with"
    with pytest.raises(DataError, match=f"{changed}: {words}; run `sqidflow features`"):
        load_report(artifacts, raw.folder)
    assert load_report(artifacts).outputs == done.outputs, "without the data it is only read"


def test_a_report_of_other_filters_is_refused(raw: Raw, artifacts: Path) -> None:
    prepare(raw.write(), artifacts, splits=("train", "test"))
    assert load_report(artifacts, raw.folder, splits=("test", "train")).pairs
    with pytest.raises(DataError, match="other filters"):
        load_report(artifacts, raw.folder, splits=("test",))


def test_killed_between_two_files_is_not_taken_for_done(
    raw: Raw, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(raw.write(), artifacts)
    raw.judgements[0]["query"] = raw.judgements[3]["query"] = "other words"
    raw.queries[0]["clip_text_features"] = vector(50)
    moved: list[str] = []

    def dies_at_the_second(source: Path, target: Path) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(str(target))
        shutil.move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(prepare_module.os, "replace", dies_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            prepare(raw.write(), artifacts)
    with pytest.raises(DataError, match="nothing is prepared"):
        load_report(artifacts)
    assert not prepare(raw.folder, artifacts).cached
    assert pairs_of(artifacts)[2]["query"] == "other words"
    assert pq.read_table(artifacts / "features/queries.parquet")["query_vec"][0].as_py() == vector(50)


def test_the_outputs_are_the_same_bytes_wherever_they_are_made(raw: Raw, tmp_path: Path) -> None:
    raw.write()
    first = prepare(raw.folder, tmp_path / "one")
    second = prepare(raw.folder, tmp_path / "two")
    assert first.outputs == second.outputs
    assert json.loads((tmp_path / "one" / prepare_module.REPORT).read_text())["report"]["pairs"] == 4


@pytest.mark.parametrize("per_group", [1, 2, 3])
def test_row_groups_do_not_change_what_is_written(
    raw: Raw, artifacts: Path, monkeypatch: pytest.MonkeyPatch, per_group: int
) -> None:
    monkeypatch.setattr(prepare_module, "_ROWS_PER_GROUP", per_group)
    prepare(raw.write(), artifacts)
    table = pq.read_table(artifacts / "features/products.parquet")
    assert table["product_id"].to_pylist() == ["B1", "B2", "B3"]
    assert table["product_image_vec"].to_pylist() == [vector(8), None, vector(9)]


def test_a_catalogue_without_pictures(raw: Raw, artifacts: Path) -> None:
    for row in raw.vectors:
        row["clip_image_features"] = None
    report = prepare(raw.write(), artifacts)
    assert report.products_without_picture == 3
    assert report.dims["product_image_vec"] == DIM


def names(rows: Sequence[dict[str, str]]) -> list[str]:
    return [row["product_id"] for row in rows]


def test_the_sample_is_prepared_whole(tiny_data: Path, artifacts: Path) -> None:
    report = prepare(tiny_data, artifacts)
    judged = pq.read_table(tiny_data / formats.EXAMPLES_FILE)
    assert report.pairs == judged.num_rows == 400
    assert sorted(names(pairs_of(artifacts))) == sorted(judged["product_id"].to_pylist())


def catalogue_of(artifacts: Path) -> dict[str, dict[str, Any]]:
    return {row["product_id"]: row for row in pq.read_table(artifacts / "prepared/products.parquet").to_pylist()}


def test_the_catalogue_has_every_product_of_the_locale_judged_or_not(raw: Raw, artifacts: Path) -> None:
    prepare(raw.write(), artifacts)
    pairs = (artifacts / "prepared/pairs.csv").read_bytes()
    raw.products += [product("B9"), product("B10"), product("J2", product_locale="jp")]
    raw.vectors[0]["event_timestamp"] = datetime(2030, 1, 1, tzinfo=UTC)  # B9, which nobody judged
    report = prepare(raw.write(), artifacts)
    found = catalogue_of(artifacts)
    assert sorted(found) == ["B1", "B10", "B2", "B3", "B9"]
    flags = ("judged", "has_text_vector", "has_picture_vector")
    assert {name: tuple(found[name][flag] for flag in flags) for name in ("B1", "B2", "B9", "B10")} == {
        "B1": (True, True, True),
        "B2": (True, True, False),
        "B9": (False, True, True),
        "B10": (False, False, False),
    }
    assert (report.products, report.products_judged, report.products_not_judged) == (5, 3, 2)
    assert (report.products_without_vector, report.products_without_picture) == (1, 1)
    assert pq.read_table(artifacts / "features/products.parquet")["product_id"].to_pylist() == ["B9", "B1", "B2", "B3"]
    assert (artifacts / "prepared/pairs.csv").read_bytes() == pairs, "products that nobody judged change no pair"


def test_texts_are_of_the_locale_in_which_a_product_is_judged(raw: Raw, artifacts: Path) -> None:
    raw.products.insert(0, product("J1", product_title="nobody judged this row", product_locale="us"))
    raw.products += [product("B1", product_title="de B1", product_locale="de"), product("J1", product_locale="de")]
    raw.products += [product("N", product_title="first", product_locale="fr"), product("N", product_locale="de")]
    raw.judgements.append(judgement(2, "B1", "E", product_locale="de"))
    raw.queries.append({"query_id": "3", "clip_text_features": vector(3), "event_timestamp": None})
    raw.vectors += [{**raw.vectors[1], "product_id": name} for name in ("J1", "N")]
    report = prepare(raw.write(), artifacts, locale=None)
    found = catalogue_of(artifacts)
    assert {name: (row["product_locale"], row["product_title"]) for name, row in found.items()} == {
        "B1": ("us", "title of B1"),
        "B2": ("us", "title of B2"),
        "B3": ("us", "title of B3"),
        "J1": ("jp", "title of J1"),
        "N": ("fr", "first"),
    }
    assert report.products_in_several_locales == 1, "B1 is judged in us and de"
    prepare(raw.write(), artifacts, locale="de", small_version=False)
    assert {name: row["product_title"] for name, row in catalogue_of(artifacts).items()} == {
        "B1": "de B1",
        "J1": "title of J1",
        "N": "title of N",
    }


def test_texts_of_the_catalogue_have_the_form_of_the_pairs(raw: Raw, artifacts: Path) -> None:
    raw.products[0] |= {
        "product_title": "\u00a0red\tsteel\r\n  kettle\u2028one ",
        "product_brand": "Acme \n Co",
        "product_color": " \u3000 ",
        "product_bullet_point": "first\nsecond",
    }
    prepare(raw.write(), artifacts)
    row = catalogue_of(artifacts)["B1"]
    assert (row["product_title"], row["product_brand"], row["product_color"]) == ("red steel kettle one", "Acme Co", "")
    assert row["product_bullet_point"] == "first\nsecond", "lines are shown as lines"
    pair = pairs_of(artifacts)[0]
    assert [pair[name] for name in ("product_title", "product_brand", "product_color")] == [
        row[name] for name in ("product_title", "product_brand", "product_color")
    ]


def test_two_ids_of_one_query_become_one(raw: Raw, artifacts: Path) -> None:
    """So that no query is in two splits: other blanks, case, width and invisible characters make no other query."""
    raw.judgements += [
        judgement(9, "B2", "S", query="QUERY\u00a0 1"),
        judgement(9, "B3", "E", query="QUERY\u00a0 1"),
        judgement(10, "B1", "E", query="que\u200bry \uff11\u00ad"),
    ]
    report = prepare(raw.write(), artifacts)
    first = [row for row in pairs_of(artifacts) if row["query_id"] == "1"]
    assert [(row["query"], row["product_id"], row["esci_label"]) for row in first] == [
        ("query 1", "B1", "E"),
        ("query 1", "B2", "I"),
        ("query 1", "B3", "E"),
    ]
    assert (report.queries, report.merged_queries, report.pairs) == (2, 2, 5)
    assert report.filtered["another id, same query"] == 2
    assert report.pairs == report.judgements - sum(report.filtered.values())


def test_one_text_in_two_locales_is_two_queries(raw: Raw, artifacts: Path) -> None:
    raw.judgements[4]["query"] = "query 1"
    raw.queries.append({"query_id": "3", "clip_text_features": vector(3), "event_timestamp": None})
    raw.vectors.append({**raw.vectors[1], "product_id": "J1"})
    report = prepare(raw.write(), artifacts, locale=None)
    assert (report.queries, report.merged_queries) == (3, 0)


def test_a_catalogue_that_nobody_judged(raw: Raw, artifacts: Path) -> None:
    data = raw.write()
    (data / formats.EXAMPLES_FILE).unlink()
    with pytest.raises(DataError, match="examples.parquet: does not exist"):
        prepare(data, artifacts)
    (data / formats.QUERY_FEATURES_FILE).unlink()
    report = prepare(data, artifacts)
    assert (report.pairs, report.queries, report.products, report.products_judged) == (0, 0, 3, 0)
    assert report.dims == {"query_vec": DIM, "product_text_vec": DIM, "product_image_vec": DIM}
    assert (artifacts / "prepared/pairs.csv").read_text().count("\n") == 1
    assert pq.read_table(artifacts / "features/queries.parquet").num_rows == 0
    assert load_report(artifacts, data).products == 3
    assert prepare(data, artifacts).cached
    raw.write()
    with pytest.raises(DataError, match="examples.parquet: is newer than the features"):
        load_report(artifacts, data)
    with pytest.raises(DataError, match="no product is left: locale keeps fr, the file has jp, us"):
        (data / formats.EXAMPLES_FILE).unlink()
        (data / formats.QUERY_FEATURES_FILE).unlink()
        prepare(data, artifacts, locale="fr")


def test_a_product_that_stands_twice_is_refused_though_nobody_judged_it(raw: Raw, artifacts: Path) -> None:
    raw.products += [product("N"), product("N", product_title="another")]
    with pytest.raises(DataError, match="product N stands in row 5 too") as caught:
        prepare(raw.write(), artifacts)
    assert caught.value.row == 6


# --- ESCI's own split ---


def _esci_raw(raw: Raw) -> Raw:
    """Twelve queries to train on and three that are held out, on one product each."""
    raw.judgements = [judgement(i, "B1", split="train(KDD-cup v0.2)") for i in range(1, 13)]
    raw.judgements += [judgement(i, "B2", "S", split="test") for i in (20, 21, 22)]
    ids = [row["query_id"] for row in raw.judgements]
    raw.queries = [
        {"query_id": str(i), "clip_text_features": vector(i), "event_timestamp": None} for i in (*ids, 30, 31)
    ]
    return raw


def _split_pairs(artifacts: Path, split: str) -> list[tuple[str, str]]:
    text = (artifacts / f"prepared/by_split/{split}.csv").read_text(encoding="utf-8")
    return [(row["query_id"], row["product_id"]) for row in csv.DictReader(io.StringIO(text))]


def test_the_held_out_pairs_are_exactly_the_rows_marked_test(raw: Raw, artifacts: Path) -> None:
    report = prepare(_esci_raw(raw).write(), artifacts, esci=(2, 1))
    parts = {split: _split_pairs(artifacts, split) for split in ("train", "eval", "test")}
    assert parts["test"] == [("20", "B2"), ("21", "B2"), ("22", "B2")]
    assert parts["train"] and parts["eval"] and not set(parts["train"]) & set(parts["eval"])
    assert sorted(int(query) for query, _ in parts["train"] + parts["eval"]) == list(range(1, 13))
    assert report.pairs_of_split == {name: len(part) for name, part in parts.items()}
    assert prepare(raw.folder, artifacts, esci=(2, 1)).cached
    with pytest.raises(DataError, match="other filters"):
        load_report(artifacts, raw.folder)
    prepare(raw.folder, artifacts)
    assert not list((artifacts / "prepared/by_split").glob("*.csv")), "the query's hash decides again"


def test_train_rows_of_a_held_out_query_are_left_out_whatever_its_spelling(raw: Raw, artifacts: Path) -> None:
    _esci_raw(raw).judgements[:0] = [
        judgement(30, "B1", query="Query  20", split="train"),  # another id and spelling of query 20
        judgement(30, "B2", "S", query="Query  20", split="train"),  # judged in both splits
        judgement(21, "B3", split="train"),
        judgement(21, "B2", "S", split="train"),  # the same judgement as the row marked test
    ]
    report = prepare(raw.write(), artifacts, esci=(2, 1))
    assert _split_pairs(artifacts, "test") == [("20", "B2"), ("21", "B2"), ("22", "B2")]
    assert report.filtered["train row of a held-out query"] == 4 and report.pairs == 15


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        (["train"], "no judgement is marked test"),
        (["test"], "no judgement is marked train"),
        (["train", "test", "dev"], "is 'dev'; split.by esci knows train and test"),
        (["train", "test", None], "has no value; fill it in or remove the row"),
    ],
)
def test_marks_that_esci_does_not_have_are_refused_in_one_line(
    raw: Raw, artifacts: Path, marks: list[str | None], message: str
) -> None:
    for row, mark in zip(_esci_raw(raw).judgements, marks * 15):
        row["split"] = mark
    with pytest.raises(DataError, match=message) as caught:
        prepare(raw.write(), artifacts, esci=(2, 1))
    assert "column split" in str(caught.value) and "\n" not in str(caught.value)
    assert not (artifacts / "prepared").exists()


def test_too_few_queries_for_a_validation_split_are_refused(raw: Raw, artifacts: Path) -> None:
    _esci_raw(raw).judgements = [judgement(1, "B1", split="train"), judgement(20, "B2", split="test")]
    with pytest.raises(DataError, match="gets no query"):
        prepare(raw.write(), artifacts, esci=(2, 1))


def test_the_print_of_a_product_is_of_its_vectors_alone(raw: Raw, artifacts: Path) -> None:
    """It is what the online store and an updated index compare: of an unchanged product it may not change."""

    def prints() -> dict[str, int]:
        prepare(raw.write(), artifacts)
        table = pq.read_table(artifacts / prepare_module.PRODUCTS_OUTPUT).combine_chunks()
        vectors = [table[name].chunk(0) for name in (features.TEXT_VEC, features.IMAGE_VEC)]
        np.testing.assert_array_equal(table[PRINT].to_numpy(), prints_of(vectors))
        return dict(zip(table[features.PRODUCT_ID].to_pylist(), table[PRINT].to_pylist(), strict=True))

    before = prints()
    raw.vectors[1]["clip_image_features"] = vector(77)  # of B1
    raw.vectors[2]["event_timestamp"] = datetime(2023, 1, 1, tzinfo=UTC)  # of B2
    raw.vectors.insert(0, raw.vectors.pop())
    after = prints()
    assert {product for product in before if before[product] != after[product]} == {"B1"}
