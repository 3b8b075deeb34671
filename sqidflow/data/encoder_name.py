"""Who made the vectors of a data folder."""

from __future__ import annotations

from pathlib import Path

from sqidflow.core.errors import DataError
from sqidflow.data import formats


def encoder_in(file: Path) -> str | None:
    """The encoder that a vector file names; None where it names none (published files do not), or is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    name = metadata.get(formats.ENCODER_KEY.encode())
    return name.decode() if name else None


def encoder_of(data_dir: Path) -> str | None:
    """The encoder that both vector files name; None where one names none, or they name two."""
    of_queries, of_products = (
        encoder_in(data_dir / name) for name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE)
    )
    return of_queries if of_queries == of_products else None


def check_one_encoder(data_dir: Path, coming: str | None = None) -> None:
    """Refuses query and product vectors of two encoders: of one length or not, their cosines mean nothing.

    Args:
        coming: the encoder of a file that is not there yet.

    Raises:
        DataError: the two files name different encoders.
    """
    names = {}
    for name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE):
        file = data_dir / name
        names[name] = encoder_in(file) if file.exists() else coming
    of_queries, of_products = names.values()
    if of_queries and of_products and of_queries != of_products:
        raise DataError(
            f"vectors by encoder {of_products}, those of the queries are by {of_queries}: their cosines mean nothing",
            file=data_dir / formats.PRODUCT_FEATURES_FILE,
            hint="run `sqidflow data encode --force` with the encoder that is meant",
        )
