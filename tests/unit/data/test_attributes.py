"""Further columns of products: kept with their types, refused where they have two readings."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError, SettingsError, SqidflowError
from sqidflow.data import formats
from sqidflow.data.attributes import AttributeRules, attributes_of, declared_otherwise
from sqidflow.data.check import check_folder
from sqidflow.data.importing import ImportReport, import_files

FEEDS = Path(__file__).parents[2] / "fixtures" / "feeds"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "work" / "data"


def csv(tmp_path: Path, column: str, *values: str, name: str = "p.csv") -> Path:
    lines = [f'{number},thing {number},"{value}"' for number, value in enumerate(values, 1)]
    path = tmp_path / name
    path.write_text("\n".join([f"product_id,product_title,{column}", *lines]) + "\n", encoding="utf-8")
    return path


def kept(data: Path, name: str) -> list:
    return pq.read_table(data / formats.PRODUCTS_FILE)[name].to_pylist()


def kinds(data: Path) -> dict[str, str]:
    return {each.name: each.kind for each in attributes_of(data / formats.PRODUCTS_FILE)}


def imported(data: Path, path: Path, decimal=None, merge: bool = False, **declared) -> ImportReport:
    return import_files(data, products=path, merge=merge, rules=AttributeRules(declared, decimal))


class TestKinds:
    @pytest.mark.parametrize(
        ("values", "kind", "expected"),
        [
            (("12.99", "5", ""), "number", [12.99, 5.0, None]),
            (("1.5e3", "-2"), "number", [1500.0, -2.0]),
            (("true", "FALSE"), "boolean", [True, False]),
            (("Yes", "no"), "boolean", [True, False]),
            (("2024-03-01", "2024-03-02T10:00:00+02:00"), "date",
             [datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 2, 8, tzinfo=UTC)]),
            (("shoes", "12"), "string", ["shoes", "12"]),
            (("007", "12"), "string", ["007", "12"]),
            (("4006381333931123456", "1"), "string", ["4006381333931123456", "1"]),
            (("24.12.2024", "31.12.2024"), "string", ["24.12.2024", "31.12.2024"]),
            (("1 299.50", "7.00"), "number", [1299.5, 7.0]),
        ],
    )  # fmt: skip
    def test_inferred_from_all_values(self, tmp_path, data, values, kind, expected) -> None:
        report = imported(data, csv(tmp_path, "Some Thing", *values))
        assert kinds(data) == {"some_thing": kind}
        assert kept(data, "some_thing") == expected
        assert report.attributes == (f"some_thing ({kind})",)
        assert report.columns_not_mapped == ()

    def test_names_of_articles_stay_text(self, tmp_path, data) -> None:
        imported(data, csv(tmp_path, "GTIN", "4006381333931", "12"))
        assert kinds(data) == {"gtin": "string"}

    def test_declared(self, tmp_path, data) -> None:
        imported(data, csv(tmp_path, "availability", "in_stock", "out of stock"), availability="boolean")
        assert kept(data, "availability") == [True, False]
        imported(data, csv(tmp_path, "size", "42", "43"), size="string")
        assert kept(data, "size") == ["42", "43"]

    def test_a_declared_attribute_that_no_column_has_is_told(self, tmp_path, data) -> None:
        report = imported(data, csv(tmp_path, "price", "1", "2"), prise="number")
        assert any("prise (did you mean price?)" in note for note in report.notes)

    def test_types_of_parquet(self, tmp_path, data) -> None:
        table = pa.table(
            {
                "product_id": ["a", "b"], "product_title": ["x", "y"], "price": [1.25, float("nan")],
                "stock": [3, None],
                "sold": pa.array([True, None]), "at": pa.array([datetime(2024, 1, 2), None], pa.timestamp("ns")),
                "tags": [["a"], ["b"]],
            }
        )  # fmt: skip
        pq.write_table(table, tmp_path / "p.parquet")
        report = imported(data, tmp_path / "p.parquet")
        assert kinds(data) == {"price": "number", "stock": "number", "sold": "boolean", "at": "date"}
        assert (kept(data, "price"), kept(data, "stock")) == ([1.25, None], [3.0, None])
        assert kept(data, "at") == [datetime(2024, 1, 2, tzinfo=UTC), None]
        assert report.columns_not_mapped == ("tags",)

    def test_markup_and_entities_in_texts(self, tmp_path, data) -> None:
        imported(data, csv(tmp_path, "category", "Home &amp; Garden", "<b>Shoes</b>"))
        assert kept(data, "category") == ["Home & Garden", "Shoes"]

    def test_columns_without_a_value_or_a_name_of_their_own_are_listed(self, tmp_path, data) -> None:
        report = imported(data, csv(tmp_path, "brand", "a", "b"))
        assert report.columns_not_mapped == ("brand",)
        report = imported(data, csv(tmp_path, "empty", "", ""))
        assert report.columns_not_mapped == ("empty",)

    def test_two_columns_of_one_name(self, tmp_path, data) -> None:
        path = tmp_path / "p.csv"
        path.write_text("product_id,product_title,Sale Price,sale_price\n1,x,1,2\n")
        with pytest.raises(DataError, match=r"column sale_price: is the attribute sale_price, as is .*Sale Price"):
            imported(data, path)


class TestPrices:
    @pytest.mark.parametrize(
        ("decimal", "text", "value", "unit"),
        [
            (None, "12.99 EUR", 12.99, "EUR"),
            (None, "€12.99", 12.99, "EUR"),
            (None, "USD 1500", 1500.0, "USD"),
            (",", "EUR 1.299,00", 1299.0, "EUR"),
            (",", "1.299", 1299.0, None),
            (",", "1 299,50 €", 1299.5, "EUR"),
            (",", "12,5", 12.5, None),
            (".", "1,299.00", 1299.0, None),
            (".", "1.299", 1.299, None),
            (".", "CHF 1'299.00", 1299.0, "CHF"),
            (".", "-5.00", -5.0, None),
        ],
    )
    def test_read_by_the_declared_mark(self, tmp_path, data, decimal, text, value, unit) -> None:
        imported(data, csv(tmp_path, "price", text), decimal=decimal)
        assert kept(data, "price") == [value]
        assert attributes_of(data / formats.PRODUCTS_FILE)[0].unit == unit

    @pytest.mark.parametrize(
        ("decimal", "text", "what"),
        [
            (None, "EUR 1.299,00", "has no plain decimal point"),
            (None, "12,99", "has no plain decimal point"),
            (None, "1.299", "may be 1.299 or 1299"),
            (None, "1,299", "may be 1.299 or 1299"),
            (".", "1.299,00", "is no number with a point"),
            (".", "12,99", "is no number with a point"),
            (",", "1,299.00", "is no number with a comma"),
            (",", "12.99", "is no number with a comma"),
        ],
    )
    def test_two_readings_are_refused_and_never_guessed(self, tmp_path, data, decimal, text, what) -> None:
        path = csv(tmp_path, "price", "5", text)
        with pytest.raises(DataError, match=r"p\.csv, row 2, column price: ") as error:
            imported(data, path, decimal=decimal)
        assert what in error.value.message and "data.decimal" in error.value.message
        assert "\n" not in error.value.message
        assert not data.exists()

    def test_a_column_that_shows_its_mark_is_read_by_it(self, tmp_path, data) -> None:
        imported(data, csv(tmp_path, "price", "12.50", "1.299"))
        assert kept(data, "price") == [12.5, 1.299]

    def test_two_currencies(self, tmp_path, data) -> None:
        with pytest.raises(DataError, match=r"row 2, column price: '5 USD' has USD where values before it have EUR"):
            imported(data, csv(tmp_path, "price", "5 EUR", "5 USD"))

    def test_a_declared_price_refuses_words(self, tmp_path, data) -> None:
        path = csv(tmp_path, "price", "5", "on request")
        with pytest.raises(DataError, match=r"row 2, column price: 'on request' is no number"):
            imported(data, path, price="number")
        report = imported(data, path)
        assert kinds(data) == {"price": "string"}
        assert any("row 2 has 'on request'" in note for note in report.notes)

    def test_json_numbers_have_one_reading(self, tmp_path, data) -> None:
        path = tmp_path / "p.jsonl"
        path.write_text('{"product_id": "a", "product_title": "x", "price": 1.299}\n')
        imported(data, path)
        assert kept(data, "price") == [1.299]

    def test_a_date_that_does_not_exist(self, tmp_path, data) -> None:
        with pytest.raises(DataError, match=r"row 1, column released: '2024-02-30' is no date"):
            imported(data, csv(tmp_path, "released", "2024-02-30"))


class TestFeeds:
    def test_google(self, data) -> None:
        report = imported(data, FEEDS / "google.tsv")
        assert kept(data, "price") == [1299.0, 499.0]
        assert "price (number, EUR)" in report.attributes
        assert kept(data, "gtin") == ["00012345678905", None]
        assert kept(data, "availability") == ["in_stock", "out_of_stock"]

    def test_shopify(self, data) -> None:
        imported(data, FEEDS / "shopify.csv")
        assert kept(data, "price")[0] == 129.9
        assert kept(data, "type")[0] == "Shoes"
        assert kept(data, "published")[0] is True

    def test_nested_fields_of_json_are_listed(self, data) -> None:
        report = imported(data, FEEDS / "products.jsonl")
        assert kept(data, "price")[:2] == [129.9, 499.0]
        assert kept(data, "in_stock")[:2] == [True, None]
        assert report.columns_not_mapped == ("dimensions",)


class TestSeveralValues:
    """An attribute has one value of a product; where a file has several, the import says what becomes of them."""

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            (
                "p.jsonl",
                '{"product_id": "A", "product_title": "a", "tags": ["red"], "product_bullet_point": ["x", "y"]}\n'
                '{"product_id": "B", "product_title": "b", "tags": ["red", "blue"]}\n',
            ),
            (
                "p.xml",
                '<rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
                "<item><g:id>A</g:id><title>a</title><tags>red</tags></item>"
                "<item><g:id>B</g:id><title>b</title><tags>red</tags><tags>blue</tags></item></channel></rss>",
            ),
        ],
    )
    def test_they_are_one_text_and_the_import_says_so(self, data: Path, tmp_path: Path, name: str, text: str) -> None:
        path = tmp_path / name
        path.write_text(text)
        notes = imported(data, path).notes
        assert kept(data, "tags") == ["red", "red\nblue"]
        told = [note for note in notes if "several values" in note]
        assert told == [
            f"tags has several values in row 2 of {name}: an attribute has one, so they are kept as one text, which "
            "filters and facets take whole"
        ]

    def test_one_value_each_is_nothing_to_say(self, data: Path, tmp_path: Path) -> None:
        path = tmp_path / "p.jsonl"
        path.write_text('{"product_id": "A", "product_title": "a", "tags": ["red"]}\n')
        assert not [note for note in imported(data, path).notes if "several values" in note]


class TestDeclaredAfterImport:
    """``data.attributes`` is read at import; what is declared otherwise since then is said in one line."""

    def test_another_kind_and_an_unknown_name(self, data: Path, tmp_path: Path) -> None:
        imported(data, csv(tmp_path, "price", "1.5", "2"))
        file = data / formats.PRODUCTS_FILE
        assert declared_otherwise(file, {"price": "number"}) is None and declared_otherwise(file, {}) is None
        told = declared_otherwise(file, {"price": "string", "size": "number"})
        assert told is not None and "\n" not in told
        assert (
            "{price: string, size: number}" in told and "price is number in the data, size is not in the data" in told
        )

    def test_data_check_says_it(self, data: Path, tmp_path: Path) -> None:
        imported(data, csv(tmp_path, "price", "1.5", "2"))
        notes = [note for report in check_folder(data, attributes={"price": "string"}) for note in report.notes]
        assert any(note.startswith("data.attributes declares {price: string}") for note in notes)
        assert not [note for report in check_folder(data, attributes={"price": "number"}) for note in report.notes]


class TestMerge:
    def test_keeps_replaces_and_adds(self, tmp_path, data) -> None:
        imported(data, csv(tmp_path, "price", "1.50 EUR", "2.50 EUR"))
        new = tmp_path / "new.csv"
        new.write_text("product_id,product_title,price,category\n2,thing 2,9.75,shoes\n3,thing 3,4.25,hats\n")
        report = imported(data, new, merge=True)
        assert kept(data, "price") == [1.5, 9.75, 4.25]
        assert kept(data, "category") == [None, "shoes", "hats"]
        assert report.attributes == ("price (number, EUR)", "category (string)")
        assert (report.products_added, report.products_replaced) == (1, 1)

    def test_a_file_without_the_column_leaves_its_values(self, tmp_path, data) -> None:
        imported(data, csv(tmp_path, "price", "1.50", "2.50"))
        new = tmp_path / "new.csv"
        new.write_text("product_id,product_title\n2,another thing\n")
        imported(data, new, merge=True)
        assert kept(data, "price") == [1.5, 2.5]

    def test_a_changed_type_is_refused_in_one_line(self, tmp_path, data) -> None:
        imported(data, csv(tmp_path, "price", "1.50", "2.50"))
        before = (data / formats.PRODUCTS_FILE).read_bytes()
        with pytest.raises(DataError, match=r"new\.csv, row 1, column price: 'cheap' is no number, and price is a "):
            imported(data, csv(tmp_path, "price", "cheap", name="new.csv"), merge=True)
        pq.write_table(
            pa.table({"product_id": ["1"], "product_title": ["x"], "price": [True]}), tmp_path / "new.parquet"
        )
        with pytest.raises(DataError, match=r"column price: holds values of the kind boolean, and is number in the"):
            imported(data, tmp_path / "new.parquet", merge=True)
        with pytest.raises(SettingsError, match=r"price is declared as string and is number in the data"):
            imported(data, csv(tmp_path, "price", "1", name="new.csv"), merge=True, price="string")
        with pytest.raises(DataError, match=r"'1 USD' is in USD, not in EUR"):
            imported(data, csv(tmp_path, "price", "1 EUR"))
            imported(data, csv(tmp_path, "price", "1 USD", name="new.csv"), merge=True)
        imported(data, csv(tmp_path, "price", "1.50", "2.50"))
        assert (data / formats.PRODUCTS_FILE).read_bytes() == before

    def test_removed_products_take_their_attributes_along(self, tmp_path, data) -> None:
        imported(data, csv(tmp_path, "price", "1.50", "2.50"))
        import_files(data, merge=True, remove=["1"])
        assert kept(data, "price") == [2.5]
        assert kinds(data) == {"price": "number"}


class TestBadFiles:
    """One line that names file, row, column and a hint; nothing half-done."""

    def refused(self, data: Path, path: Path, *parts: str) -> None:
        with pytest.raises(SqidflowError) as error:
            import_files(data, products=path)
        assert "\n" not in error.value.message
        for part in (path.name, *parts):
            assert part in error.value.message, error.value.message
        assert ";" in error.value.message
        assert not data.exists()

    def test_a_column_twice_in_a_table(self, tmp_path, data) -> None:
        path = tmp_path / "p.tsv"
        path.write_text("id\ttitle\tprice\tprice\tlink\n1\tx\t1\t2\thttps://a.example\n")
        self.refused(data, path, "column price", "twice", "rename")
        path.write_text("id\ttitle\tg:price\tprice\tlink\n1\tx\t1\t2\thttps://a.example\n")
        self.refused(data, path, "column price", "twice", "rename")

    @pytest.mark.parametrize("suffix", ["tsv", "xml", "jsonl", "csv"])
    def test_a_feed_cut_in_the_middle(self, tmp_path, data, suffix) -> None:
        whole = {
            "tsv": "id\ttitle\tprice\tlink\n1\tx\t1\thttps://a.example\n2\ty",
            "xml": "<rss><channel><item><id>1</id><title>x</title></item><item><id>2</id><ti",
            "jsonl": '{"product_id": "1", "product_title": "x"}\n{"product_id": "2", "prod',
            "csv": 'product_id,product_title,price\n1,x,1\n2,"y',
        }[suffix]
        path = tmp_path / f"p.{suffix}"
        path.write_text(whole)
        self.refused(data, path, "row 2")

    @pytest.mark.parametrize("suffix", ["csv", "xml", "jsonl"])
    def test_ten_megabytes_of_html(self, tmp_path, data, suffix) -> None:
        html = "<p>long</p>" * 1_000_000
        path = tmp_path / f"p.{suffix}"
        texts = {
            "csv": f"product_id,product_title,product_description\n1,x,short\n2,y,{html}\n",
            "jsonl": "\n".join(
                json.dumps({"product_id": str(number), "product_title": "x", "product_description": text})
                for number, text in enumerate(("short", html), 1)
            ),
            "xml": f"<rss><channel><item><id>1</id><title>x</title></item><item><id>2</id><title>y</title>"
            f"<description><![CDATA[{html}]]></description></item></channel></rss>",
        }
        path.write_text(texts[suffix])
        self.refused(data, path, "row 2", "shorten")

    def test_an_id_twice_with_another_price(self, tmp_path, data) -> None:
        path = tmp_path / "p.csv"
        path.write_text("product_id,product_title,price\n1,x,1.50\n1,x,2.50\n")
        self.refused(data, path, "row 2", "column price", "2.5 here and 1.5 in row 1", "keep one")
        path.write_text("product_id,product_title,price\n1,x,1.50\n1,y,1.50\n")
        self.refused(data, path, "row 2", "column product_title", "'y' here and 'x' in row 1")
