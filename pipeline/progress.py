"""How a run looks on the terminal, and what is printed at its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from modules import features
from pipeline.console import METHOD_NAMES, console, interval_text, table
from pipeline.workdir import Workdir, write_atomically

if TYPE_CHECKING:
    from evaluation.held_out import Evaluation
    from pipeline.local_runner import ComponentRun, RunResult

EVALUATION_METRICS = "evaluation.json"
EVALUATION_PLOT = "evaluation.csv"


class RunDisplay:
    """One line a component: a spinner while it runs (on a terminal), then its time and whether the cache had it."""

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


def show_result(result: RunResult, workdir: Workdir) -> None:
    """The table at the end of a run, and the next command to type."""
    from rich.markup import escape

    out = console()
    report = result.report
    if report is None:
        out.print("stopped before the evaluation, as asked; next: sqidflow run")
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
    if report["queries_without_relevant"]:
        out.print(f"{report['queries_without_relevant']} queries have no relevant product and were left out")
    if report["queries_with_one_product"]:
        out.print(
            f"{report['queries_with_one_product']} of all queries have one judged product: any order of it is perfect, "
            "so the methods differ by the others alone"
        )
    energy = report["energy_kwh"]
    out.print("blessed    " + ("[green]yes[/]" if report["blessed"] else "[yellow]no[/]: " + _why_not(report)))
    out.print("pushed to  " + (escape(str(result.pushed_model)) if result.pushed_model else "nothing was pushed"))
    out.print(
        "energy     " + (f"{energy:.6f} kWh ({report['energy_method']})" if energy is not None else "not measured")
    )
    out.print(f"MLflow run {report['mlflow_run_id'] or 'not recorded, see ' + str(workdir.logs / 'run.log')}")
    out.print("next       sqidflow evaluate   (all models side by side)   or   make mlflow   (runs in the browser)")


def _why_not(report: dict[str, Any]) -> str:
    model, cosine = report["ndcg"][report["model"]]["mean"], report["ndcg"]["cosine"]["mean"]
    if model <= cosine:
        return f"its NDCG {model:.3f} is not above the zero-shot cosine's {cosine:.3f}"
    return "it is worse than the last blessed model on the same queries"


def write_evaluation(result: Evaluation, workdir: Workdir) -> None:
    """The evaluation as small files that git keeps and DVC compares and plots."""
    small = {
        "queries": result.queries,
        "ndcg": {row.method: round(row.ndcg.mean, 6) for row in result.rows},
        "lift_over_cosine": {model: round(interval.mean, 6) for model, interval in result.lift.items()},
    }
    write_atomically(workdir.metrics / EVALUATION_METRICS, json.dumps(small, indent=2) + "\n")
    lines = ["method,ndcg,low,high"] + [
        f"{row.method},{row.ndcg.mean:.6f},{row.ndcg.low:.6f},{row.ndcg.high:.6f}" for row in result.rows
    ]
    write_atomically(workdir.metrics / EVALUATION_PLOT, "\n".join(lines) + "\n")


def show_evaluation(result: Evaluation, workdir: Workdir) -> None:
    out = console()
    rows = []
    for row in result.rows:
        name = METHOD_NAMES.get(row.method, row.method)
        energy = row.card.get("energy_kwh")
        lift = result.lift.get(row.method)
        rows.append(
            (
                f"[bold]{name}[/]" if row.card else name,
                interval_text(row.ndcg.as_dict()),
                *(f"{value:.3f}" for value in row.ndcg_at.values()),
                f"{lift.mean:+.3f} [{lift.low:+.3f}, {lift.high:+.3f}]" if lift else "",
                f"{energy:.6f}" if energy is not None else "",
                "" if not row.card else ("yes" if row.card["blessed"] else "no"),
            )
        )
    title = f"{result.queries} held-out queries, {result.pairs:,} pairs; 95 % intervals over queries"
    cut_offs = [f"@{k}" for k in (result.rows[0].ndcg_at if result.rows else ())]
    columns = ("method", "NDCG", *cut_offs, "above the cosine", "kWh", "blessed")
    out.print(table(title, columns, rows, right=(1, 2, 3, 4, 5)))
    if result.queries_without_relevant:
        out.print(f"{result.queries_without_relevant} queries have no relevant product and were left out")
    if result.missing:
        out.print(f"not in the table, as not trained on this data: {', '.join(result.missing)}; next: sqidflow compare")
    else:
        out.print(f"feature service {features.FEATURE_SERVICE}; numbers in {workdir.metrics}")
