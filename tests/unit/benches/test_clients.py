"""The load generator of the benches against servers that answer, refuse or go away."""

from __future__ import annotations

import socket
import threading

import pytest

from sqidflow.benches.clients import search
from sqidflow.core.errors import PipelineError

FOUND = b'{"versions":{"model":"17"},"results":[{"product_id":"P1"}]}'


def answering(*answers: bytes) -> int:
    """A server that gives each connection these answers, one a request, and then closes it; its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, listening:
            for answer in answers:
                connection.recv(65536)
                connection.sendall(answer)
            connection.recv(65536)

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1]


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def test_what_came_is_told_apart() -> None:
    port = answering(http("200 OK", FOUND), http("503 Busy", b"{}"), http("200 OK", b'{"versions":{"model":"17"}}'))
    load = search(port, ["a", "b", "c"], 1, 20, most=3)
    assert load.models == ["17", "", "17"] and load.failed == 1
    assert load.refused == ["HTTP/1.1 503 Busy"] and load.without_product == 1
    assert len(load.milliseconds) == 3 and (load.milliseconds > 0).all()
    assert load.first_of("17", load.began_s[1]) == load.began_s[2]


def test_a_service_that_goes_away_ends_the_load() -> None:
    with pytest.raises(PipelineError, match="1 of 1 clients stopped: .*closed the connection"):
        search(answering(http("200 OK", FOUND)), ["a"], 1, 20)
