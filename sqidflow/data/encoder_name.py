"""Who made the vectors of a data folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqidflow.core.errors import DataError
from sqidflow.data import formats

_MEANINGLESS = "their cosines mean nothing"
_NAME_THEM = "say who made them: `sqidflow data import` with --encoder NAME"
_ENCODE_ALL = "`sqidflow data encode --force` makes all anew"


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

    Vectors of unknown origin count as those of another encoder until --encoder names theirs.

    Args:
        coming: the encoder of a file that does not exist yet.

    Raises:
        DataError: the two files name different encoders, or one of them names none.
    """
    files = [data_dir / name for name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE)]
    if not all(file.exists() for file in files) and (coming is None or not any(file.exists() for file in files)):
        return
    of_queries, of_products = (encoder_in(file) if file.exists() else coming for file in files)
    refuse_two(of_queries, of_products, files[1])


def refuse_two(of_queries: str | None, of_products: str | None, product_file: Path) -> None:
    """Raises DataError unless query and product vectors are of one encoder, or both of an unknown one."""
    if of_queries == of_products:
        return
    unknown = "of unknown origin"
    what = (
        f"vectors {_by(of_products, unknown)}, those of the queries are {f'by {of_queries}' if of_queries else unknown}"
    )
    hint = "run `sqidflow data encode --force` with the encoder that is meant"
    if not (of_queries and of_products):
        hint = f"{_NAME_THEM}, or {_ENCODE_ALL}"
    raise DataError(f"{what}: {_MEANINGLESS}", file=product_file, hint=hint)


def refuse_mixture(file: Path, there: str | None, kept: int, coming: str) -> None:
    """Raises DataError unless the ``kept`` vectors of a file are by the encoder whose vectors are to join them."""
    if kept and there != coming:
        hint = f"use --encoder {there}" if there else _NAME_THEM
        raise DataError(
            f"has {kept:,} vectors {_by(there, 'of unknown origin')}, new ones would be by {coming}: of two encoders, "
            f"{_MEANINGLESS}",
            file=file,
            hint=f"{hint}, or --force for one encoder throughout",
        )


def check_import(file: Path, encoder: str | None, beside: Mapping[str, str | None]) -> None:
    """Refuses vectors that would stand beside or among those of another encoder.

    Args:
        file: the imported file. encoder: the encoder of its vectors, None if unknown.
        beside: encoder of each group of existing vectors, by the name that a message gives the group.

    Raises:
        DataError: another encoder there, or one is known and the other is not.
    """
    for what, other in beside.items():
        if encoder == other:
            continue
        if encoder and other:
            raise DataError(
                f"vectors by encoder {encoder}, but the {what} are by {other}: {_MEANINGLESS}",
                file=file,
                hint="import vectors of one encoder",
            )
        unknown = "of unknown origin"
        there = f"by {other}" if other else unknown
        hint = _NAME_THEM if encoder is None else f"import the {what} again and {_NAME_THEM}"
        raise DataError(
            f"vectors {_by(encoder, unknown)}, but the {what} are {there}: of two encoders, {_MEANINGLESS}",
            file=file,
            hint=hint,
        )


def _by(name: str | None, otherwise: str) -> str:
    return f"by encoder {name}" if name else otherwise
