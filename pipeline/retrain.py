"""`sqidflow retrain`: from feedback to a challenger, and to its push where it is surely better than the champion.

The steps stand in ``var/retrain/state.json`` before they begin. A retraining that was killed goes on at the step that
it was in, with the same judgements and the same champion, and every step may be done twice: it ends as if nothing had
been. The lock of the workdir sees to it that no two train at once.
"""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqidflow.core.digests import data_hash
from sqidflow.core.errors import AnomalyError, DataError, SqidflowError
from sqidflow.core.files import write_atomically
from sqidflow.core.model_files import read_card
from sqidflow.core.pushes import newest_model, pinned_version
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.data import spans
from sqidflow.data.staging import staged_folder
from sqidflow.data.versions import is_dvc_repository, record_data
from sqidflow.monitoring.collect import Collected, collect, read_collected, write_collected
from sqidflow.monitoring.triggers import ASKED, Handled, Look, Trigger, dealt_with, due, looked

if TYPE_CHECKING:
    from pipeline.local_runner import Listener, RunResult

COLLECT, SPAN, FEATURES, TRAIN, EVALUATE, INDEX, REPORT, DONE = (
    "collect", "span", "features", "train", "evaluate", "index", "report", "done",
)  # fmt: skip
STEPS = (COLLECT, SPAN, FEATURES, TRAIN, EVALUATE, INDEX, REPORT)
_FORMAT = 1
_STYLE = (
    "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}"
    "td{padding:.2rem 1rem .2rem 0;vertical-align:top;border-bottom:1px solid #8884}"
)


@dataclass(frozen=True)
class State:
    """A retraining: the ``step`` that is to be done next, or ``done``.

    ``champion``: version of the model that was served when it began. ``challenger``: card of the trained model.
    ``decision``: whether it was pushed, and why. ``handled``: of all retrainings up to now.
    """

    number: int = 0
    step: str = DONE
    started: str = ""
    triggers: tuple[Trigger, ...] = ()
    champion: str | None = None
    span: int | None = None
    data_hash: str | None = None
    challenger: Mapping[str, Any] | None = None
    pushed: str | None = None
    decision: Mapping[str, Any] | None = None
    index: str | None = None
    alarms: tuple[str, ...] = ()
    handled: Handled = Handled()


@dataclass(frozen=True)
class Outcome:
    """What a call came to. ``resumed``: the step at which it went on; ``report``: the folder of the report."""

    state: State
    ran: bool
    collected: Mapping[str, Any] = field(default_factory=dict)
    resumed: str | None = None
    report: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        state = self.state
        return {
            "ran": self.ran,
            "resumed": self.resumed,
            "number": state.number if self.ran else None,
            "triggers": [asdict(trigger) for trigger in state.triggers] if self.ran else [],
            "feedback": dict(self.collected),
            "span": state.span if self.ran else None,
            "data_hash": state.data_hash if self.ran else None,
            "champion": state.champion if self.ran else None,
            "pushed_model": state.pushed if self.ran else None,
            "decision": state.decision if self.ran else None,
            "report": str(self.report) if self.report else None,
        }


def _file(workdir: Workdir) -> Path:
    return workdir.var / "retrain" / "state.json"


def _pending(workdir: Workdir) -> Path:
    return workdir.var / "retrain" / "pending"


def reports(workdir: Workdir) -> Path:
    """The folder with a report of each retraining, by number."""
    return workdir.artifacts / "retrain"


def read_state(workdir: Workdir) -> State:
    """Raises DataError where the file is damaged: to begin anew could train twice on one occasion."""
    file = _file(workdir)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT or content["step"] not in (*STEPS, DONE):
            raise ValueError(content.get("step"))
        handled = Handled(**{**content["handled"], "drift": tuple(content["handled"]["drift"])})
        triggers = tuple(Trigger(**each) for each in content["triggers"])
        return State(**{**content, "handled": handled, "triggers": triggers, "alarms": tuple(content["alarms"])})
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"is no state of a retraining ({type(error).__name__}: {error})",
            file=file,
            hint="delete it: the next `sqidflow retrain` begins anew",
        ) from error


def _write(workdir: Workdir, state: State) -> State:
    write_atomically(_file(workdir), json.dumps({"format": _FORMAT, **asdict(state)}, indent=2) + "\n")
    return state


