"""Groups: a biased model is caught and blocked, a fair one passes, too little data says nothing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from components.ranking_report.audit_gate import blocking_text, groups_gate
from sqidflow.evaluation.behaviour.groups import (
    Pairs,
    fairlearn_table,
    group_lines,
    groups_section,
    measured_groups,
    query_groups,
)
from sqidflow.ranking import features

EACH = 12
OPTIONS = {"least_group": 20, "disparity": 0.15, "block": ["audience", "picture"]}


def held_out(queries_of: dict[str, int], against: str | None = None, seed: int = 0) -> pa.Table:
    """Scores of invented judgements: so many queries of each audience. The model is right about nine pairs in ten; of
    the audience ``against`` it is wrong as often as right, and with ``picture`` it puts what has no picture last."""
    rng = np.random.default_rng(seed)
    names = ("query_id", "query", "product_id", "rating", "has_image", "score", "probs")
    rows: dict[str, list] = {name: [] for name in names}
    number = 0
    for audience, count in queries_of.items():
        for _ in range(count):
            number += 1
            for product in range(EACH):
                exact, pictured = product % 3 == 0, bool(rng.random() < 0.7)
                wrong = rng.random() < (0.5 if audience == against else 0.1)
                said = exact != wrong
                if against == "picture" and not pictured:
                    said = False
                chance = 0.8 if said else 0.1
                rows["query_id"].append(number)
                rows["query"].append(f"shoes for {audience}" if audience else "shoes")
                rows["product_id"].append(f"P{product:02d}")
                rows["rating"].append(3 if exact else 0)
                rows["has_image"].append(int(pictured))
                rows["score"].append(chance + rng.random() / 100)
                rows["probs"].append([1 - chance, 0.0, 0.0, chance])
    probs = pa.FixedSizeListArray.from_arrays(pa.array(np.array(rows.pop("probs"), np.float32).reshape(-1)), 4)
    return pa.table(rows).append_column("probs", probs)


AUDIENCES = {"": 80, "women": 60, "men": 60, "seniors": 4}


def lines_of(against: str | None) -> dict[str, str]:
    return {
        line.name: line.verdict for line in groups_gate(held_out(AUDIENCES, against), features.PLAIN_RULE, OPTIONS, {})
    }


def test_a_fair_model_passes() -> None:
    lines = lines_of(None)
    assert lines["groups.audience"] == "pass" and "block" not in lines.values()


@pytest.mark.parametrize(("against", "name"), [("women", "groups.audience.women"), ("picture", "groups.picture")])
def test_a_model_with_a_bias_is_blocked_and_the_line_names_it(against: str, name: str) -> None:
    found = groups_gate(held_out(AUDIENCES, against), features.PLAIN_RULE, OPTIONS, {})
    blocking = [line for line in found if line.verdict == "block"]
    assert blocking and all(line.name.startswith(name) for line in blocking)
    assert name in (blocking_text(found) or "")


def test_the_settings_say_what_blocks() -> None:
    found = groups_gate(held_out(AUDIENCES, "women"), features.PLAIN_RULE, OPTIONS | {"block": ["picture"]}, {})
    assert {line.verdict for line in found if line.name.startswith("groups.audience.women")} == {"warn"}
    assert blocking_text(found) is None
    lenient = groups_gate(held_out(AUDIENCES, "women"), features.PLAIN_RULE, OPTIONS | {"disparity": 0.9}, {})
    assert blocking_text(lenient) is None


def test_a_group_too_small_is_named_and_not_judged() -> None:
    pairs = Pairs.of(held_out(AUDIENCES, "seniors"), features.PLAIN_RULE, {})
    rows = measured_groups(pairs, query_groups(pairs.query_texts, (), {}), 20)
    seniors = next(row for row in rows if row.group == "seniors")
    assert seniors.size == 4 and not seniors.differences
    texts = [line.text for line in group_lines(rows, 0.15, 20, ("audience",))]
    assert any("too small to say anything: seniors (4)" in text for text in texts)
    assert not any(line.verdict == "block" for line in group_lines(rows, 0.15, 20, ("audience",)))


def test_a_group_without_rows_is_no_group() -> None:
    pairs = Pairs.of(held_out({"": 30}), features.PLAIN_RULE, {})
    rows = measured_groups(pairs, query_groups(pairs.query_texts, (), {}), 20)
    assert [row.group for row in rows if row.dimension == "audience"] == ["no word"]
    lines = {line.name: line for line in group_lines(rows, 0.15, 20, ())}
    assert lines["groups.audience"].verdict == "note" and "no group to compare with" in lines["groups.audience"].text


def test_measures_are_what_they_say() -> None:
    table = held_out({"": 25})
    pairs = Pairs.of(table, features.PLAIN_RULE, {})
    row = next(row for row in measured_groups(pairs, {"audience": ["no word"] * 25}, 20) if row.dimension == "audience")
    exact = table["rating"].to_numpy() == 3
    said = np.asarray(table["probs"].combine_chunks().flatten()).reshape(-1, 4).argmax(axis=1) == 3
    assert row.values["precision"].mean == pytest.approx((exact & said).sum() / said.sum())
    assert row.values["false positives"].mean == pytest.approx((~exact & said).sum() / (~exact).sum())
    assert 0 < row.values["above random"].mean < 1
    assert row.values["precision"].low < row.values["precision"].mean < row.values["precision"].high


def test_head_torso_and_tail_need_counts() -> None:
    texts = [f"q{n}" for n in range(20)]
    assert "frequency" not in query_groups(texts, (), {})
    groups = query_groups(texts, (), {f"q{n}": n for n in range(20)})["frequency"]
    assert groups[0] == "tail" and groups[12] == "torso" and groups[19] == "head"


def test_fairlearn_sees_the_same_difference() -> None:
    pytest.importorskip("fairlearn")
    pairs = Pairs.of(held_out(AUDIENCES, "women"), features.PLAIN_RULE, {})
    table = fairlearn_table(pairs, query_groups(pairs.query_texts, (), {}))
    assert table is not None
    by_dimension = {row[0]: row[2:] for row in table.rows}
    assert by_dimension["audience"][1] > 0.3 > by_dimension["picture of the product"][1]


def test_the_section_shows_every_group() -> None:
    pairs = Pairs.of(held_out(AUDIENCES, "women"), features.PLAIN_RULE, {f"P{n:02d}": "Acme" for n in range(6)})
    section = groups_section(None, pairs, [], {}, 0.15, 20, ("audience",))
    shown = {row[1] for row in section.tables[0].rows}
    assert {"women", "men", "seniors", "no word (reference)", "with picture (reference)"} <= shown
    assert any(line.name == "groups.frequency" and line.verdict == "note" for line in section.lines)
