"""Why a product scores as it does."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.ranking import features
from sqidflow.ranking.rankers import Candidates, Provenance
from sqidflow.search.engine import Request
from sqidflow.search.explain import explain, group_names
from tests.fixtures.small_index import DIM, SmallIndex


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


def test_only_what_the_ranker_reads_has_a_part(small_index: SmallIndex) -> None:
    hit = small_index.core().search(Request("red kettle", k=1, explain=True)).hits[0]
    assert hit.explanation is not None
    assert {part.name for part in hit.explanation} == {"similarity", "bm25"} <= set(group_names())
    assert all(part.contribution > 0 for part in hit.explanation), "both speak for the red kettle"
    largest = [abs(part.contribution) for part in hit.explanation]
    assert largest == sorted(largest, reverse=True)


def test_a_part_is_what_the_score_loses_without_it(small_index: SmallIndex) -> None:
    core = small_index.core()
    vector = core.encode("red kettle", None)
    found = core.retrieve("red kettle", vector)
    ranker = TitleRanker()
    score = ranker.probabilities(found.candidates) @ features.CLASS_GAINS.astype(np.float32)
    best = int(np.argmax(score))
    (parts,) = explain(ranker, found.candidates, np.array([best]), score, core.index.meta.fusion)
    by_name = {part.name: part for part in parts}
    assert not by_name.keys() & {"cosine_image", "relative", "similarity", "bm25"}
    overlap = found.candidates.lexical[:, features.LEXICAL_NAMES.index("token_overlap")]
    assert by_name["token_overlap"].value == overlap[best] == 1
    assert by_name["token_overlap"].contribution == pytest.approx((1 - np.median(overlap)) / 10, abs=1e-6)
    cosine = found.candidates.text @ vector
    middle = np.sort(cosine)[len(cosine) // 2]
    assert by_name["cosine_text"].contribution == pytest.approx((cosine[best] - middle) / 10, abs=1e-5)
    assert by_name["brand_in_query"].contribution == 0


def test_a_score_without_bm25_is_that_of_a_product_with_the_middle_one(small_index: SmallIndex) -> None:
    core = small_index.core()
    found = core.retrieve("red kettle", core.encode("red kettle", None))
    score = core.ranker.probabilities(found.candidates) @ features.CLASS_GAINS.astype(np.float32)
    column = dict(zip(features.RETRIEVAL_NAMES, found.candidates.retrieval.T.astype(np.float64)))
    at = int(np.argmax(column["bm25_share"]))
    fusion = core.index.meta.fusion
    (parts,) = explain(core.ranker, found.candidates, np.array([at]), score, fusion)
    middle = {name: np.median(values) for name, values in column.items()}
    f0 = fusion.cosine * column["z_cosine"][at] + fusion.bm25 * middle["z_bm25"] + fusion.trigram * middle["z_trigram"]
    part = next(part for part in parts if part.name == "bm25")
    assert part.value == pytest.approx(column["bm25_share"][at])
    assert part.contribution == pytest.approx(score[at] - 1 / (1 + np.exp(-f0)), abs=1e-4)
    assert part.contribution > 0.01
