"""Retraining step by step: killed anywhere it ends the same, nothing starts it twice, and a report says why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.retrain import EVALUATE, INDEX, REPORT, STEPS, Job, State, decision, read_state, retrain, watched_look
from sqidflow.core.digests import data_hash
from sqidflow.core.errors import AnomalyError, DataError, WorkdirBusyError
from sqidflow.core.model_files import MODEL_CARD, ONNX_FILE
from sqidflow.core.pushes import record_push
from sqidflow.core.settings import Settings, load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.data.prepare import prepare
from sqidflow.data.query_split import split_of
from sqidflow.data.spans import span_folders
from sqidflow.data.versions import dvc, record_data, recorded_hash
from sqidflow.search.experiments import Experiments, Exposure, Opinion
from tests.workdirs import digest_of

SETTINGS = load_settings(Path("/nowhere"), ["retrain.judgements=20", "retrain.drift=false"], {})


class CheapJob(Job):
    """The real steps, with a model that is a file and no TensorFlow; ``pushes``: whether the challenger is better."""

    pushes = True

    def features(self, state: State) -> State:
        prepare(self.workdir.data, self.workdir.artifacts, **self.settings.preparation())
        return replace(state, step="train")

    def train(self, state: State) -> State:
        return replace(state, step=EVALUATE, challenger={"mlflow_run_id": f"run of {state.data_hash}"})

    def evaluate(self, state: State) -> State:
        folder = self.workdir.serving / "1700000001"
        if not self.pushes:
            return replace(state, step=REPORT, decision={"pushed": False, "why": "it is worse", "gains": {}})
        if not folder.is_dir():
            push(self.workdir, folder.name, state.data_hash)
        chosen = {"pushed": True, "why": "it gains", "gains": {"ndcg": {"mean": 0.02, "low": 0.01, "high": 0.03}}}
        return replace(state, step=INDEX, pushed=folder.name, decision=chosen)

    def index(self, state: State) -> State:
        (self.workdir.index / "abc").mkdir(parents=True, exist_ok=True)
        return replace(state, step=REPORT, index="abc")


class LosingJob(CheapJob):
    pushes = False


class Killed(BaseException):
    """As a process that is killed: nothing handles it."""


def push(workdir: Workdir, version: str, data_hash: str | None) -> None:
    folder = workdir.serving / version
    folder.mkdir(parents=True)
    (folder / ONNX_FILE).write_bytes(b"model")
    (folder / MODEL_CARD).write_text(json.dumps({"data_hash": data_hash, "mlflow_run_id": "the first"}))
    record_push(folder)


def judge(workdir: Workdir, clients: int = 2, first: int = 0) -> None:
    """Clients that search for one query of each split and two new ones, and judge twelve products each."""
    pairs = [line.split(",") for line in workdir.pairs.read_text().splitlines()[1:]]
    queries = {each[3].strip('"'): int(each[0]) for each in pairs}
    products = sorted({each[1].strip('"') for each in pairs})[:12]
    of_split = {split_of(query_id, (4, 2, 4)): text for text, query_id in sorted(queries.items())}
    store = Experiments(workdir.var / "search" / "experiments.db")
    for at, text in enumerate([*of_split.values(), f"new thing {first}", f"other thing {first}"]):
        name = f"answer-{first}-{at}"
        store.expose([Exposure(name, "a", "a", dict.fromkeys(products, "a"), "pair", text, model="1700000000")])
        for number in range(clients):
            for product in products:
                store.accept(Opinion("judgement", name, f"client-{number}", product, "E"), "us")
    store.close()


@pytest.fixture
def workdir(tiny_data: Path, tmp_path: Path) -> Workdir:
    place = Workdir(tmp_path / "place")
    shutil.copytree(tiny_data, place.data)
    prepare(place.data, place.artifacts, **SETTINGS.preparation())
    push(place, "1700000000", data_hash(place))
    judge(place)
    return place


def run(workdir: Workdir, job: Callable[..., Job] = CheapJob, settings: Settings = SETTINGS, **options: Any) -> Any:
    return retrain(workdir, settings, if_needed=True, job_of=job, **options)


def remains(workdir: Workdir) -> dict[str, Any]:
    """All that a retraining leaves, but for times."""
    state = json.loads((workdir.var / "retrain" / "state.json").read_text())
    report = json.loads((workdir.artifacts / "retrain" / "1" / "report.json").read_text())
    del state["started"], state["handled"]["at"], report["started"]
    files = {
        name: digest
        for name, digest in digest_of(workdir.root).items()
        if not name.startswith("var/") and not name.startswith("artifacts/retrain/1/report.")
    }
    return {"state": state, "report": report, "files": files, "var": sorted(p.name for p in workdir.var.iterdir())}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_any_step_it_ends_as_if_nothing_had_been(
    workdir: Workdir, tmp_path: Path, step: str, moment: str
) -> None:
    untouched = Workdir(tmp_path / "twin")
    shutil.copytree(workdir.root, untouched.root)
    run(untouched)

    class Dying(CheapJob):
        def __getattribute__(self, name: str) -> Any:
            if name != step:
                return super().__getattribute__(name)
            work = super().__getattribute__(name)

            def die(state: State) -> State:
                if moment == "after":
                    work(state)
                raise Killed

            return die

    with pytest.raises(Killed):
        run(workdir, Dying)
    assert read_state(workdir).step == step
    judge(workdir, clients=3, first=1)  # what comes in meanwhile is the next one's, once the judgements are frozen
    if step == "collect":
        shutil.copy(untouched.var / "search" / "experiments.db", workdir.var / "search" / "experiments.db")
    outcome = run(workdir)
    assert outcome.ran and outcome.resumed == step
    assert remains(workdir) == remains(untouched)


def test_feedback_fires_once_and_never_again(workdir: Workdir) -> None:
    first = run(workdir)
    assert [trigger.kind for trigger in first.state.triggers] == ["judgements"]
    assert first.state.span == 1 and first.state.champion == "1700000000" and first.state.pushed == "1700000001"
    assert first.collected["left_out"] == {"held-out query": 2 * 2 * 12}
    again = run(workdir)
    assert not again.ran and again.collected["new_judgements"] == 0
    assert len(span_folders(workdir.data)) == 1
    judge(workdir, first=5)
    second = run(workdir, LosingJob)
    assert second.state.number == 2 and second.state.span == 2 and second.collected["new_judgements"] == 24
    assert not run(workdir).ran, "a challenger that lost is not trained again"


def test_too_little_is_left_for_later(workdir: Workdir) -> None:
    outcome = run(workdir, settings=load_settings(Path("/nowhere"), ["retrain.drift=false"], {}))
    assert not outcome.ran and outcome.collected["new_judgements"] == 36
    assert not (workdir.data / "feedback").exists() and not (workdir.artifacts / "retrain").exists()


def test_asked_for_it_runs_without_a_trigger(workdir: Workdir) -> None:
    run(workdir)
    outcome = retrain(workdir, SETTINGS, job_of=LosingJob)
    assert outcome.ran and outcome.state.span is None
    assert [trigger.kind for trigger in outcome.state.triggers] == ["asked"]


def test_the_report_says_why_a_challenger_is_not_pushed(workdir: Workdir) -> None:
    outcome = run(workdir, LosingJob)
    page = (outcome.report / "report.html").read_text()
    assert "not pushed" in page and "it is worse" in page and "held-out query" in page
    assert (outcome.report / "quarantine.csv").read_text().startswith("reason,")


def test_anomalies_in_the_data_end_it_and_are_in_the_report(workdir: Workdir, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(CheapJob):
        train = Job.train

    def stop(*_: Any, **__: Any) -> None:
        raise AnomalyError("esci_label: high distance", where="ExampleValidator")

    monkeypatch.setattr("pipeline.local_runner.run", stop)
    outcome = run(workdir, Stopped)
    assert outcome.state.step == "done" and not outcome.state.decision["pushed"]
    assert "ExampleValidator: esci_label: high distance" in (outcome.report / "report.html").read_text()
    assert not run(workdir, Stopped).ran


def test_a_damaged_state_is_one_line(workdir: Workdir) -> None:
    run(workdir)
    file = workdir.var / "retrain" / "state.json"
    file.write_text(file.read_text()[:40])
    with pytest.raises(DataError, match="is no state of a retraining.*delete it"):
        run(workdir)


def test_a_watcher_looks_and_leaves_a_busy_workdir_alone(workdir: Workdir) -> None:
    now = datetime.now(UTC)
    assert watched_look(workdir, SETTINGS, now)
    assert read_state(workdir) == State(), "a look that starts something changes nothing by itself"
    run(workdir)
    assert not watched_look(workdir, SETTINGS, now)
    with workdir.locked("another verb"), pytest.raises(WorkdirBusyError):
        watched_look(workdir, SETTINGS, now)
    judge(workdir, first=7)
    with workdir.locked("another verb"):
        assert watched_look(workdir, SETTINGS, now), "the retraining itself finds the workdir busy"


def test_a_span_is_a_new_version_in_dvc(workdir: Workdir) -> None:
    dvc(workdir.root, "init", "--no-scm", "-q")
    before = record_data(workdir)
    outcome = run(workdir)
    assert recorded_hash(workdir.root) == data_hash(workdir) == outcome.state.data_hash != before
    again = dvc(workdir.root, "status", "data.dvc").stdout
    assert "up to date" in again


def test_the_decision_in_words() -> None:
    from pipeline.local_runner import RunResult

    gain = {"mean": 0.02, "low": 0.01, "high": 0.03}
    champion = {"version": "17", "min_gain": 0.0, "gains": {"ndcg": gain}}
    better = decision(RunResult("linear", report={"champion": champion}, pushed_model=Path("18")))
    assert better["pushed"] and better["why"] == "it gains over champion 17: NDCG +0.0200 [+0.0100, +0.0300]"
    worse = decision(RunResult("linear", report={"blessed_on_lists": False, "blocked_by": "audit, x: y"}))
    assert not worse["pushed"] and "zero-shot cosine" in worse["why"] and worse["why"].endswith("audit, x: y")
