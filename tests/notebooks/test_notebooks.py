"""The notebooks from clean, headless, on the tiny workdir: no error, no empty figure, plain words where inputs miss."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from sqidflow.core.settings import CHECKOUT, WORKDIR_VARIABLE
from sqidflow.ranking.model_names import DEFAULT_MODEL
from tests.workdirs import Shared

NOTEBOOKS = CHECKOUT / "notebooks"
FIGURES = {
    "01_data": (0.1, 0.4, 0.4, 0.2, 0.15, 0.4),
    "02_features": (0.3, 0.2),
    "03_runs": (0.08, 0.2, 0.2, 0.2),
    "04_model": (0.02, 0.3, 0.2, 0.25, 0.5),
    "05_behaviour": (0.2, 0.4, 0.4),
    "06_search": (),
}
"""The least share of each figure's cells that hold colour, about half of what a good one has. A legend has 0.06."""
TABLES = {"01_data": 3, "02_features": 3, "03_runs": 1, "04_model": 1, "05_behaviour": 1, "06_search": 3}
KERNEL = "sqidflow-tests"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel of this interpreter and this checkout, known to this test alone."""
    spec = tmp_path / "jupyter" / "kernels" / KERNEL
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": KERNEL,
                "language": "python",
                "env": {"PYTHONPATH": str(CHECKOUT), "CUDA_VISIBLE_DEVICES": "-1"},
            }
        )
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    return KERNEL


def read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def execute(name: str, kernel: str) -> Any:
    notebook = read(name)
    folder = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(notebook, timeout=300, kernel_name=kernel, resources=folder).execute()
    return notebook


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def figures(notebook: Any) -> list[np.ndarray]:
    """Every PNG of the outputs as float [height, width, 3] in 0..255."""
    pngs = [output["data"]["image/png"] for output in outputs(notebook) if "image/png" in output.get("data", {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"), float) for png in pngs]


def colored_cells(pixels: np.ndarray) -> float:
    """Share of a 6 x 6 grid's cells with colour in them: frames and labels are grey, what is drawn of data is not."""
    colored = np.ptp(pixels, axis=2) > 40
    rows = np.array_split(colored, 6)
    return float(np.mean([cell.any() for row in rows for cell in np.array_split(row, 6, axis=1)]))


def test_axes_without_data_count_as_empty() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes in figure.subplots(2, 3).flat:
        axes.set(title="a title", xlabel="a label")
        axes.grid()
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert colored_cells(np.asarray(Image.open(stream).convert("RGB"), float)) == 0
    axes.plot([0, 1], [0, 1])
    figure.savefig(stream := io.BytesIO(), format="png")
    assert colored_cells(np.asarray(Image.open(stream).convert("RGB"), float)) > 0.06


def test_every_notebook_is_tested() -> None:
    assert {file.stem for file in NOTEBOOKS.glob("*.ipynb")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_is_committed_without_outputs_and_says_what_it_is_for(name: str) -> None:
    notebook = read(name)
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert "You learn" in first.source and "`make run`" in first.source
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        # Thin: import, call, plot. What decides anything is in evaluation/, where it is tested.
        for word in ("def ", "for ", "if ", "while ", "class "):
            assert cell.cell_type != "code" or not any(
                line.strip().startswith(word) for line in cell.source.splitlines()
            ), cell.source


@pytest.mark.parametrize("name", FIGURES)
def test_runs_from_clean_with_no_empty_figure(
    name: str,
    kernel: str,
    shared_run: Shared,
    shared_index: Shared,
    first_run: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched = name in ("05_behaviour", "06_search")  # these ask the index; the others read TFX's files
    monkeypatch.setenv(WORKDIR_VARIABLE, str((shared_index if searched else shared_run).workdir))
    notebook = execute(name, kernel)
    noise = [output["text"] for output in outputs(notebook) if output.output_type == "stream"]
    assert not noise, "".join(noise)[:2000]
    drawn = figures(notebook)
    assert len(drawn) == len(FIGURES[name])
    for number, (pixels, least) in enumerate(zip(drawn, FIGURES[name])):
        assert min(pixels.shape[:2]) >= 200, (number, pixels.shape)
        assert pixels.std() > 8, f"figure {number} is nearly one tone"
        assert colored_cells(pixels) >= least, f"figure {number} is mostly empty: {colored_cells(pixels):.2f}"
    tables = [output for output in outputs(notebook) if "<table" in output.get("data", {}).get("text/html", "")]
    assert len(tables) == TABLES[name]
    if name == "03_runs":
        # The table is about the workdir's own run, not about some other store.
        shown = "".join(output["data"]["text/html"] for output in tables)
        assert first_run["mlflow_run_id"][:8] in shown
        assert f"{first_run['ndcg'][DEFAULT_MODEL]['mean']:.4f}".rstrip("0") in shown


@pytest.mark.parametrize("name", FIGURES)
def test_says_in_one_line_what_is_missing(
    name: str, kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv(WORKDIR_VARIABLE, str(empty))
    with pytest.raises(CellExecutionError) as raised:
        execute(name, kernel)
    assert f"{empty}/" in str(raised.value) and "does not exist; run `" in str(raised.value)
    assert "` first" in str(raised.value)
    assert "site-packages" not in str(raised.value) and "sqidflow/plots/notebook.py" not in str(raised.value)
