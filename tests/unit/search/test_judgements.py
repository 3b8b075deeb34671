"""Judgements of the page as a file that `data import --examples` takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.data.importing import import_files
from sqidflow.search.experiments import Judgement
from sqidflow.search.judgements import export, write


def judgement(client: str, query: str, product: str, label: str, **more: object) -> Judgement:
    return Judgement(
        "2026-01-01", client, query, **{"picture": False, "locale": "us", **more}, product_id=product, label=label
    )


def test_most_clients_decide_and_a_draw_is_left_out() -> None:
    given = [
        judgement("1", "red kettle", "p1", "E"), judgement("2", "Red  Kettle", "p1", "E"),
        judgement("3", "red kettle", "p1", "S"), judgement("1", "red kettle", "p2", "E"),
        judgement("2", "red kettle", "p2", "I"), judgement("1", "", "p3", "C", picture=True),
        judgement("1", "in blue", "p3", "C", picture=True), judgement("4", "  ", "p3", "C"),
        judgement("4", "bouilloire", "p4", "C", locale=None),
    ]  # fmt: skip
    result = export(given, {"p4": "fr"}.get)
    assert result.rows == [("bouilloire", "p4", "C", "fr"), ("red kettle", "p1", "E", "us")]
    assert (result.judgements, result.clients, result.conflicts, result.conflicts_left_out) == (9, 4, 2, 1)
    assert (result.picture_queries_left_out, result.empty_queries_left_out) == (2, 1)


def test_products_that_were_deleted_are_left_out() -> None:
    given = [judgement("1", "red kettle", "p1", "E"), judgement("1", "red kettle", "gone", "I")]
    result = export(given, {}.get, {"p1"})
    assert [row[1] for row in result.rows] == ["p1"] and result.deleted_products_left_out == 1
    assert len(export(given, {}.get).rows) == 2, "without a catalogue nothing is known of them"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_exported_is_imported(tmp_path: Path, suffix: str) -> None:
    query = '24" monitor, "curved"\u00e9'
    file = tmp_path / f"judgements{suffix}"
    write([(query, "007", "E", "us"), (query, "a,b", "I", "us")], file)
    products = tmp_path / "products.csv"
    products.write_text('product_id,product_title\n007,Monitor\n"a,b",Lamp\n')
    report = import_files(tmp_path / "data", file, products=products)
    assert (report.judgements, report.queries, report.products) == (2, 1, 2)
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".part")] == []


def test_nothing_to_export_and_another_format_are_said(tmp_path: Path) -> None:
    with pytest.raises(SqidflowError, match="no judgement to export"):
        write([], tmp_path / "j.csv")
    with pytest.raises(SqidflowError, match=r"\.csv or \.parquet"):
        write([("q", "p", "E", "us")], tmp_path / "j.xlsx")
    assert list(tmp_path.iterdir()) == []
