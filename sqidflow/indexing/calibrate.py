"""When an index answers that nothing fits: cut-offs, and how often they are wrong.

From a model's validation queries where there are enough; else from what every catalogue has, its products' own titles.
"""

from __future__ import annotations

import json
import logging
import random
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core.model_files import VALIDATION_QUERIES
from sqidflow.indexing.build import Catalogue
from sqidflow.ranking import features
from sqidflow.search import fitness
from sqidflow.search.engine import Request, SearchCore
from sqidflow.search.index import Fit

if TYPE_CHECKING:
    import pyarrow as pa

_LOG = logging.getLogger(__name__)

FROM_VALIDATION_QUERIES = "validation queries"
FROM_TITLES = "titles of products"
NOT_CALIBRATED = "nothing"
_FEWEST_VALIDATION = 10  # forty with the ways in which people would write them
_MOST_VALIDATION = 400
_MOST_TITLES = 150
_MEASURED_PICTURES = 200
_TITLE_WORDS_READ = 12
_TITLE_WORDS_ASKED = 4
_FREQUENT = 0.2
_MARKS = string.punctuation + "\u2013\u2014\u2018\u2019\u201c\u201d\u2022\u3001\u3002"


@dataclass(frozen=True)
class ValidationQueries:
    """Judged queries that no weight of the model was fitted to: their texts, and the products judged Exact for each."""

    texts: tuple[str, ...] = ()
    exact: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """``document`` says what the cut-offs come from and how often they are wrong; it is part of the index's meta."""

    fit: Fit
    score_cutoff: float
    picture_cutoff: float
    document: dict[str, Any]


def validation_queries(model: Path | None, pairs: pa.Table) -> ValidationQueries:
    """Those of a pushed model that are among the pairs, at most 400; none where there is no model."""
    if model is None:
        return ValidationQueries()
    ids = set(json.loads((model / VALIDATION_QUERIES).read_text())["query_ids"])
    texts: dict[int, str] = {}
    exact: dict[int, list[str]] = {}
    columns = (features.QUERY_ID, features.QUERY, features.PRODUCT_ID, features.LABEL)
    for query, text, product, label in zip(*(pairs[name].to_pylist() for name in columns)):
        if query in ids:
            texts[query] = text
            if label == "E":
                exact.setdefault(query, []).append(product)
    chosen = sorted(texts)[:_MOST_VALIDATION]
    exactly = sorted(exact.items())[:_MOST_VALIDATION]
    return ValidationQueries(
        tuple(texts[query] for query in chosen), {texts[query]: products for query, products in exactly}
    )


def calibrate(core: SearchCore, validation: ValidationQueries, catalogue: Catalogue) -> Calibration:
    """Set the cut-offs of an index.

    Args:
        core: searches the index as the service will, without cut-offs.
    """
    if len(validation.texts) >= _FEWEST_VALIDATION:
        source, names = FROM_VALIDATION_QUERIES, ("validation_queries", "mistyped_and_wrapped_queries")
        queries = measured_queries = list(validation.texts)
    else:
        source, names = FROM_TITLES, ("words_of_titles", "mistyped_and_wrapped_titles")
        queries = title_queries(catalogue.titles, _MOST_TITLES, seed=1)
        measured_queries = title_queries(catalogue.titles, _MOST_TITLES, seed=2)
    picture_cutoff = _picture_cutoff(core, catalogue)
    positive = _signals(core, queries)
    if len(positive) < _FEWEST_VALIDATION:
        _LOG.warning("only %d queries to calibrate with: nothing is refused", len(positive))
        return Calibration(Fit(), 0.0, picture_cutoff, {"source": NOT_CALIBRATED, "queries": len(positive)})
    known = core.index.document_counts
    disguised = np.concatenate([positive, _signals(core, fitness.disguised(queries, seed=1))])
    negative = _signals(core, [*fitness.gibberish(150, seed=1), *fitness.off_catalogue(0, known)])
    fit = fitness.calibrate(disguised, negative, positive)
    measured = {
        names[0]: positive if measured_queries is queries else _signals(core, measured_queries),
        names[1]: _signals(core, fitness.disguised(measured_queries, seed=2)),
        "gibberish": _signals(core, fitness.gibberish(300, seed=2)),
        "off_catalogue": _signals(core, fitness.off_catalogue(1, known)),
    }
    below = {
        name: float(np.mean([fitness.fitness(fit, row) < fit.cutoff for row in rows])) if len(rows) else 0.0
        for name, rows in measured.items()
    }
    document = {
        "source": source,
        "queries": len(positive),
        "false_rejects": {name: below[name] for name in names},
        "false_accepts": {name: 1 - below[name] for name in ("gibberish", "off_catalogue") if len(measured[name])},
        "measured": {name: len(rows) for name, rows in measured.items()},
    }
    return Calibration(fit, _score_cutoff(core, validation), picture_cutoff, document)


