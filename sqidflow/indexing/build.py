"""Builds a product index: vectors, words and texts of a catalogue, laid out for ``sqidflow.search.index`` to map."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.encoders.appearance import SIZE, kept_of
from sqidflow.indexing.attributes import coded, write_attributes
from sqidflow.indexing.measured import NEAREST, Measured
from sqidflow.ranking import features
from sqidflow.ranking.bm25 import WordIndex, product_text
from sqidflow.ranking.rankers import Ranker
from sqidflow.ranking.served import ReadWords
from sqidflow.ranking.words import DEFAULT_LANGUAGE, surfaces
from sqidflow.search.attributes import FOLDER as ATTRIBUTES_FOLDER
from sqidflow.search.index import (
    APPEARANCES_FILE,
    DIGESTS_FILE,
    FACETS_FILE,
    LETTERS_FILE,
    OFF_CATALOGUE_FILE,
    PRINTS_FILE,
    SURFACES_FILE,
    TEXTS_FOLDER,
    VECTORS_FILE,
    VOCABULARY_FILE,
    WORDS_FOLDER,
    Meta,
    ProductIndex,
    read_counts,
)
from sqidflow.search.letters import Letters

if TYPE_CHECKING:
    import pyarrow as pa

EXACT_UP_TO = 10_000
"""Products up to which every search is exact: below 5 ms, nothing to approximate."""
RECALL_AT_10, RECALL_AT_100 = 0.99, 0.95
_RECALLED = 100
_NPROBES = (16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 384, 512)
_TRAINED_PER_LIST = 60
_ROWS_AT_ONCE = 8192
_ADDED_AT_ONCE = 65_536
"""As many as FAISS itself adds at once."""
_MEASURED_QUERIES = 400
_MEASURED_CHANGED = 32
_KEPT_VOCABULARY = 60_000
_WORDS_OF = ("title", "brand", "color")
EXACT = "exact"
_MORE_LISTS = 2
"""An update may look into up to so many times the lists of the build whose lists it keeps."""


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
class Reuse:
    """What an index of an older catalogue has of the new one's n products.

    ``row``, ``text_row`` and ``vector_row`` int64 [n]: the old row of the same product; of the same product with the
    same title, brand and colour; and of the same product with the same vectors. -1 where there is none. ``measured``:
    what recall was measured with, None where the old index does not have it.
    """

    old: ProductIndex
    row: np.ndarray
    text_row: np.ndarray
    vector_row: np.ndarray
    measured: Measured | None = None

    @property
    def new_row(self) -> np.ndarray:
        """int64 [old products]: where each stands now, -1 where it is gone or has other vectors."""
        kept = self.vector_row >= 0
        rows = np.full(len(self.old), -1, np.int64)
        rows[self.vector_row[kept]] = np.flatnonzero(kept)
        return rows


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
    reuse: Reuse | None = None,
    prints: np.ndarray | None = None,
    read: ReadWords | None = None,
) -> Meta:
    """Write everything but the calibration into ``folder``.

    Args:
        pictures: (row, bytes of the file), in ascending order of rows.
        queries: float32 [q, d], what recall is measured with.
        meta: what the index is made of; kind, nprobe and recall are filled in.
        language: the one that texts are read in, as training read them.
        off_catalogue: float32 [questions of ``OFF_CATALOGUE`` in its order, d], None where there is no telling by them.
        reuse: an older index whose unchanged products are not computed again. The lists that its vectors stand in stay;
            everything else is as a build without it gives. Where it has what its recall was measured with, the
            catalogue need have the vectors of no others than those that ``vector_row`` says are new, and recall is
            measured with the queries of then, and new products, instead of ``queries``.
        prints: uint64 [n] of the vectors, see :mod:`sqidflow.data.prints`; None where they are not known.
        read: the catalogue's words, where they have been read already.

    Returns:
        The finished meta data, which are written too.

    Raises:
        RecallError: the lists of ``reuse`` do not hold the new vectors well enough.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count, dim = catalogue.text.shape
    source = reuse or read or ReadWords.of(catalogue, language)
    _write_unit_vectors(folder, catalogue, ranker, reuse)
    if prints is not None:
        np.save(folder / PRINTS_FILE, prints, allow_pickle=False)
    vectors = _vectors(folder, catalogue, features.unit(queries), reuse)
    np.save(folder / "ids.npy", np.array([product.encode() for product in catalogue.product_ids]), allow_pickle=False)
    np.save(folder / "has_image.npy", np.asarray(catalogue.has_image, bool), allow_pickle=False)
    _write_texts(folder, catalogue, source)
    write_attributes(folder / ATTRIBUTES_FOLDER, catalogue.attributes)
    _write_judgements(folder, judgements, count)
    _write_pictures(folder, pictures, count, reuse)
    _write_words(folder, catalogue, language, source)
    questions = np.zeros((0, dim), np.float32) if off_catalogue is None else features.unit(off_catalogue)
    np.save(folder / f"{OFF_CATALOGUE_FILE}.npy", questions.astype(np.float16), allow_pickle=False)
    meta = replace(meta, **vectors)
    meta.write(folder)
    return meta


