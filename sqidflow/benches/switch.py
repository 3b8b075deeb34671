"""Benchmark of a switch of the served model under load: how long it takes, and what it costs the answers meanwhile.

Three versions of one model, each with an index of invented products. They are pinned by turns while clients search. A
switch to the version that was served just before finds it open; one to another opens model and index from disk. The
load generator runs on the same cores.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

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


@dataclass(frozen=True)
class Load:
    """What clients saw: when each search began (seconds of the monotonic clock), how long it took, who answered."""

    began_s: np.ndarray
    milliseconds: np.ndarray
    models: list[str]
    failed: int

    def p99(self, start_s: float, end_s: float) -> float | None:
        inside = self.milliseconds[(self.began_s >= start_s) & (self.began_s < end_s)]
        return round(float(np.percentile(inside, 99)), 2) if len(inside) else None

    def first_of(self, model: str, after_s: float) -> float | None:
        """When the first search that a model answered began, after a moment."""
        times = [at for at, of in zip(self.began_s.tolist(), self.models) if of == model and at >= after_s]
        return min(times, default=None)


def bench(size: Size, clients: int, switches: int, workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Switch back and forth under load; the document of ``bench switch --json``."""
    place = Workdir(workdir)
    searchable(place, size, say)
    versions = _versions(place)
    seconds = _WARM_UP_S + _BETWEEN_S * (switches + 1)
    say(f"service with one worker, {clients} clients, {switches} switches in {seconds:.0f} s")
    pin_version(place.serving, versions[0], None)
    with served(place, workers=1) as service:
        script = {"port": service.port, "texts": invented_queries(6000), "clients": clients, "seconds": seconds}
        loads: list[Load] = []
        client = threading.Thread(target=lambda: loads.append(_load(script)))
        client.start()
        time.sleep(_WARM_UP_S)
        pinned: list[tuple[float, str, bool]] = []
        served_versions = [versions[0], versions[0]]
        for number in range(switches):
            time.sleep(_BETWEEN_S)
            version = versions[_ORDER[number % len(_ORDER)]]
            pinned.append((time.perf_counter(), version, version == served_versions[-2]))
            pin_version(place.serving, version, None)
            served_versions.append(version)
        client.join()
    if not loads:
        raise PipelineError("the load generator stopped", where="bench switch", hint="see its error above")
    rows = [_row(loads[0], at, version, is_open) for at, version, is_open in pinned]
    added = [row["p99_during_ms"] - row["p99_before_ms"] for row in rows]
    return {
        "machine": describe(),
        "size": {"products": size.products, "dim": size.dim},
        "clients": clients,
        "answers": len(loads[0].milliseconds),
        "failed": loads[0].failed,
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


def _load(script: dict[str, Any]) -> Load:
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT], input=json.dumps(script), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise PipelineError("the load generator failed", where="bench switch", hint="see its error above")
    answer = json.loads(done.stdout)
    return Load(np.array(answer["began"]), np.array(answer["milliseconds"]), answer["models"], answer["failed"])


# A separate process that uses only sockets, because the load generator must use little of the measured cores.
# perf_counter is the system's monotonic clock on Linux, the same in both processes.
_CLIENT = r"""
import json, socket, sys, threading, time
job = json.load(sys.stdin)
texts, lock, at, began, taken, models, failed = job["texts"], threading.Lock(), [0], [], [], [], [0]
end = time.perf_counter() + job["seconds"]
def client():
    stream = socket.create_connection(("127.0.0.1", job["port"]))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        with lock:
            number = at[0]; at[0] += 1
        if time.perf_counter() > end: return
        text = texts[number % len(texts)] + (f" {number}" if number >= len(texts) else "")
        body = json.dumps({"query": text}).encode()
        head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\n\r\n"
        started = time.perf_counter()
        stream.sendall(head.encode() + body)
        data = b""
        while b"\r\n\r\n" not in data: data += stream.recv(65536)
        top, _, rest = data.partition(b"\r\n\r\n")
        lines = top.lower().split(b"\r\n")
        length = int([line for line in lines if line.startswith(b"content-length")][0].split(b":")[1])
        while len(rest) < length: rest += stream.recv(65536)
        spent = (time.perf_counter() - started) * 1000
        model = rest.partition(b'"versions":{"model":"')[2].partition(b'"')[0].decode()
        with lock:
            began.append(started); taken.append(spent); models.append(model)
            if b" 200 " not in top.split(b"\r\n")[0] or not model: failed[0] += 1
threads = [threading.Thread(target=client) for _ in range(job["clients"])]
[t.start() for t in threads]; [t.join() for t in threads]
json.dump({"began": began, "milliseconds": taken, "models": models, "failed": failed[0]}, sys.stdout)
"""