def title_queries(titles: Sequence[str], most: int, seed: int) -> list[str]:
    """What people would type who want some of the products: one to four words of a title, in its order.

    Words that every fifth title has say little of a product and are left out where there are others.
    """
    rng = random.Random(seed)
    spoken = [_spoken_words(title) for title in titles]
    counts = Counter(word.casefold() for words in spoken for word in set(words))
    frequent = max(1.0, _FREQUENT * len(titles))
    queries = []
    for words in rng.sample(spoken, len(spoken)):
        rare = [word for word in words if counts[word.casefold()] <= frequent] or words
        if not rare:
            continue
        asked = min(len(rare), rng.randint(1, _TITLE_WORDS_ASKED))
        queries.append(" ".join(rare[at] for at in sorted(rng.sample(range(len(rare)), asked))))
        if len(queries) == most:
            break
    return queries


def sample_queries(titles: Sequence[str], most: int) -> list[str]:
    """The first words of some titles, for the page to begin with."""
    chosen = random.Random(3).sample(range(len(titles)), len(titles))
    starts = (" ".join(_spoken_words(titles[at])[:3]) for at in chosen)
    return list(dict.fromkeys(filter(None, starts)))[:most]


def _spoken_words(title: str) -> list[str]:
    """The first words of a title without the marks around them; numbers only where it has nothing else."""
    words = [word.strip(_MARKS) for word in title.split()[:_TITLE_WORDS_READ]]
    words = [word for word in words if any(char.isalnum() for char in word)]
    return [word for word in words if any(char.isalpha() for char in word)] or words


def _signals(core: SearchCore, queries: Sequence[str]) -> np.ndarray:
    """Signals of the queries that say something, float64 [m, k]."""
    rows = [core.signals(query) for query in queries]
    return np.array([row for row in rows if row is not None]).reshape(-1, len(fitness.SIGNALS))


def _score_cutoff(core: SearchCore, validation: ValidationQueries) -> float:
    """The lowest hundredth of the scores of Exact products; 0 where the scores mean nothing or none is known."""
    if not core.ranker.trained or len(validation.texts) < _FEWEST_VALIDATION or not validation.exact:
        return 0.0
    scores = np.concatenate([core.scores_of(query, products) for query, products in validation.exact.items()])
    return float(np.quantile(scores, 0.01))


def _picture_cutoff(core: SearchCore, catalogue: Catalogue) -> float:
    """Similarity that 99 % of the catalogue's own pictures have with the best other product; -1 without pictures."""
    pictured = np.flatnonzero(catalogue.has_image)
    if not len(pictured):
        return -1.0
    chosen = np.random.default_rng(0).permutation(pictured)[:_MEASURED_PICTURES]
    best = []
    for row in chosen:
        vector = np.asarray(core.index.image[row], np.float32)
        found = core.retrieve("", vector)
        others = found.similarity[found.rows != row]
        if len(others):
            best.append(others.max())
    return float(np.quantile(best, 0.01)) if best else -1.0


def known_items(core: SearchCore, scores: Path) -> dict[str, float] | None:
    """Known-item search with the held-out queries of the model's last evaluation, as ``core`` answers it."""
    from sqidflow.indexing.known_item import measure

    wanted = held_out_items(scores)
    if not wanted:
        return None
    found = measure(lambda query: [hit.product_id for hit in core.search(Request(query)).hits], wanted)
    return asdict(found)


def held_out_items(scores: Path) -> dict[str, set[str]]:
    """Held-out queries and their Exact products, from a model's scores.parquet; empty where there is none."""
    import pyarrow.parquet as pq

    from sqidflow.indexing.known_item import wanted_items

    if not scores.is_file():
        return {}
    table = pq.read_table(scores, columns=["query", features.PRODUCT_ID, features.RATING])
    labels = (features.CLASSES[rating] for rating in table[features.RATING].to_pylist())
    return wanted_items(zip(table["query"].to_pylist(), table[features.PRODUCT_ID].to_pylist(), labels))