class RecallError(SqidflowError):
    """The lists of an older index bring too few of the nearest products of a changed catalogue."""


@dataclass(frozen=True)
class Blends:
    """The middle of the unit vectors of a product's text and picture, computed for the rows that are asked for: kept,
    they would be a second copy of all vectors."""

    catalogue: Catalogue

    @property
    def shape(self) -> tuple[int, int]:
        count, dim = self.catalogue.text.shape
        return count, dim

    def rows(self, rows: slice | np.ndarray) -> np.ndarray:
        """float32 [rows, d]."""
        blend, has_image = _unit(self.catalogue.text[rows]), np.asarray(self.catalogue.has_image[rows], bool)
        if has_image.any():
            blend[has_image] = (blend[has_image] + _unit(self.catalogue.image[rows][has_image])) / 2
        return blend

    def blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """The first row of each block of ``size`` rows, and the block."""
        for start in range(0, self.shape[0], size):
            yield start, self.rows(slice(start, start + size))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """float32 [rows, d]; those of an index, float16, are unit vectors and are taken as the service takes them."""
    return features.single(vectors) if vectors.dtype == np.float16 else features.unit(vectors)


def _write_unit_vectors(folder: Path, catalogue: Catalogue, ranker: Ranker, reuse: Reuse | None) -> None:
    """Write what is kept of each product's vectors, some rows at a time."""
    count, dim = catalogue.text.shape
    written = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, shape)
        for name, kind, shape in (
            ("text", np.float16, (count, dim)),
            ("image", np.float16, (count, dim)),
            ("mapped_norm", np.float32, (count,)),
        )
    }
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, count))
        if reuse is not None:
            same = reuse.vector_row[rows]
            kept, same = rows[same >= 0], same[same >= 0]
            # What is the same there is the same to the last bit.
            written["text"][kept] = reuse.old.text[same]
            pictured = np.asarray(catalogue.has_image[kept], bool)
            written["image"][kept[pictured]] = reuse.old.image[same[pictured]]
            written["mapped_norm"][kept] = reuse.old.mapped_norm[same]
            rows = rows[reuse.vector_row[rows] < 0]
        if not len(rows):
            continue
        text, has_image = features.unit(catalogue.text[rows]), np.asarray(catalogue.has_image[rows], bool)
        written["text"][rows] = text
        if has_image.any():
            written["image"][rows] = features.unit(catalogue.image[rows])
        written["mapped_norm"][rows] = ranker.mapped_norm(text)
    for array in written.values():
        array.flush()


def _write_texts(folder: Path, catalogue: Catalogue, source: ReadWords | Reuse) -> None:
    columns = (catalogue.titles, catalogue.brands, catalogue.colors)
    if isinstance(source, ReadWords):
        encoded = source.texts
    else:
        new = np.flatnonzero(source.text_row < 0).tolist()
        encoded = source.old.texts.with_rows(source.text_row, *([column[row] for row in new] for column in columns))
    encoded.save(folder / TEXTS_FOLDER)
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
        codes, counts = coded((value or "").strip() for value in values)
        np.save(folder / f"{name}.npy", codes)
        facets[kind] = [[label, count] for label, count in counts.items()]
    (folder / FACETS_FILE).write_text(json.dumps(facets), encoding="utf-8")


def _write_arrow(file: Path, columns: dict[str, list[Any]]) -> None:
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


def _write_pictures(folder: Path, pictures: Iterable[tuple[int, bytes]], products: int, reuse: Reuse | None) -> None:
    sizes = np.zeros(products, np.int64)
    appearances, digests = np.zeros((products, SIZE), np.uint8), np.zeros((products, 2), np.uint64)
    with (folder / "pictures.bin").open("wb") as stream:
        for row, content in pictures:
            sizes[row] = len(content)
            stream.write(content)
            before = -1 if reuse is None else int(reuse.row[row])
            if reuse is not None and before >= 0 and reuse.old.picture(before) == content:
                digests[row], appearances[row] = reuse.old.look_of(before)
                continue
            with suppress(ValueError):  # a picture that cannot be opened is served as it is and found by its words
                *digests[row], appearances[row] = kept_of(content)
    np.save(folder / f"{APPEARANCES_FILE}.npy", appearances, allow_pickle=False)
    np.save(folder / f"{DIGESTS_FILE}.npy", digests, allow_pickle=False)
    np.save(folder / "pictures_offsets.npy", np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))


