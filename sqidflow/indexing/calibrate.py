"""When an index answers that nothing fits: cut-offs, and how often they are wrong.

From what every catalogue has, its products' own titles, disguised as people type; and from a model's validation
queries, the more the more there are of them.
"""

from __future__ import annotations

import json
import logging
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core.model_files import VALIDATION_QUERIES
from sqidflow.encoders import appearance
from sqidflow.indexing.build import Catalogue
from sqidflow.ranking import features
from sqidflow.search import fitness
from sqidflow.search.engine import Request, SearchCore
from sqidflow.search.fitness import Observed
from sqidflow.search.index import Fit
from sqidflow.search.off_catalogue import DOMAINS

if TYPE_CHECKING:
    import pyarrow as pa

_LOG = logging.getLogger(__name__)

FROM_TITLES = "words of titles"
FROM_QUERIES = "words of titles and validation queries"
NOT_CALIBRATED = "nothing"
_FEWEST_QUERIES = 20
_MOST_VALIDATION = 400
_TITLES = 250
_MEASURED_TITLES = 150
_DISGUISED_VALIDATION = 60
_OWN_QUERIES_WEIGH = 30.0
"""All titles together weigh as many validation queries: those are what people typed, titles are a guess at it."""
_REFUSED_OF_TITLES, _REFUSED_OF_QUERIES = 0.04, 0.02
"""Shares that may be refused: titles are disguised harder than people write."""
_ANSWERED = 0.02
"""Of gibberish and of questions of other domains: what the cut-off may be lowered to, not what it must reach."""
_UNCERTAIN = 0.02
_FOLDS = 5
_TITLE_WORDS_READ = 12
_MARKS = string.punctuation + "\u2013\u2014\u2018\u2019\u201c\u201d\u2022\u3001\u3002"
_FEWEST_PICTURES = 10
_FEWEST_EXACT = 10
_MEASURED_PICTURES = 200
_REFUSED_PICTURES = 0.01


@dataclass(frozen=True)
class ValidationQueries:
    """Judged queries that no weight of the model was fitted to: their texts, and the products judged Exact for each."""

    texts: tuple[str, ...] = ()
    exact: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """``document`` says what the cut-offs come from and how often they are wrong; it is part of the index's meta."""

    fit: Fit
    score_cutoff: float | None
    picture_cutoff: float | None
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


@dataclass(frozen=True)
class Evidence:
    """Signals of queries, by what they are: rows of ``fitness.Observed``.

    ``own``: disguised titles as the catalogue is; ``alone``: the same without the product they are of. ``wrapped``:
    some of them as questions and slang. ``off_catalogue``: pairs of domain and signals.
    """

    own: list[Observed]
    alone: list[Observed]
    wrapped: list[Observed]
    validation: list[Observed]
    gibberish: list[Observed]
    off_catalogue: list[tuple[str, Observed]]


def calibrate(core: SearchCore, validation: ValidationQueries, catalogue: Catalogue) -> Calibration:
    """Set the cut-offs of an index.

    Args:
        core: searches the index as the service will, without cut-offs.
    """
    picture_cutoff, pictures = _picture_cutoff(core)
    evidence = gather(core, list(validation.exact), catalogue.titles)
    if len(evidence.own) + len(evidence.validation) < _FEWEST_QUERIES or not evidence.gibberish:
        count = len(evidence.own) + len(evidence.validation)
        _LOG.warning("only %d queries to calibrate with: no query of words is refused", count)
        return Calibration(
            Fit(), _score_cutoff(core, validation), picture_cutoff,
            {"source": NOT_CALIBRATED, "queries": count, **pictures},
        )  # fmt: skip
    fit = fitted(evidence)
    off = held_out(evidence)
    measured_gibberish = _signals(core, _gibberish(core, seed=2, count=100))
    unseen = _signals(core, [query for query, _ in own_queries(core, catalogue.titles, _MEASURED_TITLES, seed=2)])
    refused = {
        "words_of_titles": _share_below(fit, unseen),
        "wrapped_titles": _share_below(fit, evidence.wrapped),
    }
    mistyped: list[Observed] = []
    if evidence.validation:
        mistyped = _signals(core, fitness.disguised(list(validation.exact)[:_DISGUISED_VALIDATION], seed=2))
        refused["validation_queries"] = _share_below(fit, evidence.validation)
        refused["mistyped_and_wrapped_queries"] = _share_below(fit, mistyped)
    document = {
        "source": FROM_QUERIES if evidence.validation else FROM_TITLES,
        "queries": len(evidence.own) + len(evidence.validation),
        "false_rejects": refused,
        "false_accepts": {"gibberish": 1 - _share_below(fit, measured_gibberish), "off_catalogue": off},
        "measured": {
            "words_of_titles": len(unseen), "wrapped_titles": len(evidence.wrapped),
            "validation_queries": len(evidence.validation), "mistyped_and_wrapped_queries": len(mistyped),
            "gibberish": len(measured_gibberish),
            "off_catalogue": len(evidence.off_catalogue),
        },
        **pictures,
    }  # fmt: skip
    return Calibration(fit, _score_cutoff(core, validation), picture_cutoff, document)


