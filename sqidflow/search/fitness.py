"""Whether anything in the catalogue fits a query: what is looked at, and how it is weighed.

A cut-off on one similarity does not hold for every encoder: CLIP finds gibberish near to everything, a hashing encoder
near to nothing. So a few signals are weighed by a logistic regression. It separates words of the catalogue's own
titles, as people would type them, from gibberish and from questions of other domains; the cut-off is set by the
former, so that few of those are refused. Words are looked at as they were typed: a rewriter that corrects gibberish
into the catalogue's words must not make it fit.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sqidflow.ranking import features
from sqidflow.ranking.languages import LANGUAGES, QUESTION_WORDS
from sqidflow.ranking.prices import without_prices
from sqidflow.ranking.words import head, named_noun, qualities, spoken_terms, surfaces, terms_of, words
from sqidflow.search.index import Fit
from sqidflow.search.off_catalogue import DOMAINS, OFF_CATALOGUE

SIGNALS = (
    "top_similarity",  # mean of the three highest zero-shot cosines
    "similarity_spread",  # the highest above the mean of the candidates
    "words_found",  # share of the query's words, by their rarity, that the best candidate has
    "words_weight",  # BM25 of the best product over the most that the words could give
    "letters_found",  # share of the query's letter trigrams that the best candidate has
    "thing_found",  # whether a candidate's title names the thing that the query names
    "letters_usual",  # how likely the query's letters are in the catalogue's words
    "question",  # whether it begins as a question does
    "off_catalogue",  # highest cosine to a question of other domains
)
_TRIGRAMS = features.LEXICAL_NAMES.index("trigram_overlap")
_NEAREST = 3
_WRAPPINGS = (
    "where can i buy {} please", "pls gimme {} thx", "i am looking for {}", "do you have any {} in stock?",
    "hello, could you recommend {} as a present for my sister's birthday next week", "need {} asap lol",
)  # fmt: skip


@dataclass(frozen=True)
class Observed:
    """A query's signals; the last of ``SIGNALS`` by domain, so that domains can be left out."""

    common: tuple[float, ...]
    off_catalogue: tuple[float, ...]

    def values(self, left_out: Sequence[str] = ()) -> np.ndarray:
        """float64 [len(SIGNALS)]; ``left_out``: domains that are not looked at."""
        near = [value for domain, value in zip(DOMAINS, self.off_catalogue) if domain not in left_out]
        return np.array([*self.common, max(near, default=0.0)])


def observed(
    query: str,
    similarity: np.ndarray,
    coverage: np.ndarray,
    bm25_share: float,
    lexical: np.ndarray,
    thing_found: float,
    usual: float,
    off_catalogue: Sequence[float],
) -> Observed:
    """The signals of a query with n > 0 candidates.

    Args:
        similarity: zero-shot cosines [n]. coverage: shares of the content words' idf [n]. lexical: features [n, k].
        thing_found: 0 to 1, see ``SIGNALS``.
        usual: mean log2 likelihood of the query's letters. off_catalogue: highest cosine to each of ``DOMAINS``.
    """
    nearest = np.sort(similarity)[::-1][:_NEAREST]
    spoken = surfaces(query)
    common = (
        nearest.mean(), similarity.max() - similarity.mean(), coverage.max(), bm25_share, lexical[:, _TRIGRAMS].max(),
        thing_found, usual, float(bool(spoken) and spoken[0] in QUESTION_WORDS),
    )  # fmt: skip
    return Observed(tuple(map(float, common)), tuple(map(float, off_catalogue)))


