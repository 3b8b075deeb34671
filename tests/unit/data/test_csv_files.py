"""CSV as people and programs export it: what is understood, and what is refused with its row."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqidflow.core.errors import DataError
from sqidflow.data import readers
from sqidflow.data.csv_files import Extent, check_quotes, read_layout
from sqidflow.data.sources import open_source

HEADER = "query,product_id,esci_label\n"
THREE = HEADER + "lamp,P1,E\nmug,P2,S\nrope,P3,I\n"


def written(folder: Path, text: str | bytes, name: str = "f.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def judgements(path: Path) -> list[tuple[str, str, str]]:
    table = pa.Table.from_batches(readers.read_examples(path, lenient=True))
    return list(zip(*(table[name].to_pylist() for name in ("query", "product_id", "esci_label")), strict=True))


# --- quotes -----------------------------------------------------------------------------------------------------------

BROKEN = {
    "never closed": ('lamp,P1,E\n"mug,P2,S\nrope,P3,I\n', 2, "a quote is opened and never closed.*1 more lines"),
    "closed by another open one": ('lamp,P1,E\n"mug,P2,S\n"rope,P3,I\n', 2, "text follows a closing quote, 1 lines"),
    "cut within a field": ('lamp,P1,E\nmug,P2,"S', 2, "never closed"),
    "backslash escapes": ('"24\\" lamp",P1,E\n', 1, "text follows a closing quote.*backslash"),
    "blank after the quote": ('"lamp" ,P1,E\n', 1, "text follows a closing quote"),
    "closed by an inch mark": ('lamp,P1,E\n"mug,P2,S\nrope,P4,E\ndesk 24",P3,I\n', 2, "looks like 2 more rows"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_broken_quotes_are_refused_with_the_row_of_the_quote(tmp_path: Path, kind: str, ends: str) -> None:
    rows, row, what = BROKEN[kind]
    path = written(tmp_path, (HEADER + rows).replace("\n", ends))
    with pytest.raises(DataError, match=what) as raised:
        judgements(path)
    assert (raised.value.file, raised.value.row) == (path, row)


READERS: dict[str, tuple[Callable[[Path], Iterator[pa.RecordBatch]], str]] = {
    "judgements": (readers.read_examples, 'esci_label,product_id,query\nE,P1,"lamp\nS,P2,mug\n'),
    "products": (readers.read_products, 'product_id,product_title\nP1,"lamp\nP2,mug\n'),
    "query vectors": (readers.read_query_features, 'f0,f1,query_id\n1,2,"1\n3,4,2\n'),
    "product vectors": (readers.read_product_features, 'f0,f1,product_id\n1,2,"P1\n3,4,P2\n'),
    "image addresses": (readers.read_image_urls, 'product_id,image_url\nP1,"http://x/a\nP2,http://x/b\n'),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_reader_refuses_an_open_quote(tmp_path: Path, name: str, packed: bool) -> None:
    read, text = READERS[name]
    path = written(tmp_path, gzip.compress(text.encode()) if packed else text, "f.csv.gz" if packed else "f.csv")
    with pytest.raises(DataError, match="row 1: a quote is opened and never closed"):
        list(read(path, lenient=True) if name in ("judgements", "products") else read(path))


def test_the_row_of_a_quote_far_into_a_large_file(tmp_path: Path) -> None:
    rows = [f"lamp {number},P{number},E" for number in range(400_000)]
    rows[350_000] = '"' + rows[350_000]
    path = written(tmp_path, HEADER + "\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"never closed; its field would hold 49,999 more lines") as raised:
        judgements(path)
    assert raised.value.row == 350_001


GOOD = {
    "plain": ("lamp,P1,E\nmug,P2,S\n", Extent(2, 2), ["lamp", "mug"]),
    "quoted": ('"lamp, red",P1,E\n"say ""hello"" mug",P2,S\n', Extent(2, 2), ["lamp, red", 'say "hello" mug']),
    "a quote within": ('24" lamp,P1,E\n3" x 5",P2,S\n', Extent(2, 2), ['24" lamp', '3" x 5"']),
    "both kinds": ('24" lamp,P1,E\n"mug, 5""",P2,S\n', Extent(2, 2), ['24" lamp', 'mug, 5"']),
    "line break": ('"red\nlamp",P1,E\nmug,P2,S\n', Extent(2, 3), ["red\nlamp", "mug"]),
    "line break and inches": ('"red\nlamp",P1,E\n5" mug,P2,S\n', Extent(2, 3), ["red\nlamp", '5" mug']),
    "commas on each line of a field": ('"red, big, new\nlamp, E, S",P1,E\nmug,P2,S\n', Extent(2, 3), None),
    "blank lines": ("\nlamp,P1,E\n\nmug,P2,S\n\n", Extent(2, 2), ["lamp", "mug"]),
    "no line end": ("lamp,P1,E\nmug,P2,S", Extent(2, 2), ["lamp", "mug"]),
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_whole_quotes_are_read_and_rows_and_lines_counted(tmp_path: Path, kind: str, ends: str) -> None:
    rows, extent, queries = GOOD[kind]
    path = written(tmp_path, (HEADER + rows).replace("\n", ends))
    assert open_source(path).extent == extent
    if queries is not None:
        assert [query.replace("\r\n", "\n") for query, _, _ in judgements(path)] == queries


