"""The pool of Beam workers that `sqidflow beam-worker` serves in its own process."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Callable

from sqidflow.core.collector import no_collections

PRELOADED = (
    "tensorflow",
    "tensorflow_transform",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
    "tfx.components",
    "components.feature_join",
    "modules.preprocessing",
    "modules.tfma_metrics",
)
"""Imported before the pool answers: workers of two jobs that import TensorFlow at the same time deadlock."""


def serve(port: int, ready: Callable[[str], None] = lambda address: None) -> None:
    """Serve Beam workers as threads of this process until SIGTERM or SIGINT.

    Args:
        port: port on localhost; jobs name it in ``beam.environment_config``.
        ready: called with the address when the pool accepts jobs.

    Raises:
        OSError: the port is in use.
    """
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    with no_collections():
        for name in PRELOADED:
            importlib.import_module(name)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        # -1 turns off the timer that flushes buffers, which would start one more thread per input.
        address, server = BeamFnExternalWorkerPoolServicer.start(port=port, data_buffer_time_limit_ms=-1)
    except RuntimeError as error:  # grpc raises this if it cannot bind
        raise OSError(str(error)) from error
    ready(address)
    stop.wait()
    server.stop(0)
