"""The service as it is run: a process of its own, under load, with what it leans on taken away."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sqidflow.search.api.launch import command as start_command
from tests.command_line import command, wait_until
from tests.unit.search.test_cache import redis_server

__all__ = ["redis_server"]


class Server:
    """`sqidflow serve` on a free port."""

    def __init__(self, workdir: Path, *settings: str, environment: dict[str, str] | None = None) -> None:
        typed = command("serve", "--workdir", str(workdir), "--port", "0", settings=settings)
        self.process = subprocess.Popen(
            typed, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
        )
        assert self.process.stderr is not None
        self.said = ""
        for line in self.process.stderr:
            self.said += line
            if "http://127.0.0.1:" in line:
                break
        else:
            raise AssertionError(self.said)
        self.port = int(self.said.rpartition("127.0.0.1:")[2].split()[0])
        # What the process says later must not fill its pipe.
        threading.Thread(target=self._drain, daemon=True).start()
        self.wait_until_ready()

    def _drain(self) -> None:
        for line in self.process.stderr:
            self.said += line

    def wait_until_ready(self) -> None:
        for _ in range(600):
            try:
                if self.get("/readyz")[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            assert self.process.poll() is None, self.said
            time.sleep(0.1)
        raise AssertionError("not ready in 60 s: " + self.said)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = json.dumps(body) if body is not None else None
        kind = {"content-type": "application/json"} if body is not None else {}
        connection.request(method, path, content, {**kind, **headers})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return self.request("GET", path)

    def search(self, query: str, **more: Any) -> tuple[int, dict[str, Any]]:
        status, _, content = self.request("POST", "/predict", {"query": query, "threshold": 0, **more})
        return status, json.loads(content)

    def workers(self) -> list[int]:
        """Processes that answer, where there are several."""
        import psutil

        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


INDEX_FILES = frozenset({"text.npy", "image.npy", "products.arrow", "mapped_norm.npy", "data.csc.index.npy"})


def mapped_files(pid: int) -> dict[str, int]:
    """Name of each mapped file -> kB of it that the process has for itself or could write to.

    Anonymous, not Private_Dirty: the kernel counts a page there too that whoever made the file has changed, where it is
    not on the disk yet and only one process has read it so far.
    """
    own: dict[str, int] = {}
    name, counted = "", ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first = line.split(" ")[0]
        if "-" in first:
            name = line.rpartition("/")[2] if "/" in line else ""
            shared_for_writing = line.split(" ")[1][1::2] == "ws"
            counted = "Size:" if shared_for_writing else "Anonymous:"
        elif first == counted and name:
            own[name] = own.get(name, 0) + int(line.split()[1])
    return own


@pytest.fixture
def serve(indexed_copy: Path) -> Iterator[Callable[..., Server]]:
    """Start a service on an index of the test's own: a service logs what it is asked."""
    started: list[Server] = []

    def start(*settings: str, workdir: Path = indexed_copy, environment: dict[str, str] | None = None) -> Server:
        started.append(Server(workdir, *settings, environment=environment))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def test_sigterm_under_load_finishes_what_has_begun(serve, title) -> None:
    server = serve("search.cache_entries=0")
    outcomes: list[tuple[int, dict[str, Any]] | None] = []
    stop = threading.Event()

    def client(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            try:
                body = json.dumps({"query": f"{title} {number} {count}", "threshold": 0})
                connection.request("POST", "/predict", body, {"content-type": "application/json"})
            except OSError:
                return  # not accepted any more: nothing had begun
            try:
                answer = connection.getresponse()
                outcomes.append((answer.status, json.loads(answer.read())))
            except (ConnectionError, http.client.RemoteDisconnected):
                # Connected by the kernel and never read by the service.
                return

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(outcomes) < 30:
        time.sleep(0.01)
    code = server.end()
    stop.set()
    for thread in threads:
        thread.join()
    assert code in (0, -signal.SIGTERM)
    assert len(outcomes) >= 30 and all(status == 200 and body["results"] for status, body in outcomes)
    assert "Traceback" not in server.said


def test_redis_killed_under_load_costs_no_answer(serve, redis_server, title) -> None:
    url, redis = redis_server()
    server = serve(environment={"SQIDFLOW_CACHE_URL": url})
    status, first = server.search(title)
    again = server.search(title)[1]
    assert status == 200 and not first["cached"] and again["cached"]
    assert again["results"] == first["results"] and again["request_id"] != first["request_id"]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(server.search, f"{title} {number % 40}") for number in range(120)]
        redis.kill()
        redis.wait()
        answers = [future.result() for future in asked]
    assert all(status == 200 and body["results"] for status, body in answers)
    assert server.search(title)[1]["results"] == first["results"]
    assert server.end() in (0, -signal.SIGTERM) and "Traceback" not in server.said


