"""Unseen data, robustness, explanations, the report and the model card, on a small index and an invented search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from sqidflow.evaluation.behaviour.asking import (
    Answer,
    CoreAsker,
    JudgedQuery,
    chosen_queries,
    judged_queries,
    ndcg,
    random_ndcg,
)
from sqidflow.evaluation.behaviour.explanations import explanations
from sqidflow.evaluation.behaviour.model_card import model_card
from sqidflow.evaluation.behaviour.report import Audit, Line, Section, Table, as_html
from sqidflow.evaluation.behaviour.robustness import NAMED_SUITE, robustness
from sqidflow.evaluation.behaviour.unseen import unseen
from sqidflow.ranking.metrics import Interval
from tests.fixtures.small_index import BRANDS, COLORS, KINDS, SmallIndex


class Words:
    """A search that answers what has all words of a query as they are, and nothing else."""

    def __init__(self, titles: dict[str, str]) -> None:
        self.titles = titles

    def answer(self, query: str) -> Answer:
        words = query.split()
        found = tuple(product for product, title in self.titles.items() if words and set(words) <= set(title.split()))
        return Answer(found, not found)

    def scores(self, query: str, product_ids: Sequence[str]) -> np.ndarray:
        words = query.split()
        return np.array([sum(word in self.titles[product] for word in words) for product in product_ids], np.float64)


TITLES = {
    f"P{n:02d}": f"{c} {k} by {b}"
    for n, (c, k, b) in enumerate((c, k, b) for c in COLORS for k in KINDS for b in BRANDS)
}
QUERIES = [
    JudgedQuery(
        number, f"{color} {kind}",
        {p: 3 if title.startswith(f"{color} {kind}") else 1 if kind in title else 0 for p, title in TITLES.items()},
    )
    for number, (color, kind) in enumerate((color, kind) for color in COLORS for kind in KINDS)
]  # fmt: skip


def verdicts(section: Section) -> dict[str, str]:
    return {line.name: line.verdict for line in section.lines}


def test_a_search_without_tolerance_loses_what_is_typed_wrongly() -> None:
    section = robustness(Words(TITLES), QUERIES, 1, 0.2, blocking=True)
    assert verdicts(section)["typing"] == "block" and verdicts(section)["refused.typing"] == "warn"
    assert verdicts(section)["refused.clean"] == verdicts(section)["refused.gibberish"] == "pass"
    rows = {row[0]: row for row in section.tables[0].rows}
    assert rows["other blanks"][2].mean == 0 and rows["other blanks"][4].mean == 1, "blanks do not matter to it"
    assert rows["a letter left out"][2].high < 0 and rows["a letter left out"][5].mean == 1
    assert [row[0] for row in section.tables[2].rows] == list(NAMED_SUITE)


def test_typing_errors_warn_where_they_do_not_block() -> None:
    assert verdicts(robustness(Words(TITLES), QUERIES, 1, 0.2))["typing"] == "warn"


def test_random_order_has_the_mean_of_all_orders() -> None:
    gains = np.array([1.0, 0.1, 0.0, 0.0])
    rng = np.random.default_rng(1)
    drawn = [ndcg(gains, rng.random(4), list("abcd")) for _ in range(4000)]
    assert random_ndcg(gains) == pytest.approx(np.mean(drawn), abs=0.01)


def scores_table() -> pa.Table:
    rng = np.random.default_rng(2)
    rows = [(q.query_id, q.text, p, label) for q in QUERIES for p, label in q.judged.items()]
    ids, texts, products, ratings = zip(*rows)
    rating = np.array(ratings)
    return pa.table(
        {
            "query_id": ids, "query": texts, "product_id": products, "rating": ratings,
            "score": rating + rng.random(len(rating)), "cosine": rng.random(len(rating)),
            "random": rng.random(len(rating)),
        }
    )  # fmt: skip


def test_unseen_products_and_times_are_judged_where_there_are_enough() -> None:
    scores = scores_table()
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [start + timedelta(days=int(query)) for query in scores["query_id"].to_pylist()]
    section = unseen(Words(TITLES), scores, QUERIES, set(list(TITLES)[:25]), times)
    assert verdicts(section)["unseen.held-out_queries"] == "pass"
    assert verdicts(section)["unseen.unseen_products"] in ("pass", "note")
    assert verdicts(section)["unseen.later_time_span"] == "note", "five queries are too few"
    early = {row[0]: row[1:] for row in section.tables[1].rows}
    assert early["model"][0].mean == 1 and early["model"][1].mean == 1
    whole = {row[0]: row[2] for row in section.tables[2].rows}
    assert whole["mrr"].mean == 1 and whole["top-5 accuracy"].mean == 1


def test_data_without_times_say_so() -> None:
    section = unseen(Words(TITLES), scores_table(), QUERIES, set(TITLES), None)
    line = next(line for line in section.lines if line.name == "unseen.later_time_span")
    assert line.verdict == "note" and "do not say when" in line.text
    cold = next(line for line in section.lines if line.name == "unseen.unseen_products")
    assert cold.verdict == "note" and "too few" in cold.text


def test_the_same_queries_are_asked_each_time() -> None:
    queries = judged_queries(scores_table())
    assert [query.text for query in queries] == [query.text for query in QUERIES]
    assert chosen_queries(queries, 5, 1) == chosen_queries(list(queries), 5, 1) != chosen_queries(queries, 5, 2)
    assert chosen_queries(queries, 1000, 1) == queries


def test_explanations_add_up_and_say_what_would_turn_an_order(small_index: SmallIndex) -> None:
    core = small_index.core()
    queries = [JudgedQuery(n, f"{color} kettle", {"P00": 3}) for n, color in enumerate(COLORS)]
    section = explanations(core, queries, 3)
    assert verdicts(section) == {"explanations.exact": "pass"}
    assert {row[0] for row in section.tables[0].rows} == {
        "text and picture like the query", "words that the product has",
    }  # fmt: skip
    assert section.tables[1].rows and all(row[3] for row in section.tables[1].rows)
    assert sum("<svg" in figure for figure in section.figures) == 3
    asker = CoreAsker(core)
    assert not asker.answer("red kettle").refused and asker.answer("red kettle") is asker.answer("red kettle")


def an_audit() -> Audit:
    table = Table("Numbers", ("what", "value"), [("<b>", Interval(0.5, 0.25, 0.75)), ("none", None)])
    sections = [
        Section("unseen", "Unseen", [Line("a", "pass", "all <well>")], [table]),
        Section("groups", "Groups", [Line("b", "note", "small"), Line("c", "block", "women worse")]),
    ]
    return Audit({"version": "17", "form": "ladder"}, sections, 1.5)


def test_the_page_loads_nothing_and_has_each_number_of_the_document() -> None:
    page, document = as_html(an_audit()), an_audit().as_dict()
    assert "src=" not in page and "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert "all &lt;well&gt;" in page and "<b>" not in page and "0.500 [0.250, 0.750]" in page
    assert document["verdict"] == "block" and document["blocking"] == ["women worse"]
    assert document["sections"]["unseen"]["tables"][0]["rows"][0]["value"] == {"mean": 0.5, "low": 0.25, "high": 0.75}
    assert json.loads(json.dumps(document)) == document


def test_the_model_card_is_filled_from_the_audit() -> None:
    report = {
        "ndcg": {"ladder": {"mean": 0.9, "low": 0.8, "high": 1.0}},
        "classes_missed": {"C": 0.01},
        "blessed": False,
    }
    card = model_card(report, an_audit().as_dict())
    assert card.startswith("# Model 17\n") and "| ladder | 0.9000 | 0.8000 | 1.0000 |" in card
    assert "- **blocks**: women worse" in card and "Class C is found with a recall of 0.01 only" in card
