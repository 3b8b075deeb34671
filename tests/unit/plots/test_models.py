"""A model's held-out lists: which are worst, what is shown of them, and the errors it was sure of."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sqidflow.core.errors import MissingInputError
from sqidflow.plots import models as plots
from sqidflow.ranking import features

E, S, C, I = (features.CLASS_IDS[label] for label in "ESCI")  # noqa: E741


def one_hot(class_id: int, sure: float = 0.97) -> list[float]:
    return [sure if number == class_id else (1 - sure) / 3 for number in range(4)]


@pytest.fixture
def held_out() -> plots.HeldOut:
    """Query 1 is ranked well, query 2 the wrong way round, query 3 has nothing relevant."""
    return plots.HeldOut(
        {"model": "pointwise", "confusion": []},
        pa.table(
            {
                features.QUERY_ID: [1, 1, 2, 2, 2, 3],
                features.PRODUCT_ID: ["a", "b", "a", "c", "d", "b"],
                features.QUERY: ["red $hoe"] * 2 + ["mug"] * 3 + ["x"],
                features.RATING: [E, I, I, S, E, I],
                features.HAS_IMAGE: [1, 0, 1, 1, 1, 0],
                "score": [0.9, 0.1, 0.9, 0.5, 0.1, 0.5],
                "cosine": [0.1, 0.9, 0.1, 0.5, 0.9, 0.5],
                "probs": pa.FixedSizeListArray.from_arrays(
                    pa.array(
                        np.array(
                            [one_hot(E), one_hot(I), one_hot(E, 0.99), one_hot(S), one_hot(I), one_hot(I)], np.float32
                        ).reshape(-1)
                    ),
                    4,
                ),
            }
        ),
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """data/ with a picture of "a" alone, and pairs.csv with titles."""
    data, pairs = tmp_path / "data", tmp_path / "pairs.csv"
    data.mkdir()
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (255, 0, 0)).save(stream, "PNG")
    pq.write_table(pa.table({"product_id": ["a", "zz"], "image": [stream.getvalue(), None]}), data / plots.IMAGES_FILE)
    pairs.write_text("product_id,product_title\na,Red shoe\nb,Blue $hoe of $5\nc,Cup\nd,Mug\n")
    return data, pairs


def test_the_worst_query_comes_first_and_the_unjudgeable_not_at_all(held_out: plots.HeldOut) -> None:
    assert plots.worst_queries(held_out) == [2, 1]
    assert plots.worst_queries(held_out, 1) == [2]
    query_ids, ndcg = held_out.ndcg()
    assert query_ids.tolist() == [1, 2, 3] and ndcg[0] == 1 and np.isnan(ndcg[2])
    assert held_out.ndcg("cosine")[1][1] == 1
    assert plots.ranked(held_out, 2)[features.PRODUCT_ID].to_pylist() == ["a", "c", "d"]


def test_pictures_are_decoded_and_missing_ones_left_out(files: tuple[Path, Path], tmp_path: Path) -> None:
    found = plots.read_pictures(files[0], {"a", "b", "zz"})
    assert list(found) == ["a"] and found["a"].shape == (6, 8, 3) and found["a"][0, 0].tolist() == [255, 0, 0]
    assert plots.read_pictures(tmp_path, {"a"}) == {}


def test_the_worst_lists_show_titles_and_judgements(held_out: plots.HeldOut, files: tuple[Path, Path]) -> None:
    figure = plots.worst_queries_figure(held_out, [2, 1], *files, top=3)
    figure.canvas.draw()  # a title with a dollar sign is text, not a formula
    first, second = figure.subfigs
    assert [axes.get_title() for axes in first.axes] == ["1. I, score 0.90", "2. S, score 0.50", "3. E, score 0.10"]
    assert first.axes[0].get_xlabel() == "Red shoe"
    assert first.axes[0].spines["left"].get_edgecolor() == pytest.approx((0.839, 0.153, 0.157, 1), abs=0.01)
    assert [text.get_text() for text in first.axes[1].texts] == ["no picture"]
    assert "“red $hoe”" in second.get_suptitle() and "1 of 2 judged Exact" in second.get_suptitle()
    assert not second.axes[2].axison  # query 1 has two products


def test_the_surest_error_comes_first(held_out: plots.HeldOut, files: tuple[Path, Path]) -> None:
    table = plots.confident_errors(held_out, files[1], count=2)
    assert table[["query", "product", "judged", "predicted"]].to_numpy().tolist() == [
        ["mug", "Red shoe", "I", "E"],
        ["mug", "Mug", "E", "I"],
    ]
    assert table.loc[0, "P(E)"] == pytest.approx(0.99) and table.loc[1, "P(I)"] == pytest.approx(0.97)


def test_queries_are_counted_against_the_cosine(held_out: plots.HeldOut) -> None:
    against, spread = plots.queries_figure(held_out).axes
    assert against.get_title() == "Queries: 1 better, 1 worse, 0 equal"
    assert sum(patch.get_height() for patch in spread.patches) == 4  # two queries by two methods


def test_slices_figure_has_a_row_a_slice() -> None:
    slices = [plots.Slice("", "all", 0.9, 0.8, 0.7, 100), plots.Slice("pictures", "some without", 0.8, 0.85, 0.6, 40)]
    ranking, classes = plots.slices_figure(slices, "pointwise").axes
    labels = [label.get_text() for label in ranking.get_yticklabels()]
    assert labels == ["all held-out pairs (100 pairs)", "pictures: some without (40 pairs)"]
    assert [bar.get_width() for bar in classes.patches] == [0.7, 0.6]


def test_the_default_model_is_read_first(tmp_path: Path, held_out: plots.HeldOut) -> None:
    with pytest.raises(MissingInputError, match="make run"):
        plots.evaluated_models(tmp_path)
    for name in ("another", plots.DEFAULT_MODEL, ".unfinished"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps({"model": name}))
        pq.write_table(held_out.scores, tmp_path / name / "scores.parquet")
    found = plots.evaluated_models(tmp_path)
    assert list(found) == [plots.DEFAULT_MODEL, "another"]
    assert found["another"].probabilities.shape == (6, 4)
