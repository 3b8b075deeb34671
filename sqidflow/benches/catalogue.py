"""Benchmark of a catalogue that changes and grows: from a changed file to the first answer with it, and search at four
times the size. Texts, judgements and vectors are invented; vectors of the verbs' part are the offline encoder's.
"""

from __future__ import annotations

import csv
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.benches.machine import describe
from sqidflow.benches.measure import measure_verb
from sqidflow.benches.search import Size as IndexSize
from sqidflow.benches.search import invented_catalogue, invented_queries, load, served, served_recall
from sqidflow.benches.whole import Size as RawSize
from sqidflow.benches.whole import judgements as raw_judgements
from sqidflow.benches.whole import products as raw_products
from sqidflow.core.errors import PipelineError
from sqidflow.core.model_files import ZERO_SHOT_VERSION
from sqidflow.core.settings import WORKDIR_VARIABLE
from sqidflow.core.workdir import Workdir
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.indexing.build import Judgements, build
from sqidflow.indexing.publish import seal
from sqidflow.ranking.rankers import ZeroShotRanker
from sqidflow.search.index import FORMAT, Meta

_COLUMNS = ("product_id", "product_title", "product_brand", "product_color")
_JUDGEMENT_COLUMNS = ("query", "product_id", "esci_label")
_NEW_WORD = "zephyrine"
_GROWTH = 4
_WARM_UP = 200
_PATIENCE_S = 120.0
_PAIRS_PER_QUERY = 181_701 / 8_956
_TRAINING = "run"


@dataclass(frozen=True)
class Size:
    """``products`` of the catalogue and judged ``queries``, the ``share`` of the products that changes, the products of
    a ``quickstart``, and how many ``seconds`` each load on the service takes. Without queries nothing is trained."""

    products: int = 164_900
    queries: int = 8_956
    dim: int = 768
    share: float = 0.01
    quickstart: int = 3_000
    seconds: float = 15.0


