"""Why a product scores as it does."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from sqidflow.ranking import features
from sqidflow.ranking.rankers import PRODUCT_FIELDS, Candidates, Provenance
from sqidflow.search.engine import Request
from sqidflow.search.explain import counter_example, explain, group_names, shapley_values
from tests.fixtures.small_index import DIM, SmallIndex, drawn


class TitleRanker:
    """Reads one lexical feature and the text's cosine: the score is a tenth of their sum."""

    name, version, dim, trained = "title", "zero-shot", DIM, True
    reads = frozenset({"query_vec", "text", "lexical"})
    provenance = Provenance("contract", "service")

    def probabilities(self, candidates: Candidates) -> np.ndarray:
        overlap = candidates.lexical[:, features.LEXICAL_NAMES.index("token_overlap")]
        exact = (overlap + candidates.text @ candidates.query_vec) / 10
        out = np.zeros((len(candidates), 4), np.float32)
        out[:, features.CLASS_IDS["E"]], out[:, features.CLASS_IDS["I"]] = exact, 1 - exact
        return out

    def mapped_norm(self, text: np.ndarray) -> np.ndarray:
        return np.ones(len(text), np.float32)


class AllFields:
    """Reads every field, not linearly, so that the groups depend on each other."""

    name, version, dim, trained = "all", "zero-shot", DIM, True
    reads = frozenset(PRODUCT_FIELDS) | {"query_vec"}
    provenance = Provenance("contract", "service")

    def probabilities(self, candidates: Candidates) -> np.ndarray:
        lexical = candidates.lexical.sum(axis=1) / 10
        cosine = candidates.text @ candidates.query_vec + candidates.has_image * (
            candidates.image @ candidates.query_vec
        )
        mixed = cosine * lexical + candidates.relative.mean(axis=1) * candidates.retrieval[:, 0] + lexical**2
        out = np.zeros((len(candidates), 4), np.float32)
        out[:, features.CLASS_IDS["E"]] = 1 / (1 + np.exp(-mixed))
        out[:, features.CLASS_IDS["I"]] = 1 - out[:, features.CLASS_IDS["E"]]
        return out

    def mapped_norm(self, text: np.ndarray) -> np.ndarray:
        return np.ones(len(text), np.float32)


def _by_orders(score: np.ndarray, players: int) -> np.ndarray:
    """Shapley values by their definition: the mean gain over all orders."""
    out = np.zeros(players)
    orders = list(itertools.permutations(range(players)))
    for order in orders:
        coalition = 0
        for player in order:
            out[player] += score[coalition | 1 << player] - score[coalition]
            coalition |= 1 << player
    return out / len(orders)


@pytest.mark.parametrize("players", [0, 1, 2, 5])
def test_shapley_values_are_the_mean_gain_over_all_orders(players: int) -> None:
    score = np.random.default_rng(players).standard_normal(1 << players)
    values = shapley_values(score)
    np.testing.assert_allclose(values, _by_orders(score, players), atol=1e-12)
    assert values.sum() == pytest.approx(score[-1] - score[0])


@pytest.mark.parametrize("query", ["red kettle", "acme wool blanket", "blue lamp not green", "running shoe model 24"])
def test_parts_add_up_to_the_score_less_the_baseline(small_index: SmallIndex, query: str) -> None:
    core = small_index.core()
    ranker = AllFields()
    found = core.retrieve(query, core.encode(query, None))
    score = ranker.probabilities(found.candidates) @ features.CLASS_GAINS.astype(np.float32)
    everyone = np.arange(len(found.rows))
    baselines = set()
    for at, explained in zip(everyone, explain(ranker, found.candidates, everyone, score, core.index.meta.fusion)):
        assert explained.score == pytest.approx(score[at], abs=1e-7)
        total = sum(part.contribution for part in explained.parts)
        assert total == pytest.approx(score[at] - explained.baseline, abs=1e-6)
        assert {part.name for part in explained.parts} <= set(group_names())
        baselines.add(round(explained.baseline, 5))
    assert len(baselines) == 1, "all products of a search are compared with the same one"


def test_only_what_the_ranker_reads_has_a_part(small_index: SmallIndex) -> None:
    hit = small_index.core().search(Request("red kettle", k=1, explain=True)).hits[0]
    assert hit.explanation is not None
    parts = hit.explanation.parts
    assert {part.name for part in parts} == {"similarity", "bm25"} <= set(group_names())
    assert all(part.contribution > 0 for part in parts), "both speak for the red kettle"
    largest = [abs(part.contribution) for part in parts]
    assert largest == sorted(largest, reverse=True)
    assert sum(part.contribution for part in parts) == pytest.approx(hit.score - hit.explanation.baseline, abs=1e-6)


