"""The command line as tests run it, in a process of its own, the settings of the tiny workdir, and how to wait."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TINY_SAMPLE = ("sample.queries=120", "sample.products=500", "sample.pairs_per_query=14", "sample.dim=96")
TINY_TRAINING = ("train.epochs=4", "train.patience=2")


@dataclass(frozen=True)
class Answer:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(*arguments: str, settings: tuple[str, ...] = ()) -> list[str]:
    overrides = [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", "sqidflow.cli", *arguments, *overrides]


def sqidflow(*arguments: str, settings: tuple[str, ...] = (), **options: Any) -> Answer:
    """Run the command line in a process of its own."""
    typed = command(*arguments, settings=settings)
    done = subprocess.run(typed, capture_output=True, text=True, timeout=500, **options)
    return Answer(done.returncode, done.stdout, done.stderr)


def must(answer: Answer) -> Answer:
    assert answer.code == 0, answer.err[-3000:]
    return answer


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 240) -> None:
    """Wait for a state; the time limit is only for one that never comes."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.02)
