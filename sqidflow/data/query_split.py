"""Which split a query is in: the hash that CsvExampleGen takes of its id."""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate


def split_of(query_id: int, shares: Sequence[int]) -> int:
    """The position of the split into which CsvExampleGen puts a query: a hash of the id decides.

    TFX takes SHA-256 of the id as a serialized ``tf.train.Feature``; written here, for TensorFlow is slow to load.
    """
    number = _varint(query_id % 2**64)
    packed = b"\x0a" + _varint(len(number)) + number  # tf.train.Int64List, its only field
    key = b"\x1a" + _varint(len(packed)) + packed  # tf.train.Feature, field 3
    bounds = list(accumulate(shares))
    return bisect(bounds, int(hashlib.sha256(key).hexdigest(), 16) % bounds[-1])


def _varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)
