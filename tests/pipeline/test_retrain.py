"""The loop through the real pipeline: a service learns from judgements; a bad challenger or a kill harms nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.workdir import Workdir
from sqidflow.data import formats, staging
from sqidflow.data.query_split import split_of
from sqidflow.search.experiments import Experiments, Exposure, Opinion
from tests import workdirs
from tests.api.clients import Clients, answer_of
from tests.api.test_server import Server
from tests.command_line import command, must, sqidflow, wait_until
from tests.conftest import Measured

SHARES = (4, 2, 4)
LOOP_SAMPLE = ("sample.queries=150", "sample.products=300", "sample.pairs_per_query=12", "sample.dim=96")
LOOP = ("train.model=linear", "retrain.drift=false", "feedback.overrule_clients=1")
BAD_LOOP = ("train.model=linear", "retrain.drift=false", "feedback.client_events_per_day=5000")
CLIENTS = 8
Labels = dict[tuple[str, str], str]
"""(query, product) -> label."""


def examples(workdir: Path) -> pa.Table:
    return pq.read_table(workdir / "data" / formats.EXAMPLES_FILE)


def shuffle_training_labels(workdir: Path) -> Labels:
    """Give each training query's products the labels of others; the true ones. What is held out stays as it was."""
    table = examples(workdir)
    ids, queries, products, labels = (
        table[name].to_pylist() for name in ("query_id", "query", "product_id", "esci_label")
    )
    rows = [row for row, query_id in enumerate(ids) if split_of(query_id, SHARES) == 0]
    true = {(queries[row], products[row]): labels[row] for row in rows}
    shuffled = [labels[row] for row in rows]
    random.Random(3).shuffle(shuffled)
    for row, label in zip(rows, shuffled, strict=True):
        labels[row] = label
    table = table.set_column(table.schema.get_field_index("esci_label"), "esci_label", [labels])
    staging.write_batches(workdir / "data" / formats.EXAMPLES_FILE, table.schema, table.to_batches())
    return true


def held_out_lines(workdir: Path) -> list[str]:
    lines = (workdir / "artifacts" / "prepared" / "pairs.csv").read_text().splitlines()[1:]
    return [line for line in lines if split_of(int(line.split(",")[0]), SHARES) != 0]


def with_new_queries(true: Labels) -> Labels:
    """With a few queries that nobody had, and the labels of those that they mean."""
    some = sorted({query for query, _ in true})[:4]
    return true | {(f"{query} please", product): label for (query, product), label in true.items() if query in some}


def judge_over_http(server: Server, true: Labels) -> int:
    """Search for each query and judge the products that the answer has; how many judgements were given."""
    products_of: dict[str, list[str]] = {}
    for query, product in true:
        products_of.setdefault(query, []).append(product)
    answers = {}
    for query in products_of:
        status, answer = server.search(query, k=100)
        assert status == 200
        answers[query] = answer["request_id"], {hit["product_id"] for hit in answer["results"]}
    given = 0
    for at, (query, products) in enumerate(products_of.items()):
        request_id, shown = answers[query]
        for product in products:
            if product in shown:
                body = {
                    "request_id": request_id, "kind": "judgement", "client": f"client-{at % CLIENTS:04}",
                    "product_id": product, "label": true[query, product],
                }  # fmt: skip
                assert server.request("POST", "/v1/feedback", body)[0] == 202
                given += 1
    return given


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Labels]]:
    """A workdir whose model learned from training labels that are wrong, and the right ones."""
    workdir = tmp_path_factory.mktemp("loop") / "workdir"
    must(sqidflow("data", "sample", "--workdir", str(workdir), settings=LOOP_SAMPLE))
    true = shuffle_training_labels(workdir)
    must(sqidflow("features", "--workdir", str(workdir)))
    run = must(sqidflow("run", "--json", "--workdir", str(workdir), settings=(*LOOP, "evaluation.min_lift=-0.1"))).json
    assert run["pushed_model"], run["blocked_by"]
    yield workdir, true
    shutil.rmtree(workdir)


def retrain(workdir: Path, *settings: str) -> dict[str, Any]:
    arguments = ("retrain", "--if-needed", "--json", "--workdir", str(workdir))
    return must(sqidflow(*arguments, settings=(*LOOP, *settings))).json


