"""The weights of a catalogue's fusion, before there is a model."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.data import formats
from sqidflow.indexing.fusion import prepared_fusion
from sqidflow.ranking.retrieval import Fusion

DIM = 16


def workdir_with(folder: Path, encoder: str | None) -> Workdir:
    """A prepared catalogue of one title and vectors of an encoder, of an unknown one for None."""
    workdir = Workdir(folder)
    workdir.data.mkdir(parents=True)
    for name, key in ((formats.PRODUCT_FEATURES_FILE, "product_id"), (formats.QUERY_FEATURES_FILE, "query_id")):
        table = pa.table({key: ["1"], formats.TEXT_VECTOR: [[1.0] * DIM]})
        pq.write_table(
            table.replace_schema_metadata({formats.ENCODER_KEY: encoder} if encoder else None), workdir.data / name
        )
    pq.write_table(pa.table({"query_id": [1]}), workdir.data / formats.EXAMPLES_FILE)
    return workdir


@pytest.mark.parametrize("encoder", [None, "clip", "something:else"])
def test_vectors_that_cannot_be_made_here_count_as_semantic(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, encoder: str | None
) -> None:
    """SQID's published vectors name no encoder, and training needs none."""
    fusion = prepared_fusion(workdir_with(tmp_path, encoder), load_settings(tmp_path, (), {}), DIM)
    assert fusion == Fusion.of("semantic")
    assert "semantic vectors" in caplog.text
