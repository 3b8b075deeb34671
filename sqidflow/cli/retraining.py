"""The verb `retrain`: learn from feedback, and push only what is surely better."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sqidflow.cli.console import print_json, table
from sqidflow.cli.options import JsonOption, SetOption, WorkdirOption, open_workdir, plain, say
from sqidflow.cli.training import pipeline_at_work
from sqidflow.core.errors import SqidflowError

if TYPE_CHECKING:
    from pipeline.retrain import Outcome
    from sqidflow.core.settings import Settings
    from sqidflow.core.workdir import Workdir

app = typer.Typer()
_LONGEST_PAUSE = 60
"""After errors a watcher waits up to so many times its usual pause."""
_DRIFT_EVERY_S = 900.0
"""Measuring drift reads the whole log of some days; a watcher looks at feedback more often."""


@app.command("retrain")
def retrain_verb(
    if_needed: Annotated[
        bool, typer.Option("--if-needed", help="Only where a trigger fires: judgements, drift, new data, a schedule.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again until Ctrl-C, and retrain where a trigger fires.")
    ] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn from clicks and judgements: write them as a span of data/, train a challenger, push it if it is better.

    Suspicious feedback is quarantined, see the report. The challenger is compared with the served model on the same
    held-out queries, which no feedback enters; it is pushed only where its gain is surely above retrain.min_gain and
    the audit's gate lets it pass. A retraining that was killed goes on where it was. Needs `sqidflow features`; a
    running service takes a pushed model by itself. Back: [bold]sqidflow rollback[/].

    Writes data/feedback/span-N, artifacts/retrain/N (report.html, report.json, quarantine.csv) and what `features`,
    `run` and `index` write. See docs/loop.md.

    Example: [bold]sqidflow retrain --if-needed[/], [bold]sqidflow retrain --watch --set retrain.judgements=500[/]
    """
    place, options = open_workdir(workdir, settings)
    if watch:
        if as_json:
            raise SqidflowError("--watch never ends, so it has no document", hint="leave --json out")
        _watch(place, options, settings or [])
        return
    with pipeline_at_work(place, "retrain", "reading the feedback") as display:
        from pipeline.retrain import record_hint, retrain

        outcome = retrain(place, options, if_needed=if_needed, say=display.heading, listener=display.component)
        hint = record_hint(place) if outcome.ran and outcome.state.span else None
    if as_json:
        print_json({**outcome.as_dict(), "commit_with": hint})
        return
    _show(outcome, options, hint)


def _show(outcome: Outcome, options: Settings, hint: str | None) -> None:
    feedback = outcome.collected
    rows: list[tuple[Any, ...]] = [
        ("answers, events", f"{feedback['answers']:,}, {feedback['events']:,}"),
        ("new judgements", f"{feedback['new_judgements']:,}"),
    ]
    rows += [(f"  quarantined: {reason}", f"{count:,}") for reason, count in feedback["quarantine"].items()]
    rows += [(f"  left out: {reason}", f"{count:,}") for reason, count in feedback["left_out"].items()]
    say(table("feedback", ("", "count"), rows, right=(1,)))
    if why := feedback["clicks"].get("why"):
        say(plain(f"clicks     {why}"))
    if not outcome.ran:
        needed = options.retrain.judgements
        say(f"nothing to do: {feedback['new_judgements']:,} of {needed:,} new judgements, and no other trigger")
        return
    state = outcome.state
    say(plain(f"triggers   {'; '.join(trigger.why for trigger in state.triggers)}"))
    if state.span:
        say(plain(f"span       {state.span}, data version {state.data_hash}"))
    choice = state.decision or {}
    say(plain(f"champion   {state.champion or 'none'}"))
    say(plain(f"challenger {'pushed as ' + str(state.pushed) if state.pushed else 'not pushed'}: {choice.get('why')}"))
    if choice.get("pinned") and state.pushed:
        say(plain(f"not served: {choice['pinned']} is pinned; `sqidflow rollback --release` serves the newest push"))
    say(plain(f"report     {outcome.report}/report.html"))
    if hint:
        say(plain(f"next       {hint}"))


def _watch(place: Workdir, options: Settings, overrides: list[str]) -> None:
    """Look every ``retrain.check_every_s``; each retraining is a process of its own, whose memory goes with it."""
    import subprocess
    import time
    from datetime import UTC, datetime

    from pipeline.retrain import watched_look
    from sqidflow.core.errors import WorkdirBusyError

    pause = options.retrain.check_every_s
    say(plain(f"watching {place.root} every {pause:g} s; Ctrl-C ends it"))
    command = [sys.executable, "-m", "sqidflow.cli", "retrain", "--if-needed", "--workdir", str(place.root)]
    command += [part for override in overrides for part in ("--set", override)]
    failures, measured = 0, -_DRIFT_EVERY_S
    while True:
        drift = time.monotonic() - measured >= _DRIFT_EVERY_S
        measured = time.monotonic() if drift else measured
        try:
            if watched_look(place, options, datetime.now(UTC), drift=drift):
                failures = failures + 1 if subprocess.run(command).returncode else 0
        except WorkdirBusyError:
            pass  # another verb writes: the next look is soon enough
        except SqidflowError as error:
            failures += 1
            say(plain(f"sqidflow: {error.message}"))
        if failures:
            say(f"trying again in {pause * min(2**failures, _LONGEST_PAUSE):g} s")
        time.sleep(pause * (min(2**failures, _LONGEST_PAUSE) if failures else 1))
