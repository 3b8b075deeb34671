"""Terminal output of a run while it works, and the tables of its results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from sqidflow.cli.console import console, interval_text, table
from sqidflow.core.files import write_atomically
from sqidflow.core.workdir import Workdir
from sqidflow.evaluation.names import METHOD_NAMES
from sqidflow.ranking import features

if TYPE_CHECKING:
    from pipeline.local_runner import ComponentRun, RunResult
    from sqidflow.data.published import PublishedFile
    from sqidflow.evaluation.held_out import Evaluation, Row
    from sqidflow.ranking.metrics import Interval

EVALUATION_METRICS = "evaluation.json"
EVALUATION_PLOT = "evaluation.csv"


class RunDisplay:
    """One line per component: a spinner while it runs (on a terminal), then its time and whether it was cached."""

    def __init__(self, stream: TextIO) -> None:
        self._console = console(stream)
        self._status: Any = None

    def __enter__(self) -> RunDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def note(self, text: str) -> None:
        self._stop()
        if self._console.is_terminal:
            self._status = self._console.status(text)
            self._status.start()

    def heading(self, text: str) -> None:
        self._stop()
        self._console.print(f"[bold]{text}[/]")

    def component(self, name: str, part: ComponentRun | None) -> None:
        if part is None:
            self.note(name)
            return
        self._stop()
        how = "[cyan]cached[/]" if part.cached else "[green]ran[/]"
        self._console.print(f"  {name:<18} {part.seconds:7.1f} s  {how}")


class DownloadDisplay:
    """One progress bar per file on a terminal; elsewhere one line per file when it starts."""

    def __init__(self) -> None:
        from rich import progress

        self._console = console()
        self._bars = progress.Progress(
            "{task.description}",
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> DownloadDisplay:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def progress(self, file: PublishedFile, received: int, total: int | None) -> None:
        """Show that ``received`` of ``total`` bytes of a file are on disk."""
        if file.name not in self._tasks:
            self._tasks[file.name] = self._bars.add_task(file.name, total=total)
            if not self._console.is_terminal:
                resumed = f" from byte {received:,}" if received else ""
                self._console.print(f"fetching {file.name}{resumed}" + (f", {total:,} bytes" if total else ""))
        self._bars.update(self._tasks[file.name], completed=received, total=total)


def show_result(result: RunResult, workdir: Workdir, min_lift: float) -> None:
    """Print the table at the end of a run and the next command. ``min_lift`` is the setting of the blessing."""
    from rich.markup import escape

    out = console()
    report = result.report
    if report is None:
        out.print("stopped before the evaluation because of --to; next: sqidflow run")
        return
    rows = [
        (
            f"[bold]{METHOD_NAMES.get(method, method)}[/]" if method == report["model"] else METHOD_NAMES[method],
            interval_text(interval),
        )
        for method, interval in report["ndcg"].items()
    ]
    title = f"NDCG on {report['queries']} held-out queries ({report['pairs']:,} pairs), 95 % intervals"
    out.print(table(title, ("method", "NDCG"), rows, right=(1,)))
    show_search(out, report["search"], report["model"])
    if report["ladder"]:
        out.print(rung_text(report["ladder"]))
    if report["classes_missed"]:
        missed = ", ".join(f"{label} {recall:.2f}" for label, recall in report["classes_missed"].items())
        out.print(f"[yellow]classes with recall below 0.05:[/] {missed}")
    if report["queries_without_relevant"]:
        out.print(f"{report['queries_without_relevant']} queries have no relevant product and were left out")
    if report["queries_with_one_product"]:
        out.print(
            f"{report['queries_with_one_product']} queries have one judged product: their NDCG is always 1, "
            "so only the other queries tell the methods apart"
        )
    energy = report["energy_kwh"]
    blessed = "[green]yes[/]" if report["blessed"] else f"[yellow]no[/]: {why_not_blessed(report, min_lift)}"
    out.print(f"blessed    {blessed}")
    out.print("pushed to  " + (escape(str(result.pushed_model)) if result.pushed_model else "nothing pushed"))
    if result.pinned and result.pushed_model and result.pushed_model.name != result.pinned:
        out.print(f"not served: model {result.pinned} is pinned; `sqidflow rollback --release` serves the newest push")
    out.print(
        "energy     " + (f"{energy:.6f} kWh ({report['energy_method']})" if energy is not None else "not measured")
    )
    out.print(f"MLflow run {report['mlflow_run_id'] or 'not recorded, see ' + str(workdir.logs / 'run.log')}")
    out.print("next       sqidflow evaluate   (compares all models)   or   make mlflow   (runs in the browser)")


def show_search(out: Any, search: dict[str, Any] | None, model: str) -> None:
    """Print the table of search in the whole catalogue, where it was measured."""
    if search is None:
        out.print("search in the whole catalogue: not measured, no held-out query has an Exact product")
        return
    rows = []
    for row in search["rows"]:
        name = METHOD_NAMES.get(row["method"], row["method"])
        shown = f"[bold]{name}[/]" if row["method"] == model else name
        rows.append((shown, interval_text(row["mrr"]), *(f"{row[each]['mean']:.3f}" for each in _SEARCH_MEASURES)))
    title = f"search in the whole catalogue, {search['queries']} held-out queries with an Exact product"
    columns = ("method", "MRR", "recall@10", "NDCG@10", "NDCG@10, unjudged left out")
    out.print(table(title, columns, rows, right=range(1, 5)))
    over = search["over_best_untrained"].get(model)
    if over:
        best = METHOD_NAMES.get(search["best_untrained"], search["best_untrained"])
        out.print(f"{model} less {best}, the best without training: MRR {_signed(over)}")


_SEARCH_MEASURES = ("recall_at_10", "ndcg_at_10", "ndcg_at_10_judged")


def _signed(interval: dict[str, float]) -> str:
    return f"{interval['mean']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]"


def rung_text(choice: dict[str, Any]) -> str:
    """The rung that was chosen and what it was chosen by."""
    tried = ", ".join(f"{name} {value:.3f}" for name, value in choice["mrr"].items())
    text = f"rung       {choice['rung']} (MRR by five folds of {choice['queries']} queries: {tried}"
    if choice["validated"]:
        both = ", ".join(f"{name} {value:.3f}" for name, value in choice["validated"].items())
        text += f"; on {choice['validation_queries']} validation queries: {both}"
    return text + ")"


def why_not_blessed(report: dict[str, Any], min_lift: float) -> str:
    """The rule that the model failed: search, the lift over the cosine, or the comparison with the last blessed
    model."""
    if report.get("blocked_by"):
        return str(report["blocked_by"])
    model, cosine = report["ndcg"][report["model"]]["mean"], report["ndcg"]["cosine"]["mean"]
    if model - cosine <= min_lift:
        more = f" by more than {min_lift:g}" if min_lift else ""
        return f"its NDCG {model:.3f} is not above the zero-shot cosine's {cosine:.3f}{more}"
    return "it is worse than the last blessed model on the same queries"


def write_evaluation(result: Evaluation, workdir: Workdir) -> None:
    """Write the evaluation to small files that git versions and DVC compares and plots."""
    measured = [(row, row.ndcg) for row in result.rows if row.ndcg]
    small = {
        "queries": result.queries,
        "ndcg": {row.method: round(ndcg.mean, 6) for row, ndcg in measured},
        "lift_over_cosine": {model: round(interval.mean, 6) for model, interval in result.lift.items() if interval},
        "search_mrr": {
            row.method: round(each["mrr"]["mean"], 6)
            for row in result.rows
            for each in (row.card.get("search") or {"rows": ()})["rows"]
            if each["method"] == row.method
        },
    }
    write_atomically(workdir.metrics / EVALUATION_METRICS, json.dumps(small, indent=2) + "\n")
    lines = ["method,ndcg,low,high"] + [
        f"{row.method},{ndcg.mean:.6f},{ndcg.low:.6f},{ndcg.high:.6f}" for row, ndcg in measured
    ]
    write_atomically(workdir.metrics / EVALUATION_PLOT, "\n".join(lines) + "\n")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _difference(interval: Interval | None) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]" if interval else ""


def show_evaluation(result: Evaluation, workdir: Workdir, *, baselines: bool = False) -> None:
    """Print tables of the ranking, the trained models and the slices, and list what was left out.

    ``baselines``: only baselines were evaluated, so no model is missing and no file was written.
    """
    out = console()
    rows = []
    for row in result.rows:
        name = METHOD_NAMES.get(row.method, row.method)
        values = (*row.ndcg_at.values(), *row.precision_at.values(), row.mrr, row.top5_accuracy)
        ndcg = interval_text(row.ndcg.as_dict()) if row.ndcg else "-"
        rows.append((f"[bold]{name}[/]" if row.card else name, ndcg, *map(_number, values)))
    title = f"{result.queries} {'' if baselines else 'held-out '}queries, {result.pairs:,} pairs; 95 % intervals"
    if result.swapped_gains:
        title += "; gains of S and C swapped"
    out.print(table(title, ("method", "NDCG", "@5", "@10", "P@5", "P@10", "MRR", "top-5"), rows, right=range(1, 8)))
    models = [row for row in result.rows if row.card]
    if models:
        out.print(_models_table(result, models))
    out.print(_slices_table(result))
    if result.kinds:
        out.print(_kinds_table(result))
    for row in models:
        if row.card.get("search"):
            show_search(out, row.card["search"], row.method)
    for row in models:
        if row.card.get("classes_missed"):
            missed = ", ".join(f"{label} {recall:.2f}" for label, recall in row.card["classes_missed"].items())
            out.print(f"[yellow]{row.method}: classes with recall below 0.05:[/] {missed}")
    _show_counts(result)
    if baselines:
        return
    if result.unreadable:
        out.print(f"saved scores that cannot be read: {', '.join(result.unreadable)}; run these models again")
    if result.missing:
        out.print(f"not trained on this data: {', '.join(result.missing)}; next: sqidflow compare")
    elif not result.swapped_gains:
        out.print(f"feature service {features.FEATURE_SERVICE}; numbers in {workdir.metrics}")


def _models_table(result: Evaluation, models: list[Row]) -> Any:
    rows = []
    for row in models:
        classes = row.classes.as_dict() if row.classes else {}
        energy = row.card.get("energy_kwh")
        rows.append(
            (
                row.method,
                _difference(result.lift[row.method]),
                _difference(result.over_default.get(row.method)),
                *(_number(classes.get(name)) for name in ("micro_f1", "macro_f1", "ece")),
                f"{energy:.6f}" if energy is not None else "",
                "yes" if row.card.get("blessed") else "no",
            )
        )
    columns = ("model", "above the cosine", "above the default", "micro F1", "macro F1", "ECE", "kWh", "blessed")
    return table("trained models: NDCG differences paired by query, classes, energy", columns, rows, right=range(1, 7))


def _slices_table(result: Evaluation) -> Any:
    """NDCG of the five best methods in each slice, best last."""
    shown = result.rows[-5:]
    names = list(dict.fromkeys(name for row in shown for name in row.slices))
    rows = [
        (name, f"{result.slices[name]:,}" if name in result.slices else "", *(_number(r.slices[name]) for r in shown))
        for name in names
    ]
    columns = ("slice", "queries", *(row.method for row in shown))
    return table("NDCG by slice, best methods", columns, rows, right=range(1, 7))


def _kinds_table(result: Evaluation) -> Any:
    """NDCG and MRR of the best model, or else the best baseline, by the kind of query, the worst kind first."""
    shown = [row for row in result.rows if row.card] or [row for row in result.rows if row.method != "oracle"]
    best = shown[-1]
    rows = [
        (kind, f"{result.kinds[kind]:,}", _number(of_kind["ndcg"]), _number(of_kind["mrr"]))
        for kind, of_kind in sorted(best.kinds.items(), key=lambda item: (item[1]["ndcg"] or 0.0, item[0]))
    ]
    title = f"{METHOD_NAMES.get(best.method, best.method)} by kind of query (query_kind)"
    return table(title, ("kind", "queries", "NDCG", "MRR"), rows, right=range(1, 4))


def _show_counts(result: Evaluation) -> None:
    out = console()
    if result.queries_without_relevant:
        out.print(f"{result.queries_without_relevant} queries have no relevant product and were left out")
    if result.queries_without_exact:
        out.print(f"{result.queries_without_exact} queries have no Exact: left out of precision, MRR and top-5")
    if result.queries_with_one_product:
        out.print(f"{result.queries_with_one_product} queries have one judged product: their NDCG is always 1")
    if result.pairs_without_picture:
        out.print(f"{result.pairs_without_picture:,} pairs have no picture: their picture cosine is 0")
    tied = {METHOD_NAMES.get(row.method, row.method): row.tied for row in result.rows if row.tied}
    if tied:
        text = ", ".join(f"{name} {count:,}" for name, count in tied.items())
        out.print(f"queries whose products all have the same score (ordered by id): {text}")
