"""A pool of Beam workers in a process of its own: what `sqidflow beam-worker` serves."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Callable

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
"""Imported before the pool answers: two jobs' workers that import TensorFlow at the same time wait for each other."""


def serve(port: int, ready: Callable[[str], None] = lambda address: None) -> None:
    """Serve Beam workers as threads of this process until SIGTERM or SIGINT.

    Args:
        port: of localhost; a job names it in ``beam.environment_config``.
        ready: called with the address once jobs may come.

    Raises:
        OSError: the port is taken.
    """
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    for name in PRELOADED:
        importlib.import_module(name)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        # -1: no timer flushes buffers; with it one more thread an input is started.
        address, server = BeamFnExternalWorkerPoolServicer.start(port=port, data_buffer_time_limit_ms=-1)
    except RuntimeError as error:  # grpc's way to say that it could not bind
        raise OSError(str(error)) from error
    ready(address)
    stop.wait()
    server.stop(0)
