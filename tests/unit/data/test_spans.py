"""Spans of feedback: written once, read with suspicion, and never among what is held out."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError
from sqidflow.core.settings import SpanRules
from sqidflow.data import formats, spans
from sqidflow.data.encode import encode_missing
from sqidflow.data.prepare import load_report, prepare
from sqidflow.data.query_split import split_of
from sqidflow.data.spans import CLICKS, HUMAN, SpanRow, new_rows, span_folders, standing, write_span
from sqidflow.encoders.offline import OfflineEncoder

RULES = SpanRules((4, 2, 4), 3)
ENCODER = OfflineEncoder(64)


def row(query: str, product: str, label: str = "E", **changes: object) -> SpanRow:
    return SpanRow(query, product, "us", label, **{"source": HUMAN, "clients": 1, **changes})  # type: ignore[arg-type]


def written(data: Path, rows: Sequence[SpanRow]) -> tuple[int, Path]:
    return write_span(data, rows, {}, ENCODER.name, ENCODER.encode_texts)


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def pairs(artifacts: Path) -> list[dict[str, str]]:
    with (artifacts / "prepared" / "pairs.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def of_split(rows: Sequence[dict[str, str]], split: int) -> list[dict[str, str]]:
    return [each for each in rows if split_of(int(each["query_id"]), RULES.shares) == split]


def unjudged(rows: Sequence[dict[str, str]], query_id: str) -> str:
    judged = {each["product_id"] for each in rows if each["query_id"] == query_id}
    return next(each["product_id"] for each in rows if each["product_id"] not in judged)


def test_held_out_pairs_stay_as_they_were_bit_for_bit(data: Path, tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    prepare(data, artifacts, spans=RULES)
    before = pairs(artifacts)
    products = sorted({each["product_id"] for each in before})
    texts = sorted({each["query"] for each in before})
    rows = [row(text.upper(), product, "I", clients=9) for text in texts for product in products[:7]]
    written(data, [*rows, row("a query that nobody had", products[0])])
    report = prepare(data, artifacts, spans=RULES)
    after = pairs(artifacts)
    for split in (1, 2):
        assert of_split(after, split) == of_split(before, split)
    assert len(of_split(after, 0)) > len(of_split(before, 0))
    held_out = {each["query"] for split in (1, 2) for each in of_split(before, split)}
    assert report.feedback["held out"] == 7 * len(held_out) > 0
    assert report.pairs == len(after) == report.judgements + report.feedback["added"]
    new = [each for each in after if each["query"] == "a query that nobody had"]
    assert [each["product_id"] for each in new] == [products[0]] and of_split(new, 0) == new
    queries = pq.read_table(artifacts / "features" / "queries.parquet").to_pydict()
    vector = queries["query_vec"][queries["query_id"].index(int(new[0]["query_id"]))]
    assert np.allclose(vector, ENCODER.encode_texts(["a query that nobody had"])[0])


def test_originals_give_way_to_enough_clients_alone(data: Path, tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    prepare(data, artifacts, spans=RULES)
    train = [each for each in of_split(pairs(artifacts), 0) if each["esci_label"] != "I"][:4]
    few, many, clicked, agreed = train
    written(
        data,
        [
            row(few["query"], few["product_id"], "I", clients=2),
            row(many["query"], many["product_id"], "I", clients=3),
            row(clicked["query"], clicked["product_id"], "I", clients=500, source=CLICKS),
            row(agreed["query"], agreed["product_id"], agreed["esci_label"], clients=3),
        ],
    )
    report = prepare(data, artifacts, spans=RULES)
    label = {(each["query_id"], each["product_id"]): each["esci_label"] for each in pairs(artifacts)}
    assert label[many["query_id"], many["product_id"]] == "I"
    for each in (few, clicked, agreed):
        assert label[each["query_id"], each["product_id"]] == each["esci_label"]
    assert {name: report.feedback[name] for name in ("added", "replaced", "confirmed", "original stands")} == {
        "added": 0, "replaced": 1, "confirmed": 1, "original stands": 2,
    }  # fmt: skip


def test_deleted_products_and_other_locales_are_counted(data: Path, tmp_path: Path) -> None:
    first = pairs_of(data, tmp_path)[0]
    written(data, [row("new one", "NO-SUCH"), SpanRow("new one", first["product_id"], "es", "E", HUMAN, 1)])
    report = prepare(data, tmp_path / "artifacts", spans=RULES)
    assert report.feedback["product deleted"] == 1 and report.feedback["other locale"] == 1
    assert report.feedback["added"] == 0


def pairs_of(data: Path, tmp_path: Path) -> list[dict[str, str]]:
    prepare(data, tmp_path / "artifacts", spans=RULES)
    return pairs(tmp_path / "artifacts")


def test_the_same_judgements_never_make_two_spans(data: Path) -> None:
    rows = [row("red shoe", "P1"), row("blue shoe", "P2", "I")]
    assert written(data, rows) == written(data, rows)
    assert [number for number, _ in span_folders(data)] == [1]
    assert written(data, [row("green shoe", "P1")])[0] == 2


def test_people_outrank_clicks_and_few_do_not_overturn_many() -> None:
    clicks, people = row("q", "P", "E", source=CLICKS, clients=90), row("Q ", "P", "S", clients=2)
    for order in ([clicks, people], [people, clicks]):
        assert standing(order)[people.key] == people
    one, three = row("q", "P", "I", clients=1), row("q", "P", "E", clients=3)
    assert standing([three, one])[one.key] == three and standing([one, three])[one.key] == three
    known = standing([people])
    assert new_rows([clicks, row("q", "P", "S", clients=8), one], known) == []
    assert new_rows([three], known) == [three]
    assert new_rows([row("q", "P", "E")], standing([clicks])) == [row("q", "P", "E")]


def test_a_new_span_makes_the_features_stale(data: Path, tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    prepare(data, artifacts, spans=RULES)
    first = pairs(artifacts)[0]
    written(data, [row("a new query", first["product_id"])])
    with pytest.raises(DataError, match="span-1.*is newer than the features"):
        load_report(artifacts, data, spans=RULES)
    assert not prepare(data, artifacts, spans=RULES).cached
    assert load_report(artifacts, data, spans=RULES).feedback["added"] == 1
    assert prepare(data, artifacts, spans=RULES).cached
    with pytest.raises(DataError, match="other filters"):
        load_report(artifacts, data, spans=SpanRules((4, 2, 4), 1))


def test_queries_that_only_feedback_has_keep_their_ids(data: Path, tmp_path: Path) -> None:
    product = pairs_of(data, tmp_path)[0]["product_id"]
    written(data, [row("zebra", product)])
    prepare(data, tmp_path / "artifacts", spans=RULES)
    first = {each["query"]: each["query_id"] for each in pairs(tmp_path / "artifacts")}
    written(data, [row("aardvark", product), row("mole", product)])
    prepare(data, tmp_path / "artifacts", spans=RULES)
    second = {each["query"]: each["query_id"] for each in pairs(tmp_path / "artifacts")}
    assert first.items() <= second.items() and second.keys() - first.keys() == {"aardvark", "mole"}


def test_texts_of_any_kind_come_back_as_they_were(data: Path) -> None:
    texts = ["日本語 の 靴", 'a "quoted", one', "null", "NaN", "007", "שלום", "e\u0301te\u0301"]
    rows = sorted((row(text, "0012", "C") for text in texts), key=lambda each: each.key)
    _, folder = written(data, rows)
    assert spans.read_span(folder) == rows


@pytest.mark.parametrize("damage", ["cut", "label", "manifest", "missing"])
def test_a_damaged_span_is_refused(data: Path, tmp_path: Path, damage: str) -> None:
    _, folder = written(data, [row("red shoe", "P1"), row("blue shoe", "P2", "I")])
    file = folder / ("manifest.json" if damage == "manifest" else "judgements.csv")
    if damage == "missing":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2] if damage != "label" else content.replace(b'"I"', b'"X"'))
    with pytest.raises(DataError, match="span-1.*dvc checkout"):
        prepare(data, tmp_path / "artifacts", spans=RULES)


def test_vectors_follow_the_encoder_of_the_data(data: Path, tmp_path: Path) -> None:
    product = pairs_of(data, tmp_path)[0]["product_id"]
    _, folder = write_span(data, [row("zebra", product)], {}, "another", ENCODER.encode_texts)
    with pytest.raises(DataError, match="by another.*sqidflow data encode"):
        prepare(data, tmp_path / "artifacts", spans=RULES)
    assert encode_missing(data, ENCODER).feedback_queries_encoded == 1
    assert encode_missing(data, ENCODER).feedback_queries_encoded == 0
    assert prepare(data, tmp_path / "artifacts", spans=RULES).feedback["added"] == 1
    assert pq.read_schema(folder / "query_features.parquet").metadata[formats.ENCODER_KEY.encode()] == (
        ENCODER.name.encode()
    )


def test_with_escis_own_split_feedback_joins_the_training_alone(data: Path, tmp_path: Path) -> None:
    from sqidflow.data import readers, staging

    file = data / formats.EXAMPLES_FILE
    table = pq.read_table(file)
    marks = ["test" if query_id % 3 == 0 else "train" for query_id in table["query_id"].to_pylist()]
    table = table.set_column(table.schema.get_field_index("split"), "split", [marks])
    staging.write_batches(file, table.schema, table.to_batches())
    artifacts = tmp_path / "artifacts"
    prepare(data, artifacts, esci=(4, 2), spans=RULES)
    before = {name: (artifacts / "prepared" / "by_split" / f"{name}.csv").read_bytes() for name in ("eval", "test")}
    texts = sorted(set(readers.load_examples(file).table["query"].to_pylist()))
    product = table["product_id"][0].as_py()
    written(data, [row(text, product, "E", clients=5) for text in (*texts, "never seen before")])
    report = prepare(data, artifacts, esci=(4, 2), spans=RULES)
    after = {name: (artifacts / "prepared" / "by_split" / f"{name}.csv").read_bytes() for name in before}
    assert after == before
    assert report.feedback["held out"] > 0 and report.feedback["added"] > 0
    assert "never seen before" in (artifacts / "prepared" / "by_split" / "train.csv").read_text()
