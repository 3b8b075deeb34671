"""A candidate against the served model: who may replace whom, and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components.ranking_report.champion import CHAMPION, compare
from sqidflow.core.model_files import MODEL_CARD
from sqidflow.evaluation.whole_catalogue import MEASURES, Searched
from sqidflow.ranking import features

QUERIES = 40


def scores(wrong: float, seed: int = 1) -> pa.Table:
    """Five products a query, the first of them exact; in a share ``wrong`` of the queries the last is ranked first."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(QUERIES), 5)
    score = np.tile([5.0, 4.0, 3.0, 2.0, 1.0], QUERIES)
    for query in np.flatnonzero(rng.random(QUERIES) < wrong):
        score[query * 5 : query * 5 + 5] = [1, 2, 3, 4, 5]
    return pa.table(
        {
            features.QUERY_ID: ids,
            features.PRODUCT_ID: [f"P{number}" for number in range(len(ids))],
            features.RATING: np.tile([3, 0, 0, 0, 0], QUERIES),
            "score": score,
        }
    )


def searched(name: str, mrr: float) -> Searched:
    values = np.zeros((QUERIES, len(MEASURES)))
    values[:, MEASURES.index("mrr")] = mrr + np.linspace(-0.01, 0.01, QUERIES)
    return Searched({"bm25": values * 0, name: values}, ("bm25",))


@pytest.fixture
def champion(tmp_path: Path) -> Path:
    folder = tmp_path / "17"
    folder.mkdir()
    write_card(folder, {"feature_contract": features.contract(), "mlflow_run_id": "old"})
    return folder


def write_card(folder: Path, card: dict[str, Any]) -> None:
    (folder / MODEL_CARD).write_text(json.dumps(card))


def against(champion: Path, wrong: float, mrr: float = 0.5, min_gain: float = 0.0, run_id: str | None = "new") -> Any:
    """A candidate that is wrong in a share of the lists, and a champion that is wrong in half, with an MRR of 0.5."""
    return compare(
        {"folder": str(champion), "min_gain": min_gain},
        run_id,
        scores(wrong),
        searched("ladder", mrr),
        "ladder",
        lambda folder: scores(0.5),
        lambda folder: searched(CHAMPION, 0.5),
    )


def test_a_sure_gain_in_one_measure_is_enough(champion: Path) -> None:
    result = against(champion, 0.0)
    assert result.gains["ndcg"].low > 0.1 and result.gains["mrr"].mean == pytest.approx(0)
    assert result.blocking_line() is None
    assert against(champion, 0.5, mrr=0.6).blocking_line() is None


def test_a_sure_loss_in_one_measure_blocks(champion: Path) -> None:
    line = against(champion, 0.0, mrr=0.4).blocking_line()
    assert line is not None and line.startswith("it is worse than champion 17: NDCG of judged lists +0.")
    assert "MRR of whole-catalogue search -0.1000" in line


def test_no_difference_is_no_gain(champion: Path) -> None:
    result = against(champion, 0.5)
    assert result.blocking_line().startswith("no gain over champion 17 is surely above 0: ")
    assert result.as_dict()["blocked_by"] == result.blocking_line()


def test_a_gain_below_the_setting_is_not_enough(champion: Path) -> None:
    assert against(champion, 0.5, mrr=0.55, min_gain=0.02).blocking_line() is None
    assert "surely above 0.2" in str(against(champion, 0.5, mrr=0.55, min_gain=0.2).blocking_line())


def test_a_champion_that_cannot_be_compared_is_not_replaced(champion: Path) -> None:
    assert "it is this very model" in str(against(champion, 0.0, run_id="old").blocking_line())
    write_card(champion, {"feature_contract": "ffffffff"})
    assert "feature contract ffffffff" in str(against(champion, 0.0).blocking_line())
    (champion / MODEL_CARD).unlink()
    result = against(champion, 0.0)
    assert result.gains == {} and "cannot be read" in str(result.blocking_line())