def test_the_loop(loop: tuple[Path, Labels], measured: Measured) -> None:
    workdir, true = loop
    place = str(workdir)
    before = held_out_lines(workdir)
    server = Server(workdir, "search.write_rate_limit=null")
    try:
        champion = json.loads(server.get("/version")[2])["delivery"]["served"]
        given = judge_over_http(server, with_new_queries(true))
        queries = sorted({query for query, _ in true})[:6]
        search, fields = answer_of(server), ("product_id", "score")
        with Clients(search, queries, count=2, by="model", fields=fields, pause_s=0.1) as load:
            load.wait_for(champion, 20)
            killed = kill_in(workdir, "index", LOOP)
            outcome = retrain(workdir)
            challenger = outcome["pushed_model"]
            load.wait_for(challenger, 20)
            back = must(sqidflow("rollback", "--json", "--workdir", place)).json
            assert back["served"] == champion
            load.wait_for(champion, 20)
            load.wait_for(champion, 20)
    finally:
        server.end()
    measured("judgements over HTTP", given)
    measured("retrain was killed in", killed)
    measured("gain on held-out queries", str(outcome["decision"]["gains"]))
    measured("answers by version", str(dict(load.answers)))
    assert outcome["resumed"] == killed and [trigger["kind"] for trigger in outcome["triggers"]] == ["judgements"]
    assert outcome["feedback"]["new_judgements"] == given and outcome["span"] == 1 and outcome["champion"] == champion
    assert outcome["feedback"]["quarantine"] == {}
    assert outcome["decision"]["pushed"] and outcome["decision"]["gains"]["ndcg"]["low"] > 0
    assert held_out_lines(workdir) == before
    prepared = (workdir / "artifacts" / "prepared" / "pairs.csv").read_text().splitlines()
    assert any(f"{queries[0]} please" in line for line in prepared)
    assert not load.failed
    assert all(len(shown) == 1 for shown in load.results.values()), "a query has one answer in one version"
    old, new = load.results_of(champion), load.results_of(challenger)
    assert any(old[query] != new[query] for query in old.keys() & new.keys())
    again = retrain(workdir)
    assert not again["ran"] and again["feedback"]["new_judgements"] == 0


def judge_badly(workdir: Path) -> None:
    """Three clients that judge all products of the training queries, each with the label of another product."""
    table = examples(workdir)
    ids, queries, products, labels = (
        table[name].to_pylist() for name in ("query_id", "query", "product_id", "esci_label")
    )
    rows = [row for row, query_id in enumerate(ids) if split_of(query_id, SHARES) == 0]
    shuffled = [labels[row] for row in rows]
    random.Random(3).shuffle(shuffled)
    shown: dict[str, list[str]] = {}
    for row in rows:
        shown.setdefault(queries[row], []).append(products[row])
    store = Experiments(workdir / "var" / "search" / "experiments.db")
    store.expose([Exposure(query, "a", "a", dict.fromkeys(own, "a"), "", query) for query, own in shown.items()])
    for row, label in zip(rows, shuffled, strict=True):
        for client in range(3):
            judgement = Opinion("judgement", queries[row], f"client-{client}", products[row], label)
            store.accept(judgement, "us")
    store.close()


def kill_in(workdir: Path, step: str, settings: Sequence[str]) -> str:
    """Kill `retrain` as soon as its state says the step, or a later one; which one."""
    from pipeline.retrain import DONE, STEPS, read_state

    order = [*STEPS, DONE]
    process = subprocess.Popen(
        command("retrain", "--if-needed", "--workdir", str(workdir), settings=settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def reached() -> bool:
        state = read_state(Workdir(workdir))
        assert process.poll() is None, f"it ended before {step}"
        return state.number == 1 and order.index(state.step) >= order.index(step)

    wait_until(reached, step)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return read_state(Workdir(workdir)).step


def test_a_worse_challenger_stays_out_and_kills_change_nothing(
    session_root: Path, prepared: Path, first_run: dict[str, Any], measured: Measured
) -> None:
    with workdirs.copied(session_root, prepared) as workdir:
        judge_badly(workdir)
        champion = Path(first_run["pushed_model"]).name
        killed = [kill_in(workdir, step, BAD_LOOP) for step in ("collect", "span", "features", "train", "evaluate")]
        measured("retrain was killed in", ", ".join(killed))
        arguments = ("retrain", "--if-needed", "--json", "--workdir", str(workdir))
        outcome = must(sqidflow(*arguments, settings=BAD_LOOP)).json
        measured("a worse challenger", outcome["decision"]["why"])
        assert outcome["resumed"] == killed[-1] and outcome["number"] == 1 and outcome["span"] == 1
        assert outcome["champion"] == champion and outcome["pushed_model"] is None
        assert not outcome["decision"]["pushed"] and f"champion {champion}" in outcome["decision"]["why"]
        report = Path(outcome["report"])
        assert "not pushed" in (report / "report.html").read_text()
        assert json.loads((report / "report.json").read_text())["decision"] == outcome["decision"]
        assert [folder.name for folder in (workdir / "artifacts" / "serving").iterdir()] == [champion]
        assert [folder.name for folder in (workdir / "data" / "feedback").iterdir()] == ["span-1"]
        again = must(sqidflow(*arguments, settings=BAD_LOOP)).json
        assert not again["ran"]