def test_old_line_ends(tmp_path: Path) -> None:
    path = written(tmp_path, THREE.replace("\n", "\r"))
    assert open_source(path).extent == Extent(3, 3)
    assert len(judgements(path)) == 3


cell = st.text(st.sampled_from('ab ",;\n\\é'), max_size=6)


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=5), quoting=st.sampled_from([0, 1]))
def test_what_python_writes_is_whole_and_what_it_refuses_is_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], quoting: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "hypothesis.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, quoting=quoting, lineterminator="\n")
        writer.writerow(["a", "b", "c"])
        writer.writerows(rows)
    layout = read_layout(path)
    assert check_quotes(path, layout).rows == len(rows)
    text = path.read_text()
    cut = text[: max(len("a,b,c\n"), len(text) * 2 // 3)].replace('"', "", 1)
    path.write_text(cut)
    try:
        expected = sum(1 for row in csv.reader(cut.splitlines(True), strict=True) if row) - 1
    except csv.Error:
        with pytest.raises(DataError):
            check_quotes(path, read_layout(path))
        return
    assert check_quotes(path, read_layout(path)).rows == expected


# --- layout -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(("delimiter", "first"), [(";", "sep=;\n"), (";", ""), ("\t", ""), (",", ""), (";", "SEP=;\n")])
def test_delimiters_that_spreadsheets_write(tmp_path: Path, delimiter: str, first: str, mark: str) -> None:
    table = [["query", "product_id", "esci_label"], ['"la,mp;\tx"', "P1", "E"], ["mug", "P2", "S"]]
    text = "\n".join(delimiter.join(row) for row in table) + "\n"
    rows = judgements(written(tmp_path, mark + first + text))
    assert rows[:2] == [("la,mp;\tx", "P1", "E"), ("mug", "P2", "S")]


def test_a_zipped_file_is_known_by_its_content(tmp_path: Path) -> None:
    assert len(judgements(written(tmp_path, gzip.compress(THREE.encode()), "export.csv"))) == 3


def test_empty_columns_behind_the_others_are_ignored(tmp_path: Path) -> None:
    text = "query,product_id,esci_label,,\nlamp,P1,E,,\nmug,P2,S\nrope,P3,I,,,,\n"
    assert judgements(written(tmp_path, text)) == [("lamp", "P1", "E"), ("mug", "P2", "S"), ("rope", "P3", "I")]
    vectors = written(tmp_path, "query_id;f0;f1;\n1;0.5;2;\n2;3;4\n", "v.csv")
    read = pa.Table.from_batches(readers.read_query_features(vectors))
    assert read["clip_text_features"].to_pylist() == [[0.5, 2.0], [3.0, 4.0]]


def test_a_value_under_no_name_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "query,product_id,esci_label,\nlamp,P1,E,\nmug,P2,S,red\n")
    with pytest.raises(DataError, match="row 2: holds a value under a column without a name"):
        judgements(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(DataError, match="is UTF-16 or binary, not UTF-8; save it as CSV UTF-8"):
        judgements(written(tmp_path, THREE.encode(encoding)))


def test_a_short_row_is_still_an_error_where_columns_have_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2: has 2 fields where the header has 3"):
        judgements(written(tmp_path, HEADER + "lamp,P1,E\nmug,P2\n"))
