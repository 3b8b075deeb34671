"""A candidate against the model that is served, on the same held-out queries: the rule of `sqidflow retrain`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sqidflow.core.model_files import read_card
from sqidflow.evaluation.whole_catalogue import DECIDING, Searched
from sqidflow.ranking import features, metrics

CHAMPION = "champion"
"""Key of the settings of this rule among those of RankingReport, and the served model's name among the methods."""
NDCG, MRR = "ndcg", "mrr"
_NAMES = {NDCG: "NDCG of judged lists", MRR: "MRR of whole-catalogue search"}


@dataclass(frozen=True)
class AgainstChampion:
    """``gains``: measure -> the candidate less the champion, paired by query; ``incomparable``: why there is none."""

    version: str
    min_gain: float
    gains: Mapping[str, metrics.Interval] = field(default_factory=dict)
    incomparable: str | None = None

    def blocking_line(self) -> str | None:
        """Why the candidate must not replace the champion; None where it may.

        It may where the whole interval of one measure is above ``min_gain`` and no whole interval is below zero.
        """
        if self.incomparable:
            return f"champion {self.version}: {self.incomparable}"
        numbers = ", ".join(
            f"{_NAMES[name]} {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" for name, gain in self.gains.items()
        )
        if any(gain.high < 0 for gain in self.gains.values()):
            return f"it is worse than champion {self.version}: {numbers}"
        if not any(gain.low > self.min_gain for gain in self.gains.values()):
            return f"no gain over champion {self.version} is surely above {self.min_gain:g}: {numbers}"
        return None

    def as_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "min_gain": self.min_gain,
            "gains": {name: gain.as_dict() for name, gain in self.gains.items()},
            "incomparable": self.incomparable,
            "blocked_by": self.blocking_line(),
        }


def compare(
    config: Mapping[str, Any],
    run_id: str | None,
    scores: pa.Table,
    searched: Searched | None,
    model: str,
    score: Callable[[Path], pa.Table],
    search: Callable[[Path], Searched | None],
) -> AgainstChampion:
    """Measure the champion as the candidate was measured.

    Args:
        config: ``folder`` of the champion and ``min_gain``. run_id: the candidate's MLflow run. scores, searched: of
            the candidate, called ``model`` there. score, search: measure a model folder, as ``CHAMPION``.
    """
    folder, min_gain = Path(config["folder"]), float(config["min_gain"])
    why = _incomparable(folder, run_id)
    if why is not None:
        return AgainstChampion(folder.name, min_gain, incomparable=why)
    gains = {NDCG: _paired(ndcg_values(scores), ndcg_values(score(folder)))}
    if searched is not None:
        other = search(folder)
        if other is not None:
            gains[MRR] = _paired(searched.of(model, DECIDING), other.of(CHAMPION, DECIDING))
    return AgainstChampion(folder.name, min_gain, gains)


def ndcg_values(scores: pa.Table) -> np.ndarray:
    """NDCG of each query, float64 [queries], NaN where no product is relevant; ``scores`` as of ``score_split``."""
    lists = metrics.RankedLists.of(scores[features.QUERY_ID].to_numpy(), scores[features.PRODUCT_ID].to_numpy())
    gains = features.CLASS_GAINS[scores[features.RATING].to_numpy()]
    return metrics.ndcg_per_query(lists, gains, scores["score"].to_numpy())


def _paired(candidate: np.ndarray, champion: np.ndarray) -> metrics.Interval:
    return metrics.bootstrap_interval(candidate - champion)


def _incomparable(folder: Path, run_id: str | None) -> str | None:
    card = read_card(folder)
    contract = card.get("feature_contract")
    if contract is None:
        return "its folder cannot be read, so nothing can be compared; `sqidflow run` pushes by its own rules"
    if contract != features.contract():
        return (
            f"it reads feature contract {contract}, the candidate {features.contract()}, so nothing can be compared; "
            "`sqidflow run` pushes by its own rules"
        )
    if run_id and card.get("mlflow_run_id") == run_id:
        return "it is this very model: the data is not new to it"
    return None
