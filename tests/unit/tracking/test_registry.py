"""The ranker from raw ids: what it computes, what it refuses, and which version has which alias."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from sqidflow.ranking import features
from sqidflow.ranking.retrieval import Fusion
from sqidflow.tracking import registry, runs
from sqidflow.tracking.registry import CHALLENGER, CHAMPION, IdRanker, RankerConfig

DIM = 3
OLD, NEW = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
VECTOR, STAMP = pa.list_(pa.float32()), pa.timestamp("us", tz="UTC")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def config(tmp_path: Path) -> RankerConfig:
    """Two queries, three products; ``b`` has an older vector too and ``c`` no picture."""
    pairs = {
        features.QUERY_ID: [1, 1, 2],
        features.PRODUCT_ID: ["a", "b", "c"],
        features.QUERY: ["red kettle", "red kettle", "pan"],
        features.TITLE: ["Red kettle", "Blue kettle", "Pan"],
        features.BRAND: ["Acme", "", ""],
        features.COLOR: ["red", "blue", ""],
    }
    pacsv.write_csv(pa.table(pairs), tmp_path / "pairs.csv")
    queries = {
        features.QUERY_ID: [1, 2],
        features.QUERY_VEC: pa.array([[1, 0, 0], [0, 1, 0]], VECTOR),
        features.EVENT_TIMESTAMP: pa.array([OLD, OLD], STAMP),
    }
    products = {
        features.PRODUCT_ID: ["b", "a", "b", "c"],
        features.TEXT_VEC: pa.array([[9, 9, 9], [1, 0, 0], [0, 0, 1], [0, 1, 0]], VECTOR),
        features.IMAGE_VEC: pa.array([[5, 5, 5], [1, 0, 0], [0, 0, 1], None], VECTOR),
        features.HAS_IMAGE: [1, 1, 1, 0],
        features.EVENT_TIMESTAMP: pa.array([OLD, OLD, NEW, OLD], STAMP),
    }
    pq.write_table(pa.table(queries), tmp_path / "queries.parquet")
    pq.write_table(pa.table(products), tmp_path / "products.parquet")
    texts = {features.PRODUCT_ID: ["c", "b", "a"]} | {
        name: pairs[name][::-1] for name in (features.TITLE, features.BRAND, features.COLOR)
    }
    pq.write_table(pa.table(texts), tmp_path / "catalogue.parquet")
    files = {
        "pairs": "pairs.csv", "queries": "queries.parquet", "products": "products.parquet",
        "catalogue": "catalogue.parquet",
    }  # fmt: skip
    return RankerConfig(
        dim=DIM,
        contract=features.contract(),
        **{name: str(tmp_path / file) for name, file in files.items()},
        **{f"{name}_sha256": digest(tmp_path / file) for name, file in files.items()},
    )


@pytest.fixture
def seen(tf: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Stands in for the SavedModel: scores by query-text product, and keeps what it was given."""
    kept: dict[str, np.ndarray] = {}
    spec = {name: tf.io.FixedLenFeature([DIM], tf.float32) for name in features.VECTORS}
    spec[features.HAS_IMAGE] = tf.io.FixedLenFeature([1], tf.int64)
    spec[features.LEXICAL] = tf.io.FixedLenFeature([len(features.LEXICAL_NAMES)], tf.float32)
    spec[features.RELATIVE] = tf.io.FixedLenFeature([len(features.RELATIVE_NAMES)], tf.float32)
    spec[features.RETRIEVAL] = tf.io.FixedLenFeature([len(features.RETRIEVAL_NAMES)], tf.float32)

    def serve(examples: Any) -> dict[str, Any]:
        kept.update({name: value.numpy() for name, value in tf.io.parse_example(examples, spec).items()})
        score = tf.constant((kept[features.QUERY_VEC] * kept[features.TEXT_VEC]).sum(axis=1))
        return {"score": score, "probs": tf.tile(tf.constant([[0.1, 0.2, 0.3, 0.4]]), [len(kept["has_image"]), 1])}

    monkeypatch.setattr(tf.saved_model, "load", lambda folder: SimpleNamespace(signatures={"serving_default": serve}))
    return kept


