"""The real judgements of ESCI through the whole pipeline, where they are on this machine."""

from __future__ import annotations

from pathlib import Path

from sqidflow.ranking.model_names import DEFAULT_MODEL
from tests.pipeline.conftest import TINY_TRAINING, must, sqidflow

JUDGEMENTS = "esci_us_train_sample.csv"
QUERY_VECTORS = "query_features_with_timestamp.csv.gz"


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