def served_model(workdir: Workdir) -> Path | None:
    """The folder of the champion: the pinned version, else the newest push; None where nothing was pushed."""
    pinned = pinned_version(workdir.serving)
    return workdir.serving / pinned if pinned else newest_model(workdir.serving)


def _card(folder: Path | None) -> dict[str, Any]:
    return read_card(folder) if folder else {}


@dataclass(frozen=True)
class Seen:
    """What a look found: the triggers that fire, what feedback has, the alarms that are on, and why drift could not be
    measured, None where it was or starts nothing."""

    triggers: list[Trigger]
    collected: Collected
    alarms: tuple[str, ...]
    no_drift: str | None = None


def look(workdir: Workdir, settings: Settings, now: datetime, *, drift: bool = True) -> Seen:
    """What would start a retraining now. Writes nothing but the reference that drift is measured by.

    Args:
        drift: measure drift too; without, alarms are as at the last retraining.

    Raises:
        SqidflowError: nothing is prepared; the store, a span or the state is damaged.
    """
    found = collect(workdir, settings, now)
    handled = read_state(workdir).handled
    alarms, no_drift = handled.drift, None
    if drift and settings.retrain.drift:
        try:
            alarms = _alarms(workdir, settings, now)
        except SqidflowError as error:  # judgements can be learned from all the same
            no_drift = error.message
    seen = Look(found.rows, data_hash(workdir), _card(served_model(workdir)).get("data_hash"), alarms)
    return Seen(due(settings.retrain, handled, seen, now), found, alarms, no_drift)


def _alarms(workdir: Workdir, settings: Settings, now: datetime) -> tuple[str, ...]:
    from sqidflow.monitoring.drift import drift_alarms

    return tuple(sorted({alarm.name for alarm in drift_alarms(workdir, settings, now)}))


def watched_look(workdir: Workdir, settings: Settings, now: datetime, *, drift: bool = True) -> bool:
    """Whether a retraining is to be started or to go on; where not, the look is remembered.

    Args:
        drift: as :func:`look` takes it.

    Raises:
        SqidflowError: as :func:`look`; another process writes in the workdir.
    """
    if read_state(workdir).step != DONE:
        return True
    seen = look(workdir, settings, now, drift=drift)
    if not seen.triggers:
        with workdir.locked("retrain"):
            _remember(workdir, read_state(workdir), seen.alarms, now)
    return bool(seen.triggers)


def _remember(workdir: Workdir, state: State, alarms: tuple[str, ...], now: datetime) -> State:
    """Write what is remembered of a look that started nothing, where that is new."""
    handled = looked(state.handled, alarms, now)
    if state.step != DONE or handled == state.handled:
        return state
    return _write(workdir, replace(state, handled=handled))


def retrain(
    workdir: Workdir,
    settings: Settings,
    *,
    if_needed: bool = False,
    say: Callable[[str], None] = lambda text: None,
    listener: Listener = lambda name, part: None,
    job_of: Callable[..., Job] | None = None,
) -> Outcome:
    """Go on with a retraining that was killed, else begin one. The caller holds the workdir's lock.

    Args:
        if_needed: begin only where a trigger fires.
        job_of: what does the steps; None takes ``Job``.

    Raises:
        SqidflowError: what the steps raise; the next call goes on at the step.
    """
    state = read_state(workdir)
    resumed = None
    if state.step == DONE:
        now = datetime.now(UTC)
        seen = look(workdir, settings, now)
        found = seen.collected
        if seen.no_drift:
            say(f"drift was not measured: {seen.no_drift}")
        if not seen.triggers and if_needed:
            return Outcome(_remember(workdir, state, seen.alarms, now), False, found.as_dict())
        began = now.isoformat(timespec="seconds")
        champion = served_model(workdir)
        state = State(
            number=state.number + 1,
            step=COLLECT,
            started=began,
            triggers=tuple(seen.triggers) or (Trigger(ASKED, began, "asked for"),),
            champion=champion.name if champion else None,
            alarms=seen.alarms,
            handled=state.handled,
        )
        _write(workdir, state)
    else:
        resumed, found = state.step, None
        say(f"going on with retraining {state.number} at the step {state.step}")
    job = (job_of or Job)(workdir, settings, found, say, listener)
    while state.step != DONE:
        say(f"{state.step}")
        state = _write(workdir, getattr(job, state.step)(state))
    shutil.rmtree(_pending(workdir), ignore_errors=True)
    folder = reports(workdir) / str(state.number)
    return Outcome(state, True, json.loads((folder / "report.json").read_text())["feedback"], resumed, folder)


