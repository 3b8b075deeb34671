"""Benchmark of the search service over HTTP at the published size, compared with the original approach.

Vectors are clustered and titles are invented. The ranker is the pushed model of a small run with the same vector
length, trained in the same temporary folder. The load generator runs on the same cores.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.benches.clients import search
from sqidflow.benches.machine import describe
from sqidflow.benches.measure import measure_verb
from sqidflow.core.errors import PipelineError
from sqidflow.core.settings import WORKDIR_VARIABLE
from sqidflow.core.workdir import Workdir
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.indexing.build import Blends, Catalogue, Judgements, build, nearest_rows
from sqidflow.indexing.publish import seal
from sqidflow.ranking.features import unit
from sqidflow.ranking.rankers import Ranker
from sqidflow.search.engine import SearchCore
from sqidflow.search.index import FORMAT, Meta, ProductIndex
from sqidflow.search.ranker import OnnxRanker, model_folder
from sqidflow.search.rewrite import NoRewriter

_SHAPES = [
    "shoe",
    "lamp",
    "mug",
    "kettle",
    "backpack",
    "jacket",
    "bottle",
    "charger",
    "phone",
    "case",
    "tent",
    "chair",
    "table",
    "pillow",
    "towel",
    "watch",
]
_COLORS = ("black", "white", "red", "blue", "green", "silver")
_ADJECTIVES = [
    "foldable",
    "portable",
    "leather",
    "wireless",
    "padded",
    "cotton",
    "steel",
    "large",
    "small",
    "washable",
    "adjustable",
    "thermal",
]
_CLUSTERS = 2000
_ROWS_AT_ONCE = 8192
_NOISE = 1.2
_WARM_UP = 200
_NAIVE_QUERIES = 12
_EXPLAINED = 300


@dataclass(frozen=True)
class Size:
    """Size of the benchmark; ``seconds`` is the duration of each load."""

    products: int = 164_900
    dim: int = 768
    seconds: float = 20.0


def bench(size: Size, workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Create a model and an index in ``workdir``, then measure; returns the document of ``bench search --json``."""
    place = Workdir(workdir)
    meta, catalogue, queries, built = searchable(place, size, say)
    texts = invented_queries(6000)
    rows: list[dict[str, Any]] = []

    say("service with one worker")
    with served(place, workers=1) as service:
        ready = service.ready_seconds
        load(service.port, texts[:_WARM_UP], clients=1, seconds=60, most=_WARM_UP)
        one = load(service.port, texts[_WARM_UP:3000], clients=1, seconds=size.seconds)
        rows.append({"step": "one client", **one})
        say(f"one client: p50 {one['p50_ms']:.1f} ms, p99 {one['p99_ms']:.1f} ms")
        explained = explanations(service.port, texts[3000 : 3000 + _EXPLAINED])
        rows.append({"step": "an explanation, one client", **explained})
        say(f"an explanation: p50 {explained['p50_ms']:.1f} ms")
        eight = load(service.port, texts[3000:], clients=8, seconds=size.seconds)
        rows.append({"step": "eight clients", **eight})
        say(f"eight clients: {eight['answers_per_second']:.0f}/s, p99 {eight['p99_ms']:.1f} ms")
        resident = _memory(service.workers()[0])
    say("service with two workers on the same files")
    with served(place, workers=2) as service:
        load(service.port, texts[:2000], clients=8, seconds=size.seconds / 2)
        pids = service.workers()
        both = [_memory(pid) for pid in pids]
    say("original approach: cosine_similarity and a pandas frame")
    columns, matrix = _naive(catalogue, queries)
    rows += [columns, matrix]
    first, second = sorted(both, key=lambda each: -each["rss_mb"])
    return {
        "machine": describe(),
        "size": {"products": size.products, "dim": size.dim, "candidates": 100},
        "rows": rows,
        "build_seconds": round(built, 1),
        "ready_seconds": round(ready, 2),
        "resident_mb": round(resident["rss_mb"]),
        "resident_private_mb": round(resident["private_mb"]),
        "second_worker_mb": round(second["private_mb"]),
        "second_worker_share": round(second["private_mb"] / first["rss_mb"], 3),
        "recall_at_10": round(meta.recall_at_10, 4),
        "recall_at_100": round(meta.recall_at_100, 4),
        "index": {"kind": meta.kind, "nprobe": meta.nprobe},
        "times_faster_at_p50": round(columns["p50_ms"] / one["p50_ms"], 1),
        "times_faster_than_matrix_at_p50": round(matrix["p50_ms"] / one["p50_ms"], 1),
    }


def searchable(place: Workdir, size: Size, say: Callable[[str], None]) -> tuple[Meta, Catalogue, np.ndarray, float]:
    """A workdir with a pushed model of a small run and an index of invented products: the index's meta, the products,
    query vectors, and how many seconds the index took."""
    say("training a model: sample, features, run (not counted)")
    sample = ("--set", f"sample.dim={size.dim}")
    if not place.serving.is_dir():
        measure_verb(
            ("data", "sample", *sample, "--set", "sample.queries=120", "--set", "sample.products=900"), place.root
        )
        measure_verb(("features",), place.root)
        measure_verb(("run",), place.root)
    ranker = OnnxRanker(model_folder(place.serving, None))
    say(f"building an index of {size.products:,} x {size.dim} (not counted)")
    started = time.perf_counter()
    catalogue, queries = invented_catalogue(size)
    meta = _build(place, catalogue, ranker, queries)
    built = time.perf_counter() - started
    say(f"built in {built:.0f} s: {meta.kind}, nprobe {meta.nprobe}")
    return meta, catalogue, queries, built


