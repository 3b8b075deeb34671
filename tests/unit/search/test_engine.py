"""The search core, on an index of fifty products and without one."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.ranking.rankers import ZeroShotRanker
from sqidflow.search.engine import Request, SearchCore
from sqidflow.search.index import ProductIndex
from sqidflow.search.rewrite import NoRewriter
from tests.fixtures.small_index import SmallIndex


class Encoder:
    """Decodes the first picture for as long as the second takes to be encoded."""

    name, dim, sees_pictures = "stand-in", 2, True

    def __init__(self, for_threads: bool) -> None:
        self.for_threads = for_threads
        self.decoding, self.another = threading.Event(), threading.Event()

    def encode_images(self, images: list[bytes]) -> np.ndarray:
        self.decoding.set()
        self.waited_for = self.another.wait(0.5)
        return np.ones((1, 2), np.float32)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        self.another.set()
        return np.ones((1, 2), np.float32)


def passed_while_decoding(for_threads: bool) -> bool:
    core: Any = object.__new__(SearchCore)
    core.encoder, core.encoding = Encoder(for_threads), threading.Lock()
    decoding = threading.Thread(target=core.encode, args=("", b"picture"))
    decoding.start()
    core.encoder.decoding.wait()
    core.encode("words", None)
    decoding.join()
    return core.encoder.waited_for


def test_a_picture_that_is_decoded_keeps_no_words_waiting_where_the_encoder_is_for_threads() -> None:
    assert passed_while_decoding(True)


def test_any_other_encoder_is_used_by_one_thread_at_a_time() -> None:
    assert not passed_while_decoding(False)


def test_every_product_is_found_by_its_title_judged_or_not(small_index: SmallIndex) -> None:
    core = small_index.core()
    for product, title in zip(small_index.catalogue.product_ids, small_index.catalogue.titles):
        assert core.search(Request(title, k=1)).hits[0].product_id == product, title


def test_an_answer_has_the_best_first_and_no_more_than_was_asked_for(small_index: SmallIndex) -> None:
    found = small_index.core().search(Request("green backpack", k=2))
    assert sorted(hit.product_id for hit in found.hits) == ["P12", "P13"]
    assert found.hits[0].score >= found.hits[1].score
    assert found.refusal is None and found.candidates == 50
    assert sum(found.hits[0].probabilities) == pytest.approx(1)
    assert found.candidate_ids[:2] == tuple(hit.product_id for hit in found.hits)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Request("qwrtzp xkcdfg"), "nothing_fits"),
        (Request("weather tomorrow in london"), "nothing_fits"),
        (Request("!?"), "no_words"),
        (Request("red kettle", brands=("nobody",)), "filtered_out"),
        (Request("red kettle", threshold=1.0), "below_threshold"),
    ],
)
def test_why_nothing_is_answered(small_index: SmallIndex, asked: Request, code: str) -> None:
    found = small_index.core().search(asked)
    assert found.refusal is not None and found.refusal.code == code and found.hits == ()


def test_a_filter_leaves_what_passes_it(small_index: SmallIndex) -> None:
    found = small_index.core().search(Request("kettle", colors=("Blue",), k=50))
    colors = {small_index.catalogue.colors[hit.row] for hit in found.hits}
    assert colors == {"blue"} and {hit.product_id for hit in found.hits} >= {"P04", "P05"}


def test_words_count_where_retrieval_is_hybrid(small_index: SmallIndex) -> None:
    hybrid, vectors = (small_index.core(retrieval=way, candidates=10) for way in ("hybrid", "vectors"))
    vector = hybrid.encode("blanket", None)
    assert hybrid.retrieve("blanket", vector).bm25_top > 0
    assert len(hybrid.retrieve("blanket", vector).rows) == len(vectors.retrieve("blanket", vector).rows) == 10
    assert hybrid.description == "zero-shot, not trained, hybrid retrieval"


def test_the_neighbours_of_a_product_are_not_itself(small_index: SmallIndex) -> None:
    core = small_index.core()
    neighbours = core.similar(4, 5)
    assert 4 not in [row for row, _ in neighbours] and len(neighbours) == 5
    assert [cosine for _, cosine in neighbours] == sorted((cosine for _, cosine in neighbours), reverse=True)
    assert 5 in [row for row, _ in neighbours[:3]], "the other brand's blue kettle"


def test_scores_of_named_products_are_those_of_the_answer(small_index: SmallIndex) -> None:
    core = small_index.core()
    hits = core.search(Request("white desk lamp", k=3)).hits
    scores = core.scores_of("white desk lamp", [hit.product_id for hit in hits] + ["nowhere"])
    np.testing.assert_allclose(scores, [hit.score for hit in hits], rtol=1e-6)


def test_parts_that_do_not_belong_together_are_named(small_index: SmallIndex) -> None:
    index = ProductIndex(small_index.folder)
    with pytest.raises(SqidflowError, match=r"encoder offline:2 \(dimension 64\).*ranker zero-shot \(dimension 32"):
        SearchCore(index, ZeroShotRanker(32), small_index.encoder, NoRewriter())
