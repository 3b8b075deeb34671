from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError, SqidflowError
from sqidflow.data import formats
from sqidflow.data.importing import import_files
from sqidflow.data.judgement_files import Grading, parse_grades

FEEDS = Path(__file__).parents[2] / "fixtures" / "feeds"
RSS = '<rss xmlns:g="http://base.google.com/ns/1.0"><channel>'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "work" / "data"


def products(data: Path) -> list[dict[str, str | None]]:
    return pq.read_table(data / formats.PRODUCTS_FILE).to_pylist()


def judged(data: Path) -> list[tuple]:
    table = pq.read_table(data / formats.EXAMPLES_FILE).select(["query_id", "query", "product_id", "esci_label"])
    return [tuple(row.values()) for row in table.to_pylist()]


def addresses(data: Path) -> dict[str, str]:
    table = pacsv.read_csv(data / formats.IMAGE_URLS_FILE)
    return dict(zip(table["product_id"].to_pylist(), table["image_url"].to_pylist(), strict=True))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def refused(data: Path, file: Path, message: str) -> None:
    """The import raises one line and leaves nothing."""
    with pytest.raises(DataError, match=message) as error:
        import_files(data, products=file)
    assert "\n" not in error.value.message
    assert not data.exists()
    assert [path.name for path in data.parent.iterdir()] == [] if data.parent.exists() else True


class TestGoogle:
    def test_table(self, data: Path) -> None:
        report = import_files(data, products=FEEDS / "google.tsv")
        shoe, sofa = products(data)
        assert (shoe["product_id"], shoe["product_title"]) == ("SKU-1", "Men's shoe 24\" red")
        assert (shoe["product_brand"], shoe["product_color"]) == ("Acme", "red/white")
        assert shoe["product_description"] == "A light shoe"
        assert (sofa["product_description"], sofa["product_brand"]) == ("Weich & groß", "Möbel & Co")
        assert sofa["product_color"] is None
        assert addresses(data) == {"SKU-1": "https://img.example/1.jpg"}
        assert report.image_urls == 1
        assert any("google.tsv is read as a Google Merchant feed: id as product_id" in note for note in report.notes)

    def test_xml(self, data: Path) -> None:
        import_files(data, products=FEEDS / "google.xml")
        shoe, sofa = products(data)
        assert (shoe["product_id"], shoe["product_title"]) == ("SKU-1", "Men's shoe 24\" red")
        assert (shoe["product_description"], shoe["product_bullet_point"]) == ("A light shoe", "Light\nWaterproof")
        assert (sofa["product_title"], sofa["product_description"]) == ("Blaues Sofa", "Weich & groß")
        assert addresses(data) == {"SKU-1": "https://img.example/1.jpg"}

    @pytest.mark.parametrize("change", ["gzip", "utf-16", "atom"])
    def test_xml_otherwise(self, data: Path, tmp_path: Path, change: str) -> None:
        text = (FEEDS / "google.xml").read_text()
        file = tmp_path / "feed.xml"
        if change == "gzip":
            file.write_bytes(gzip.compress(text.encode()))
        elif change == "utf-16":
            file.write_bytes(text.replace("UTF-8", "UTF-16").encode("utf-16"))
        else:
            text = text.replace("<rss ", '<feed xmlns="http://www.w3.org/2005/Atom" ').replace("</rss>", "</feed>")
            text = text.replace("<channel>", "").replace("</channel>", "")
            file.write_text(text.replace("<item>", "<entry>").replace("</item>", "</entry>"))
        import_files(data, products=file)
        assert [row["product_id"] for row in products(data)] == ["SKU-1", "SKU-2"]

    def test_a_cut_feed(self, data: Path, tmp_path: Path) -> None:
        text = (FEEDS / "google.xml").read_text()
        file = written(tmp_path / "cut.xml", text[: text.index("out_of_stock")])
        refused(data, file, "cut.xml, row 2: is cut or damaged after 1 items: .*; copy or download the file again")

    def test_ten_megabytes_of_html(self, data: Path, tmp_path: Path) -> None:
        long = "&lt;p&gt;text&lt;/p&gt;" * 500_000
        item = f"<item><g:id>1</g:id><title>a</title></item><item><g:id>2</g:id><g:description>{long}"
        file = written(tmp_path / "long.xml", f"{RSS}{item}</g:description></item></channel></rss>")
        refused(data, file, "long.xml, row 2: is longer than 4 MB; shorten its description")
        table = written(
            tmp_path / "l.csv", f"product_id,product_title,product_description\n1,a,b\n2,a,{'<p>x</p>' * 10**6}\n"
        )
        refused(data, table, "l.csv, row 2, column product_description: a text of 8,000,000 characters, more than")

    def test_entities_are_refused(self, data: Path, tmp_path: Path) -> None:
        bomb = '<!DOCTYPE rss [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
        file = written(tmp_path / "bomb.xml", f"{bomb}{RSS}<item><g:id>&b;</g:id></item></channel></rss>")
        refused(data, file, "bomb.xml: declares entities")
        outside = '<!DOCTYPE rss [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        file = written(tmp_path / "x.xml", f"{outside}{RSS}<item><g:id>&a;</g:id></item></channel></rss>")
        refused(data, file, "x.xml: declares entities")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("<html><body/></html>", "its outermost element is <html>, not <rss> or <feed>"),
            (f"{RSS}</channel></rss>", "has no rows"),
            (f"{RSS}<item><title>a</title></item></channel></rss>", "column product_id: the column is missing"),
            (
                f"{RSS}<item><g:id>1</g:id><title>a</title></item><item><title>b</title></item></channel></rss>",
                "row 2, column product_id: has no value",
            ),
        ],
    )
    def test_no_feed(self, data: Path, tmp_path: Path, text: str, message: str) -> None:
        refused(data, written(tmp_path / "f.xml", text), message)

    def test_one_id_with_two_texts(self, data: Path, tmp_path: Path) -> None:
        items = "".join(f"<item><g:id>1</g:id><title>{title}</title></item>" for title in ("a", "a", "b"))
        refused(
            data, written(tmp_path / "f.xml", f"{RSS}{items}</channel></rss>"), "row 3, column product_title: product 1"
        )


