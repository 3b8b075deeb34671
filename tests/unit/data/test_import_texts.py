"""Judgements and products through an import: what is counted, merged and refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError
from sqidflow.data import formats
from sqidflow.data.check import check_folder
from sqidflow.data.importing import import_files

PRODUCTS = "product_id,product_title\nA,Red shoe\nB,Blue sofa\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "work" / "data"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def judged(data: Path, *columns: str) -> list[tuple]:
    table = pq.read_table(data / formats.EXAMPLES_FILE)
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def test_one_text_judged_twice_in_two_spellings_is_a_contradiction(tmp_path: Path, data: Path) -> None:
    rows = "red shoe,A,E\nred shoe,B,E\n Red  shoe,A,S\nRed shoe,B,I\n"
    examples = written(tmp_path / "j.csv", "query,product_id,esci_label\n" + rows)
    products = written(tmp_path / "p.csv", PRODUCTS)
    with pytest.raises(DataError, match=r"row 3, column esci_label: .*judged S here and E in row 1, like 1 more"):
        import_files(data, examples, products=products)


def test_ids_of_one_text_are_merged_and_their_contradictions_counted(tmp_path: Path, data: Path) -> None:
    rows = "1,red shoe,A,E\n2,Red Shoe,A,S\n2,Red Shoe,B,I\n3,sofa,B,E\n"
    examples = written(tmp_path / "j.csv", "query_id,query,product_id,esci_label\n" + rows)
    report = import_files(data, examples, products=written(tmp_path / "p.csv", PRODUCTS))
    assert judged(data, "query_id", "product_id", "esci_label") == [(1, "A", "E"), (1, "B", "I"), (3, "B", "E")]
    assert (report.query_ids_merged, report.contradicting_judgements_dropped, report.queries) == (1, 1, 2)
    assert any("the first in row 2" in note or "first in row 2" in note for note in report.notes)


def test_judgements_of_two_locales_do_not_repeat_each_other(tmp_path: Path, data: Path) -> None:
    rows = "airbuds,A,us,C\nairbuds,B,us,E\nairbuds,B,es,E\nairbuds,A,es,I\n"
    examples = written(tmp_path / "j.csv", "query,product_id,product_locale,esci_label\n" + rows)
    products = "product_id,product_title,product_locale\nA,a,us\nA,b,es\nB,c,us\nB,d,es\n"
    report = import_files(data, examples, products=written(tmp_path / "p.csv", products))
    assert report.repeated_judgements_dropped == 0
    expected = [(1, "A", "us"), (1, "B", "us"), (2, "B", "es"), (2, "A", "es")]
    assert judged(data, "query_id", "product_id", "product_locale") == expected
    assert not [line for file in check_folder(data)[:2] for line in file.problems]


@pytest.mark.parametrize("both", [False, True])
def test_the_querys_locale_is_the_judgements(tmp_path: Path, data: Path, both: bool) -> None:
    names, row = "query_id,query,query_locale,product_id,esci_label", "1,zapato,es,A,E"
    if both:
        names, row = names + ",product_locale", row + ",es"
    examples = written(tmp_path / "j.csv", f"{names}\n{row}\n")
    products = written(tmp_path / "p.csv", "product_id,product_title,product_locale\nA,shoe,us\nA,zapato,es\n")
    report = import_files(data, examples, products=products)
    assert judged(data, "product_locale") == [("es",)]
    assert not any("product_locale is missing" in note for note in report.notes)


def test_a_query_of_one_locale_is_not_judged_with_a_product_of_another(tmp_path: Path, data: Path) -> None:
    names = "query,query_locale,product_id,product_locale,esci_label\n"
    examples = written(tmp_path / "j.csv", names + "a,es,A,es,E\nb,es,A,us,E\n")
    with pytest.raises(DataError, match="row 2, column product_locale: a query of es is judged with a product of us"):
        import_files(data, examples, products=written(tmp_path / "p.csv", PRODUCTS))


def test_an_id_with_two_texts_in_a_products_file_is_refused_with_both_rows(tmp_path: Path, data: Path) -> None:
    examples = written(tmp_path / "j.csv", "query,product_id,esci_label\na,A,E\n")
    products = written(tmp_path / "p.csv", PRODUCTS + "A,Green shoe\n")
    with pytest.raises(DataError, match="row 3, column product_title: product A .*'Green shoe' here.*in row 1"):
        import_files(data, examples, products=products)
    with pytest.raises(DataError, match="row 3, column product_title"):
        import_files(data, products=products)
    same = written(tmp_path / "same.csv", PRODUCTS + "A,Red shoe\nA,Red shoe\n")
    assert import_files(data, examples, products=same).repeated_products_dropped == 2


def test_html_is_taken_out_of_texts_and_counted(tmp_path: Path, data: Path) -> None:
    examples = written(tmp_path / "j.csv", "query,product_id,esci_label\nmen&#39;s shoe,A,E\nR&D mug,B,E\n")
    rows = "product_id,product_title,product_brand\nA,<b>Red</b> shoe &amp; lace,Dick&amp;Co\nB,Mug,AT&T\n"
    report = import_files(data, examples, products=written(tmp_path / "p.csv", rows))
    assert judged(data, "query") == [("men's shoe",), ("R&D mug",)]
    products = pq.read_table(data / formats.PRODUCTS_FILE)
    assert products["product_title"].to_pylist() == ["Red shoe & lace", "Mug"]
    assert products["product_brand"].to_pylist() == ["Dick&Co", "AT&T"]
    assert report.texts_freed_of_html == 3
    assert any("HTML was taken out of 3 texts" in note for note in report.notes)


def test_rows_and_lines_are_counted(tmp_path: Path, data: Path) -> None:
    examples = written(tmp_path / "j.csv", 'query,product_id,esci_label\n"red\nshoe",A,E\nb,B,S\n')
    report = import_files(data, examples, products=written(tmp_path / "p.csv", PRODUCTS))
    counts = (report.judgement_rows, report.judgement_lines, report.product_rows, report.product_lines)
    assert counts == (2, 3, 2, 2)


@pytest.mark.parametrize(
    ("column", "length"), [("product_title", 131_073), ("product_brand", 131_073), ("product_id", 201)]
)
def test_texts_that_a_later_step_cannot_hold_are_named(tmp_path: Path, data: Path, column: str, length: int) -> None:
    examples = written(tmp_path / "j.csv", "query,product_id,esci_label\na,A,E\n")
    row = {"product_id": "B", "product_title": "t", "product_brand": "b", column: "é" * length}
    text = f"{','.join(row)}\nA,t,b\n{','.join(row.values())}\n"
    with pytest.raises(DataError, match=f"row 2, column {column}: a text of {length:,} characters, more than"):
        import_files(data, examples, products=written(tmp_path / "p.csv", text))
    shorter = text.replace("é" * length, "é" * (length - 1))
    assert import_files(data, examples, products=written(tmp_path / "p.csv", shorter)).products == 2


def test_ids_like_numbers_stay_what_they_are(tmp_path: Path, data: Path) -> None:
    ids = ["00001", "1", "1E5", "4006381333931", "99999999999999999999", "nan", "1.0", "-7", "0x1F", "True"]
    rows = "".join(f"lamp,{key},E\n" for key in ids)
    examples = written(tmp_path / "j.csv", "query,product_id,esci_label\n" + rows)
    products = "product_id,product_title\n" + "".join(f"{key},t\n" for key in ids)
    import_files(data, examples, products=written(tmp_path / "p.csv", products))
    assert judged(data, "product_id") == [(key,) for key in ids]
    assert pq.read_table(data / formats.PRODUCTS_FILE)["product_id"].to_pylist() == ids


def test_ids_that_are_integers_in_parquet_are_text(tmp_path: Path, data: Path) -> None:
    pq.write_table(pa.table({"query": ["a"], "product_id": [12], "esci_label": ["E"]}), tmp_path / "j.parquet")
    pq.write_table(pa.table({"product_id": ["12"], "product_title": ["t"]}), tmp_path / "p.parquet")
    import_files(data, tmp_path / "j.parquet", products=tmp_path / "p.parquet")
    assert judged(data, "product_id") == [("12",)]
