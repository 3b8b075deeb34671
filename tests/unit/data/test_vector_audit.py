"""Vectors asked whether they can be of one encoder and of their texts."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.data import formats, vector_audit
from sqidflow.data.check import check_folder
from sqidflow.data.importing import import_files
from sqidflow.encoders.offline import OfflineEncoder

TITLES = [
    " ".join(words)
    for words in product(
        ("Kort", "Lumo", "Ravel"), ("steel", "glass", "cotton"), ("kettle", "lamp", "sofa", "mug"), ("red", "blue")
    )
]
QUERIES = [f"{colour} {thing}" for colour in ("red", "blue") for thing in ("kettle", "lamp", "sofa", "mug")] * 2
QUERIES = [f"{text} {brand}" for text, brand in zip(QUERIES, ["Kort"] * 8 + ["Lumo"] * 8, strict=True)]


def own(texts: list[str]) -> np.ndarray:
    return OfflineEncoder(64).encode_texts(texts)


def another(texts: list[str]) -> np.ndarray:
    """Another space with as much sense: the same vectors, turned at random."""
    turned, _ = np.linalg.qr(np.random.default_rng(4).standard_normal((64, 64)))
    return (own(texts) @ turned).astype(np.float32)


def imported(folder: Path, products: np.ndarray, queries: np.ndarray) -> tuple[Path, str]:
    """The data folder, and what the import noted."""
    rows = "".join(f"{query},P{number},E\n" for number, query in enumerate(QUERIES))
    (folder / "j.csv").write_text("query,product_id,esci_label\n" + rows)
    titles = "".join(f"P{number},{title}\n" for number, title in enumerate(TITLES))
    (folder / "p.csv").write_text("product_id,product_title\n" + titles)
    ids = [f"P{number}" for number in range(len(TITLES))]
    pq.write_table(pa.table({"product_id": ids, "clip_text_features": products.tolist()}), folder / "v.parquet")
    pq.write_table(pa.table({"query": QUERIES, "clip_text_features": queries.tolist()}), folder / "q.parquet")
    data = folder / "data"
    report = import_files(
        data,
        folder / "j.csv",
        products=folder / "p.csv",
        query_features=folder / "q.parquet",
        product_features=folder / "v.parquet",
    )
    return data, " | ".join(report.notes)


def found(folder: Path, products: np.ndarray, queries: np.ndarray) -> str:
    """What import and check say of the vectors, which must be the same."""
    data, notes = imported(folder, products, queries)
    checked = " | ".join(note for file in check_folder(data) for note in file.notes)
    assert [line for file in check_folder(data) for line in file.problems] == []
    assert all(line in notes for line in vector_audit.findings(data))
    assert all(line in checked for line in vector_audit.findings(data))
    return notes


def test_vectors_of_one_encoder_are_not_suspected(tmp_path: Path) -> None:
    for name, encode in (("own", own), ("another", another)):
        (tmp_path / name).mkdir()
        data, _ = imported(tmp_path / name, encode(TITLES), encode(QUERIES))
        assert list(vector_audit.findings(data)) == []


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
def test_two_encoders_in_one_file_are_found(tmp_path: Path, share: float) -> None:
    foreign = np.random.default_rng(2).random(len(TITLES)) < share
    mixed = np.where(foreign[:, None], another(TITLES), own(TITLES))
    assert "pairs of products with nearly the same text" in found(tmp_path, mixed, own(QUERIES))


def test_two_lengths_in_one_file_are_found(tmp_path: Path) -> None:
    longer = own(TITLES) * np.where(np.arange(len(TITLES)) % 3 == 0, 14.0, 1.0)[:, None].astype(np.float32)
    assert "lengths about 1 and about 14 (33% of those looked at)" in found(tmp_path, longer, own(QUERIES))


def test_queries_of_another_encoder_than_the_products_are_found(tmp_path: Path) -> None:
    assert "queries" in found(tmp_path, own(TITLES), another(QUERIES))
    assert "no nearer to that of the product with their words" in found(tmp_path, own(TITLES), another(QUERIES))


def test_vectors_under_the_wrong_ids_are_found(tmp_path: Path) -> None:
    shuffled = own(TITLES)[np.random.default_rng(3).permutation(len(TITLES))]
    assert "under the wrong ids" in found(tmp_path, shuffled, own(QUERIES))


def test_a_name_that_the_vectors_belie_is_refused(tmp_path: Path) -> None:
    from sqidflow.core.errors import DataError
    from sqidflow.data.encode import encode_missing

    data, _ = imported(tmp_path, own(TITLES), own(QUERIES))
    encode_missing(data, OfflineEncoder(64), force=True)
    ids = [f"P{number}" for number in range(len(TITLES))]
    strange = np.random.default_rng(1).standard_normal((len(TITLES), 64)).tolist()
    pq.write_table(pa.table({"product_id": ids, "clip_text_features": strange}), tmp_path / "s.parquet")
    with pytest.raises(DataError, match=f"--encoder {OfflineEncoder.name} is not who made them"):
        import_files(data, product_features=tmp_path / "s.parquet", encoder=OfflineEncoder.name)
    metadata = pq.read_schema(data / formats.PRODUCT_FEATURES_FILE).metadata
    assert metadata[formats.ENCODER_KEY.encode()] == OfflineEncoder.name.encode()
