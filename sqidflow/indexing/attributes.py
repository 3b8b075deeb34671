"""Writes the attributes of an index, laid out for ``sqidflow.search.attributes`` to map."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.search.attributes import LIST_FILE
from sqidflow.search.schemas import MAX_FILTER_CHARS

if TYPE_CHECKING:
    import pyarrow as pa

_FEW_VALUES = 10
_TYPES = {"number": np.float64, "date": np.float64, "boolean": np.int8, "string": np.int32}


def read_attributes(catalogue_file: Path, order: pa.Array) -> dict[str, tuple[str, str | None, pa.Array]]:
    """Kind, unit and values of each attribute of the prepared catalogue, its rows in ``order``."""
    import pyarrow.parquet as pq

    from sqidflow.data.attributes import attributes_of
    from sqidflow.data.catalogue import ATTRIBUTE_PREFIX

    out: dict[str, tuple[str, str | None, Any]] = {}
    for attribute in attributes_of(catalogue_file):
        name = ATTRIBUTE_PREFIX + attribute.name
        values = pq.read_table(catalogue_file, columns=[name])[name].take(order).combine_chunks()
        out[attribute.name] = (attribute.kind, attribute.unit, values)
    return out


def write_attributes(folder: Path, attributes: Mapping[str, tuple[str, str | None, pa.Array]]) -> None:
    """Write ``folder``: a list, and an array an attribute."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, (name, (kind, unit, values)) in enumerate(attributes.items()):
        facet = True
        if kind == "string":
            codes, counts = coded(values.to_pylist())
            labels = list(counts)
            filled = int((codes >= 0).sum())
            facet = _is_facet(labels, filled)
            _write_labels(folder / f"{number}.arrow", labels)
        else:
            codes = _numeric(values, kind)
        np.save(folder / f"{number}.npy", codes.astype(_TYPES[kind]), allow_pickle=False)
        listed.append({"name": name, "kind": kind, "unit": unit, "facet": facet})
    (folder / LIST_FILE).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


def _numeric(values: pa.Array, kind: str) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "boolean":
        states: np.ndarray = pc.fill_null(values.cast(pa.int8()), -1).to_numpy(zero_copy_only=False)
        return states
    if kind == "date":
        micros = values.cast(pa.int64())
        seconds = pc.fill_null(micros, 0).to_numpy(zero_copy_only=False) / 1e6
        return np.where(values.is_valid().to_numpy(zero_copy_only=False), seconds, np.nan)
    numbers: np.ndarray = pc.fill_null(values, float("nan")).to_numpy(zero_copy_only=False)
    return numbers


def coded(values: Iterable[str | None]) -> tuple[np.ndarray, dict[str, int]]:
    """A number a value, compared without case, the frequent first, -1 for none or an empty one; and how each is mostly
    written, with how many there are."""
    values = list(values)
    # Of many products few values differ: each is counted first and folded once.
    folded: dict[str, Counter[str]] = defaultdict(Counter)
    for value, count in Counter(filter(None, values)).items():
        folded[value.casefold()][value] += count
    ordered = sorted(folded.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    numbers = {key: number for number, (key, _) in enumerate(ordered)}
    codes = np.array([numbers[value.casefold()] if value else -1 for value in values], np.int32)
    written = (max(seen.items(), key=lambda each: (each[1], each[0]))[0] for _, seen in ordered)
    return codes, {label: sum(seen.values()) for label, (_, seen) in zip(written, ordered)}


def _is_facet(labels: list[str], filled: int) -> bool:
    """Whether counting the values tells anything: they are short, no addresses, and shared by products."""
    if any(len(label) > MAX_FILTER_CHARS or label.startswith(("http://", "https://")) for label in labels):
        return False
    return len(labels) <= max(filled // 2, _FEW_VALUES)


def _write_labels(file: Path, labels: list[str]) -> None:
    import pyarrow as pa

    table = pa.table({"value": pa.array(labels, pa.large_string())})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(len(table), 1))
