"""What tells one row's vectors from another's: computed once, when features are prepared, and carried along from there.

What a row holds is then compared without reading it: by the online store, and by an index that is updated.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

PRINT = "vectors_print"
"""The column of a feature source that has each row's print, uint64."""


def prints_of(columns: Sequence[pa.Array]) -> np.ndarray:
    """uint64 [n]: the first 64 bits of SHA-256 over what each row has in n-row ``columns`` of vectors and numbers.

    A null is unlike any value.
    """
    out = bytearray()
    lengths = struct.Struct(f"<{len(columns)}q")
    for row in zip(*map(_row_bytes, columns), strict=True):
        digest = hashlib.sha256(lengths.pack(*(-1 if part is None else len(part) for part in row)))
        for part in row:
            if part is not None:
                digest.update(part)
        out += digest.digest()[:8]
    return np.frombuffer(bytes(out), "<u8").astype(np.uint64, copy=False)


def _row_bytes(column: pa.Array) -> list[bytes | memoryview | None]:
    """Each row's value as bytes, None for a null."""
    valid = column.is_valid().to_pylist()
    if pa.types.is_list(column.type):
        width = column.type.value_type.bit_width // 8
        raw = np.ascontiguousarray(column.values.to_numpy(zero_copy_only=False)).data.cast("B")
        offsets = (column.offsets.to_numpy().astype(np.int64) * width).tolist()
        return [raw[start:end] if there else None for there, start, end in zip(valid, offsets, offsets[1:])]
    return [None if value is None else repr(value).encode() for value in column.cast(pa.int64()).to_pylist()]
