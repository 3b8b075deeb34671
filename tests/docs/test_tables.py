"""The tables of the documentation are those of metrics/."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from deploy.docs_tables import outdated, rendered
from tests.conftest import REPOSITORY


def test_each_table_is_that_of_its_source() -> None:
    assert [page.name for page in outdated(REPOSITORY)] == []
    assert "<!-- table: search, from metrics/run.json -->\n| method |" in (REPOSITORY / "README.md").read_text()


def test_a_changed_number_is_found(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "metrics", tmp_path / "metrics")
    shutil.copy(REPOSITORY / "README.md", tmp_path)
    assert outdated(tmp_path) == {}
    document = json.loads((tmp_path / "metrics" / "run.json").read_text())
    document["search"]["bm25"]["mrr"] += 0.001
    (tmp_path / "metrics" / "run.json").write_text(json.dumps(document))
    assert [page.name for page in outdated(tmp_path)] == ["README.md"]

    shutil.copy(REPOSITORY / "metrics" / "run.json", tmp_path / "metrics")
    text = (tmp_path / "README.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| BM25"))
    (tmp_path / "README.md").write_text(text.replace(row, row.replace(" 0.", " 0.9", 1)))
    assert [page.name for page in outdated(tmp_path)] == ["README.md"]


def test_a_number_in_a_sentence_has_a_source_too(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"rows": [{"seconds": 12.34}]}')
    text = "It took <!-- number: rows.0.seconds .1f, from a.json -->9.9<!-- end --> s."
    assert rendered(text, tmp_path) == text.replace("9.9", "12.3")
    with pytest.raises(KeyError):
        rendered(text.replace("seconds", "minutes"), tmp_path)


def test_the_model_card_is_that_of_the_audit_and_the_run() -> None:
    """`sqidflow audit --card docs/model_card.md` writes it."""
    card = (REPOSITORY / "docs" / "model_card.md").read_text()
    audit = json.loads((REPOSITORY / "metrics" / "audit.json").read_text())
    run = json.loads((REPOSITORY / "metrics" / "run.json").read_text())
    lines = [line["text"] for section in audit["sections"].values() for line in section["lines"]]
    assert len(lines) > 10 and not [text for text in lines if text not in card]
    assert audit["model"]["version"] in card
    assert not [name for name, ndcg in run["ndcg"].items() if f"| {name} | {ndcg:.4f} |" not in card]


def test_a_table_that_nobody_can_write_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rendered("<!-- table: search, from metrics/no.json -->\n<!-- end of table -->", tmp_path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(KeyError):
        rendered("<!-- table: other, from a.json -->\n<!-- end of table -->", tmp_path)
