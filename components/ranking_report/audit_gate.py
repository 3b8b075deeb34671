"""The audit's lines that are known before a push: groups on real judgements, and typing errors where they block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sqidflow.core import feature_files
from sqidflow.evaluation.behaviour.asking import CoreAsker, chosen_queries, judged_queries
from sqidflow.evaluation.behaviour.groups import Pairs, group_lines, measured_groups, query_groups
from sqidflow.evaluation.behaviour.perturbations import TYPING
from sqidflow.evaluation.behaviour.report import Line
from sqidflow.evaluation.behaviour.robustness import measure_kind, typing_line
from sqidflow.ranking import features
from sqidflow.search.engine import SearchCore


def brands_of(artifacts_dir: Path) -> dict[str, str]:
    """Brand of each product of the prepared catalogue, empty where it is not known."""
    columns = [features.PRODUCT_ID, features.BRAND]
    table = pq.read_table(artifacts_dir / feature_files.CATALOGUE, columns=columns)
    return {product: brand or "" for product, brand in zip(*(table[name].to_pylist() for name in columns))}


def groups_gate(
    scores: pa.Table, rule: Sequence[float], options: Mapping[str, Any], brand_of: Mapping[str, str]
) -> list[Line]:
    """The lines on groups.

    Args:
        scores: as of ``component.score_split``. options: the section ``audit`` of the settings.
    """
    pairs = Pairs.of(scores, rule, brand_of)
    brands = {brand.lower() for brand in pairs.brands if brand and " " not in brand}
    rows = measured_groups(pairs, query_groups(pairs.query_texts, brands, {}), options["least_group"])
    return group_lines(rows, options["disparity"], options["least_group"], options["block"])


def typing_gate(core: SearchCore, scores: pa.Table, options: Mapping[str, Any]) -> list[Line]:
    """The line on typing errors, through the candidate's core; none where typing does not block."""
    if "typing" not in options["block"]:
        return []
    asker = CoreAsker(core)
    queries = chosen_queries(judged_queries(scores), options["queries"], options["seed"])
    changed = (measure_kind(asker, kind, queries, options["seed"], options["rate"]) for kind in TYPING)
    line = typing_line([each for each in changed if each], blocking=True)
    return [line] if line else []


def blocking_text(lines: Sequence[Line]) -> str | None:
    """What the lines that block say; None where none does."""
    return " | ".join(f"audit, {line.name}: {line.text}" for line in lines if line.verdict == "block") or None
