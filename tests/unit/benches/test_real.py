"""``bench real`` on a small excerpt of invented titles, and where the excerpts are not there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from sqidflow.benches import real
from sqidflow.encoders.offline import OfflineEncoder
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