def test_200_clients_at_once(serve, title) -> None:
    server = serve("search.cache_entries=0")
    barrier = threading.Barrier(200)

    def client(number: int) -> tuple[int, dict[str, Any]]:
        barrier.wait()
        return server.search(f"{title} {number}")

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(client, range(200)))
    assert {status for status, _ in answers} == {200}
    assert all(body["results"] for _, body in answers)


def test_more_than_may_wait_is_turned_away(serve, title) -> None:
    server = serve("search.cache_entries=0", "search.threads=1", "search.queue=1")
    barrier = threading.Barrier(40)

    def client(number: int) -> tuple[int, dict[str, str], bytes]:
        barrier.wait()
        return server.request("POST", "/predict", {"query": f"{title} {number}", "explain": True, "k": 100})

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(client, range(40)))
    refused = [answer for answer in answers if answer[0] == 429]
    assert {answer[0] for answer in answers} == {200, 429}
    assert all(headers["retry-after"] == "1" for _, headers, _ in refused)
    assert server.search(title)[0] == 200


def test_a_slow_client_is_not_waited_for(serve, title) -> None:
    server = serve("search.body_timeout_s=0.5")
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
        slow.sendall(b"content-length: 90\r\n\r\n{")
        slow.settimeout(20)
        answer = slow.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert server.search(title)[0] == 200


def test_a_model_folder_that_vanishes(serve, title: str, indexed_copy: Path) -> None:
    server = serve("search.cache_entries=0")
    before = server.search(title)[1]["results"]
    shutil.rmtree(indexed_copy / "artifacts" / "serving")
    shutil.rmtree(indexed_copy / "artifacts" / "index")
    assert server.search(title)[1]["results"] == before
    assert server.get("/readyz")[0] == 200


