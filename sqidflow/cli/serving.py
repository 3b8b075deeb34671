"""The verb `serve`: an index that is up to date, then the service in place of this process."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqidflow.cli.options import plain
from sqidflow.core.errors import SqidflowError
from sqidflow.core.files import disk_guard
from sqidflow.core.model_files import ZERO_SHOT_VERSION
from sqidflow.core.pushes import newest_model, pinned_version
from sqidflow.core.quiet import QUIET_LIBRARIES, quiet
from sqidflow.core.settings import ENVIRONMENT_PREFIX, WORKDIR_VARIABLE, Settings
from sqidflow.core.temporary import OwnFolder
from sqidflow.core.workdir import Workdir
from sqidflow.indexing import publish
from sqidflow.indexing.make import make_index, present_index
from sqidflow.indexing.plan import plan_index
from sqidflow.search.api.launch import command, listen
from sqidflow.search.api.metrics import MULTIPROCESS_DIR
from sqidflow.search.cache import open_cache
from sqidflow.search.state import choose, find_index, not_served

_FEASTS_DIR = "PROMETHEUS_MULTIPROCESS_DIR"


def serve(
    workdir: Workdir,
    settings: Settings,
    overrides: Sequence[str],
    say: Callable[[Any], None],
    temporary: OwnFolder | None = None,
) -> None:
    """Serve until a signal arrives; requests in progress are finished first.

    Args:
        overrides: ``section.key=value`` each; workers read the settings again and get these from the environment.
        temporary: this process's temporary folder; the service uses it on and removes it.

    Raises:
        SqidflowError: no model, an index that cannot be built, a port that is in use, or an invalid cache URL.
    """
    open_cache(settings).close()
    for version in versions_to_serve(workdir, settings):
        provide_index(workdir, settings, version, say)
    with suppress(SqidflowError):  # the service itself says what is wrong with what it is to open
        note = not_served(workdir, choose(workdir, settings)[0])
        if note:
            say(plain(note))
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
    _remove_feasts_measures()
    if settings.search.workers > 1:
        os.environ[MULTIPROCESS_DIR] = tempfile.mkdtemp(prefix="sqidflow-metrics-")
    taken.set_inheritable(True)
    sys.stdout.flush()
    sys.stderr.flush()
    # In place of this process: the index's builder (TensorFlow's part of it too) takes no memory from the service.
    arguments = command(taken.fileno(), settings.search.workers, temporary)
    if temporary is not None:
        temporary.keep_for_next_program()
    os.execv(sys.executable, arguments)


def versions_to_serve(workdir: Workdir, settings: Settings) -> list[str | None]:
    """Versions whose indexes the service needs; None for the one that is served: the pinned, or the newest push."""
    search = settings.search
    named = {search.model_b, search.shadow_model, search.canary_model if search.canary_share else None} - {None}
    versions: list[str | None] = [None, *sorted(map(str, named))]
    newest = newest_model(workdir.serving)
    if search.canary_share and not search.canary_model and newest and pinned_version(workdir.serving):
        versions.append(newest.name)
    return list(dict.fromkeys(versions))


def _remove_feasts_measures() -> None:
    """Feast, which the index's builder imports, makes a folder and removes it when its process exits; this process is
    replaced, and the service would take the folder for that of its workers."""
    folder = os.environ.pop(_FEASTS_DIR, None)
    if folder is None:
        return
    if os.environ.get(MULTIPROCESS_DIR) == folder:
        del os.environ[MULTIPROCESS_DIR]
    if Path(folder).name.startswith("feast_metrics_"):
        shutil.rmtree(folder, ignore_errors=True)


def provide_index(workdir: Workdir, settings: Settings, version: str | None, say: Callable[[Any], None]) -> None:
    """Build the index of a ranker where it is missing or stale. Where that cannot be done now, one that is there will
    do: the workdir may be held by another verb, not be writable, or its data be about to change.

    Raises:
        SqidflowError: it cannot be built, and there is none.
    """
    try:
        if present_index(workdir, plan_index(workdir, settings, version)) is not None:
            return
        with workdir.locked("index"), disk_guard(workdir.root, 100_000_000):
            say("building the product index")
            with quiet(workdir.logs / "index.log"):
                made = make_index(workdir, settings, version=version)
        say(f"index {made.meta.digest}: {made.meta.products:,} products, {made.seconds:.0f} s")
    except SqidflowError as error:
        try:
            older = find_index(workdir, settings, version) if version else choose(workdir, settings)[1]
            meta = publish.verify(older)
        except SqidflowError:
            raise error from None
        say(plain(f"the index cannot be brought up to date: {error.message}"))
        ranker = meta.model if meta.model_version == ZERO_SHOT_VERSION else f"{meta.model} {meta.model_version}"
        say(plain(f"serving the one that is there: {meta.digest}, {ranker}, {meta.products:,} products"))