def _write_words(folder: Path, catalogue: Catalogue, language: str, source: ReadWords | Reuse) -> None:
    columns = (catalogue.titles, catalogue.brands, catalogue.colors)
    if isinstance(source, ReadWords):
        texts = [product_text(*each) for each in zip(*columns)]
        words = source.words
        counts = _surface_counts(texts)
    else:
        new = np.flatnonzero(source.text_row < 0).tolist()
        texts = [product_text(*(column[row] for column in columns)) for row in new]
        words = WordIndex.updated(source.old.folder / WORDS_FOLDER, source.text_row, texts, language)
        gone = np.setdiff1d(np.arange(len(source.old)), source.text_row).tolist()
        counts = Counter(read_counts(source.old.folder / SURFACES_FILE))
        counts.update(_surface_counts(texts))
        counts.subtract(
            _surface_counts([product_text(*(source.old.cell(name, row) for name in _WORDS_OF)) for row in gone])
        )
    words.save(folder / WORDS_FOLDER)
    # Spelling is corrected to words as people write them.
    ordered = sorted(
        ((word, count) for word, count in counts.items() if count > 0), key=lambda item: (-item[1], item[0])
    )
    lines = [f"{word} {count}" for word, count in ordered]
    (folder / SURFACES_FILE).write_text("\n".join(lines), encoding="utf-8")
    (folder / VOCABULARY_FILE).write_text("\n".join(lines[:_KEPT_VOCABULARY]), encoding="utf-8")
    Letters.of(word for word, _ in ordered[:_KEPT_VOCABULARY]).save(folder / LETTERS_FILE)


def _surface_counts(texts: Sequence[str]) -> Counter[str]:
    """Word, as it is written, and the number of texts that have it."""
    return Counter(word for text in texts for word in set(surfaces(text)))


def _vectors(folder: Path, catalogue: Catalogue, queries: np.ndarray, reuse: Reuse | None) -> dict[str, Any]:
    """Write the FAISS index; its kind, nprobe and recall against exact search."""
    import faiss

    blends = Blends(catalogue)
    count, dim = blends.shape
    index: Any
    if count <= EXACT_UP_TO:
        index = faiss.IndexFlatIP(dim)
        index.add(blends.rows(slice(None)))
        faiss.write_index(index, str(folder / VECTORS_FILE))
        return {"kind": EXACT, "nprobe": None, "recall_at_10": 1.0, "recall_at_100": 1.0}
    rng = np.random.default_rng(0)
    if reuse is None:
        lists = int(2 ** np.round(np.log2(2.5 * np.sqrt(count))))
        kind = f"IVF{lists},SQ8"
        index = faiss.index_factory(dim, kind, faiss.METRIC_INNER_PRODUCT)
        index.train(blends.rows(np.sort(rng.permutation(count)[: _TRAINED_PER_LIST * lists])))
        for _, block in blends.blocks(_ADDED_AT_ONCE):
            index.add(block)
        tried = [n for n in _NPROBES if n <= lists] or [lists]
        enough = RECALL_AT_10, RECALL_AT_100
    else:
        before = reuse.old.meta
        kind, index = before.kind, _moved(reuse, blends)
        least = before.nprobe or 1
        tried = [n for n in _NPROBES if least <= n <= _MORE_LISTS * least] or [least]
        # What the full build itself did not reach is not asked of an update.
        enough = min(RECALL_AT_10, before.built_recall_at_10), min(RECALL_AT_100, before.built_recall_at_100)
    chosen = queries[rng.permutation(len(queries))[:_MEASURED_QUERIES]]
    if reuse is not None and reuse.measured is not None:
        # Of the products that did not change only these vectors need be there.
        written = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("text", "image")}
        measured = _followed(reuse, reuse.measured, blends, Blends(replace(catalogue, **written)))
        measured.write(folder)
        blends = Blends(replace(catalogue, **written))
        measured = _with_changed(measured, reuse, blends)
    else:
        measured = Measured(chosen, *_nearest(chosen, blends, min(NEAREST, count)))
        measured.write(folder)
    nprobe, at_10, at_100 = _tuned(index, blends, measured, tried, enough)
    if reuse is not None and (at_10 < enough[0] or at_100 < enough[1]):
        raise RecallError(f"recall {at_10:.3f}, {at_100:.3f} with the lists of {reuse.old.meta.digest}")
    index.nprobe = nprobe
    faiss.write_index(index, str(folder / VECTORS_FILE))
    return {"kind": kind, "nprobe": nprobe, "recall_at_10": at_10, "recall_at_100": at_100}


