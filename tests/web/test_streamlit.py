"""apps/streamlit_app.py in Streamlit's own test harness, over a real run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sqidflow.core.settings import WORKDIR_VARIABLE
from sqidflow.core.workdir import Workdir
from tests.conftest import REPOSITORY

APP = REPOSITORY / "apps" / "streamlit_app.py"
MAX_LINES = 120


def words(app: Any) -> Any:
    """The field for the query; fields of ranges stand beside it."""
    return next(field for field in app.text_input if field.label == "Words")


def test_it_is_short() -> None:
    assert len(APP.read_text().splitlines()) <= MAX_LINES


def test_without_a_model_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.testing.v1 import AppTest

    monkeypatch.setenv(WORKDIR_VARIABLE, str(tmp_path))
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not app.exception
    assert "sqidflow run" in app.error[0].value


def test_it_answers_as_the_search_core_does(indexed_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.testing.v1 import AppTest

    from sqidflow.core.settings import load_settings
    from sqidflow.search.engine import Request
    from sqidflow.search.state import open_service

    monkeypatch.setenv(WORKDIR_VARIABLE, str(indexed_copy))
    core = open_service(Workdir(indexed_copy), load_settings(indexed_copy), {}).a.core
    query = core.index.facets["sample_queries"][0]
    expected = [core.index.cell("title", hit.row) for hit in core.search(Request(query, k=5)).hits]
    assert expected

    app = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not app.exception and "Synthetic sample" in app.info[0].value
    app.slider[0].set_value(5)
    words(app).set_value(query).run()
    assert not app.exception
    assert [text.value for text in app.text] == expected

    words(app).set_value("!!!").run()
    assert "no letter" in app.warning[0].value
    by_label = {select.label: select for select in app.multiselect}
    color = core.index.facets["colors"][0][0]
    by_label["colour"].set_value([color])
    words(app).set_value(query).run()
    assert not app.exception
    expected = [core.index.cell("title", hit.row) for hit in core.search(Request(query, k=5, colors=(color,))).hits]
    assert [text.value for text in app.text] == expected

    next(field for field in app.text_input if field.label == "price").set_value("cheap").run()
    assert "'cheap' is not a number" in app.error[0].value
