"""Builds a product index: vectors, words and texts of a catalogue, laid out for ``sqidflow.search.index`` to map."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.encoders.appearance import SIZE, kept_of
from sqidflow.indexing.attributes import write_attributes
from sqidflow.ranking import features
from sqidflow.ranking.bm25 import WordIndex, product_text
from sqidflow.ranking.lexical import EncodedTexts
from sqidflow.ranking.rankers import Ranker
from sqidflow.ranking.words import DEFAULT_LANGUAGE, surfaces
from sqidflow.search.attributes import FOLDER as ATTRIBUTES_FOLDER
from sqidflow.search.index import (
    APPEARANCES_FILE,
    DIGESTS_FILE,
    FACETS_FILE,
    LETTERS_FILE,
    OFF_CATALOGUE_FILE,
    TEXTS_FOLDER,
    VECTORS_FILE,
    VOCABULARY_FILE,
    WORDS_FOLDER,
    Meta,
)
from sqidflow.search.letters import Letters

if TYPE_CHECKING:
    import pyarrow as pa

EXACT_UP_TO = 10_000
"""Products up to which every search is exact: below 5 ms, nothing to approximate."""
RECALL_AT_10, RECALL_AT_100 = 0.99, 0.95
_NPROBES = (16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 384, 512)
_TRAINED_PER_LIST = 60
_ROWS_AT_ONCE = 8192
_MEASURED_QUERIES = 400
_KEPT_VOCABULARY = 60_000


@dataclass(frozen=True)
class Catalogue:
    """n products in the order of their ids' UTF-8 bytes. Vectors float32 [n, d] as they are in the data, zeros without
    a picture; ``attributes`` by name: kind, unit and values."""

    product_ids: Sequence[str]
    titles: Sequence[str]
    brands: Sequence[str | None]
    colors: Sequence[str | None]
    descriptions: Sequence[str | None]
    bullet_points: Sequence[str | None]
    text: np.ndarray
    image: np.ndarray
    has_image: np.ndarray
    attributes: Mapping[str, tuple[str, str | None, pa.Array]] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgements:
    """m judgements: rows of the catalogue, queries and labels."""

    row: np.ndarray
    query_id: np.ndarray
    query: Sequence[str]
    label: Sequence[str]


def build(
    folder: Path,
    catalogue: Catalogue,
    judgements: Judgements,
    pictures: Iterable[tuple[int, bytes]],
    queries: np.ndarray,
    ranker: Ranker,
    meta: Meta,
    language: str = DEFAULT_LANGUAGE,
    off_catalogue: np.ndarray | None = None,
) -> Meta:
    """Write everything but the calibration into ``folder``.

    Args:
        pictures: (row, bytes of the file), in ascending order of rows.
        queries: float32 [q, d], what recall is measured with.
        meta: what the index is made of; kind, nprobe and recall are filled in.
        language: the one that texts are read in, as training read them.
        off_catalogue: float32 [questions of ``OFF_CATALOGUE`` in its order, d], None where there is no telling by them.

    Returns:
        The finished meta data, which are written too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text, image = features.unit(catalogue.text), features.unit(catalogue.image)
    has_image = np.asarray(catalogue.has_image, bool)
    save = {
        "ids": np.array([product.encode() for product in catalogue.product_ids]),
        "text": text.astype(np.float16),
        "image": image.astype(np.float16),
        "has_image": has_image,
        "mapped_norm": np.concatenate(
            [ranker.mapped_norm(text[at : at + _ROWS_AT_ONCE]) for at in range(0, len(text), _ROWS_AT_ONCE)]
        ),
    }
    for name, array in save.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    _write_texts(folder, catalogue, language)
    write_attributes(folder / ATTRIBUTES_FOLDER, catalogue.attributes)
    _write_judgements(folder, judgements, len(text))
    _write_pictures(folder, pictures, len(text))
    _write_words(folder, catalogue, language)
    questions = np.zeros((0, text.shape[1]), np.float32) if off_catalogue is None else features.unit(off_catalogue)
    np.save(folder / f"{OFF_CATALOGUE_FILE}.npy", questions.astype(np.float16), allow_pickle=False)

    blend = (text + np.where(has_image[:, None], image, text)) / 2
    del text, image
    made = _write_vectors(folder, blend, features.unit(queries))
    meta = replace(meta, **made)
    meta.write(folder)
    return meta


def _write_texts(folder: Path, catalogue: Catalogue, language: str) -> None:
    EncodedTexts.of(catalogue.titles, catalogue.brands, catalogue.colors, language).save(folder / TEXTS_FOLDER)
    _write_arrow(
        folder / "products.arrow",
        {
            "product_id": list(catalogue.product_ids),
            "title": list(catalogue.titles),
            "brand": list(catalogue.brands),
            "color": list(catalogue.colors),
            "description": list(catalogue.descriptions),
            "bullet_points": list(catalogue.bullet_points),
        },
    )
    facets: dict[str, Any] = {}
    for kind, name, values in (("brands", "brand", catalogue.brands), ("colors", "color", catalogue.colors)):
        folded: dict[str, Counter] = {}
        for value in values:
            if value and value.strip():
                folded.setdefault(value.strip().casefold(), Counter())[value.strip()] += 1
        ordered = sorted(folded.items(), key=lambda item: (-sum(item[1].values()), item[0]))
        numbers = {key: number for number, (key, _) in enumerate(ordered)}
        column = [numbers.get((value or "").strip().casefold(), -1) for value in values]
        np.save(folder / f"{name}.npy", np.array(column, np.int32))
        facets[kind] = [[max(seen.items(), key=lambda s: (s[1], s[0]))[0], sum(seen.values())] for _, seen in ordered]
    (folder / FACETS_FILE).write_text(json.dumps(facets), encoding="utf-8")


