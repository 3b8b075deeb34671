"""How the sample's queries are typed, and that their labels follow from what they ask for."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sqidflow.data import formats
from sqidflow.data.sample import SampleSpec, category_of_products, write_sample
from sqidflow.data.sample_queries import KINDS, Wording, plural, shares, typed
from sqidflow.data.splitmix import Rng

WORDING = Wording("kettle", "kettle", {"colour": "red", "brand": "nordvik", "number": "8 cups", "audience": "women"})


def texts(kind: str, wording: Wording = WORDING, count: int = 60) -> set[str]:
    rng = Rng(3)
    return {text for _ in range(count) if (text := typed(rng, kind, wording)) is not None}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("typed") / "data"
    write_sample(folder, SampleSpec(queries=600, products=600, pairs_per_query=8, dim=16))
    rows = pq.read_table(folder / formats.EXAMPLES_FILE).to_pylist()
    kinds = category_of_products(folder)
    titles = dict(
        zip(
            *(
                pq.read_table(folder / formats.PRODUCTS_FILE)[name].to_pylist()
                for name in ("product_id", "product_title")
            )
        )
    )
    return [{**row, "category": kinds[row["product_id"]], "title": titles[row["product_id"]].lower()} for row in rows]


def test_the_shares_are_those_that_are_stated(judged: list[dict[str, str]]) -> None:
    assert sum(share for _, share in shares()) == pytest.approx(1.0)
    kind_of = {row["query"]: row[formats.QUERY_KIND] for row in judged}
    counts = Counter(kind_of.values())
    assert set(counts) == dict(KINDS).keys()
    for kind, share in shares():
        # Four deviations of a draw of 600.
        assert abs(counts[kind] / 600 - share) < 4 * (share * (1 - share) / 600) ** 0.5, kind


def test_a_query_is_of_one_kind(judged: list[dict[str, str]]) -> None:
    kinds = defaultdict(set)
    for row in judged:
        kinds[row["query_id"]].add(row[formats.QUERY_KIND])
    assert {len(each) for each in kinds.values()} == {1}


def test_what_is_excluded_is_not_exact(judged: list[dict[str, str]]) -> None:
    """Titles that name the excluded feature are judged Exact far less often than those of the kind that do not."""
    of_having: dict[bool, list[bool]] = {True: [], False: []}
    for row in judged:
        match = re.search(r"(?:without|not) (waterproof|foldable|wireless|vintage|padded|portable)$", row["query"])
        if match and row["esci_label"] in "ES":
            of_having[match[1] in row["title"]].append(row["esci_label"] == "E")
    having, without = (sum(each) / len(each) for each in (of_having[True], of_having[False]))
    assert having < 0.1 < 0.4 < without


def test_plurals() -> None:
    assert plural("shoe") == "shoes" and plural("flask") == "flasks" and plural("jeans") == "jeans"
    assert all("kettles" in text for text in texts("plural"))


def test_a_typing_error_changes_one_word_by_one_slip() -> None:
    found = texts("typing error")
    assert len(found) > 10
    # Words in front stand in any order, so what is left of the right words tells the one that is wrong.
    right = {"red", "nordvik", "kettle", "8", "cups", "for", "women"}
    for text in found:
        assert len([word for word in text.split() if word not in right]) <= 1


def test_a_word_too_short_to_be_mistyped_gives_no_query() -> None:
    assert typed(Rng(1), "typing error", Wording("hat", "hat", {})) is None


def test_word_order_keeps_a_number_with_its_unit() -> None:
    found = texts("word order")
    assert len(found) > 5 and all("8 cups" in text for text in found)
    assert any(text.startswith("kettle") for text in found)


def test_negation_says_what_is_excluded() -> None:
    wording = Wording("kettle", "kettle", {}, ("colour", "green"))
    assert {text.rsplit(" ", 1)[1] for text in texts("negation", wording)} == {"green"}
    assert typed(Rng(1), "negation", WORDING) is None


def test_a_brand_is_misspelt_and_nothing_else() -> None:
    for text in texts("brand misspelt"):
        assert "nordvik" not in text.split() and "red" in text.split() and text.startswith(("n", "r"))
    assert typed(Rng(1), "brand misspelt", Wording("hat", "hat", {"colour": "red"})) is None


def test_audience_price_question_and_joined_words() -> None:
    assert all(re.search(r"women|her|ladies|woman", text) for text in texts("audience"))
    assert typed(Rng(1), "audience", Wording("hat", "hat", {})) is None
    assert all("red" in text and "kettle" in text for text in texts("price"))
    assert all(len(text.split()) > 6 for text in texts("question"))
    assert all("redkettle" in text for text in texts("joined"))
    assert texts("joined", Wording("phone case", "phone case", {})) == {"phonecase"}
    assert texts("one word", Wording("kettle", "kettle", {})) == {"kettle", "kettles"}
    assert texts("one word", Wording("phone case", "phone case", {})) == set()


def test_a_large_sample_has_enough_queries(tmp_path: Path) -> None:
    """There are fewer words than queries of one word that are drawn: other kinds take their place."""
    report = write_sample(tmp_path / "data", SampleSpec(queries=4000, products=480, pairs_per_query=1, dim=16))
    assert report.queries == 4000
