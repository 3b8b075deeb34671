"""Search from Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sqidflow
from sqidflow import Request, SqidflowError, load_ranker, ndcg, open_index, open_search
from tests.fixtures.small_index import SmallIndex


@pytest.fixture
def shop(small_index: SmallIndex, tmp_path: Path) -> Path:
    """A workdir with the small index and no model."""
    shutil.copytree(small_index.folder, tmp_path / "artifacts" / "index" / "5a11")
    return tmp_path


def test_a_search_in_ten_lines(shop: Path) -> None:
    search = open_search(str(shop))
    hits = search.search(Request("red kettle", k=3)).hits
    titles = [search.index.cell("title", hit.row) for hit in hits]
    assert len(titles) == 3 and "kettle" in titles[0].lower() and "red" in titles[0].lower()
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_index_and_ranker_alone(shop: Path) -> None:
    index, ranker = open_index(shop), load_ranker(shop, "zero-shot")
    assert len(index) == 50 and ranker.dim == index.meta.dim
    assert ranker.name == "zero-shot, not trained"
    with pytest.raises(SqidflowError, match="no product index of model 77"):
        open_index(shop, "77")
    with pytest.raises(SqidflowError, match="no pushed model and no index"):
        open_search(shop / "elsewhere")


def test_ndcg_of_a_hand_computed_list() -> None:
    queries, products = np.array([1, 1, 1, 2]), np.array(["a", "b", "c", "a"])
    labels = np.array(["S", "E", "I", "I"])
    # Ranked a (0.1), b (1.0), c (0.0); the second query has nothing of positive gain and does not count.
    found = ndcg(queries, products, labels, np.array([3.0, 2.0, 1.0, 1.0]))
    assert found == pytest.approx((0.1 + 1 / np.log2(3)) / (1 + 0.1 / np.log2(3)))
    assert ndcg(queries, products, labels, np.array([2.0, 3.0, 1.0, 1.0])) == 1.0
    assert np.isnan(ndcg(queries[3:], products[3:], labels[3:], np.ones(1)))
    with pytest.raises(ValueError, match=r"unknown labels \['X'\]"):
        ndcg(queries, products, np.array(["X", "E", "I", "I"]), np.ones(4))


def test_importing_the_package_loads_nothing() -> None:
    program = (
        "import sys, sqidflow; print([n for n in ('numpy', 'pyarrow', 'faiss', 'sqidflow.search') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_and_their_types_agree() -> None:
    stub = (Path(sqidflow.__file__).parent / "__init__.pyi").read_text()
    typed = {line.rsplit(" as ", 1)[1] for line in stub.splitlines() if " as " in line}
    assert typed == set(sqidflow.__all__)
    assert all(callable(getattr(sqidflow, name)) for name in sqidflow.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(sqidflow, "nothing")  # noqa: B009
    assert (Path(sqidflow.__file__).parent / "py.typed").is_file()
