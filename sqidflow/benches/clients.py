"""Clients that search a service side by side, for the benches of it: when each search began, how long it took, and who
answered."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sqidflow.core.errors import PipelineError


@dataclass(frozen=True)
class Load:
    """What clients saw, in the order in which the answers came.

    ``began_s``: seconds of the system's monotonic clock. ``models``: the version that answered, empty where the answer
    names none. ``refused``: first lines of answers with another status than 200. ``without_product``: how many answers
    had the status 200 and no product. ``seconds``: from the first search to the last answer.
    """

    began_s: np.ndarray
    milliseconds: np.ndarray
    models: list[str]
    refused: list[str]
    without_product: int
    seconds: float

    @property
    def failed(self) -> int:
        """Answers that name no model, as those with another status than 200 do."""
        return sum(not model for model in self.models)

    def p99(self, start_s: float, end_s: float) -> float | None:
        inside = self.milliseconds[(self.began_s >= start_s) & (self.began_s < end_s)]
        return round(float(np.percentile(inside, 99)), 2) if len(inside) else None

    def first_of(self, model: str, after_s: float) -> float | None:
        """When the first search that a model answered began, after a moment."""
        times = [at for at, of in zip(self.began_s.tolist(), self.models) if of == model and at >= after_s]
        return min(times, default=None)


def search(port: int, texts: Sequence[str], clients: int, seconds: float, most: int | None = None) -> Load:
    """Run concurrent clients for some seconds in a separate process, each on its own connection.

    Args:
        most: how many searches at most, of all clients together; None for as many as fit into the time.

    Raises:
        PipelineError: a client lost its connection.
    """
    script = {"port": port, "texts": list(texts), "clients": clients, "seconds": seconds, "most": most}
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT], input=json.dumps(script), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PipelineError(f"the load generator failed ({said})", where="bench", hint="see the service's log")
    answer = json.loads(done.stdout)
    return Load(
        np.array(answer["began"]), np.array(answer["milliseconds"]), answer["models"], answer["refused"],
        answer["without_product"], answer["seconds"],
    )  # fmt: skip


# A separate process that uses only sockets, because the load generator must use little of the measured cores.
# perf_counter is the system's monotonic clock on Linux, the same in both processes.
_CLIENT = r"""
import json, socket, sys, threading, time
job = json.load(sys.stdin)
texts, lock, at, began, taken, models, refused, empty = job["texts"], threading.Lock(), [0], [], [], [], [], [0]
lost = []
most = job["most"] or 10**9
begun = time.perf_counter()
end = begun + job["seconds"]
def client():
    try: searches()
    except Exception as error: lost.append(repr(error))
def searches():
    stream = socket.create_connection(("127.0.0.1", job["port"]))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    def more():
        data = stream.recv(65536)
        if not data: raise ConnectionError("the service closed the connection")
        return data
    while True:
        with lock:
            number = at[0]; at[0] += 1
        if number >= most or time.perf_counter() > end: return
        text = texts[number % len(texts)] + (f" {number}" if number >= len(texts) else "")
        body = json.dumps({"query": text}).encode()
        head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\n\r\n"
        started = time.perf_counter()
        stream.sendall(head.encode() + body)
        data = b""
        while b"\r\n\r\n" not in data: data += more()
        top, _, rest = data.partition(b"\r\n\r\n")
        lines = top.lower().split(b"\r\n")
        length = int([line for line in lines if line.startswith(b"content-length")][0].split(b":")[1])
        while len(rest) < length: rest += more()
        spent = (time.perf_counter() - started) * 1000
        first_line = top.split(b"\r\n")[0]
        model = rest.partition(b'"versions":{"model":"')[2].partition(b'"')[0].decode()
        with lock:
            began.append(started); taken.append(spent); models.append(model)
            if b" 200 " not in first_line: refused.append(first_line[:100].decode())
            elif b'"product_id"' not in rest: empty[0] += 1
threads = [threading.Thread(target=client) for _ in range(job["clients"])]
[t.start() for t in threads]; [t.join() for t in threads]
if lost: sys.exit(f"{len(lost)} of {job['clients']} clients stopped: {lost[0]}")
json.dump({
    "began": began, "milliseconds": taken, "models": models, "refused": refused, "without_product": empty[0],
    "seconds": time.perf_counter() - begun,
}, sys.stdout)
"""