class TestShopify:
    def test_several_rows_are_one_product(self, data: Path) -> None:
        report = import_files(data, products=FEEDS / "shopify.csv")
        shoe, sofa = products(data)
        assert (shoe["product_id"], shoe["product_title"], shoe["product_brand"]) == ("red-shoe", "Red shoe", "Acme")
        assert shoe["product_description"] == "A light shoe Waterproof"
        assert (shoe["product_color"], sofa["product_color"]) == ("Red, White", None)
        assert (report.products, report.repeated_products_dropped) == (2, 0)
        assert addresses(data) == {"red-shoe": "https://cdn.example/red.jpg"}

    def test_names_of_later_exports(self, data: Path, tmp_path: Path) -> None:
        head = "Title,URL handle,Description,Vendor,SKU,Price,Product image URL\n"
        import_files(data, products=written(tmp_path / "s.csv", f"{head}Bed,bed,Soft,Acme,B-1,10,https://x/1.jpg\n"))
        assert products(data)[0]["product_description"] == "Soft"
        assert addresses(data) == {"bed": "https://x/1.jpg"}

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ("a,A,x\na,,x\n,,y\n", "row 3, column Handle: has no value"),
            ("a,A,x\nb,B,x\na,,y\n", "row 3, column Handle: the rows of a do not stand together"),
            ("a,A,x\na,B,x\n", "row 2, column Title: a is 'B' here and 'A' in row 1"),
            (f"a,A,x\na,,x\n{'h' * 201},B,x\n", "row 3, column product_id: a text of 201 characters"),
        ],
    )
    def test_rows_that_do_not_fit(self, data: Path, tmp_path: Path, rows: str, message: str) -> None:
        refused(data, written(tmp_path / "s.csv", f"Handle,Title,Vendor\n{rows}"), message)


class TestJson:
    def test_lines(self, data: Path) -> None:
        import_files(data, products=FEEDS / "products.jsonl")
        assert [(row["product_id"], row["product_title"]) for row in products(data)] == [
            ("7", "Red shoe"),
            ("0008", "Blue sofa"),
            ("9", "Café table"),
        ]
        assert products(data)[0]["product_bullet_point"] == "Light\nWaterproof"

    def test_judgements(self, data: Path, tmp_path: Path) -> None:
        line = '{"query": "shoe", "product_id": 7, "esci_label": "E", "product_title": "Red shoe"}\n'
        import_files(data, written(tmp_path / "j.jsonl", line))
        assert judged(data) == [(1, "shoe", "7", "E")]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"product_id": "1", "product_title": "a"}\n{"product_id": "2", "prod', "row 2: is no JSON"),
            ('{"product_id": "1", "product_title": "a"}\n[1]\n', "row 2: is no JSON object"),
            ('[{"product_id": "1"}]', "is one JSON array; write JSON lines"),
            ('{"product_id": "1"}\n', "column product_title: the column is missing"),
            ('{"product_id": "1", "x": "' + "y" * 5_000_000, "row 1: is longer than 4 MB"),
        ],
    )
    def test_damaged(self, data: Path, tmp_path: Path, text: str, message: str) -> None:
        refused(data, written(tmp_path / "p.jsonl", text), message)


