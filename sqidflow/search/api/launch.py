"""The verb `serve`: an index that is up to date, then uvicorn."""

from __future__ import annotations

import socket
import sys

from sqidflow.core.errors import SqidflowError
from sqidflow.core.temporary import OwnFolder
from sqidflow.search.api.main import BACKLOG


def command(listening: int, workers: int, temporary: OwnFolder | None = None) -> list[str]:
    """How the service is started; ``listening`` is the descriptor of the socket, ``temporary`` the folder it gets."""
    folder = [str(temporary.folder), str(temporary.lock)] if temporary else []
    return [sys.executable, "-m", "sqidflow.search.api.main", str(listening), str(workers), *folder]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SqidflowError where the address cannot be taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise SqidflowError(
            f"cannot listen there ({error.strerror})", where=f"{host}:{port}", hint="name another with --port"
        ) from error
    return made