@dataclass
class Job:
    """The steps. Each takes the state, does its work so that it may be done again, and gives the next state."""

    workdir: Workdir
    settings: Settings
    found: Collected | None
    say: Callable[[str], None]
    listener: Listener

    def collect(self, state: State) -> State:
        """Freeze the judgements: what comes in from now on belongs to the next retraining."""
        found = self.found or collect(self.workdir, self.settings, datetime.now(UTC))
        with staged_folder(_pending(self.workdir)) as folder:
            write_collected(folder, found)
        return replace(state, step=SPAN)

    def span(self, state: State) -> State:
        """Write the judgements into ``data/`` as the next span, and record the new version of the data."""
        from sqidflow.data.prepare import load_report
        from sqidflow.indexing.plan import encoder_name
        from sqidflow.ranking import features
        from sqidflow.search.query_encoder import make_encoder

        rows, about, _ = read_collected(_pending(self.workdir))
        number = None
        if rows:
            name = encoder_name(self.workdir, self.settings)
            dim = load_report(self.workdir.artifacts).dims[features.QUERY_VEC]
            encoder = make_encoder(name, self.settings.search.encoder_model, dim)
            number, _ = spans.write_span(self.workdir.data, rows, about, encoder.name, encoder.encode_texts)
            self.say(f"  span-{number}: {len(rows)} judgements")
            record_data(self.workdir)
        return replace(state, step=FEATURES, span=number, data_hash=data_hash(self.workdir))

    def features(self, state: State) -> State:
        """Prepare the pairs with the new span, and bring the feature store up to date."""
        from pipeline.features import make_features

        make_features(self.workdir, self.settings)
        return replace(state, step=TRAIN)

    def train(self, state: State) -> State:
        """Run the pipeline up to the Trainer: whether the data may be learned from, and whether the model is new."""
        from pipeline.local_runner import run, trained_model

        try:
            run(self.workdir, self.settings, to_node="Trainer", listener=self.listener)
        except AnomalyError as error:  # it would stop every attempt; the champion stays, and the report says why
            return replace(state, step=REPORT, decision={"pushed": False, "why": error.message, "gains": {}})
        challenger = _card(trained_model(self.workdir, self.settings))
        kept = ("model", "mlflow_run_id", "data_hash", "git_commit", "feature_contract", "energy_kwh")
        state = replace(state, challenger={name: challenger.get(name) for name in kept})
        champion = _card(self._champion(state))
        if champion and champion.get("mlflow_run_id") and champion["mlflow_run_id"] == challenger.get("mlflow_run_id"):
            why = f"the training gave champion {state.champion} again: there is nothing new to learn from"
            return replace(state, step=REPORT, decision={"pushed": False, "why": why, "gains": {}})
        return replace(state, step=EVALUATE)

    def evaluate(self, state: State) -> State:
        """Run the rest: the challenger against the champion on the held-out queries, the audit's gate, the push."""
        from pipeline.local_runner import run

        result = run(self.workdir, self.settings, champion=self._champion(state), listener=self.listener)
        pushed = result.pushed_model.name if result.pushed_model else None
        return replace(state, step=INDEX if pushed else REPORT, pushed=pushed, decision=decision(result))

    def index(self, state: State) -> State:
        """Build the index that the pushed model is served with; a running service then switches by itself."""
        from sqidflow.indexing.make import make_index

        made = make_index(self.workdir, self.settings, version=state.pushed, say=lambda text: self.say(f"  {text}"))
        return replace(state, step=REPORT, index=made.folder.name)

    def report(self, state: State) -> State:
        """Write down what happened, then remember what was dealt with."""
        _, _, collected = read_collected(_pending(self.workdir))
        document = report_document(state, collected, _prepared_feedback(self.workdir))
        with staged_folder(reports(self.workdir) / str(state.number)) as folder:
            (folder / "report.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            (folder / "report.html").write_text(report_html(document), encoding="utf-8")
            shutil.copy(_pending(self.workdir) / "quarantine.csv", folder / "quarantine.csv")
        handled = dealt_with(state.data_hash or data_hash(self.workdir), state.alarms, datetime.now(UTC))
        return replace(state, step=DONE, handled=handled)

    def _champion(self, state: State) -> Path | None:
        return self.workdir.serving / state.champion if state.champion else None


def decision(result: RunResult) -> dict[str, Any]:
    """Whether a challenger was pushed, and why, in words and numbers."""
    report = result.report or {}
    against = report.get("champion") or {}
    reasons = []
    if not report.get("blessed_on_lists", True):
        reasons.append(
            "on judged lists its NDCG does not exceed the zero-shot cosine's by more than evaluation.min_lift, or is "
            "below that of the model pushed last by more than evaluation.max_loss"
        )
    if report.get("blocked_by"):
        reasons.append(report["blocked_by"])
    pushed = result.pushed_model is not None
    if pushed:
        gains = against.get("gains", {})
        named = {"ndcg": "NDCG", "mrr": "MRR in the whole catalogue"}
        why = ", ".join(f"{named[name]} {each['mean']:+.4f} [{each['low']:+.4f}, {each['high']:+.4f}]"
                        for name, each in gains.items())  # fmt: skip
        reasons = [f"it gains over champion {against['version']}: {why}" if gains else "there was no champion"]
    return {
        "pushed": pushed,
        "why": " | ".join(reasons) or "it was not blessed",
        "gains": against.get("gains", {}),
        "min_gain": against.get("min_gain"),
        "queries": report.get("queries"),
        "ndcg": (report.get("ndcg") or {}).get(report.get("model")),
        "pinned": result.pinned,
    }


def _prepared_feedback(workdir: Workdir) -> dict[str, int]:
    from sqidflow.data.prepare import load_report

    return dict(load_report(workdir.artifacts).feedback)


def report_document(state: State, collected: Mapping[str, Any], prepared: Mapping[str, int]) -> dict[str, Any]:
    """The report of a retraining. Without times of its own steps: a killed one says the same as an undisturbed one."""
    return {
        "number": state.number,
        "started": state.started,
        "triggers": [asdict(trigger) for trigger in state.triggers],
        "feedback": dict(collected),
        "span": state.span,
        "spans_in_the_pairs": dict(prepared),
        "data_hash": state.data_hash,
        "champion": state.champion,
        "challenger": state.challenger,
        "decision": state.decision,
        "pushed_model": state.pushed,
        "index": state.index,
    }


def record_hint(workdir: Workdir) -> str | None:
    """What is left to do so that the new version of the data is in git; None without DVC or git."""
    if not is_dvc_repository(workdir.root) or not (workdir.root / ".git").exists():
        return None
    return "git add data.dvc && git commit -m 'Data: a span of feedback'; dvc push"


def report_html(document: Mapping[str, Any]) -> str:
    """The report as a page that opens offline."""
    choice = document["decision"] or {}
    feedback = document["feedback"]

    def rows(items: Mapping[str, Any]) -> str:
        return "".join(
            f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(str(value))}</td></tr>"
            for name, value in items.items()
        )

    gains = {
        name: f"{each['mean']:+.4f} [{each['low']:+.4f}, {each['high']:+.4f}]"
        for name, each in (choice.get("gains") or {}).items()
    }
    tables = {
        "Feedback": {
            "new judgements": feedback["new_judgements"], "answers": feedback["answers"], "events": feedback["events"],
            "clients": feedback["clients"], "damaged answers": feedback["damaged_answers"],
        },
        "Quarantined, see quarantine.csv": feedback["quarantine"] or {"nothing": ""},
        "Left out": feedback["left_out"] or {"nothing": ""},
        "Clicks": {name: value for name, value in feedback["clicks"].items() if name != "propensities"},
        "Spans among the pairs": document["spans_in_the_pairs"],
        "Challenger less champion, on the same held-out queries": gains or {"not compared": ""},
        "Versions": {
            "champion": document["champion"],
            "challenger's MLflow run": (document["challenger"] or {}).get("mlflow_run_id"),
            "pushed as": document["pushed_model"], "index": document["index"], "data": document["data_hash"],
        },
    }  # fmt: skip
    body = "".join(f"<h2>{html.escape(title)}</h2><table>{rows(items)}</table>" for title, items in tables.items())
    triggers = "; ".join(each["why"] for each in document["triggers"])
    verdict = "pushed" if choice.get("pushed") else "not pushed"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Retraining {document['number']}: {verdict}</title><style>{_STYLE}</style>"
        f"<h1>Retraining {document['number']}: the challenger is {verdict}</h1>"
        f"<p>{html.escape(str(choice.get('why', '')))}</p><p>Started {html.escape(document['started'])}: "
        f"{html.escape(triggers)}.</p>{body}</html>\n"
    )
