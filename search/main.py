"""What `sqidflow serve` turns into: uvicorn on a socket that listens already.

``python -m search.main DESCRIPTOR WORKERS``; the settings are those that the environment says.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

from fastapi import FastAPI

from pipeline.errors import SqidflowError
from pipeline.settings import CHECKOUT, WORKDIR_VARIABLE, load_settings
from pipeline.workdir import Workdir
from search.app import create_app

BACKLOG = 2048
_GRACE_S = 30


def _one_line(record: logging.LogRecord) -> bool:
    """A logging filter: uvicorn logs the traceback of a start that failed; what a user can mend is one line."""
    _, found, line = str(record.msg).rpartition(f"{SqidflowError.__module__}.{SqidflowError.__name__}: ")
    if found:
        record.msg, record.args = f"sqidflow: {line.strip()}", ()
    return True


def app() -> FastAPI:
    """The application, for uvicorn's workers."""
    logging.getLogger("uvicorn.error").addFilter(_one_line)
    root = Path(os.environ.get(WORKDIR_VARIABLE) or CHECKOUT).expanduser().absolute()
    return create_app(Workdir(root), load_settings(root))


def run(descriptor: int, workers: int) -> None:
    """Answer on a listening socket until a signal ends it."""
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    # Not uvicorn's own --fd: that takes any socket for a Unix one, whose answers then wait 40 ms for an
    # acknowledgement, as TCP_NODELAY is not set.
    listening = socket.socket(fileno=descriptor)
    config = uvicorn.Config(
        "search.main:app",
        factory=True,
        workers=workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=30,
        backlog=BACKLOG,
    )
    if workers > 1:
        Multiprocess(config, sockets=[listening]).run()
        return
    server = uvicorn.Server(config)
    server.run(sockets=[listening])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]))
