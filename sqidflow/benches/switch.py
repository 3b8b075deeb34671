"""Benchmark of a switch of the served model under load: how long it takes, and what it costs the answers meanwhile.

Three versions of one model, each with an index of invented products. They are pinned by turns while clients search. A
switch to the version that was served just before finds it open; one to another opens model and index from disk. The
load generator runs on the same cores.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.benches.clients import Load, search
from sqidflow.benches.machine import describe
from sqidflow.benches.search import Size, invented_queries, searchable, served
from sqidflow.core.errors import PipelineError
from sqidflow.core.model_files import PUSHED_MARK
from sqidflow.core.pushes import pin_version, record_push
from sqidflow.core.workdir import Workdir
from sqidflow.indexing.publish import seal
from sqidflow.search.index import Meta

_WINDOW_S = 2.0
"""Before a switch and after it: the target is stated for so long."""
_BETWEEN_S = 5.0
_WARM_UP_S = 3.0
_ORDER = (1, 2, 1, 0, 2, 0)


def bench(size: Size, clients: int, switches: int, workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Switch back and forth under load; the document of ``bench switch --json``."""
    place = Workdir(workdir)
    searchable(place, size, say)
    versions = _versions(place)
    seconds = _WARM_UP_S + _BETWEEN_S * (switches + 1)
    say(f"service with one worker, {clients} clients, {switches} switches in {seconds:.0f} s")
    pin_version(place.serving, versions[0], None)
    with served(place, workers=1) as service, ThreadPoolExecutor(1) as pool:
        searching = pool.submit(search, service.port, invented_queries(6000), clients, seconds)
        time.sleep(_WARM_UP_S)
        pinned: list[tuple[float, str, bool]] = []
        served_versions = [versions[0], versions[0]]
        for number in range(switches):
            time.sleep(_BETWEEN_S)
            version = versions[_ORDER[number % len(_ORDER)]]
            pinned.append((time.perf_counter(), version, version == served_versions[-2]))
            pin_version(place.serving, version, None)
            served_versions.append(version)
    load = searching.result()
    rows = [_row(load, at, version, is_open) for at, version, is_open in pinned]
    added = [row["p99_during_ms"] - row["p99_before_ms"] for row in rows]
    return {
        "machine": describe(),
        "size": {"products": size.products, "dim": size.dim},
        "clients": clients,
        "answers": len(load.milliseconds),
        "failed": load.failed,
        "rows": rows,
        "p99_added_ms": {"median": round(float(np.median(added)), 2), "most": round(max(added), 2)},
        "switched_after_s": {"most": max(row["switched_after_s"] for row in rows)},
    }


def _row(load: Load, at: float, version: str, is_open: bool) -> dict[str, Any]:
    first = load.first_of(version, at)
    if first is None:
        raise PipelineError(f"model {version} never answered", where="bench switch", hint="see the service's log")
    return {
        "step": "to the one before" if is_open else "to another",
        "p99_before_ms": load.p99(at - _WINDOW_S, at),
        "p99_during_ms": load.p99(at, at + _WINDOW_S),
        "p99_after_ms": load.p99(at + _WINDOW_S, at + 2 * _WINDOW_S),
        "switched_after_s": round(first - at, 3),
    }


def _versions(place: Workdir) -> list[str]:
    """The first push and two copies of it, each with an index of its own; their versions."""
    versions = sorted(folder.name for folder in place.serving.glob("[0-9]*"))
    index = place.index / "bench"
    for number in (1, 2):
        if len(versions) <= number:
            twin = str(int(versions[0]) + number)
            shutil.copytree(place.serving / versions[0], place.serving / f".{twin}")
            (place.serving / f".{twin}" / PUSHED_MARK).unlink(missing_ok=True)
            record_push((place.serving / f".{twin}").rename(place.serving / twin))
            versions.append(twin)
        copy = place.index / f"bench{number}"
        if not copy.is_dir():
            shutil.copytree(index, copy)
            seal(copy, replace(Meta.read(index), digest=copy.name, model_version=versions[number]))
    return versions[:3]
