"""The verb `serve`: an index that is up to date, then uvicorn."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.console import QUIET_LIBRARIES, quiet
from pipeline.errors import SqidflowError
from pipeline.index import make_index, present_index
from pipeline.settings import ENVIRONMENT_PREFIX, WORKDIR_VARIABLE, Settings
from pipeline.workdir import Workdir
from search.cache import open_cache
from search.main import BACKLOG
from search.metrics import MULTIPROCESS_DIR


def serve(workdir: Workdir, settings: Settings, overrides: Sequence[str], say: Callable[[Any], None]) -> None:
    """Serve until a signal ends it; what has begun is finished first.

    Args:
        overrides: ``section.key=value`` each; workers read the settings anew and get these by the environment.

    Raises:
        SqidflowError: no model, an index that cannot be built, a port that is taken, a cache whose URL is none.
    """
    open_cache(settings).close()
    for version in sorted({None, settings.search.model_b}, key=str):
        if present_index(workdir, settings, version) is None:
            say("building the product index")
            with workdir.locked("index"), quiet(workdir.logs / "index.log"):
                made = make_index(workdir, settings, version=version)
            say(f"index {made.meta.digest}: {made.meta.products:,} products, {made.seconds:.0f} s")
    taken = listen(settings.search.host, settings.search.port)
    host, port = taken.getsockname()[:2]
    say(f"sqidflow on http://{f'[{host}]' if ':' in host else host}:{port}  (Ctrl-C ends it)")
    os.environ[WORKDIR_VARIABLE] = str(workdir.root)
    for override in overrides:
        key, _, value = override.partition("=")
        os.environ[ENVIRONMENT_PREFIX + key.strip().upper().replace(".", "__")] = value
    # One thread a search: several would wait for each other on the same cores.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    if settings.search.workers > 1:
        os.environ[MULTIPROCESS_DIR] = tempfile.mkdtemp(prefix="sqidflow-metrics-")
    taken.set_inheritable(True)
    sys.stdout.flush()
    sys.stderr.flush()
    # In place of this process: the index's builder (TensorFlow's part of it too) takes no memory from the service.
    arguments = command(taken.fileno(), settings.search.workers)
    os.execv(sys.executable, arguments)


def command(listening: int, workers: int) -> list[str]:
    """How the service is started; ``listening`` is the descriptor of the socket."""
    return [sys.executable, "-m", "search.main", str(listening), str(workers)]


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
            f"cannot listen there ({error.strerror})", where=f"{host}:{port}", mend="name another with --port"
        ) from error
    return made
