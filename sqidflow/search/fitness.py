"""Whether anything in the catalogue fits a query: what is looked at, and the queries it is calibrated on.

A cut-off on one similarity does not hold for every encoder: CLIP finds gibberish near to everything, a hashing encoder
near to nothing. So a few signals are weighed by a logistic regression that separates validation queries, as they are
and as people mistype and wrap them, from generated gibberish and off-catalogue queries; the cut-off is set by the
validation queries alone, so that few of them are refused.
"""

from __future__ import annotations

import random
import re
from collections.abc import Container, Sequence

import numpy as np

from sqidflow.ranking import features
from sqidflow.ranking.words import words
from sqidflow.search.index import Fit

SIGNALS = (
    "top_similarity",  # highest zero-shot cosine of a candidate
    "similarity_spread",  # that above the mean of the candidates
    "words_found",  # share of the query's words that the best candidate has, or nearly has
    "words_weight",  # log(1 + BM25 of the best product): how much the words that were found say
)
FALSE_REJECTS_ALLOWED = 0.01
_UNCERTAIN_SHARE = 0.05

# Questions and wishes that no shop's catalogue answers. Two halves: one calibrates, the other measures.
OFF_CATALOGUE = (
    "weather tomorrow in london", "capital of france", "mortgage interest rates", "who won the election in 1998",
    "flight delays at heathrow", "python list comprehension syntax", "symptoms of influenza", "lyrics of yesterday",
    "how to file a tax return", "train timetable berlin munich", "population of brazil", "lawyer near me",
    "convert kilometres into miles", "meaning of life philosophy", "job vacancies accountant", "flat for rent oslo",
    "stock price forecast", "translate hello into japanese", "date of easter 2031", "university entrance requirements",
    "divorce procedure ireland", "exchange rate dollar euro", "recipe for lasagne", "causes of the french revolution",
    "how deep is the pacific ocean", "quadratic equation formula", "cheap hotels in lisbon", "car insurance quotes",
    "dentist appointment thursday", "football results yesterday", "visa application thailand", "distance earth moon",
    "history of the roman empire", "unemployment statistics", "theatre tickets vienna", "bankruptcy law explained",
    "speed of light in vacuum", "when does daylight saving begin", "pregnancy week calculator", "chess opening theory",
    "parliament debate transcript", "volcano eruption iceland", "grammar rules subjunctive", "salary of a nurse",
    "opening hours city library", "nobel prize winners physics", "ferry schedule corsica", "earthquake magnitude scale",
)  # fmt: skip
_WRAPPINGS = (
    "where can i buy {} please", "pls gimme {} thx", "i am looking for {}", "do you have any {} in stock?",
    "hello, could you recommend {} as a present for my sister's birthday next week", "need {} asap lol",
)  # fmt: skip


def signals(similarity: np.ndarray, lexical: np.ndarray, bm25_top: float) -> np.ndarray:
    """The signals of a query with n > 0 candidates, float64 [len(SIGNALS)].

    Args:
        similarity: zero-shot cosines [n]. lexical: features [n, k].
    """
    found = lexical[:, features.LEXICAL_NAMES.index("fuzzy_overlap")]
    return np.array(
        [similarity.max(), similarity.max() - similarity.mean(), found.max(), np.log1p(bm25_top)], np.float64
    )


def fitness(fit: Fit, values: np.ndarray) -> float:
    """The weighted sum that is compared with ``fit.cutoff``; infinite where nothing was calibrated."""
    if not fit.weights:
        return np.inf
    return float((values - np.array(fit.mean)) / np.array(fit.scale) @ np.array(fit.weights))


def calibrate(positive: np.ndarray, negative: np.ndarray, validation: np.ndarray) -> Fit:
    """Weigh the signals, then set the cut-off.

    Args:
        positive, negative: signals [m, k] of queries that fit and that do not.
        validation: those of the validation queries as they are; all but 1 % of them shall be answered.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([positive, negative])
    mean, scale = rows.mean(0), np.maximum(rows.std(0), 1e-6)
    model = LogisticRegression(class_weight="balanced", C=1.0, max_iter=1000)
    model.fit((rows - mean) / scale, np.repeat([1, 0], [len(positive), len(negative)]))
    plain = Fit(SIGNALS, tuple(mean.tolist()), tuple(scale.tolist()), tuple(model.coef_[0].tolist()))
    fits = np.array([fitness(plain, row) for row in validation])
    wrapped = np.array([fitness(plain, row) for row in positive])
    # Mistyped and wrapped queries are to be kept too, the worst of them less surely.
    cutoff = min(np.quantile(fits, FALSE_REJECTS_ALLOWED), np.quantile(wrapped, 2 * FALSE_REJECTS_ALLOWED))
    return Fit(
        plain.names, plain.mean, plain.scale, plain.weights, float(cutoff),
        float(max(np.quantile(fits, _UNCERTAIN_SHARE), cutoff)),
    )  # fmt: skip


def mistyped(query: str, rng: random.Random) -> str:
    """One of the query's longer words with two letters swapped, one left out, or one doubled."""
    long = [found for found in re.finditer(r"[^\W\d_]{5,}", query)]
    if not long:
        return query
    word = rng.choice(long)
    at = word.start() + rng.randrange(1, len(word.group()) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return query[:at] + query[at + 1] + query[at] + query[at + 2 :]
    return query[:at] + query[at + 1 :] if kind == 1 else query[:at] + query[at] + query[at:]


def disguised(queries: Sequence[str], seed: int) -> list[str]:
    """The same wishes as people write them: mistyped, with extra spaces, as slang and as long questions."""
    rng = random.Random(seed)
    out = []
    for number, query in enumerate(queries):
        out.append(mistyped(query, rng))
        out.append(_WRAPPINGS[number % len(_WRAPPINGS)].format(query))
        out.append("  " + query.replace(" ", "   ").upper() + " ")
    return out


def gibberish(count: int, seed: int) -> list[str]:
    """Keys hit in a row, letters at random, digits, and several such words."""
    rng = random.Random(seed)
    rows = ("qwertyuiop", "asdfghjkl", "zxcvbnm")

    def word() -> str:
        kind = rng.randrange(4)
        if kind == 0:
            row = rng.choice(rows)
            start = rng.randrange(len(row) - 3)
            return row[start : start + rng.randrange(4, 10)]
        if kind == 1:
            return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(5, 14)))
        if kind == 2:
            return "".join(rng.choice("bcdfghjklmnpqrstvwxz") for _ in range(rng.randrange(4, 11)))
        return "".join(rng.choice("0123456789") for _ in range(rng.randrange(6, 13)))

    return [" ".join(word() for _ in range(rng.choice((1, 1, 2, 3)))) for _ in range(count)]


def off_catalogue(half: int, known: Container[str]) -> list[str]:
    """One half (0 or 1) of the questions that no shop answers; without those that have all their words in ``known``,
    which this catalogue may well have an answer to."""
    return [query for query in OFF_CATALOGUE[half::2] if not all(word in known for word in words(query))]
