"""The index: what it is made of, that it is whole or refused, that what does not belong together is named."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.encoders.registry import get_encoder
from sqidflow.ranking import features
from sqidflow.search.engine import Request, SearchCore
from sqidflow.search.index import Meta, ProductIndex
from sqidflow.search.ranker import OnnxRanker
from sqidflow.search.rewrite import NoRewriter
from tests.command_line import command, must, sqidflow


@pytest.fixture(scope="module")
def folder(indexed: Path, index_document: dict) -> Path:
    return Path(index_document["folder"])


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / folder.name))


@pytest.fixture(scope="module")
def core(folder: Path, first_run: dict) -> SearchCore:
    ranker = OnnxRanker(Path(first_run["pushed_model"]))
    return SearchCore(ProductIndex(folder), ranker, get_encoder("offline", dim=96), NoRewriter())


def test_a_second_index_is_the_first(indexed_copy: Path, index_document: dict) -> None:
    again = must(sqidflow("index", "--json", "--workdir", str(indexed_copy))).json
    assert again["cached"] and Path(again["folder"]).name == Path(index_document["folder"]).name
    assert Path(again["folder"]).parent == indexed_copy / "artifacts" / "index"


def test_vectors_and_texts_are_those_of_the_features(folder: Path, prepared: Path, first_run: dict) -> None:
    import pyarrow.parquet as pq

    index = ProductIndex(folder)
    rows = pq.read_table(prepared / "artifacts/features/products.parquet").to_pylist()
    assert len(index) == len(rows)
    for product in rows[::37]:
        row = index.row_of(product["product_id"])
        text = np.array(product[features.TEXT_VEC])
        np.testing.assert_allclose(index.text[row], text / np.linalg.norm(text), atol=1e-3)
        assert bool(index.has_image[row]) == bool(product["has_image"])
        assert index.cell("product_id", row) == product["product_id"]
    assert index.row_of("B") is None and index.row_of("Z" * 60) is None
    assert json.loads((folder / "meta.json").read_text())["model"] == first_run["model"]


def test_retrieval_is_exact_and_filters_hold(core: SearchCore) -> None:
    rng = np.random.default_rng(0)
    index = core.index
    text, image = np.asarray(index.text, np.float32), np.asarray(index.image, np.float32)
    blend = (text + np.where(index.has_image[:, None], image, text)) / 2
    for _ in range(5):
        query = rng.standard_normal(96).astype(np.float32)
        query /= np.linalg.norm(query)
        best = np.argsort(-(blend @ query))
        assert core.nearest(query, 20).tolist() == best[:20].tolist()
        allowed = rng.random(len(index)) < 0.1
        kept = [row for row in best if allowed[row]][:20]
        assert core.nearest(query, 20, allowed).tolist() == kept


def test_hybrid_retrieval_brings_what_words_find(core: SearchCore) -> None:
    product = core.index.product_ids(np.array([7]))[0]
    title = core.index.cell("title", 7)
    found = core.search(Request(title, threshold=0, k=100))
    assert product in [hit.product_id for hit in found.hits[:10]]
    assert found.timings["rank_ms"] > 0


@pytest.mark.parametrize("name", ["text.npy", "products.arrow", "vectors.faiss", "meta.json", "texts/title_values.npy"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_an_index_with_a_damaged_file_is_refused(copy: Path, name: str, how: str) -> None:
    file = copy / name
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(SqidflowError, match="index") as found:
        ProductIndex(copy)
    assert "sqidflow index" in found.value.message


@pytest.mark.parametrize(
    ("change", "names"),
    [({"dim": 64}, "dimension 64"), ({"model_version": "17"}, "model 17"), ({"encoder": "clip"}, "clip")],
)
def test_what_does_not_belong_together_is_named(copy: Path, first_run: dict, change: dict, names: str) -> None:
    replace(Meta.read(copy), **change).write(copy)
    ranker = OnnxRanker(Path(first_run["pushed_model"]))
    with pytest.raises(SqidflowError, match=names) as found:
        SearchCore(ProductIndex(copy), ranker, get_encoder("offline", dim=96), NoRewriter())
    for part in ("encoder offline", f"index {copy.name}", f"ranker {ranker.version}", ranker.card["feature_contract"]):
        assert part in found.value.message


def test_a_model_of_other_features_is_refused(first_run: dict, tmp_path: Path) -> None:
    model = Path(shutil.copytree(first_run["pushed_model"], tmp_path / "17"))
    card = json.loads((model / "sqidflow.json").read_text())
    (model / "sqidflow.json").write_text(json.dumps({**card, "feature_contract": "00000000"}))
    with pytest.raises(SqidflowError, match=f"00000000, this code computes {features.contract()}"):
        OnnxRanker(model)
    (model / "sqidflow.json").write_text(json.dumps(card))
    (model / "ranker.onnx").write_bytes((model / "ranker.onnx").read_bytes()[:5000])
    with pytest.raises(SqidflowError, match=r"ranker\.onnx cannot be read"):
        OnnxRanker(model)


def test_another_encoder_than_the_datas_is_refused(indexed_copy: Path) -> None:
    done = sqidflow("index", "--workdir", str(indexed_copy), settings=("search.encoder=nobody",))
    assert done.code == 2 and "unknown encoder 'nobody'" in done.err and done.err.count("\n") == 1


def test_no_model(prepared_copy: Path) -> None:
    for verb in ("index", "serve"):
        done = sqidflow(verb, "--workdir", str(prepared_copy))
        assert done.code == 2 and "`sqidflow run`" in done.err and "Traceback" not in done.err


def test_a_kill_while_indexing_leaves_nothing_that_looks_like_an_index(indexed_copy: Path) -> None:
    place = indexed_copy / "artifacts" / "index"
    shutil.rmtree(place)
    process = subprocess.Popen(command("index", "--workdir", str(indexed_copy)), stderr=subprocess.DEVNULL)
    while not list(place.glob(".*/text.npy")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # it goes no further while the second one looks
    busy = sqidflow("index", "--workdir", str(indexed_copy))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert busy.code == 2 and "is already writing to this workdir" in busy.err
    assert [path for path in place.glob("*") if not path.name.startswith(".")] == []
    assert must(sqidflow("index", "--json", "--workdir", str(indexed_copy))).json["products"] > 100
    assert [path.name for path in place.glob(".*")] == []
