"""Small feature sources, as ``sqidflow.data.prepare`` would write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core import feature_files
from sqidflow.ranking import features

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)
TIMESTAMP = pa.timestamp("us", tz="UTC")
VECTOR = pa.list_(pa.float32())


class Sources:
    """``artifacts/`` of a test, with three queries and four products; product P3 has no picture."""

    def __init__(self, artifacts: Path) -> None:
        self.artifacts = artifacts
        self.query_ids: list[int] = [1, 2, 3]
        self.product_ids: list[str] = ["P1", "P2", "P3", "P4"]
        self.query_times = [NEW_YEAR] * 3
        self.product_times = [NEW_YEAR] * 4
        self.seed = 0

    def vectors(self, kind: int, count: int) -> np.ndarray:
        return np.random.default_rng((self.seed, kind)).standard_normal((count, 5)).astype(np.float32)

    def write(self) -> Path:
        folder = self.artifacts / feature_files.FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        count = len(self.product_ids)
        pictures = [None if name == "P3" else row for name, row in zip(self.product_ids, self.vectors(2, count))]
        self._write(
            folder / feature_files.QUERIES,
            [
                (features.QUERY_ID, pa.array(self.query_ids, pa.int64())),
                (features.QUERY_VEC, pa.array(list(self.vectors(0, len(self.query_ids))), VECTOR)),
            ],
            self.query_times,
        )
        self._write(
            folder / feature_files.PRODUCTS,
            [
                (features.PRODUCT_ID, pa.array(self.product_ids)),
                (features.TEXT_VEC, pa.array(list(self.vectors(1, count)), VECTOR)),
                (features.IMAGE_VEC, pa.array(pictures, VECTOR)),
                (features.HAS_IMAGE, pa.array([int(row is not None) for row in pictures], pa.int64())),
            ],
            self.product_times,
        )
        return self.artifacts

    @staticmethod
    def _write(file: Path, columns: list[tuple[str, pa.Array]], times: Sequence[datetime]) -> None:
        named = [*columns, (features.EVENT_TIMESTAMP, pa.array(times, TIMESTAMP))]
        pq.write_table(pa.table(dict(named)), file, row_group_size=2)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "artifacts")
