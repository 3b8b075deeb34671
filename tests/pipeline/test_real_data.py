"""The real judgements of ESCI through the whole pipeline, where they are on this machine."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from sqidflow.ranking.model_names import DEFAULT_MODEL
from sqidflow.ranking.query_text import query_key
from tests.pipeline.conftest import TINY_TRAINING, must, sqidflow

JUDGEMENTS = "esci_us_train_sample.csv"
LISTS = "esci_us_lists_sample.csv"
QUERY_VECTORS = "query_features_with_timestamp.csv.gz"
TRAINED_ON = 400
"""Judgements of the excerpt that the split's test trains on. What is held out does not depend on how many they are, and
the time of the training does; the test above it trains on all."""


def first_rows(source: Path, target: Path, count: int) -> Path:
    """The head of a CSV file with quoted lines, as a file of its own."""
    with source.open(encoding="utf-8-sig", newline="") as stream, target.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(itertools.islice(csv.reader(stream), count + 1))
    return target


def test_real_judgements_end_with_an_evaluated_model(real_data: Path, tmp_path: Path) -> None:
    place = ("--workdir", str(tmp_path))
    source = str(real_data / JUDGEMENTS)
    imported = must(sqidflow("data", "import", "--json", "--examples", source, "--products", source, *place)).json
    assert imported["judgements"] == 1695 and imported["queries"] == 1671 and imported["products"] == 1693
    encoded = must(sqidflow("data", "encode", "--encoder", "offline", "--json", *place)).json
    assert encoded["queries_encoded"] == 1671 and encoded["product_texts_encoded"] == 1693
    assert must(sqidflow("data", "check", "--json", *place)).json["ok"]
    made = must(sqidflow("features", "--json", *place)).json
    assert made["prepared"]["labels"] == {"E": 1059, "S": 396, "C": 46, "I": 194}
    document = must(sqidflow("run", "--json", *place, settings=TINY_TRAINING)).json
    assert document["queries"] > 200
    assert document["queries_without_relevant"] > 0
    assert 0.9 < document["ndcg"][DEFAULT_MODEL]["mean"] <= 1
    assert isinstance(document["blessed"], bool)


def test_real_query_vectors_are_read_and_checked(real_data: Path, tmp_path: Path) -> None:
    place = ("--workdir", str(tmp_path))
    imported = must(
        sqidflow("data", "import", "--json", "--query-features", str(real_data / QUERY_VECTORS), *place)
    ).json
    assert imported["query_vectors"] == 672
    checked = sqidflow("data", "check", "--json", *place)  # exit code 2: there are no judgements in data/ yet
    [file] = [file for file in checked.json["files"] if file["file"] == "query_features.parquet"]
    assert file["rows"] == 672 and file["dim"] == 768 and not file["problems"]


def test_esci_split_holds_out_exactly_the_rows_marked_test(real_data: Path, tmp_path: Path) -> None:
    place = ("--workdir", str(tmp_path))
    trained_on = first_rows(real_data / JUDGEMENTS, tmp_path / JUDGEMENTS, TRAINED_ON)
    for source in (trained_on, real_data / LISTS):
        merge = ("--merge",) if source.name == LISTS else ()
        must(sqidflow("data", "import", "--examples", str(source), "--products", str(source), *merge, *place))
    must(sqidflow("data", "encode", "--encoder", "offline", *place))
    by_esci = (*place, "--set", "split.by=esci")
    must(sqidflow("features", *by_esci))
    document = must(sqidflow("run", "--json", *by_esci, settings=TINY_TRAINING)).json
    assert 0.5 < document["ndcg"][DEFAULT_MODEL]["mean"] <= 1
    with (real_data / LISTS).open(encoding="utf-8-sig", newline="") as stream:
        marked = {(row["query"].strip(), row["product_id"]) for row in csv.DictReader(stream) if row["split"] == "test"}
    scores = pq.read_table(sorted((tmp_path / "artifacts/evaluations").glob("*/scores.parquet"))[-1]).to_pylist()
    pairs = pacsv.read_csv(tmp_path / "artifacts/prepared/pairs.csv").select(["query_id", "query"]).to_pylist()
    text_of = {pair["query_id"]: pair["query"] for pair in pairs}
    assert {(query_key(text_of[row["query_id"]]), row["product_id"]) for row in scores} == {
        (query_key(query), product) for query, product in marked
    }