def invented_catalogue(size: Size) -> tuple[Catalogue, np.ndarray]:
    """Products in clusters, 5 % without a picture, and 400 query vectors of the same clusters."""
    rng = np.random.default_rng(11)
    centres = rng.standard_normal((_CLUSTERS, size.dim), dtype=np.float32)
    cluster = rng.integers(0, _CLUSTERS, size.products)

    def around(of: np.ndarray) -> np.ndarray:
        out = rng.standard_normal((len(of), size.dim), dtype=np.float32)
        out *= np.float32(_NOISE)
        for start in range(0, len(of), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            out[rows] += centres[of[rows]]
        return out

    text, image = around(cluster), around(cluster)
    has_image = rng.random(size.products) > 0.05
    image[~has_image] = 0
    pick = rng.integers(0, 10_000, (size.products, 6))
    titles, brands, colors = [], [], []
    for row, c in zip(pick.tolist(), cluster.tolist()):
        shape, color = _SHAPES[c % len(_SHAPES)], _COLORS[row[0] % len(_COLORS)]
        brand = f"brand{_letters(row[1] % 900)}"
        words = " ".join(_ADJECTIVES[at % len(_ADJECTIVES)] for at in row[2:4])
        model = f"model {_letters(row[4])} {row[5]}"
        titles.append(f"{brand} {words} {color} {shape} kind{_letters(c)} {model}, for home and travel")
        brands.append(brand)
        colors.append(color)
    ids = [f"B{number:09d}" for number in range(size.products)]
    nothing: list[str | None] = [None] * size.products
    made = Catalogue(ids, titles, brands, colors, nothing, nothing, text, image, has_image)
    return made, around(rng.integers(0, _CLUSTERS, 400))


def _letters(number: int) -> str:
    """A number as letters, so that it is a single word."""
    return "".join(chr(97 + int(digit)) for digit in str(number))


def invented_queries(count: int) -> list[str]:
    """Distinct query texts, so that no answer comes from the cache."""
    rng = np.random.default_rng(12)
    pick = rng.integers(0, 10_000, (count, 4)).tolist()
    return [
        f"{_ADJECTIVES[a % len(_ADJECTIVES)]} {_COLORS[b % len(_COLORS)]} {_SHAPES[c % len(_SHAPES)]} "
        f"kind{_letters(c % _CLUSTERS)} {number}"
        for number, (a, b, c, _) in enumerate(pick)
    ]


def _build(place: Workdir, catalogue: Catalogue, ranker: OnnxRanker, queries: np.ndarray) -> Meta:
    folder = place.index / "bench"
    if (folder / "meta.json").is_file():
        return Meta.read(folder)
    meta = Meta(
        digest="bench", format=FORMAT, products=len(catalogue.product_ids), with_picture=int(catalogue.has_image.sum()),
        dim=ranker.dim, encoder=OfflineEncoder.name, encoder_model=None, model_version=ranker.version,
        model=ranker.name,
        feature_contract=ranker.card["feature_contract"], feature_service=ranker.card["feature_service"],
        data_hash=None, git_commit=None, mlflow_run_id=None, synthetic=True, kind="", nprobe=None,
        recall_at_10=0.0, recall_at_100=0.0,
    )  # fmt: skip
    none = Judgements(np.zeros(0, np.int64), np.zeros(0, np.int64), [], [])
    meta = build(folder, catalogue, none, [], queries, ranker, meta)
    at_10, at_100 = served_recall(folder, ranker, catalogue, queries)
    return seal(folder, replace(meta, recall_at_10=at_10, recall_at_100=at_100))


def served_recall(folder: Path, ranker: Ranker, catalogue: Catalogue, queries: np.ndarray) -> tuple[float, float]:
    """Recall of the service's candidates against exact search in float32."""
    from sqidflow.encoders.registry import get_encoder

    core = SearchCore(
        ProductIndex(folder), ranker, get_encoder("offline", dim=ranker.dim), NoRewriter(), "vectors", 100
    )

    queries = unit(queries)
    nearest = nearest_rows(queries, Blends(catalogue), 100)
    found: dict[int, list[float]] = {10: [], 100: []}
    for query, exact in zip(queries, nearest):
        taken = core.retrieve("", query)
        best = taken.rows[np.argsort(-taken.similarity, kind="stable")]
        for k, shares in found.items():
            shares.append(len(set(best[:k].tolist()) & set(exact[:k].tolist())) / k)
    return float(np.mean(found[10])), float(np.mean(found[100]))


@dataclass
class Served:
    """A running service."""

    process: subprocess.Popen
    port: int
    ready_seconds: float

    def workers(self) -> list[int]:
        """The worker processes: the children if there are several workers, otherwise the process itself."""
        import psutil

        children = [
            child.pid
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]
        return children or [self.process.pid]


@contextmanager
def served(place: Workdir, workers: int) -> Iterator[Served]:
    """uvicorn as `sqidflow serve` starts it, on a free port; stopped at the end of the context."""
    from sqidflow.search.api.launch import command, listen

    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    listening.set_inheritable(True)
    environment = {
        **os.environ, WORKDIR_VARIABLE: str(place.root), "SQIDFLOW_SEARCH__CACHE_ENTRIES": "0",
        "SQIDFLOW_SEARCH__WORKERS": str(workers), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    started = time.perf_counter()
    process = subprocess.Popen(
        command(listening.fileno(), workers), env=environment, pass_fds=[listening.fileno()], start_new_session=True
    )
    try:
        wait_until_ready(process, port)
        yield Served(process, port, time.perf_counter() - started)
    finally:
        listening.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until_ready(process: subprocess.Popen, port: int) -> None:
    import http.client

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise PipelineError(
                "the service stopped", where="bench search", hint="start it with `sqidflow serve` to see why"
            )
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    raise PipelineError(
        "the service was not ready in 120 s", where="bench search", hint="start it with `sqidflow serve` to see why"
    )


def load(port: int, texts: Sequence[str], clients: int, seconds: float, most: int | None = None) -> dict[str, Any]:
    """Latency and throughput of concurrent clients, as :func:`sqidflow.benches.clients.search` runs them.

    Raises:
        PipelineError: a search brought no product.
    """
    seen = search(port, texts, clients, seconds, most)
    times = seen.milliseconds
    wrong = len(seen.refused) + seen.without_product
    if wrong:
        first = seen.refused[0] if seen.refused else "the answer has none"
        raise PipelineError(
            f"{wrong} searches of {len(times)} brought no product: {first}", where="bench search",
            hint="see the service's log",
        )  # fmt: skip
    return _latency(times, clients, seen.seconds)


def explanations(port: int, texts: Sequence[str]) -> dict[str, Any]:
    """Latency of explaining the first product of each text's answer, one after the other.

    Raises:
        PipelineError: an answer has no product, or an explanation no parts.
    """
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def posted(path: str, **body: Any) -> dict[str, Any]:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())

    times = []
    for text in texts:
        hits = posted("/v1/predict", query=text, k=1).get("results")
        started = time.perf_counter()
        parts = posted("/v1/explain", query=text, product_id=hits[0]["product_id"]).get("parts") if hits else None
        times.append((time.perf_counter() - started) * 1000)
        if not parts:
            raise PipelineError(f"no explanation for {text!r}", where="bench search", hint="see the service's log")
    connection.close()
    return _latency(times, 1, sum(times) / 1000)


def _latency(times: Sequence[float] | np.ndarray, clients: int, seconds: float) -> dict[str, Any]:
    """Of answers that took ``times`` milliseconds each and ``seconds`` in all."""
    return {
        "clients": clients,
        "answers": len(times),
        "p50_ms": round(float(np.percentile(times, 50)), 2),
        "p99_ms": round(float(np.percentile(times, 99)), 2),
        "answers_per_second": round(len(times) / seconds, 1),
    }


def _memory(pid: int) -> dict[str, float]:
    """Resident and private memory of a process, in MB."""
    import psutil

    full = psutil.Process(pid).memory_full_info()
    return {"rss_mb": full.rss / 2**20, "private_mb": full.uss / 2**20}


def _naive(catalogue: Catalogue, queries: np.ndarray) -> list[dict[str, Any]]:
    """The original approach for each query: cosines with every product, a copy of the frame, filter, sort, first five.

    Twice: vectors as columns of the frame, as the original had them, and in a matrix beside it, which is kinder.
    """
    import pandas as pd

    texts = {"product_title": catalogue.titles, "product_brand": catalogue.brands, "product_color": catalogue.colors}
    frame = pd.DataFrame({"product_id": catalogue.product_ids, **texts, "description": catalogue.descriptions})
    names = [f"f{number}" for number in range(catalogue.text.shape[1])]
    beside = _scan("vectors in a matrix", frame, lambda: catalogue.text, queries)
    frame = pd.concat([frame, pd.DataFrame(catalogue.text, columns=names)], axis=1)
    return [_scan("vectors as columns", frame, lambda: frame[names], queries), beside]


def _scan(name: str, frame: Any, vectors: Callable[[], Any], queries: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics.pairwise import cosine_similarity

    times = []
    for query in queries[:_NAIVE_QUERIES]:
        started = time.perf_counter()
        scores = cosine_similarity(query[None, :], vectors())[0]
        found = frame.copy()
        found["score"] = scores
        found = found[found["score"] > 0.0].sort_values("score", ascending=False).head(5)
        assert len(found) == 5
        times.append((time.perf_counter() - started) * 1000)
    return {
        "step": f"scan, {name} (scikit-learn, pandas)",
        **_latency(times, 1, sum(times) / 1000),
    }