def gather(core: SearchCore, validation: Sequence[str], titles: Sequence[str]) -> Evidence:
    """Search for all that a cut-off is fitted to; ``validation``: queries that are known to fit."""
    own, alone = [], []
    queries = own_queries(core, titles, _TITLES, seed=1)
    for query, row in queries:
        both = core.signals_without(query, row)
        if both is not None:
            own.append(both[0])
            alone.append(both[1])
    off = fitness.off_catalogue(lambda term: core.index.words.count(term) > 0, core.language)
    pairs = [(domain, core.signals(query)) for domain, query in off]
    return Evidence(
        own,
        alone,
        _signals(core, fitness.wrapped([query for query, _ in queries[::5]])),
        _signals(core, validation),
        _signals(core, _gibberish(core, seed=1, count=80)),
        [(domain, signals) for domain, signals in pairs if signals is not None],
    )


def own_queries(core: SearchCore, titles: Sequence[str], most: int, seed: int) -> list[tuple[str, int]]:
    """Disguised titles and the rows that they are of, at most ``most``."""
    rng = random.Random(seed)
    # Names that the catalogue has not: people ask for them too.
    foreign = [text.split()[0] for text in core.index.letters.pronounceable(50, seed, core.index.document_counts)]
    out: list[tuple[str, int]] = []
    for row in rng.sample(range(len(titles)), len(titles)):
        query = fitness.title_as_query(titles[row], rng, core.language, foreign)
        if query is not None:
            out.append((query, row))
        if len(out) == most:
            break
    return out