def test_a_part_of_a_sum_is_what_it_adds(small_index: SmallIndex) -> None:
    core = small_index.core()
    vector = core.encode("red kettle", None)
    found = core.retrieve("red kettle", vector)
    ranker = TitleRanker()
    score = ranker.probabilities(found.candidates) @ features.CLASS_GAINS.astype(np.float32)
    best = int(np.argmax(score))
    (explained,) = explain(ranker, found.candidates, np.array([best]), score, core.index.meta.fusion)
    by_name = {part.name: part for part in explained.parts}
    assert not by_name.keys() & {"cosine_image", "relative", "similarity", "bm25"}
    overlap = found.candidates.lexical[:, features.LEXICAL_NAMES.index("token_overlap")]
    assert by_name["token_overlap"].value == overlap[best] == 1
    assert by_name["token_overlap"].contribution == pytest.approx((1 - np.median(overlap)) / 10, abs=1e-6)
    cosine = found.candidates.text @ vector
    middle = np.sort(cosine)[len(cosine) // 2]
    assert by_name["cosine_text"].contribution == pytest.approx((cosine[best] - middle) / 10, abs=1e-5)
    assert by_name["brand_in_query"].contribution == 0
    assert explained.baseline == pytest.approx((np.median(overlap) + middle) / 10, abs=1e-5)


def test_a_product_that_has_what_was_excluded_says_what_it_lost(small_index: SmallIndex) -> None:
    core = small_index.core()
    request = Request("kettle not red", k=50, threshold=0.0)
    score_of = {hit.product_id: hit.score for hit in core.search(request).hits}
    demoted = core.explain(request, "P00")
    assert demoted is not None and demoted.score == pytest.approx(score_of["P00"], abs=1e-6)
    part = next(part for part in demoted.parts if part.name == "demoted")
    assert part.contribution < -0.01
    assert sum(each.contribution for each in demoted.parts) == pytest.approx(demoted.score - demoted.baseline, abs=1e-6)


def test_one_product_is_explained_as_in_the_search(small_index: SmallIndex) -> None:
    core = small_index.core()
    for request in (
        Request("red kettle", k=5, explain=True),
        Request("kettle", k=5, explain=True, brands=("Acme",)),
        Request("kettle", image=drawn(7), k=5, explain=True),
        Request(image=drawn(14), k=5, explain=True),
    ):
        hits = core.search(request).hits
        assert hits
        for hit in hits:
            explained = core.explain(replace(request, explain=False), hit.product_id)
            assert explained is not None and hit.explanation is not None
            assert explained.score == pytest.approx(hit.score, abs=1e-6)
            assert [part.name for part in explained.parts] == [part.name for part in hit.explanation.parts]
            total = sum(part.contribution for part in explained.parts)
            assert total == pytest.approx(explained.score - explained.baseline, abs=1e-6)


def test_what_is_no_candidate_is_not_explained(small_index: SmallIndex) -> None:
    core = small_index.core()
    assert core.explain(Request("red kettle"), "no such product") is None
    assert core.explain(Request("!?"), "P00") is None
    assert core.explain(Request("red kettle", brands=("Borealis",)), "P00") is None


def test_two_candidates_differ_in_no_column_that_has_no_part(small_index: SmallIndex) -> None:
    core = small_index.core()
    for query in ("red kettle for women", "24 inch lamp without wool", "acme blanket"):
        found = core.retrieve(query, core.encode(query, None)).candidates
        ranker = AllFields()
        score = ranker.probabilities(found) @ features.CLASS_GAINS.astype(np.float32)
        own, other = (explain(ranker, found, [at], score, core.index.meta.fusion)[0] for at in (0, len(found) - 1))
        assert own.baseline == pytest.approx(other.baseline, abs=1e-6)
        assert "demoted" not in {part.name for part in (*own.parts, *other.parts)}, "the parts make up the whole score"


def test_the_nearest_counter_example_is_what_it_says(small_index: SmallIndex) -> None:
    core = small_index.core()
    found = core.retrieve("red kettle", core.encode("red kettle", None))
    ranker = AllFields()
    score = ranker.probabilities(found.candidates) @ features.CLASS_GAINS.astype(np.float32)
    order = np.argsort(-score)
    turned = counter_example(ranker, found.candidates, int(order[5]), int(order[0]), core.index.meta.fusion)
    assert turned is not None and turned.labels and turned.score > score[order[0]]
    alone = counter_example(TitleRanker(), found.candidates, int(order[0]), int(order[0]), core.index.meta.fusion)
    assert alone is None, "nothing of itself brings a product above itself"
