"""Beam runner profiles: what a profile's name means in Beam's own options, and what its servers must answer."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from sqidflow.core.errors import SettingsError
from sqidflow.core.settings import BeamSettings

_LOG = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3.0
WATCH_EVERY_S = 2.0
FAILED_LOOKS = 2
"""A pool that is busy may miss one look."""
WORKER_COMMAND = "sqidflow beam-worker"
JOB_SERVICE_COMMAND = "python -m apache_beam.runners.portability.local_job_service_main"

_ADDRESS = re.compile(r"^(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})$")
_SET_BY_PROFILE = ("runner", "job_endpoint", "environment_type", "environment_config")


@dataclass(frozen=True)
class Profile:
    """``arguments`` are Beam's. ``needs`` names settings of section beam and ``needs_options`` further Beam options
    without which the profile cannot work. ``verified``: the tests run the whole pipeline with it."""

    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    needs_options: tuple[str, ...] = ()
    verified: bool = False


PROFILES: dict[str, Profile] = {
    # Named explicitly: Beam 2.68 and newer would try to download the Prism runner first. In memory and in this
    # process: worker processes import TensorFlow anew for each pipeline, and threads have been seen to lose records.
    "local": Profile(
        ("--runner=FnApiRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"), verified=True
    ),
    "portable": Profile(("--runner=PortableRunner",), ("job_endpoint", "environment_config"), verified=True),
    # Through the engine's own job service by address: with --runner=FlinkRunner or SparkRunner Beam downloads one.
    "flink": Profile(("--runner=PortableRunner",), ("job_endpoint", "environment_config")),
    "spark": Profile(("--runner=PortableRunner",), ("job_endpoint", "environment_config")),
    "dataflow": Profile(
        ("--runner=DataflowRunner",), needs_options=("project", "region", "temp_location", "sdk_container_image")
    ),
}


def beam_arguments(settings: BeamSettings) -> list[str]:
    """Beam's options of a profile with its addresses, then ``beam.options`` as they are.

    Raises:
        SettingsError: an address or an option is missing or wrong, or an option would lose records.
    """
    profile = PROFILES[settings.runner]
    arguments = list(profile.arguments)
    for key in profile.needs:
        if getattr(settings, key) is None:
            raise SettingsError(
                f"runner {settings.runner} needs beam.{key}",
                where="section beam",
                hint=f"e.g. --set beam.{key}=localhost:{8099 if key == 'job_endpoint' else 50000}",
            )
    if "job_endpoint" in profile.needs:
        arguments.append(f"--job_endpoint={settings.job_endpoint}")
        arguments.append(f"--environment_type={settings.environment_type}")
        arguments.append(f"--environment_config={settings.environment_config}")
    given = _names(settings.options)
    _check_options(settings, given)
    for name in profile.needs_options:
        if name not in given:
            raise SettingsError(
                f"runner {settings.runner} needs Beam's option --{name}", where="beam.options", hint=f"add --{name}=..."
            )
    for key, address in addresses(settings).items():
        if not _ADDRESS.match(address):
            raise SettingsError(f"{address!r} is not host:port", where=f"beam.{key}", hint="write e.g. localhost:8099")
    return [*arguments, *settings.options]


def _names(options: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for option in options:
        match = re.match(r"^--([a-z][a-z0-9_]*)(?:=(.*))?$", option)
        if match is None:
            raise SettingsError(
                f"{option!r} is not a Beam option", where="beam.options", hint="write each as --name=value"
            )
        found[match[1]] = match[2] or ""
    return found


def _check_options(settings: BeamSettings, given: dict[str, str]) -> None:
    for name in _SET_BY_PROFILE:
        if name in given:
            raise SettingsError(
                f"--{name} is the profile's own", where="beam.options", hint="set beam.runner or its addresses instead"
            )
    if given.get("direct_running_mode") == "multi_threading":
        raise SettingsError(
            "multi_threading is refused: it loses records and ends with exit status 0",
            where="beam.options",
            hint="docs/platform.md says what was seen; use the profile local or portable",
        )
    if settings.runner == "local" and any(name.startswith("direct_") for name in given):
        raise SettingsError(
            "the profile local is one worker in this process", where="beam.options", hint="use the profile portable"
        )
    if not settings.options:
        return
    from apache_beam.options.pipeline_options import PipelineOptions

    # Beam drops what it does not know without a word: a slip in a name would be a setting without effect.
    options = PipelineOptions(list(settings.options))
    unknown = sorted(
        set(options.get_all_options(drop_default=True, retain_unknown_options=True))
        - set(options.get_all_options(drop_default=True))
    )
    if unknown:
        import difflib

        near = difflib.get_close_matches(unknown[0], options.get_all_options(), 1)
        hint = f"did you mean --{near[0]}?" if near else "see Beam's own list of options"
        raise SettingsError(f"Beam has no option --{unknown[0]}", where="beam.options", hint=hint)


def addresses(settings: BeamSettings) -> dict[str, str]:
    """What must listen while a pipeline runs: settings key -> host:port. Empty for profiles without addresses."""
    if "job_endpoint" not in PROFILES[settings.runner].needs:
        return {}
    found = {"job_endpoint": settings.job_endpoint or ""}
    if settings.environment_type == "EXTERNAL":
        found["environment_config"] = settings.environment_config or ""
    return found


def unreachable(settings: BeamSettings) -> str | None:
    """The first address of the profile that takes no connection, as a sentence with the hint; None where all do."""
    for key, address in addresses(settings).items():
        match = _ADDRESS.match(address)
        if match is None:
            continue  # beam_arguments refuses it
        try:
            socket.create_connection((match["host"].strip("[]"), int(match["port"])), CONNECT_TIMEOUT_S).close()
        except OSError:
            if key == "environment_config":
                return f"no Beam worker answers at {address} (beam.{key})"
            return f"no Beam job service answers at {address} (beam.{key})"
    return None


def hint_unreachable(settings: BeamSettings) -> str:
    """How what ``unreachable`` names is started."""
    port = (settings.environment_config or ":50000").rpartition(":")[2]
    job_port = (settings.job_endpoint or ":8099").rpartition(":")[2]
    if settings.runner == "portable":
        return (
            f"start `{JOB_SERVICE_COMMAND} --port {job_port}` and `{WORKER_COMMAND} --port {port}`, then run again: "
            "finished components come from the cache"
        )
    return f"start the job service of {settings.runner} and its workers, then run again"


@contextmanager
def watched(settings: BeamSettings) -> Iterator[None]:
    """Cancel this process's running Beam jobs once an address of the profile has stopped answering.

    A job service notices a worker that dies within its work, but waits for ever for one that dies before it has
    called back: the job would never end.
    """
    if not addresses(settings):
        yield
        return
    from apache_beam.runners.portability.portable_runner import PortableRunner

    results: list[Any] = []
    stop = threading.Event()
    submit = PortableRunner.run_portable_pipeline

    def remembered(runner: PortableRunner, *arguments: Any, **options: Any) -> Any:
        results.append(submit(runner, *arguments, **options))
        return results[-1]

    def watch() -> None:
        failed = 0
        while not stop.wait(WATCH_EVERY_S):
            silent = unreachable(settings)
            failed = failed + 1 if silent else 0
            if failed >= FAILED_LOOKS:
                _LOG.error("%s any more: its jobs are cancelled", silent)
                for result in results:
                    try:
                        result.cancel()
                    except Exception:  # the job service itself is gone: its clients are told by the connection
                        _LOG.warning("a job could not be cancelled", exc_info=True)
                return

    thread = threading.Thread(target=watch, daemon=True)
    with mock.patch.object(PortableRunner, "run_portable_pipeline", remembered):
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
