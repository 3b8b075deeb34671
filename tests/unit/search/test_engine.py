"""The search core, on an index of fifty products and without one."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sqidflow.core.errors import SqidflowError
from sqidflow.indexing.build import Judgements, build
from sqidflow.indexing.publish import seal
from sqidflow.ranking.rankers import ZeroShotRanker
from sqidflow.search.engine import Request, SearchCore
from sqidflow.search.fitness import SIGNALS
from sqidflow.search.index import ProductIndex
from sqidflow.search.rewrite import NoRewriter
from tests.fixtures.small_index import SmallIndex, drawn, small_meta


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
    assert hybrid.retrieve("blanket", vector).total_idf > 0
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
    with pytest.raises(SqidflowError, match=r"encoder offline:3 \(dimension 64\).*ranker zero-shot \(dimension 32"):
        SearchCore(index, ZeroShotRanker(32), small_index.encoder, NoRewriter())


NOUNS = ("kettle", "backpack", "running shoe", "desk lamp", "wool blanket")


@pytest.mark.parametrize("color", ["red", "green", "blue"])
@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("asked", ["{noun} not {color}", "{noun} without {color}", "{noun} except {color}"])
def test_what_is_excluded_comes_after_all_others(small_index: SmallIndex, noun: str, color: str, asked: str) -> None:
    found = small_index.core().search(Request(asked.format(noun=noun, color=color), k=50))
    colors = [small_index.catalogue.colors[hit.row] for hit in found.hits]
    assert noun in small_index.catalogue.titles[found.hits[0].row]
    first = colors.index(color) if color in colors else len(colors)
    assert first >= 40 and set(colors[first:]) <= {color}
    assert [hit.score for hit in found.hits[first:]] == sorted((hit.score for hit in found.hits[first:]), reverse=True)
    if first < len(colors):
        assert found.hits[first].score <= found.hits[first - 1].score


def test_what_is_excluded_comes_last_among_what_a_filter_leaves(small_index: SmallIndex) -> None:
    found = small_index.core().search(Request("kettle not acme", colors=("red",), k=10))
    brands = [small_index.catalogue.brands[hit.row] for hit in found.hits]
    assert brands == sorted(brands, key=lambda brand: brand == "Acme") and "Acme" in brands


def test_a_wish_that_nothing_meets_is_named_and_the_rest_is_answered(small_index: SmallIndex) -> None:
    found = small_index.core().search(Request("Purple kettles", k=3))
    assert [(wish.wish, wish.kind) for wish in found.unmet] == [("Purple", "color")]
    assert all("kettle" in small_index.catalogue.titles[hit.row] for hit in found.hits)
    assert small_index.core().search(Request("red kettle")).unmet == ()


def test_nothing_is_ranked_where_nothing_fits(small_index: SmallIndex) -> None:
    core = small_index.core()

    class Asked:
        def __getattr__(self, name: str) -> Any:
            if name == "probabilities":
                raise AssertionError("the ranker was asked")
            return getattr(small_index.ranker, name)

    core.ranker = Asked()
    found = core.search(Request("qwrtzp xkcdfg"))
    assert found.refusal is not None and found.refusal.code == "nothing_fits" and len(found.candidate_ids) == 20
    with pytest.raises(AssertionError, match="the ranker was asked"):
        core.search(Request("red kettle"))


def test_a_corrected_query_can_be_searched_as_it_was_typed(small_index: SmallIndex) -> None:
    core = small_index.core()
    found = core.search(Request("blakc kettle"))
    assert found.rewritten == "black kettle" and found.rewriting.offers_original and found.hits
    assert core.search(Request("blakc kettle", verbatim=True)).rewritten == "blakc kettle"


@pytest.mark.parametrize("query", ["kettle", "kettles", "backpack", "lamps", "blanket", "acme", "white"])
def test_a_query_of_one_word_is_not_called_uncertain(small_index: SmallIndex, query: str) -> None:
    found = small_index.core().search(Request(query))
    assert found.hits and not found.uncertain


@pytest.mark.parametrize(
    "query", ["where can i buy a red kettle please", "pls gimme kettle thx", "i am looking for a desk lamp"]
)
def test_what_is_said_around_a_wish_does_not_count(small_index: SmallIndex, query: str) -> None:
    assert small_index.core().search(Request(query)).hits


def test_what_products_say_they_are_without_is_a_word_that_is_found(small_index: SmallIndex, tmp_path: Path) -> None:
    catalogue = small_index.catalogue
    titles = ["Sink drain without overflow, black", "Sink drain with overflow", *catalogue.titles[2:]]
    vectors = small_index.encoder.encode_texts(titles)
    changed = replace(catalogue, titles=titles, text=vectors)
    meta = small_meta(changed, small_index.ranker)
    none = Judgements(np.zeros(0, np.int64), np.zeros(0, np.int64), [], [])
    seal(tmp_path / "index", build(tmp_path / "index", changed, none, (), vectors[:2], small_index.ranker, meta))
    core = SearchCore(ProductIndex(tmp_path / "index"), small_index.ranker, small_index.encoder, NoRewriter())

    def found(query: str) -> float:
        signals = core.signals(query)
        assert signals is not None
        return float(signals.values()[SIGNALS.index("words_found")])

    assert found("drain without overflow") == found("drain") == 1
    # Two words that no product has are half of what is asked for; that one is without overflow makes up for some.
    assert found("34 faucet drain without overflow") > found("34 faucet drain")
    # No product says that it is without steel: what nobody has is no word to be found.
    assert found("34 faucet drain without steel") == found("34 faucet drain")


def test_an_index_that_could_not_be_calibrated_answers_and_says_so(small_index: SmallIndex) -> None:
    from sqidflow.search.index import Fit

    core = small_index.core()
    assert core.search(Request("red kettle")).calibrated
    core.index.meta = replace(core.index.meta, fit=Fit(), score_cutoff=None)
    found = core.search(Request("qwrtzp xkcdfg"))
    assert found.hits and not found.calibrated and found.cutoff is None


def _saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "the same bytes": lambda image: _saved(image),
    "another file": lambda image: _saved(image, "BMP"),
    "JPEG": lambda image: _saved(image, "JPEG", quality=60),
    "half the size": lambda image: _saved(image.resize((image.width // 2, image.height // 2))),
    "twice the size": lambda image: _saved(image.resize((image.width * 2, image.height * 2))),
    "a tenth cropped off each side": lambda image: _saved(
        image.crop((image.width // 10, image.height // 10, image.width * 9 // 10, image.height * 9 // 10))
    ),
    "a tenth cropped off the left": lambda image: _saved(image.crop((image.width // 10, 0, *image.size))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_product_is_found_by_its_own_picture(small_index: SmallIndex, change: str) -> None:
    core = small_index.core()
    for row in (7, 14, 21, 28, 35, 42, 49):
        upload = CHANGES[change](Image.open(io.BytesIO(drawn(row))))
        assert core.search(Request(image=upload)).hits[0].product_id == f"P{row:02d}"


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 90, 3), np.uint8)), "noise_picture"),
        (Image.new("RGB", (90, 90), "white"), "blank_picture"),
        (Image.new("RGBA", (90, 90), (255, 0, 0, 0)), "blank_picture"),
    ],
    ids=["noise", "white", "transparent"],
)
@pytest.mark.parametrize("query", ["", "red"])
def test_a_picture_of_nothing_is_refused(small_index: SmallIndex, image: Image.Image, code: str, query: str) -> None:
    found = small_index.core().search(Request(query, image=_saved(image)))
    assert found.refusal is not None and found.refusal.code == code and found.hits == ()


def test_a_blank_picture_that_is_a_products_own_finds_it(small_index: SmallIndex) -> None:
    from tests.fixtures.small_index import PICTURE

    assert small_index.core().search(Request(image=PICTURE)).hits[0].product_id == "P00"


@pytest.mark.parametrize("color", ["red", "green", "blue", "black", "white"])
def test_words_beside_a_picture_say_what_is_first(small_index: SmallIndex, color: str) -> None:
    core = small_index.core()
    for row in (7, 14, 21):
        found = core.search(Request(f"in {color}", image=drawn(row), k=3, explain=True))
        assert small_index.catalogue.colors[found.hits[0].row] == color and found.unmet == ()
        first = found.hits[0]
        assert first.explanation is not None
        assert sum(part.contribution for part in first.explanation.parts) == pytest.approx(first.score, abs=1e-5)


def test_words_beside_a_picture_that_nothing_has_are_named(small_index: SmallIndex) -> None:
    found = small_index.core().search(Request("qwrtzp", image=drawn(7)))
    assert [(wish.wish, wish.kind) for wish in found.unmet] == [("qwrtzp", "words")]
    assert found.hits[0].product_id == "P07"