def _followed(reuse: Reuse, measured: Measured, changed: Blends, written: Blends) -> Measured:
    """What is nearest to the measured queries now: told by the changed products, and searched for among all only where
    so many of a query's products went that those kept are too few."""
    rows = np.flatnonzero(reuse.vector_row < 0)
    now = measured.followed(reuse.new_row, rows, changed.rows(rows))
    short = np.flatnonzero((now.rows >= 0).sum(axis=1) < min(_RECALLED, written.shape[0]))
    if not len(short):
        return now
    return now.with_rows(short, *_nearest(now.queries[short], written, min(NEAREST, written.shape[0])))


def _with_changed(measured: Measured, reuse: Reuse, written: Blends) -> Measured:
    """Some of the changed products as queries too: a fixed sample does not notice that they are all of a kind that the
    lists were not made for."""
    rows = np.flatnonzero(reuse.vector_row < 0)
    if not len(rows):
        return measured
    queries = features.unit(written.rows(np.random.default_rng(0).permutation(rows)[:_MEASURED_CHANGED]))
    nearest = _nearest(queries, written, min(_RECALLED, written.shape[0]))
    none = Measured(queries, np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32))
    return measured.and_(none.with_rows(np.arange(len(queries)), *nearest))


def _moved(reuse: Reuse, blends: Blends) -> Any:
    """The lists of the old index: the codes of unchanged vectors under their new rows, and the other vectors added."""
    import faiss

    file = str(reuse.old.folder / VECTORS_FILE)
    old: Any = faiss.read_index(file)
    index: Any = faiss.read_index(file)
    index.reset()
    new_row = reuse.new_row
    width = old.invlists.code_size
    for number in range(old.nlist):
        size = old.invlists.list_size(number)
        if not size:
            continue
        ids = new_row[faiss.rev_swig_ptr(old.invlists.get_ids(number), size)]
        codes = faiss.rev_swig_ptr(old.invlists.get_codes(number), size * width).reshape(size, width)
        stays = ids >= 0
        ids, codes = np.ascontiguousarray(ids[stays]), np.ascontiguousarray(codes[stays])
        if len(ids):
            index.invlists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(codes))
            index.ntotal += len(ids)
    others = np.flatnonzero(reuse.vector_row < 0)
    if len(others):
        index.add_with_ids(blends.rows(others), others)
    return index


def _tuned(
    index: Any, blends: Blends, measured: Measured, nprobes: Sequence[int], enough: tuple[float, float]
) -> tuple[int, float, float]:
    """The smallest number of lists to look into that keeps both recalls, else the last; with the recalls."""
    count = min(_RECALLED, blends.shape[0])
    for nprobe in nprobes:
        index.nprobe = nprobe
        _, found = index.search(measured.queries, _RECALLED)
        # As the service does it: what the codes bring is put in order by the vectors themselves.
        ordered = []
        for query, rows in zip(measured.queries, found):
            rows = rows[rows >= 0]
            ordered.append(rows[np.argsort(-(blends.rows(rows) @ query), kind="stable")])
        exact = measured.rows[:, :count]
        at_10, at_100 = (
            float(
                np.mean([len(set(rows[:k]) & set(best[:k])) / min(k, len(best)) for rows, best in zip(ordered, exact)])
            )
            for k in (10, _RECALLED)
        )
        if at_10 >= enough[0] and at_100 >= enough[1]:
            break
    return nprobe, at_10, at_100


def nearest_rows(queries: np.ndarray, blends: Blends, count: int) -> np.ndarray:
    """int64 [q, count]: the rows with the highest products with each query, best first; of equal ones the first."""
    return _nearest(queries, blends, count)[0]


def _nearest(queries: np.ndarray, blends: Blends, count: int) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`nearest_rows`, with the products, float32 [q, count].

    One pass over the vectors for all queries; of each block only what is better than the best so far is sorted.
    """
    asked = len(queries)
    scores, rows = np.full((asked, count), -np.inf, np.float32), np.full((asked, count), -1, np.int64)
    for start, block in blends.blocks(_ROWS_AT_ONCE):
        products = queries @ block.T
        if start:
            query, row = np.nonzero(products > scores[:, -1:])
        else:
            query, row = np.nonzero(products >= np.partition(products, -count, axis=1)[:, -count, None])
        all_queries = np.concatenate([np.repeat(np.arange(asked), count), query])
        all_scores = np.concatenate([scores.reshape(-1), products[query, row]])
        all_rows = np.concatenate([rows.reshape(-1), start + row])
        order = np.lexsort((all_rows, -all_scores, all_queries))
        ends = np.cumsum(np.bincount(all_queries, minlength=asked))
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        best = order[starts[:, None] + np.arange(count)]
        scores, rows = all_scores[best], all_rows[best]
    return rows, scores
