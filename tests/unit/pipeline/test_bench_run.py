"""What the bench of the everyday verbs measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import bench_run
from pipeline.errors import PipelineError


def test_measure_is_of_the_verb_s_own_process(tmp_path: Path) -> None:
    seconds, peak_rss_mb = bench_run.measure(("--help",), tmp_path)
    assert 0 < seconds < 60
    assert 5 < peak_rss_mb < 500, "the help imports nothing heavy"


def test_a_verb_that_fails_is_named_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"bench run, run: .*sqidflow features"):
        bench_run.measure(("run",), tmp_path)


def test_verbs_are_the_ones_of_make_run_twice() -> None:
    again = [step.removesuffix(", again") for step, _ in bench_run.VERBS if step.endswith(", again")]
    assert again == ["features", "run", "evaluate"]