def test_ids_become_the_features_of_training(config, seen):
    ranked = IdRanker("model", config).rank([1, 2, 1], ["b", "c", "a"])
    np.testing.assert_array_equal(ranked["score"], [0, 1, 1])
    np.testing.assert_array_equal(ranked["rank"], [2, 1, 1])
    assert [float(ranked[f"prob_{label}"][0]) for label in "ESCI"] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    np.testing.assert_array_equal(seen[features.TEXT_VEC][0], [0, 0, 1])  # the newer vector of b
    np.testing.assert_array_equal(seen[features.HAS_IMAGE].ravel(), [1, 0, 1])
    np.testing.assert_array_equal(seen[features.IMAGE_VEC][1], [0, 0, 0])
    # Within the list that search would retrieve, which is the whole catalogue here.
    text = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], np.float32)
    expected = features.candidate_features(
        "red kettle", ["Red kettle", "Blue kettle", "Pan"], ["Acme", "", ""], ["red", "blue", ""],
        np.array([1, 0, 0], np.float32), text, text * [[1], [1], [0]], np.array([1, 1, 0]), Fusion(*config.fusion),
    )  # fmt: skip
    for name in (features.LEXICAL, features.RELATIVE, features.RETRIEVAL):
        np.testing.assert_allclose(seen[name][[2, 0]], expected[name][:2], atol=1e-6)


def test_ties_are_ranked_by_product_id_and_no_pair_is_no_row(config, seen):
    ranker = IdRanker("model", config)
    np.testing.assert_array_equal(ranker.rank([2, 2], ["b", "a"])["rank"], [2, 1])
    empty = ranker.rank([], [])
    assert set(empty) == {"score", "prob_E", "prob_S", "prob_C", "prob_I", "rank"}
    assert all(len(column) == 0 for column in empty.values())


@pytest.mark.parametrize(("query", "product", "named"), [(1, "zz", "product_id 'zz'"), (9, "a", "query_id 9")])
def test_an_unknown_id_is_named(config, seen, query, product, named):
    with pytest.raises(ValueError, match=named):
        IdRanker("model", config).rank([query], [product])


def test_another_feature_contract_is_refused_with_both_named(config):
    with pytest.raises(ValueError, match=f"0badc0de.*{features.contract()}"):
        IdRanker("model", replace(config, contract="0badc0de"))


def test_another_dimension_is_refused_with_both_named(config, seen):
    with pytest.raises(ValueError, match="query_vec has 3 values, the model was trained on 768"):
        IdRanker("model", replace(config, dim=768)).rank([1], ["a"])


@pytest.mark.parametrize("name", ["pairs", "queries", "products", "catalogue"])
def test_data_of_another_digest_is_refused_with_both_named(config, name):
    file = Path(getattr(config, name))
    before = digest(file)
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(ValueError, match=f"{digest(file)}, the model was trained on {before}"):
        IdRanker("model", config)
    file.unlink()
    with pytest.raises(ValueError, match="does not exist.*sqidflow features"):
        IdRanker("model", config)


class Aliases:
    """A registry's aliases, in memory."""

    def __init__(self, **aliases: str) -> None:
        self.aliases = aliases

    def get_registered_model(self, name: str) -> Any:
        return SimpleNamespace(aliases=dict(self.aliases))

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        del self.aliases[alias]


@pytest.mark.parametrize(
    ("before", "versions", "version", "pushed", "after"),
    [
        ({}, {1}, 1, True, {CHAMPION: "1"}),
        ({}, {1}, 1, False, {CHALLENGER: "1"}),
        ({CHALLENGER: "1"}, {1}, 1, True, {CHAMPION: "1"}),
        ({CHAMPION: "1"}, {1, 2}, 2, False, {CHAMPION: "1", CHALLENGER: "2"}),
        ({CHAMPION: "1", CHALLENGER: "2"}, {1, 2, 3}, 3, True, {CHAMPION: "3", CHALLENGER: "2"}),
        ({CHAMPION: "3", CHALLENGER: "2"}, {1, 2, 3}, 1, False, {CHAMPION: "3", CHALLENGER: "2"}),
    ],
)
def test_aliases(before, versions, version, pushed, after):
    client = Aliases(**before)
    registry._move_aliases(client, "sqidflow", versions, version, pushed)
    assert client.aliases == after


def test_a_registry_out_of_reach_is_a_warning(config, tmp_path, caplog, monkeypatch):
    context = runs.RunContext("sqlite:///x", "", "sqidflow", "r", "", "", "ranker_v1", "DEU")
    monkeypatch.setattr(runs, "TrackedRun", lambda context, run_id: SimpleNamespace(run_id=run_id))

    def gone(*_: Any) -> int:
        raise OSError("disk is gone\nand more")

    monkeypatch.setattr("mlflow.MlflowClient", gone)
    with caplog.at_level(logging.WARNING):
        assert registry.register(context, "r1", tmp_path, config, {}, True) is None
    assert "could not register the model: disk is gone" in caplog.text


def test_a_run_that_was_not_tracked_is_not_registered(config, tmp_path, monkeypatch):
    context = runs.RunContext("sqlite:///x", "", "sqidflow", "r", "", "", "ranker_v1", "DEU")
    monkeypatch.setattr(runs, "TrackedRun", lambda context, run_id: SimpleNamespace(run_id=None))
    assert registry.register(context, "r1", tmp_path, config, {}, True) is None