def bench(size: Size, workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure in ``workdir``; returns the document of ``bench catalogue --json``."""
    say(f"quickstart on {size.quickstart:,} products")
    first_answer = _quickstart(workdir / "quickstart", size.quickstart)
    say(f"first answer after {first_answer:.1f} s")
    rows, changed, changes, audited = _changed(size, Workdir(workdir / "changes"), say)
    shutil.rmtree(workdir / "changes", ignore_errors=True)
    sizes = [_grown(size, count, workdir / f"of-{count}", say) for count in (size.products, _GROWTH * size.products)]
    full, change = ([row for row in rows if row["path"] == path] for path in ("full", "change"))
    untrained = [row for row in full if row["step"] != _TRAINING]
    total, no_training, of_change = (sum(row["seconds"] for row in of) for of in (full, untrained, change))
    return {
        "machine": describe(),
        "size": {"products": size.products, "queries": size.queries, "dim": size.dim, "changed": changed},
        "quickstart_products": size.quickstart,
        "quickstart_seconds": round(first_answer, 1),
        "rows": rows,
        "full_seconds": round(total, 1),
        "full_seconds_without_training": round(no_training, 1),
        "change_seconds": round(of_change, 1),
        "change_share": round(of_change / total, 3),
        "change_share_without_training": round(of_change / no_training, 3),
        "index": changes,
        "audit": audited,
        "sizes": sizes,
        "p50_ratio": round(sizes[1]["p50_ms"] / sizes[0]["p50_ms"], 2),
    }


def write_products(file: Path, rows: Sequence[Sequence[str | None]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([_COLUMNS, *rows])
    return file


def invented_rows(count: int) -> list[tuple[str, str, str | None, str | None]]:
    """Id, title, brand and colour of invented products."""
    catalogue, _ = invented_catalogue(IndexSize(products=count, dim=1))
    return list(zip(catalogue.product_ids, catalogue.titles, catalogue.brands, catalogue.colors))


def _shop(size: Size, folder: Path) -> tuple[list[tuple[str, str, str | None, str | None]], list[str]]:
    """Rows of an invented catalogue, and the arguments of ``data import`` for its files."""
    if not size.queries:
        rows = invented_rows(size.products)
        return rows, ["--products", str(write_products(folder / "products.csv", rows))]
    raw = RawSize(size.queries, size.products, round(size.queries * _PAIRS_PER_QUERY), size.dim)
    rows = [tuple(row.values()) for table in raw_products(raw) for row in table.select(list(_COLUMNS)).to_pylist()]
    file = write_products(folder / "products.csv", rows)
    with (folder / "judgements.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(_JUDGEMENT_COLUMNS)
        for table in raw_judgements(raw):
            writer.writerows(zip(*(table[name].to_pylist() for name in _JUDGEMENT_COLUMNS)))
    return rows, ["--products", str(file), "--examples", str(folder / "judgements.csv")]


def _quickstart(workdir: Path, products: int) -> float:
    """Seconds from the command to the first answer of its service."""
    from sqidflow.search.api.launch import listen

    file = write_products(workdir / "products.csv", invented_rows(products))
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    listening.close()
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "sqidflow.cli", "quickstart", "--products", str(file), "--port", str(port)],
        env={**os.environ, WORKDIR_VARIABLE: str(workdir)}, start_new_session=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _until(lambda: bool(_hits(port, "portable red kettle")), process, "bench catalogue, quickstart")
        return time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _changed(
    size: Size, place: Workdir, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, int], dict[str, Any], dict[str, float] | None]:
    """Seconds of each step of the full path and of a change; how many products changed; what the index says of it; and
    what an audit of the trained model takes, None without one."""
    products, files = _shop(size, place.root)
    third = max(int(size.share * size.products / 3), 1)
    step = size.products // (3 * third)
    renamed = [(row[0], f"{_NEW_WORD} {row[1]}", *row[2:]) for row in products[::step][:third]]
    gone = [row[0] for row in products[1::step][:third]]
    new = [
        (f"A{number:09d}", f"{_NEW_WORD} {row[1]}", *row[2:]) for number, row in enumerate(products[2::step][:third])
    ]
    part = write_products(place.root / "changed.csv", [*renamed, *new])
    (place.root / "removed.txt").write_text("\n".join(gone))
    rows: list[dict[str, Any]] = []

    def measured(path: str, *arguments: str) -> dict[str, Any]:
        verb = measure_verb((*arguments, "--json"), place.root)
        name = " ".join(word for word in arguments[:2] if not word.startswith("-") and "/" not in word)
        rows.append(
            {
                "path": path,
                "step": name,
                "seconds": round(verb.seconds, 2),
                "cpu_seconds": round(verb.cpu_seconds, 2),
                "peak_rss_mb": round(verb.peak_rss_mb),
            }
        )
        say(f"{path}: {name}: {verb.seconds:.1f} s, {verb.cpu_seconds:.1f} s of processor time")
        return json.loads(verb.out)

    def answered(path: str, seconds: float) -> None:
        rows.append(
            {
                "path": path,
                "step": "first answer",
                "seconds": round(seconds, 2),
                "cpu_seconds": None,
                "peak_rss_mb": None,
            }
        )
        total = sum(row["seconds"] for row in rows if row["path"] == path)
        say(f"{path}: first answer after {total:.1f} s in all")

    dim = ("--dim", str(size.dim))
    measured("full", "data", "import", *files)
    measured("full", "data", "encode", *dim)
    measured("full", "features")
    ranker: tuple[str, ...] = ("--version", ZERO_SHOT_VERSION)
    if size.queries:
        # Whether the model is a good one says nothing here: the texts and judgements mean nothing.
        run = measured("full", _TRAINING, "--set", "evaluation.min_lift=-1")
        if run["pushed_model"] is None:
            say("the model was not pushed; the index is that of the ranker without training")
        else:
            ranker = ()
    measured("full", "index", *ranker)
    audited = None
    if not ranker:
        audit = measure_verb(("audit", "--json"), place.root)
        audited = {"seconds": round(audit.seconds, 1), "peak_rss_mb": round(audit.peak_rss_mb)}
        say(f"an audit, not part of the path: {audit.seconds:.1f} s, {audit.peak_rss_mb:.0f} MB")
    with served(place, workers=1) as service:
        answered("full", service.ready_seconds)
        removed = ("--remove", f"@{place.root / 'removed.txt'}")
        measured("change", "data", "import", "--merge", "--products", str(part), *removed)
        measured("change", "data", "encode", *dim)
        measured("change", "features")
        index = measured("change", "index", *ranker)
        waiting = time.perf_counter()
        product, query = new[0][:2]  # a new one: the old index cannot have it
        _until(lambda: product in _hits(service.port, query), service.process, "bench catalogue, the change")
        answered("change", time.perf_counter() - waiting)
    if index["updated_from"] is None:
        raise PipelineError("the index was not updated but built anew", where="bench catalogue")
    counts = {"added": len(new), "changed": len(renamed), "deleted": len(gone)}
    names = ("products", "kind", "nprobe", "recall_at_10", "recall_at_100", "changed_since_build")
    return rows, counts, {name: index[name] for name in names}, audited


def _hits(port: int, query: str) -> list[str]:
    """Ids that a service answers with, whatever it makes of them; none while it does not answer."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        # A model that learned from judgements without meaning may rank anything low.
        body = json.dumps({"query": query, "k": 100, "threshold": 0})
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = json.loads(answer.read())
        return [hit["product_id"] for hit in content["results"]] if answer.status == 200 else []
    except (OSError, http.client.HTTPException, ValueError):
        return []


def _until(holds: Callable[[], bool], process: subprocess.Popen, where: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        if process.poll() is not None or time.monotonic() > deadline:
            raise PipelineError("the service did not answer", where=where, hint="start it with `sqidflow serve`")
        time.sleep(0.05)


def _grown(size: Size, count: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Search in an index of so many products: recall of the service's candidates, and latency over HTTP."""
    place, ranker = Workdir(folder), ZeroShotRanker(size.dim)
    say(f"an index of {count:,} products")
    started = time.perf_counter()
    catalogue, queries = invented_catalogue(IndexSize(products=count, dim=size.dim))
    made_of, target = ranker.provenance, place.index / "bench"
    meta = Meta(
        digest="bench", format=FORMAT, products=count, with_picture=int(catalogue.has_image.sum()), dim=size.dim,
        encoder=OfflineEncoder.name, encoder_model=None, model_version=ranker.version, model=ranker.name,
        feature_contract=made_of.feature_contract, feature_service=made_of.feature_service, data_hash=None,
        git_commit=None, mlflow_run_id=None, synthetic=True, kind="", nprobe=None, recall_at_10=0.0,
        recall_at_100=0.0,
    )  # fmt: skip
    none = Judgements(np.zeros(0, np.int64), np.zeros(0, np.int64), [], [])
    meta = build(target, catalogue, none, [], queries, ranker, meta)
    at_10, at_100 = served_recall(target, ranker, catalogue, queries)
    del catalogue
    meta = seal(target, replace(meta, recall_at_10=at_10, recall_at_100=at_100))
    built = time.perf_counter() - started
    texts = invented_queries(4000)
    with served(place, workers=1) as service:
        load(service.port, texts[:_WARM_UP], clients=1, seconds=60, most=_WARM_UP)
        one = load(service.port, texts[_WARM_UP:], clients=1, seconds=size.seconds)
    shutil.rmtree(folder, ignore_errors=True)
    say(f"built in {built:.0f} s; p50 {one['p50_ms']:.1f} ms, recall {at_10:.4f}, {at_100:.4f}")
    return {
        "products": count,
        "kind": meta.kind,
        "nprobe": meta.nprobe,
        "build_seconds": round(built, 1),
        "recall_at_10": round(at_10, 4),
        "recall_at_100": round(at_100, 4),
        **{name: one[name] for name in ("p50_ms", "p99_ms", "answers_per_second", "answers")},
    }
