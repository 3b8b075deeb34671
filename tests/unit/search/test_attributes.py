"""Filters, facet counts, order and pages, against plain computations over the whole answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sqidflow.search.attributes import AttributeFilter, UnfitRequest, filters_of, sort_of
from sqidflow.search.engine import Request, SearchCore

QUERY = "red kettle"
KINDS = ("price", "category", "in_stock", "released")


@pytest.fixture(scope="module")
def core(small_index) -> SearchCore:
    return small_index.core()


@pytest.fixture(scope="module")
def rows(small_index) -> list[dict]:
    """The catalogue as plain rows."""
    catalogue = small_index.catalogue
    columns = {name: values.to_pylist() for name, (_, _, values) in catalogue.attributes.items()}
    columns |= {"brand": catalogue.brands, "color": catalogue.colors, "id": catalogue.product_ids}
    return [{name: values[at] for name, values in columns.items()} for at in range(len(catalogue.product_ids))]


def asked(**options) -> Request:
    return Request(QUERY, threshold=0.0, **{"k": 100, **options})


def ids(core: SearchCore, request: Request) -> list[str]:
    return [hit.product_id for hit in core.search(request).hits]


def everything(core: SearchCore, request: Request) -> list[str]:
    """All pages of seven, one after the other."""
    pages: list[str] = []
    while page := ids(core, replace(request, k=7, offset=len(pages))):
        pages += page
    return pages


class TestFilters:
    @pytest.mark.parametrize(
        ("filters", "passes"),
        [
            (["price:10..60"], lambda row: row["price"] is not None and 10 <= row["price"] <= 60),
            (["price:..20"], lambda row: row["price"] is not None and row["price"] <= 20),
            (["price:150.."], lambda row: row["price"] is not None and row["price"] >= 150),
            (["price:..10", "price:150.."],
             lambda row: row["price"] is not None and (row["price"] <= 10 or row["price"] >= 150)),
            (["category:home"], lambda row: row["category"] == "Home"),
            (["category:Home", "category:OUT & ABOUT"], lambda row: True),
            (["in_stock:true"], lambda row: row["in_stock"]),
            (["in_stock:no", "category:Home"], lambda row: not row["in_stock"] and row["category"] == "Home"),
            (["released:2024-01-05..2024-01-20"],
             lambda row: "01-05" <= row["released"].strftime("%m-%d") <= "01-20"),
            (["released:2024-01-05"], lambda row: row["released"].strftime("%m-%d") == "01-05"),
            (["brand:acme", "color:red"], lambda row: row["brand"] == "Acme" and row["color"] == "red"),
            (["link:https://shop.example/7"], lambda row: row["id"] == "P07"),
            (["category:nothing"], lambda row: False),
        ],
    )  # fmt: skip
    def test_what_passes(self, core, rows, filters, passes) -> None:
        answered = ids(core, asked(filters=filters_of(filters)))
        assert sorted(answered) == [row["id"] for row in rows if passes(row)]

    def test_brands_and_colours_are_two_of_them(self, core) -> None:
        old = asked(brands=("Acme",), colors=("red", "blue"))
        new = asked(filters=filters_of(["brand:Acme", "color:red", "color:blue"]))
        assert ids(core, old) == ids(core, new) != []

    @pytest.mark.parametrize(
        ("filters", "field", "what"),
        [
            ([AttributeFilter("prise", (1.0,))], "filters.prise", "known: brand, color, price, category, in_stock"),
            (filters_of(["price:cheap"]), "filters.price", "'cheap' is not a number"),
            (filters_of(["price:9..3"]), "filters.price", "9 is above 3"),
            (filters_of(["price:.."]), "filters.price", "no end of the range"),
            (filters_of(["price:nan"]), "filters.price", "'nan' is not a number"),
            ([AttributeFilter("price", (True,))], "filters.price", "'True' is not a number"),
            (filters_of(["in_stock:maybe"]), "filters.in_stock", "'maybe' is not true or false"),
            (filters_of(["released:yesterday"]), "filters.released", "is not a date"),
            ([AttributeFilter("category", least=3.0)], "filters.category", "has no range"),
            ([AttributeFilter("category", (3.0,))], "filters.category", "'3.0' is not a text"),
            ([AttributeFilter("price")], "filters.price", "no value and no range"),
        ],
    )
    def test_what_cannot_be_filtered_by(self, core, filters, field, what) -> None:
        with pytest.raises(UnfitRequest) as error:
            core.search(asked(filters=tuple(filters)))
        assert error.value.field == field and what in str(error.value)

    @pytest.mark.parametrize("text", ["price", ":5", "price:", "  : "])
    def test_texts_that_are_no_filters(self, text) -> None:
        with pytest.raises(UnfitRequest, match="is no filter"):
            filters_of([text])


class TestFacets:
    def plain(self, core, rows, request: Request, name: str) -> Counter:
        """Every page of the same search without the filters on ``name``, its products' values counted one by one."""
        by_id = {row["id"]: row for row in rows}
        others = tuple(each for each in request.filters if each.name != name)
        found = everything(core, replace(request, filters=others, facets=False))
        return Counter(by_id[product][name] for product in found)

    @pytest.mark.parametrize(
        "filters",
        [(), ("category:Home",), ("category:Home", "price:20..120"), ("in_stock:true", "color:red", "price:..90"),
         ("category:nothing",), ("price:..1", "brand:Acme")],
    )  # fmt: skip
    @pytest.mark.parametrize("threshold", [0.0, 0.3])
    def test_counts_are_those_of_a_plain_computation(self, core, rows, filters, threshold) -> None:
        request = replace(asked(filters=filters_of(filters)), facets=True, k=5, threshold=threshold)
        facets = {each.name: each for each in core.search(request).facets}
        assert list(facets) == ["brand", "color", *KINDS]
        for name, facet in facets.items():
            plain = self.plain(core, rows, request, name)
            present = {value: count for value, count in plain.items() if value is not None}
            assert facet.products == sum(present.values()), name
            if facet.kind in ("string", "boolean"):
                assert {each.value: each.products for each in facet.values if each.products} == present
            elif present:
                least, most = (value if facet.kind == "number" else value.date().isoformat()
                               for value in (min(present), max(present)))  # fmt: skip
                assert (facet.least, facet.most) == (least, most)
            else:
                assert (facet.least, facet.most) == (None, None)

    def test_a_chosen_value_without_products_stays_in_the_list(self, core) -> None:
        request = replace(asked(filters=filters_of(["category:Home", "color:red", "price:..1"])), facets=True)
        outcome = core.search(request)
        assert outcome.refusal is not None and outcome.refusal.code == "filtered_out"
        category = next(each for each in outcome.facets if each.name == "category")
        assert [(each.value, each.products, each.selected) for each in category.values] == [("Home", 0, True)]

    def test_addresses_are_no_facet_and_nothing_is_counted_unasked(self, core) -> None:
        assert "link" not in {each.name for each in core.search(asked(facets=True)).facets}
        assert core.search(asked()).facets == ()

    def test_by_picture(self, core, rows) -> None:
        from tests.fixtures.small_index import PICTURE

        request = replace(
            asked(facets=True, filters=filters_of(["category:Home"])), query="", image=PICTURE, threshold=None
        )
        outcome = core.search(request)
        by_id = {row["id"]: row for row in rows}
        counted = Counter(by_id[hit.product_id]["color"] for hit in outcome.hits)
        color = next(each for each in outcome.facets if each.name == "color")
        assert {each.value: each.products for each in color.values} == counted
        assert outcome.total == len(outcome.hits) > 0


