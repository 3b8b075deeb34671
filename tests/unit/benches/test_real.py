"""``bench real`` on a small excerpt of invented titles, and where the excerpts are not there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from sqidflow.benches import real
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.ranking import metrics
from tests.command_line import sqidflow
from tests.fixtures.small_index import DIM, invented_catalogue


def write_excerpt(file: Path) -> None:
    catalogue = invented_catalogue()
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["query", "product_id", "product_title", "esci_label"])
        for product, title, color in zip(catalogue.product_ids, catalogue.titles, catalogue.colors):
            kind = title.split(",")[0].split(f"{color} ")[1]
            writer.writerow([f"{color} {kind}", product, title, "E"])


def test_methods_are_measured_on_the_queries_of_an_excerpt(tmp_path: Path) -> None:
    write_excerpt(tmp_path / "a.csv")
    excerpt = real.read_excerpt(tmp_path / "a.csv")
    assert excerpt.judgements == len(excerpt.titles) == 50 and len(excerpt.judged) == 25
    prepared = real.prepare(excerpt, OfflineEncoder(dim=DIM))
    assert set(prepared.searched) == set(real.UNTRAINED) and prepared.searchable.all()
    assert prepared.searched["BM25, stemmed"][:, 1].mean() == prepared.searched["fusion"][:, 1].mean() == 1
    trained = real.train(prepared.lists, np.arange(25) < 20)
    score = trained.score(prepared.lists)
    assert trained.rung in ("fusion", "linear, 12 columns")
    assert prepared.lists.mrr(score) > 0.95


def test_queries_with_exactly_so_many_judgements() -> None:
    judgements = np.array([3, 1, 9, 2, 1, 1])
    chosen = real.queries_of(judgements, np.array([2, 0, 3, 1, 4, 5]), 7)
    assert chosen.tolist() == [True, True, False, True, True, False]  # 9 are too many, then 3 + 2 + 1 + 1
    assert judgements[real.queries_of(judgements, np.arange(6), 17)].sum() == 17


def test_two_excerpts_are_one_catalogue() -> None:
    first = real.Excerpt(["a", "b"], ["A", "B"], {"q": {"a": 3}, "r": {"b": 0}})
    second = real.Excerpt(["b", "c"], ["other", "C"], {"q": {"a": 1, "c": 2}})
    both = real.both_excerpts([first, second])
    assert (both.product_ids, both.titles) == (["a", "b", "c"], ["A", "B", "C"])
    assert both.judged == {"q": {"a": 3, "c": 2}, "r": {"b": 0}} and both.judgements == 3


def test_a_model_of_twenty_real_judgements_is_served_no_worse_than_the_fusion(real_data: Path) -> None:
    excerpt = real.read_excerpt(real_data / real.EXCERPTS["A"])
    prepared = real.prepare(excerpt, OfflineEncoder(dim=256))
    judgements = np.array([len(judged) for judged in excerpt.judged.values()])
    for draw in range(4):
        chosen = real.queries_of(judgements, np.random.default_rng(draw).permutation(len(judgements)), 20)
        assert judgements[chosen].sum() == 20
        score = real.train(prepared.lists, chosen).score(prepared.lists)
        left = prepared.searchable & ~chosen
        ours, fusion = (prepared.lists.reciprocal_ranks(each)[left] for each in (score, prepared.lists.f0))
        assert ours.mean() > fusion.mean() - 0.005
        assert metrics.bootstrap_interval(ours - fusion).high >= 0


def test_without_the_excerpts_there_is_one_line(tmp_path: Path) -> None:
    run = sqidflow("bench", "real", "--data", str(tmp_path))
    assert run.code == 2
    assert (
        run.err.strip()
        .splitlines()[-1]
        .endswith(
            "esci_us_train_sample.csv does not exist; name the excerpts' folder with --data or SQIDFLOW_REAL_DATA"
        )
    )