class TestMergedFeed:
    def test_addresses_of_the_feed_replace_those_of_its_products(self, data: Path, tmp_path: Path) -> None:
        import_files(data, products=FEEDS / "google.tsv")
        head = "id\ttitle\timage_link\n"
        change = written(tmp_path / "c.tsv", f"{head}SKU-1\tShoe\thttps://new/1.jpg\nSKU-3\tBed\thttps://new/3.jpg\n")
        report = import_files(data, products=change, merge=True)
        assert (report.products_added, report.products_replaced) == (1, 1)
        assert addresses(data) == {"SKU-1": "https://new/1.jpg", "SKU-3": "https://new/3.jpg"}
        assert products(data)[0]["product_brand"] == "Acme"


class TestGrades:
    def test_qrels(self, data: Path) -> None:
        report = import_files(
            data, FEEDS / "qrels.txt", products=FEEDS / "google.tsv", grading=Grading(queries=FEEDS / "queries.tsv")
        )
        assert judged(data) == [
            (101, "red shoe", "SKU-1", "E"),
            (101, "red shoe", "SKU-2", "I"),
            (102, "sofa, blue", "SKU-2", "S"),
            (102, "sofa, blue", "SKU-1", "I"),
        ]
        assert "grades as labels: 0 is I, 1 is C, 2 is S, 3 is E" in report.notes

    def test_quepid(self, data: Path) -> None:
        report = import_files(data, FEEDS / "quepid.csv", products=FEEDS / "google.tsv")
        assert [row[1:] for row in judged(data)] == [
            ("red shoe", "SKU-1", "E"),
            ("sofa, blue", "SKU-2", "S"),
            ("sofa", "SKU-2", "C"),
        ]
        assert report.judgements_without_grade == 1

    def test_a_rule_of_ones_own(self, data: Path, tmp_path: Path) -> None:
        file = written(tmp_path / "q.csv", "query,docid,rating\na,SKU-1,1\nb,SKU-2,0\n")
        with pytest.raises(DataError, match="q.csv: has no grade above 1: .*; say --grades 0=I,1=E"):
            import_files(data, file, products=FEEDS / "google.tsv")
        import_files(data, file, products=FEEDS / "google.tsv", grading=Grading(parse_grades("0=I, 1=e")))
        assert [row[3] for row in judged(data)] == ["E", "I"]

    @pytest.mark.parametrize("grade", ["4", "2.5", "good"])
    def test_a_grade_without_a_label(self, data: Path, tmp_path: Path, grade: str) -> None:
        file = written(tmp_path / "q.csv", f"query,docid,rating\na,SKU-1,\nb,SKU-2,{grade}\n")
        with pytest.raises(DataError, match=f"q.csv, row 2, column rating: no label is known for the grade '{grade}'"):
            import_files(data, file, products=FEEDS / "google.tsv")

    def test_rows_of_errors_are_those_of_the_file(self, data: Path, tmp_path: Path) -> None:
        file = written(tmp_path / "q.csv", "query,docid,rating\na,SKU-1,\nb,SKU-2,2\nb,SKU-9,2\n")
        with pytest.raises(DataError, match="q.csv, row 3, column product_id: product SKU-9"):
            import_files(data, file, products=FEEDS / "google.tsv")

    def test_qrels_that_lack_something(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="qrels.txt: TREC qrels name queries by number alone; .*--queries FILE"):
            import_files(data, FEEDS / "qrels.txt", products=FEEDS / "google.tsv")
        one = Grading(queries=written(tmp_path / "one.tsv", "101\tred shoe\n"))
        with pytest.raises(DataError, match="qrels.txt, row 3: the file of queries has no text of query 102"):
            import_files(data, FEEDS / "qrels.txt", products=FEEDS / "google.tsv", grading=one)
        cut = written(tmp_path / "cut.txt", "101 0 SKU-1 3\n101 0 SK")
        with pytest.raises(DataError, match="cut.txt, row 2: is no line of TREC qrels"):
            import_files(data, cut, products=FEEDS / "google.tsv", grading=one)

    @pytest.mark.parametrize("rule", ["", "1", "1=X", "a=E", "1=E,1=S"])
    def test_rules_that_are_none(self, rule: str) -> None:
        with pytest.raises(SqidflowError, match="--grades"):
            parse_grades(rule)
