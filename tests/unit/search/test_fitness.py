"""What a query's signals are, and how they are weighed."""

from __future__ import annotations

import random

import numpy as np
import pytest

from sqidflow.ranking import features
from sqidflow.ranking.words import words
from sqidflow.search import fitness
from sqidflow.search.index import Fit
from sqidflow.search.off_catalogue import DOMAINS, OFF_CATALOGUE


def observed(query: str = "red kettle", **changes) -> fitness.Observed:
    lexical = np.zeros((4, len(features.LEXICAL_NAMES)), np.float32)
    lexical[1, features.LEXICAL_NAMES.index("trigram_overlap")] = 0.75
    values = {
        "similarity": np.array([0.2, 0.5, 0.2, 0.3]), "coverage": np.array([0, 0.5, 1, 0]), "bm25_share": 0.4,
        "lexical": lexical, "thing_found": 1.0, "usual": -3.0, "off_catalogue": np.arange(len(DOMAINS)) / 10,
    }  # fmt: skip
    return fitness.observed(query, **{**values, **changes})


def test_signals() -> None:
    np.testing.assert_allclose(observed().values(), [1 / 3, 0.2, 1.0, 0.4, 0.75, 1.0, -3.0, 0.0, 0.9], rtol=1e-6)
    assert observed("what is a kettle").values()[fitness.SIGNALS.index("question")] == 1


def test_a_domain_can_be_left_out() -> None:
    at = fitness.SIGNALS.index("off_catalogue")
    assert observed().values((DOMAINS[-1],))[at] == pytest.approx(0.8)
    assert observed().values(DOMAINS)[at] == 0 and observed(off_catalogue=[]).values()[at] == 0


def test_weights_separate() -> None:
    rng = np.random.default_rng(0)
    middle = np.array([0.6, 0.3, 0.9, 0.5, 0.9, 0.9, -3, 0.1, 0.2])
    good, bad = rng.normal(middle, 0.08, (400, 9)), rng.normal(middle - 0.5, 0.08, (200, 9))
    fit = fitness.weighed(good[:200], bad[:100])
    lowest = min(fitness.fitness(fit, row) for row in good[200:])
    assert lowest > max(fitness.fitness(fit, row) for row in bad[100:])


def test_nothing_is_refused_without_calibration() -> None:
    assert fitness.fitness(Fit(), np.zeros(len(fitness.SIGNALS))) == np.inf


def test_a_weighted_quantile_leaves_at_most_the_share_below() -> None:
    values = np.arange(100.0)
    assert fitness.weighted_quantile(values, np.ones(100), 0.03) == 2
    # A value that weighs as much as all others together is the limit at any share.
    assert fitness.weighted_quantile(np.append(values, -1.0), np.append(np.ones(100), 100), 0.4) == -1


def test_generated_queries_are_the_same_each_time_and_differ_by_seed() -> None:
    assert fitness.gibberish(50, 1) == fitness.gibberish(50, 1) != fitness.gibberish(50, 2)
    assert fitness.disguised(["leather shoes"], 1) == fitness.disguised(["leather shoes"], 1)
    assert all(text.strip() for text in fitness.gibberish(300, 3))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("where can i buy a red kettle please", "red kettle"),
        ("red kettle", "red kettle"),
        ("please", "please"),
        ("pls gimme kettle thx", "kettle"),
    ],
)
def test_what_is_said_around_a_wish_is_left_out(text: str, content: str) -> None:
    left = [word for word in fitness.content_of(text, "english").split() if word != "a"]
    assert " ".join(left) == content
    assert fitness.content_terms(words(text), "english") == tuple(dict.fromkeys(words(content)))


@pytest.mark.parametrize(
    "title",
    ["Acme \u2014 red kettle, 2 l (new)", "やかん 赤 ステンレス", "чайник красный", "Kettle for men's office use"],
)
def test_a_title_as_query_says_its_words_in_any_script(title: str) -> None:
    rng = random.Random(3)
    asked = [fitness.title_as_query(title, rng, "english") for _ in range(60)]
    queries = [query for query in asked if query]
    assert len(set(queries)) > 2
    own = set(words(title))
    assert np.mean([bool(own & set(words(query))) for query in queries]) > 0.9


def test_a_title_of_one_word_or_none_asks_for_nothing() -> None:
    rng = random.Random(3)
    assert fitness.title_as_query("", rng, "english") is fitness.title_as_query("24", rng, "english") is None


def test_questions_that_the_catalogue_has_all_words_of_are_left_out() -> None:
    everything = {term for queries in OFF_CATALOGUE.values() for query in queries for term in words(query)}
    assert fitness.off_catalogue(everything.__contains__, "english") == []
    kept = fitness.off_catalogue({"chess", "open", "theori"}.__contains__, "english")
    assert ("sports", "chess opening theory") not in kept and {domain for domain, _ in kept} == set(DOMAINS)


def test_the_regression_is_that_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(5)
    for positive, negative in ((400, 100), (30, 300), (3, 200)):
        rows = rng.normal(size=(positive + negative, 6))
        rows[:positive, :2] += 1.5
        sign = np.repeat([1.0, -1.0], [positive, negative])
        balanced = len(rows) / 2 / np.where(sign > 0, positive, negative)
        expected = linear_model.LogisticRegression(class_weight="balanced", max_iter=5000, tol=1e-8).fit(rows, sign)
        got = fitness.logistic_regression(rows, sign, balanced)
        np.testing.assert_allclose(got, expected.coef_[0], atol=1e-4)
