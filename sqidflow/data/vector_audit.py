"""Whether the vectors of a folder can be those of its texts, by one encoder: asked of the vectors themselves.

Vectors whose encoder is not named may be of two encoders, or stand under the wrong ids. Of one encoder, two texts that
share nearly all their words have vectors that are nearer than those of texts picked at random, and all vectors have
norms of one order. Where that fails for many pairs, cosines mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.data import formats, readers
from sqidflow.data.encoder_name import encoder_in
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.ranking.query_text import query_key

HINT = (
    "import vectors of one encoder under the ids of their texts, or let `sqidflow data encode --force` make all of them"
)
_TEXTS = 600
"""Texts looked at, in pairs of neighbours in alphabetical order: those share their words."""
_TEXT_DIM = 512
_ALIKE = 0.75
"""Texts with this cosine of the offline encoder share nearly all words; where there are few such, the nearest do."""
_ALIKE_AT_LEAST = 0.4
_ENOUGH_PAIRS = 60
_RELATED = 0.35
"""A query and a title with this cosine share a word or two."""
_FEWEST_PAIRS = 12
_CHANCE_PAIRS = 3
_BACKGROUND = 0.75
"""Quantile of the cosines of random pairs; what is below it is as far as any two."""
_MIXED_SHARE = 0.1
_FOREIGN_SHARE = 0.5
_NORM_RATIO = 2.0
_SMALLEST_PART = 0.02


def findings(folder: Path) -> Iterator[str]:
    """What is wrong with the vectors of ``folder``, a line each; nothing where judgements or products are missing.

    Reads the texts, and both vector files once; keeps some hundred vectors of each.
    """
    examples, products = folder / formats.EXAMPLES_FILE, folder / formats.PRODUCTS_FILE
    files = [folder / formats.QUERY_FEATURES_FILE, folder / formats.PRODUCT_FEATURES_FILE]
    if not (examples.exists() and products.exists()):
        return
    queries = _Looked.at(_query_texts(examples), files[0], readers.read_query_features, "queries")
    titles = _Looked.at(_titles(products), files[1], readers.read_product_features, "products")
    for looked in (queries, titles):
        if looked is not None:
            yield from looked.findings()
    if queries is not None and titles is not None:
        yield from _between(queries, titles)


class _Looked:
    """Texts and their vectors: ``texts`` and ``vectors`` float32 [n, d], unit length; ``norms`` of the vectors."""

    def __init__(self, texts: list[str], vectors: np.ndarray, name: str, file: Path) -> None:
        self.name, self.file = name, file
        self.texts = OfflineEncoder(_TEXT_DIM).encode_texts(texts)
        self.norms = np.linalg.norm(vectors, axis=1)
        self.vectors = vectors / self.norms[:, None]

    @classmethod
    def at(cls, texts: dict[Any, str], file: Path, read: Callable[..., Any], name: str) -> _Looked | None:
        """Looks at those texts that have a vector; None where there are too few of them."""
        if not file.exists():
            return None
        ids = pa.array(texts)
        found, parts = [], []
        for batch in read(file, allow_missing=True):
            batch = batch.filter(pc.and_(pc.is_in(batch.column(0), ids), batch[formats.TEXT_VECTOR].is_valid()))
            if batch.num_rows:
                found += batch.column(0).to_pylist()
                parts.append(np.stack([row.values.to_numpy() for row in batch[formats.TEXT_VECTOR]]))
        if len(found) < _FEWEST_PAIRS:
            return None
        vectors = np.concatenate(parts)
        newest = list({key: row for row, key in enumerate(found)}.values())  # of a history the last row
        return cls([texts[found[row]] for row in newest], vectors[newest].astype(np.float32), name, file)

    def findings(self) -> Iterator[str]:
        parts = norm_parts(self.norms)
        if parts is not None:
            small, large, share = parts
            yield (
                f"vectors of {self.name} have lengths about {small:.2g} and about {large:.2g} ({share:.0%} of those "
                "looked at): two encoders in one file"
            )
        alike, below = pairs_apart(self.texts, self.vectors)
        if alike >= _FEWEST_PAIRS and below > max(_MIXED_SHARE * alike, _CHANCE_PAIRS):
            yield (
                f"of {alike:,} pairs of {self.name} with nearly the same text {below:,} have vectors no nearer than "
                "any two: they are of two encoders, or under the wrong ids"
            )


def pairs_apart(texts: np.ndarray, vectors: np.ndarray) -> tuple[int, int]:
    """How many pairs of rows have nearly the same text, and how many of them vectors no nearer than random pairs'.

    Both float32 [n, d], unit length, each with its own d.
    """
    first, second = np.triu_indices(len(texts), 1)
    text_cosines = (texts @ texts.T)[first, second]
    vector_cosines = (vectors @ vectors.T)[first, second]
    least = _ALIKE
    if (text_cosines >= least).sum() < _ENOUGH_PAIRS < len(text_cosines):
        least = max(np.partition(text_cosines, -_ENOUGH_PAIRS)[-_ENOUGH_PAIRS], _ALIKE_AT_LEAST)
    alike = text_cosines >= least
    background = np.quantile(vector_cosines[~alike], _BACKGROUND) if (~alike).any() else 1.0
    return int(alike.sum()), int((vector_cosines[alike] <= background).sum())


def norm_parts(norms: np.ndarray) -> tuple[float, float, float] | None:
    """The typical norms of two groups that lie far apart, and the share of the smaller group; None where there is one
    group."""
    ordered = np.sort(np.log(norms))
    least = max(3, int(_SMALLEST_PART * len(ordered)))
    if len(ordered) < 2 * least:
        return None
    gaps = np.diff(ordered)[least - 1 : len(ordered) - least]
    cut = int(gaps.argmax()) + least
    if gaps.max() < np.log(_NORM_RATIO):
        return None
    small, large = ordered[:cut], ordered[cut:]
    share = min(len(small), len(large)) / len(ordered)
    return float(np.exp(np.median(small))), float(np.exp(np.median(large))), share


def _between(queries: _Looked, titles: _Looked) -> Iterator[str]:
    if queries.vectors.shape[1] != titles.vectors.shape[1]:
        return  # said elsewhere
    text_cosines = queries.texts @ titles.texts.T
    vector_cosines = queries.vectors @ titles.vectors.T
    nearest = text_cosines.argmax(axis=1)
    rows = np.flatnonzero(text_cosines.max(axis=1) >= _RELATED)
    if len(rows) < _FEWEST_PAIRS:
        return
    background = np.quantile(vector_cosines[rows], _BACKGROUND, axis=1)
    below = int((vector_cosines[rows, nearest[rows]] <= background).sum())
    if below > _FOREIGN_SHARE * len(rows):
        yield (
            f"of {len(rows):,} queries {below:,} have vectors no nearer to that of the product with their words than "
            "to those of other products: they are of two encoders, or under the wrong ids"
        )


def _neighbours(texts: list[tuple[object, str]]) -> dict:
    """Texts by id, spread over the alphabet in runs of neighbours."""
    ordered = sorted({query_key(text): (key, text) for key, text in texts if text}.items())
    if len(ordered) > _TEXTS:
        run = 4
        starts = np.linspace(0, len(ordered) - run, _TEXTS // run).astype(int)
        rows = np.unique((starts[:, None] + np.arange(run)).reshape(-1))
        ordered = [ordered[row] for row in rows]
    return {key: text for _, (key, text) in ordered}


def _query_texts(examples: Path) -> dict:
    texts: dict = {}
    for batch in readers.read_examples(examples):
        ids = batch["query_id"].to_pylist()
        texts.update(zip(ids, batch["query"].to_pylist(), strict=True))
    return _neighbours(list(texts.items()))


def _titles(products: Path) -> dict:
    texts: dict = {}
    for batch in readers.read_products(products):
        for key, title in zip(batch["product_id"].to_pylist(), batch["product_title"].to_pylist(), strict=True):
            texts.setdefault(key, title)
    return _neighbours(list(texts.items()))


def worth_a_look(folder: Path) -> bool:
    """Whether a vector file does not name its encoder."""
    names = (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE)
    return any((folder / name).exists() and encoder_in(folder / name) is None for name in names)