def fitted(evidence: Evidence, left_out: Sequence[str] = ()) -> Fit:
    """Weights, then the cut-off: the weighted quantile of titles, with and without their product, and of the validation
    queries; lower where 98 of 100 that do not fit are below that too.

    Args:
        left_out: domains that are no part of it.
    """

    def rows(of: Sequence[Observed]) -> np.ndarray:
        return _rows(of, left_out)

    titles = np.concatenate([rows(evidence.own), rows(evidence.alone)])
    validation = rows(evidence.validation)
    # Few real queries say as much about the weights as the many titles do.
    times = max(1, len(titles) // (4 * len(validation))) if len(validation) else 0
    positive = np.concatenate([titles, rows(evidence.wrapped), *[validation] * times])
    off = [signals.values((domain, *left_out)) for domain, signals in evidence.off_catalogue if domain not in left_out]
    negatives = [rows(evidence.gibberish), np.array(off).reshape(-1, len(fitness.SIGNALS))]
    plain = fitness.weighed(positive, np.concatenate(negatives))
    values = np.array([fitness.fitness(plain, row) for row in (*titles, *validation)])
    weights = np.concatenate([np.full(len(titles), _OWN_QUERIES_WEIGH / max(len(titles), 1)), np.ones(len(validation))])
    real = len(validation) / (len(validation) + _OWN_QUERIES_WEIGH)
    share = (1 - real) * _REFUSED_OF_TITLES + real * _REFUSED_OF_QUERIES
    cutoff = fitness.weighted_quantile(values, weights, share)
    # Where what does not fit is well below, people may ask with words that this list lacks.
    highest = [
        np.quantile([fitness.fitness(plain, row) for row in each], 1 - _ANSWERED) for each in negatives if len(each)
    ]
    return replace(
        plain,
        cutoff=min(cutoff, float(max(highest))),
        uncertain_below=fitness.weighted_quantile(values, weights, share + _UNCERTAIN),
    )


def held_out(evidence: Evidence) -> float:
    """Share of the questions of other domains that is answered, each fold's by a fit that knew none of its domains."""
    answered = []
    for fold in range(_FOLDS):
        domains = DOMAINS[fold::_FOLDS]
        fit = fitted(evidence, domains)
        unseen = [signals for domain, signals in evidence.off_catalogue if domain in domains]
        answered += [fitness.fitness(fit, row) >= fit.cutoff for row in _rows(unseen, domains)]
    return float(np.mean(answered)) if answered else 0.0


def _gibberish(core: SearchCore, seed: int, count: int) -> list[str]:
    """Keys hit at random, the catalogue's letters at random, and words that could be the catalogue's."""
    letters, known = core.index.letters, core.index.document_counts
    return [
        *fitness.gibberish(count, seed),
        *letters.shuffled(count, seed),
        *letters.pronounceable(count // 2, seed, known),
    ]


def _rows(of: Sequence[Observed], left_out: Sequence[str] = ()) -> np.ndarray:
    return np.array([signals.values(left_out) for signals in of]).reshape(-1, len(fitness.SIGNALS))


def _signals(core: SearchCore, queries: Sequence[str]) -> list[Observed]:
    """Signals of the queries that say something."""
    return [signals for signals in map(core.signals, queries) if signals is not None]


def _share_below(fit: Fit, of: Sequence[Observed]) -> float:
    return float(np.mean([fitness.fitness(fit, row) < fit.cutoff for row in _rows(of)])) if of else 0.0


def _score_cutoff(core: SearchCore, validation: ValidationQueries) -> float | None:
    """The lowest hundredth of the scores of Exact products; None where the scores mean nothing or too few are known."""
    if not core.ranker.trained or len(validation.exact) < _FEWEST_EXACT:
        return None
    scores = np.concatenate([core.scores_of(query, products) for query, products in validation.exact.items()])
    return float(np.quantile(scores, 0.01))


def _picture_cutoff(core: SearchCore) -> tuple[float | None, dict[str, Any]]:
    """The likeness that 99 % of the catalogue's own pictures have with the best other product, None with fewer than ten
    pictures; and, for the document, how often a picture with the words of a product is refused by it."""
    index = core.index
    pictured = np.flatnonzero(index.with_appearance)
    if len(pictured) < _FEWEST_PICTURES:
        return None, {"pictures": int(len(pictured))}
    chosen = np.random.default_rng(0).permutation(pictured)[:_MEASURED_PICTURES]
    nothing = core.understand("")
    best = []
    for row in chosen:
        look = appearance.look_at(index.picture(int(row)) or b"")
        ranked = core.rank_by_picture(index.image[row].astype(np.float32), look, nothing, without=int(row))
        best.append(float(ranked.similarity.max(initial=0.0)))
    return float(np.quantile(best, _REFUSED_PICTURES)), {"pictures": len(best)}


def sample_queries(titles: Sequence[str], most: int) -> list[str]:
    """The first words of some titles, for the page to begin with."""
    chosen = random.Random(3).sample(range(len(titles)), len(titles))
    queries: dict[str, None] = {}
    for at in chosen:
        start = " ".join(_spoken_words(titles[at])[:3])
        if start:
            queries[start] = None
        if len(queries) == most:
            break
    return list(queries)


def _spoken_words(title: str) -> list[str]:
    """The first words of a title without the marks around them; numbers only where it has nothing else."""
    words = [word.strip(_MARKS) for word in title.split()[:_TITLE_WORDS_READ]]
    words = [word for word in words if any(char.isalnum() for char in word)]
    return [word for word in words if any(char.isalpha() for char in word)] or words


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
