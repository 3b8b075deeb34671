"""Redirects the libraries' output to a log file.

TensorFlow, TFX, Beam and Feast write to stdout and stderr from Python and from C. Inside ``quiet`` both file
descriptors point to the run's log. Only messages for the user reach the terminal; stdout stays clean for ``--json``.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

QUIET_LIBRARIES = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN's order of summation depends on the processor
    "GRPC_VERBOSITY": "ERROR",
    "TQDM_DISABLE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "FEAST_USAGE": "False",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime reports to its maker, and keeps an id of the machine in ~/.cache
    "CUDA_VISIBLE_DEVICES": "-1",
}
KERAS_3 = {"TF_USE_LEGACY_KERAS": "0"}
"""Always overwritten. TensorFlow Transform sets it to 1 if it is unset, and child processes inherit that; MLflow then
does not recognise Keras 3 networks."""
LOG_LIMIT_BYTES = 20_000_000


@contextmanager
def quiet(log_file: Path) -> Iterator[TextIO]:
    """Send the process's output to ``log_file``; yields a stream to the user's real stderr.

    The log is appended to from run to run. Above 20 MB it is renamed to ``.1.log`` and a new one begins.
    """
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    os.environ.update(KERAS_3)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_file.is_file() and log_file.stat().st_size > LOG_LIMIT_BYTES:
        log_file.replace(log_file.with_suffix(".1.log"))
    sys.stdout.flush()
    sys.stderr.flush()
    saved_out, saved_err = os.dup(1), os.dup(2)
    user = os.fdopen(os.dup(2), "w", buffering=1)
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    handler = logging.StreamHandler(os.fdopen(os.dup(log), "w", buffering=1))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    os.dup2(log, 1)
    os.dup2(log, 2)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield user
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(saved_out, 1)
        os.dup2(saved_err, 2)
        for descriptor in (saved_out, saved_err, log):
            os.close(descriptor)
        handler.close()
        user.close()