class TestOrder:
    @pytest.mark.parametrize(("sort", "sign"), [("price:asc", 1), ("price:desc", -1)])
    def test_by_price_with_the_missing_last(self, core, rows, sort, sign) -> None:
        by_id = {row["id"]: row["price"] for row in rows}
        answered = ids(core, asked(sort=sort))
        prices = [by_id[product] for product in answered]
        assert sorted(answered) == sorted(ids(core, asked())), "the products are the same"
        assert prices[-1] is None and prices[:-1] == sorted(prices[:-1], key=lambda price: sign * price)

    def test_the_newest_first_and_equal_ones_by_relevance(self, core, rows) -> None:
        by_id = {row["id"]: row["released"] for row in rows}
        answered = ids(core, asked(sort="released:desc"))
        assert answered == sorted(ids(core, asked()), key=lambda product: by_id[product], reverse=True)

    def test_without_a_cut_off_another_order_takes_what_is_half_as_good_as_the_best(self, core, small_index) -> None:
        assert core.index.meta.score_cutoff is None
        titles = dict(zip(small_index.catalogue.product_ids, small_index.catalogue.titles))
        whole = core.search(Request("kettle", k=100))
        cheapest = core.search(Request("kettle", k=100, sort="price:asc"))
        assert len(whole.hits) == 50 and len(cheapest.hits) == cheapest.total == 10
        assert all("kettle" in titles[hit.product_id] for hit in cheapest.hits)
        assert cheapest.cutoff == pytest.approx(whole.hits[0].score / 2)

    def test_what_is_excluded_stays_behind(self, core, rows) -> None:
        request = replace(asked(sort="price:asc"), query="kettle not green")
        colors = {row["id"]: row["color"] for row in rows}
        kinds = [colors[product] for product in ids(core, request)]
        assert "green" in kinds
        assert "green" not in kinds[: kinds.index("green")] and set(kinds[kinds.index("green") :]) == {"green"}

    @pytest.mark.parametrize(
        ("sort", "what"),
        [
            ("price", "is no order"), ("price:up", "is no order"), ("prise:asc", "there is no attribute"),
            ("category:asc", "numbers and dates can be sorted by: price, released"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_sorted_by(self, core, sort, what) -> None:
        with pytest.raises(UnfitRequest, match=what) as error:
            core.search(asked(sort=sort))
        assert error.value.field == "sort"

    def test_an_order_is_read(self) -> None:
        assert sort_of("price:desc") == ("price", True) and sort_of("a:b:asc") == ("a:b", False)


class TestPages:
    @pytest.mark.parametrize("sort", ["relevance", "price:asc"])
    def test_pages_are_the_whole_answer_in_its_order(self, core, sort) -> None:
        whole = asked(sort=sort)
        assert everything(core, whole) == ids(core, whole)
        assert core.search(replace(whole, k=7, offset=14)).total == len(ids(core, whole)) == 50

    def test_explanations_are_those_of_the_page(self, core) -> None:
        first = core.search(asked(explain=True)).hits
        page = core.search(asked(explain=True, k=3, offset=4)).hits
        assert page == first[4:7] and all(hit.explanation for hit in page)

    def test_beyond_what_fits_is_empty_and_beyond_the_candidates_an_error(self, core) -> None:
        outcome = core.search(asked(offset=60))
        assert (outcome.hits, outcome.refusal, outcome.total) == ((), None, 50)
        with pytest.raises(UnfitRequest, match="100 is beyond the 100 candidates") as error:
            core.search(asked(offset=100))
        assert error.value.field == "offset"


def test_values_of_a_product(core, small_index) -> None:
    attributes = core.index.attributes
    assert attributes.of_row(1) == {
        "price": 27.75, "category": "Home", "in_stock": True, "released": "2024-01-12",
        "link": "https://shop.example/1",
    }  # fmt: skip
    assert "link" not in attributes.of_row(1, short=True)
    assert "price" not in attributes.of_row(0)
    assert np.isnan(attributes.columns["price"].values[0])
    assert "attributes/attributes.json" in core.index.meta.files
    assert "attributes/0.npy" in core.index.meta.files