def content_terms(terms: Sequence[str], language: str, unheard: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The distinct terms that say what is asked for, without stop words, what people say around a wish, and the terms
    ``unheard``; all where there are no others."""
    around = LANGUAGES[language].stop_words | spoken_terms(language) | unheard
    return tuple(term for term in dict.fromkeys(terms) if term not in around) or tuple(dict.fromkeys(terms))


def content_of(text: str, language: str, unheard: frozenset[str] = frozenset()) -> str:
    """The text's words without what people say around a wish, and without the terms ``unheard``; all of it where there
    is nothing else."""
    text = without_prices(text)
    around, stop_words = spoken_terms(language) | unheard, LANGUAGES[language].stop_words
    terms = [set(words(word, language)) for word in text.split()]
    # Stop words alone are no reason to read the text anew.
    if not any(each and each <= around and not each <= stop_words for each in terms):
        return text
    kept = [word for word, each in zip(text.split(), terms) if not each <= around]
    return " ".join(kept) or text


def fitness(fit: Fit, values: np.ndarray) -> float:
    """The weighted sum that is compared with ``fit.cutoff``; infinite where nothing was calibrated."""
    if not fit.weights:
        return np.inf
    return float((values - np.array(fit.mean)) / np.array(fit.scale) @ np.array(fit.weights))


def weighed(positive: np.ndarray, negative: np.ndarray) -> Fit:
    """The weights that tell signals [m, len(SIGNALS)] of queries that fit from those of queries that do not, with no
    cut-off yet."""
    rows = np.concatenate([positive, negative])
    mean, scale = rows.mean(0), np.maximum(rows.std(0), 1e-6)
    sign = np.repeat([1.0, -1.0], [len(positive), len(negative)])
    balanced = len(rows) / 2 / np.where(sign > 0, len(positive), len(negative))
    weights = logistic_regression((rows - mean) / scale, sign, balanced)
    return Fit(SIGNALS, tuple(mean.tolist()), tuple(scale.tolist()), tuple(weights.tolist()))


def logistic_regression(rows: np.ndarray, sign: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Coefficients [d] of a logistic regression with an L2 penalty of 1 and a free intercept, which is left out.

    Minimises sum(weight * log(1 + exp(-sign * (rows @ c + b)))) + |c|^2 / 2, as scikit-learn does with C=1. SciPy's
    optimizer is enough for a dozen signals and keeps scikit-learn out of a serving installation.

    Args:
        rows: float [n, d]. sign: 1 or -1, float [n]. weight: of each row, float [n].
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients, intercept = parameters[:-1], parameters[-1]
        margin = sign * (rows @ coefficients + intercept)
        slope = -weight * sign * expit(-margin)
        value = float(weight @ np.logaddexp(0.0, -margin) + coefficients @ coefficients / 2)
        return value, np.append(rows.T @ slope + coefficients, slope.sum())

    start = np.zeros(rows.shape[1] + 1)
    weights: np.ndarray = minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-12}
    ).x[:-1]
    return weights


def weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value below which at most ``share`` of the weight lies."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(below, share)), len(order) - 1)])


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


def wrapped(queries: Sequence[str]) -> list[str]:
    """The same wishes as slang and as long questions."""
    return [_WRAPPINGS[number % len(_WRAPPINGS)].format(query) for number, query in enumerate(queries)]


def disguised(queries: Sequence[str], seed: int) -> list[str]:
    """The same wishes as people write them: mistyped, with extra spaces, as slang and as long questions."""
    rng = random.Random(seed)
    out = []
    for query, question in zip(queries, wrapped(queries)):
        out += [mistyped(query, rng), question, "  " + query.replace(" ", "   ").upper() + " "]
    return out


_FIRST_WORDS = 14


def title_as_query(title: str, rng: random.Random, language: str, foreign: Sequence[str] = ()) -> str | None:
    """What somebody would type who wants a product: a few words of its title's head, or of the title, some left out, in
    another order, mistyped, in the plural, or with a word of ``foreign``, also what it names alone with one; None where
    the title has fewer than two words."""
    stop_words = LANGUAGES[language].stop_words
    spoken = [word for word in surfaces(title) if word not in stop_words and (len(word) > 1 or not word.isascii())]
    named = head(title)
    front = [word for word in surfaces(named) if word in spoken and not word[0].isdigit()] or spoken
    if not spoken or len(spoken) < 2 and spoken[0].isascii():
        return None
    kind = rng.choice(("head", "head", "fewer", "shuffled", "mistyped", "plural", "modified", "modified"))
    if kind == "modified" and foreign:
        thing = named_noun(words(named, language), language, adjectives=qualities(named, language))
        written = [word for word in front if thing is not None and thing in terms_of(word, language)]
        if written:
            return f"{rng.choice(foreign)} {written[0]}"
    if kind == "head":
        count = min(len(front), rng.choice((1, 2, 2, 3)))
        start = rng.randrange(len(front) - count + 1)
        return " ".join(front[start : start + count])
    first = spoken[:_FIRST_WORDS]
    count = min(len(first), rng.choice((2, 3, 3, 4, 5)))
    chosen = [first[at] for at in sorted(rng.sample(range(len(first)), count))]
    if kind == "shuffled":
        rng.shuffle(chosen)
    if kind == "plural" and chosen[-1].isascii() and chosen[-1].isalpha():
        last = chosen[-1]
        chosen[-1] = last[:-1] if last.endswith("s") and not last.endswith("ss") else f"{last}s"
    if kind == "fewer" and foreign and len(chosen) > 2:
        chosen[rng.randrange(len(chosen))] = rng.choice(foreign)
    query = " ".join(chosen)
    return mistyped(query, rng) if kind == "mistyped" else query


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


def off_catalogue(known: Callable[[str], bool], language: str) -> list[tuple[str, str]]:
    """Domain and question of those that no shop answers; without those all of whose words are ``known``, which this
    catalogue may well have an answer to."""
    return [
        (domain, query)
        for domain, queries in OFF_CATALOGUE.items()
        for query in queries
        if not all(map(known, content_terms(words(query, language), language)))
    ]
