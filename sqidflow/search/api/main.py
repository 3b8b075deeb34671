"""What `sqidflow serve` turns into: uvicorn on a socket that listens already.

``python -m sqidflow.search.api.main DESCRIPTOR WORKERS [FOLDER LOCK]``: a listening socket, and the temporary folder
with its lock, if the program that this one replaces had one. The settings are those that the environment says.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path

from fastapi import FastAPI

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import default_workdir, load_settings
from sqidflow.core.temporary import OwnFolder, ended_by_signal
from sqidflow.core.workdir import Workdir
from sqidflow.search.api.app import create_app
from sqidflow.search.api.http import BoundedProtocol
from sqidflow.search.api.metrics import MULTIPROCESS_DIR

BACKLOG = 2048
_GRACE_S = 30


def _one_line(record: logging.LogRecord) -> bool:
    """A logging filter: uvicorn logs the traceback of a start that failed; what a user can fix is one line."""
    _, found, line = str(record.msg).rpartition(f"{SqidflowError.__module__}.{SqidflowError.__name__}: ")
    if found:
        record.msg, record.args = f"sqidflow: {line.strip()}", ()
    return True


def app() -> FastAPI:
    """The application, for uvicorn's workers."""
    logging.getLogger("uvicorn.error").addFilter(_one_line)
    return create_app(Workdir(default_workdir()), load_settings(default_workdir()))


def run(descriptor: int, workers: int) -> None:
    """Answer on a listening socket until a signal ends it."""
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    # Not uvicorn's own --fd: that takes any socket for a Unix one, whose answers then wait 40 ms for an
    # acknowledgement, as TCP_NODELAY is not set.
    listening = socket.socket(fileno=descriptor)
    proxies = load_settings(default_workdir()).search.trusted_proxies
    config = uvicorn.Config(
        "sqidflow.search.api.main:app",
        factory=True,
        http=BoundedProtocol,
        workers=workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=30,
        backlog=BACKLOG,
        # uvicorn's own default believes whoever comes from 127.0.0.1, and so lets a client name itself anew each time.
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
    )
    if workers > 1:
        parent = Multiprocess(config, sockets=[listening])
        try:
            parent.run()
        finally:
            shutil.rmtree(os.environ.get(MULTIPROCESS_DIR, ""), ignore_errors=True)
        if any(process.exitcode == STARTUP_FAILURE for process in parent.processes):
            sys.exit(STARTUP_FAILURE)
        return
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):  # uvicorn raises it once more when it has ended
        server.run(sockets=[listening])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def main(arguments: list[str]) -> None:
    own = OwnFolder.take_over(Path(arguments[2]), int(arguments[3])) if len(arguments) > 2 else None
    with ended_by_signal(own):  # uvicorn raises the signal again when it has answered what it had begun
        run(int(arguments[0]), int(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