def _write_arrow(file: Path, columns: dict[str, list]) -> None:
    import pyarrow as pa

    types = {"query_id": pa.int64()}
    arrays = [pa.array(values, types.get(name, pa.large_string())) for name, values in columns.items()]
    table = pa.table(arrays, names=list(columns))
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(len(table), 1))


def _write_judgements(folder: Path, judgements: Judgements, products: int) -> None:
    order = np.lexsort((judgements.query_id, judgements.row))
    counts = np.bincount(judgements.row, minlength=products)
    np.save(folder / "judged_offsets.npy", np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    _write_arrow(
        folder / "judged.arrow",
        {
            "query_id": judgements.query_id[order].tolist(),
            "query": [judgements.query[at] for at in order],
            "label": [judgements.label[at] for at in order],
        },
    )


def _write_pictures(folder: Path, pictures: Iterable[tuple[int, bytes]], products: int) -> None:
    sizes = np.zeros(products, np.int64)
    appearances, digests = np.zeros((products, SIZE), np.uint8), np.zeros((products, 2), np.uint64)
    with (folder / "pictures.bin").open("wb") as stream:
        for row, content in pictures:
            sizes[row] = len(content)
            stream.write(content)
            with suppress(ValueError):  # a picture that cannot be opened is served as it is and found by its words
                *digests[row], appearances[row] = kept_of(content)
    np.save(folder / f"{APPEARANCES_FILE}.npy", appearances, allow_pickle=False)
    np.save(folder / f"{DIGESTS_FILE}.npy", digests, allow_pickle=False)
    np.save(folder / "pictures_offsets.npy", np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))


def _write_words(folder: Path, catalogue: Catalogue, language: str) -> None:
    texts = [product_text(*each) for each in zip(catalogue.titles, catalogue.brands, catalogue.colors)]
    WordIndex.of(texts, language).save(folder / WORDS_FOLDER)
    # Spelling is corrected to words as people write them.
    counts = Counter(word for text in texts for word in set(surfaces(text)))
    lines = [f"{word} {count}" for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    (folder / VOCABULARY_FILE).write_text("\n".join(lines[:_KEPT_VOCABULARY]), encoding="utf-8")
    Letters.of(line.rsplit(" ", 1)[0] for line in lines[:_KEPT_VOCABULARY]).save(folder / LETTERS_FILE)


def _write_vectors(folder: Path, blend: np.ndarray, queries: np.ndarray) -> dict[str, Any]:
    """Write the FAISS index; its kind, nprobe and recall against exact search."""
    import faiss

    count, dim = blend.shape
    if count <= EXACT_UP_TO:
        index = faiss.IndexFlatIP(dim)
        index.add(blend)
        faiss.write_index(index, str(folder / VECTORS_FILE))
        return {"kind": "exact", "nprobe": None, "recall_at_10": 1.0, "recall_at_100": 1.0}
    lists = int(2 ** np.round(np.log2(2.5 * np.sqrt(count))))
    index = faiss.index_factory(dim, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    rng = np.random.default_rng(0)
    index.train(blend[np.sort(rng.permutation(count)[: _TRAINED_PER_LIST * lists])])
    index.add(blend)
    chosen = queries[rng.permutation(len(queries))[:_MEASURED_QUERIES]]
    nprobe, at_10, at_100 = _tuned(index, blend, chosen, lists)
    index.nprobe = nprobe
    faiss.write_index(index, str(folder / VECTORS_FILE))
    return {"kind": f"IVF{lists},SQ8", "nprobe": nprobe, "recall_at_10": at_10, "recall_at_100": at_100}


def _tuned(index: Any, blend: np.ndarray, queries: np.ndarray, lists: int) -> tuple[int, float, float]:
    """The smallest number of lists to look into that keeps both recalls, else all that were tried; with the recalls."""
    exact = np.concatenate(
        [np.argsort(-(part @ blend.T), axis=1, kind="stable")[:, :100] for part in np.array_split(queries, 20)]
    )
    for nprobe in [n for n in _NPROBES if n <= lists] or [lists]:
        index.nprobe = nprobe
        _, found = index.search(queries, 100)
        # As the service does it: what the codes bring is put in order by the vectors themselves.
        ordered = []
        for query, rows in zip(queries, found):
            rows = rows[rows >= 0]
            ordered.append(rows[np.argsort(-(blend[rows] @ query), kind="stable")])
        at_10, at_100 = (
            float(np.mean([len(set(rows[:k]) & set(best[:k])) / k for rows, best in zip(ordered, exact)]))
            for k in (10, 100)
        )
        if at_10 >= RECALL_AT_10 and at_100 >= RECALL_AT_100:
            break
    return nprobe, at_10, at_100
