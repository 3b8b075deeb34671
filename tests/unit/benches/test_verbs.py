"""What the bench of the everyday verbs measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqidflow.benches import verbs as bench_run
from sqidflow.benches.measure import measure_verb
from sqidflow.core.errors import PipelineError
from sqidflow.core.memory import PeakMemory


def test_measure_is_of_the_verb_s_own_process(tmp_path: Path) -> None:
    verb = measure_verb(("--help",), tmp_path)
    assert verb.seconds > 0 and "sqidflow" in verb.out
    assert 5 < verb.peak_rss_mb < 500, "the help imports nothing heavy"


def test_a_verb_that_fails_is_named_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"sqidflow run: .*sqidflow features"):
        measure_verb(("run",), tmp_path)


def test_verbs_are_the_ones_of_make_run_twice() -> None:
    again = [step.removesuffix(", again") for step, _ in bench_run.VERBS if step.endswith(", again")]
    assert again == ["features", "run", "evaluate"]


def test_peak_memory_sees_what_came_and_went() -> None:
    import time

    with PeakMemory() as memory:
        memory.reset()
        before = memory.peak_rss_mb
        block = bytearray(b"x") * (80 * 2**20)
        time.sleep(0.3)  # the sampler looks every 50 ms
        del block
        assert memory.peak_rss_mb > before + 60