def test_headers_without_end_are_refused_and_take_no_memory(serve) -> None:
    import psutil

    server = serve()
    memory = psutil.Process(server.process.pid).memory_info
    before, sent = memory().rss, 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
        try:
            for number in range(500):
                connection.sendall(b"x-%d: " % number + b"y" * 100_000 + b"\r\n")
                sent += 100_000
        except OSError:
            pass  # closed by the service
    assert sent < 50_000_000 and memory().rss - before < 20_000_000
    assert server.get("/readyz")[0] == 200
    # One large header that never ends, and a body in small parts: the first is refused, the second is no header.
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 70_000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 431 ")
    body = json.dumps({"query": "lamp", "threshold": 0}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        connection.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
        for each in body:
            connection.sendall(b"1\r\n%c\r\n" % each)
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_key_limits_and_origins(serve) -> None:
    server = serve(
        "search.rate_limit=5/minute", "search.write_rate_limit=null", "search.cors_origins=['https://shop.example']",
        environment={"SQIDFLOW_API_KEY": "sesame"},
    )  # fmt: skip
    vote = {"request_id": "x1", "kind": "vote", "vote": "a"}
    status, headers, body = server.request("POST", "/feedback", vote)
    assert status == 401 and headers["content-type"] == "application/problem+json" and b"sesame" not in body
    assert server.request("POST", "/feedback", vote, **{"X-API-Key": "wrong"})[0] == 401
    assert server.request("POST", "/feedback", vote, **{"X-API-Key": "sesame"})[0] == 404  # may write; no such answer
    _, headers, _ = server.request("GET", "/version", **{"Origin": "https://shop.example"})
    assert headers["access-control-allow-origin"] == "https://shop.example"
    _, headers, _ = server.request("GET", "/version", **{"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in headers
    found = [server.get("/version") for _ in range(6)]
    assert found[-1][0] == 429 and int(found[-1][1]["retry-after"]) >= 1
    assert server.get("/healthz")[0] == 200


def forwarded(server: Server, address: str) -> int:
    return server.request("GET", "/version", **{"X-Forwarded-For": address})[0]


def test_a_client_cannot_name_itself_anew(serve) -> None:
    server = serve("search.rate_limit=3/minute")
    assert [forwarded(server, f"192.0.2.{number}") for number in range(5)] == [200, 200, 200, 429, 429]


def test_a_proxy_that_is_trusted_names_the_client(serve) -> None:
    server = serve("search.rate_limit=1/minute", "search.trusted_proxies=['127.0.0.0/8']")
    assert [forwarded(server, address) for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [200, 200, 429]


def test_every_search_is_in_the_query_log(serve, title: str, indexed_copy: Path) -> None:
    server = serve()
    _, body = server.search(f"gold-plated {title}")
    assert server.end() in (0, -signal.SIGTERM)
    files = sorted((indexed_copy / "var" / "search").glob("queries-*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    (line,) = [line for line in lines if line["query_id"] == body["request_id"]]
    details = line["query_attributes"]
    assert line["user_query"] == f"gold-plated {title}" and details["model"] == body["versions"]["model"]
    assert line["query_response_hit_ids"] == [r["product_id"] for r in body["results"]]
    assert details["scores"] == [r["score"] for r in body["results"]]
    assert details["timings"]["rank_ms"] > 0 and len(details["candidates"]) == 20 and details["variant"] == "a"


def test_a_log_that_is_not_wanted_is_not_written(serve, title: str, indexed_copy: Path) -> None:
    server = serve("search.query_log=false")
    assert server.search(title)[0] == 200
    server.end()
    assert not list((indexed_copy / "var" / "search").glob("queries-*"))


def test_a_port_that_is_taken(indexed_copy: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        typed = command("serve", "--workdir", str(indexed_copy), "--port", str(port))
        done = subprocess.run(typed, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}: cannot listen there" in done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_start_that_cannot_be_is_one_line(tmp_path: Path, workers: int) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    environment = {**os.environ, "SQIDFLOW_WORKDIR": str(tmp_path)}
    done = subprocess.run(
        start_command(listening.fileno(), workers), pass_fds=[listening.fileno()], env=environment, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3
    assert (
        f"sqidflow: {tmp_path / 'artifacts' / 'serving'}: there is no pushed model and no index; train" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_two_workers_answer_and_count_together(serve, title, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    server = serve("search.workers=2", "search.cache_entries=0", environment={"TMPDIR": str(temporary)})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: server.search(f"{title} {number}"), range(60)))
    assert all(status == 200 for status, _ in answers)

    def index_files() -> list[dict[str, int]]:
        """Of each worker that has opened the index; the second may still be starting when the first answers."""
        mapped = [mapped_files(pid) for pid in server.workers()]
        return [files for files in mapped if files.keys() >= INDEX_FILES]

    def searches_counted() -> float:
        lines = server.get("/metrics")[2].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("sqidflow_searches_total{"))

    wait_until(lambda: len(index_files()) == 2, "both workers have opened the index")
    for files in index_files():
        # One copy in the page cache for both: nothing of it is written to by either.
        assert {name: files[name] for name in INDEX_FILES} == dict.fromkeys(INDEX_FILES, 0)
    wait_until(lambda: searches_counted() == 60, "either worker counts the searches of both")
    assert server.end() in (0, -signal.SIGTERM)
    assert [each for each in temporary.iterdir() if each.is_dir()] == [], "the folder of measures is removed"


def test_the_service_imports_nothing_of_training(indexed_copy: Path, title: str) -> None:
    program = (
        "import sys\n"
        "from fastapi.testclient import TestClient\n"
        "from sqidflow.search.api.main import app\n"
        "with TestClient(app()) as client:\n"
        f"    answer = client.post('/predict', json={{'query': {title!r}, 'explain': True, 'threshold': 0}})\n"
        "    assert answer.json()['results']\n"
        "    client.get('/runs'); client.get('/search_best', params={'query': 'lamp'})\n"
        "heavy = [n for n in ('tensorflow', 'tfx', 'mlflow', 'keras', 'feast', 'apache_beam', 'pipeline.graph') "
        "if n in sys.modules]\n"
        "assert heavy == [], heavy\n"
    )
    environment = {**os.environ, "SQIDFLOW_WORKDIR": str(indexed_copy)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
