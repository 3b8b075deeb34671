"""The verb `evaluate` where its numbers cannot be kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from sqidflow.cli import app


def test_a_workdir_that_cannot_be_written_is_evaluated_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "metrics").write_text("no folder: nothing can be written into it")
    result = SimpleNamespace(queries=1, rows=[], lift={}, as_dict=lambda: {"queries": 1})
    monkeypatch.setattr("sqidflow.evaluation.held_out.evaluate", lambda *_, **__: result)
    done = CliRunner().invoke(app, ["evaluate", "--workdir", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert '"queries": 1' in done.stdout
    assert "shown and not kept" in " ".join(done.stderr.split())
