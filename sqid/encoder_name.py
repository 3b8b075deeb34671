"""Who made the vectors of a data folder."""

from __future__ import annotations

from pathlib import Path

from sqid import formats


def encoder_of(data_dir: Path) -> str | None:
    """The encoder that both vector files name; None where they name none, or two (published files name none)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = set()
    for name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE):
        try:
            metadata = pq.read_schema(data_dir / name).metadata or {}
        except (OSError, pa.ArrowInvalid):
            return None
        names.add(metadata.get(formats.ENCODER_KEY.encode()))
    found = names.pop() if len(names) == 1 else None
    return found.decode() if found else None
