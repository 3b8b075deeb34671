"""Beam runner profiles: the Beam options of each profile, and the checks of its servers."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqidflow.core.errors import SettingsError
from sqidflow.core.settings import BeamSettings

_LOG = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3.0
WATCH_EVERY_S = 2.0
FAILED_LOOKS = 2
"""Consecutive failed checks after which a server counts as gone; a busy worker pool may miss one."""
WORKER_COMMAND = "sqidflow beam-worker"
JOB_SERVICE_COMMAND = "python -m apache_beam.runners.portability.local_job_service_main"

_ADDRESS = re.compile(r"^(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})$")
_RUNNER = "pipeline.portable_runner.CancellableRunner"
_SET_BY_PROFILE = ("runner", "job_endpoint", "environment_type", "environment_config")


@dataclass(frozen=True)
class Profile:
    """A runner profile. ``arguments`` are Beam options. ``needs`` are required settings of the section beam,
    ``needs_options`` required Beam options. ``verified``: the tests run the whole pipeline with it."""

    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    needs_options: tuple[str, ...] = ()
    verified: bool = False


PROFILES: dict[str, Profile] = {
    # The runner is named because Beam 2.68 and newer would first try to download the Prism runner. It runs in memory in
    # this process: worker processes import TensorFlow again for each pipeline, and threads were seen to lose records.
    # Nothing starts the container that is named: without one TFX would pack itself into an archive for workers of other
    # machines, anew for each component, which takes seconds.
    "local": Profile(
        (
            "--runner=FnApiRunner",
            "--direct_running_mode=in_memory",
            "--direct_num_workers=1",
            "--sdk_container_image=none",
        ),
        verified=True,
    ),
    "portable": Profile((f"--runner={_RUNNER}",), ("job_endpoint", "environment_config"), verified=True),
    # By the address of the engine's job service: with --runner=FlinkRunner or SparkRunner Beam downloads one.
    "flink": Profile((f"--runner={_RUNNER}",), ("job_endpoint", "environment_config")),
    "spark": Profile((f"--runner={_RUNNER}",), ("job_endpoint", "environment_config")),
    "dataflow": Profile(
        ("--runner=DataflowRunner",), needs_options=("project", "region", "temp_location", "sdk_container_image")
    ),
}


def beam_arguments(settings: BeamSettings) -> list[str]:
    """The Beam options of a profile with its addresses, followed by ``beam.options``.

    Raises:
        SettingsError: an address or an option is missing or invalid, or an option would lose records.
    """
    profile = PROFILES[settings.runner]
    arguments = list(profile.arguments)
    for key in profile.needs:
        if getattr(settings, key) is None:
            raise SettingsError(
                f"runner {settings.runner} needs beam.{key}",
                where="section beam",
                hint=f"set it, e.g. --set beam.{key}=localhost:{8099 if key == 'job_endpoint' else 50000}",
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
    by_name = {}
    for option in options:
        match = re.match(r"^--([a-z][a-z0-9_]*)(?:=(.*))?$", option)
        if match is None:
            raise SettingsError(
                f"{option!r} is not a Beam option", where="beam.options", hint="write each as --name=value"
            )
        by_name[match[1]] = match[2] or ""
    return by_name


def _check_options(settings: BeamSettings, given: dict[str, str]) -> None:
    for name in _SET_BY_PROFILE:
        if name in given:
            raise SettingsError(
                f"--{name} is set by the profile", where="beam.options", hint="set beam.runner or its addresses instead"
            )
    if given.get("direct_running_mode") == "multi_threading":
        raise SettingsError(
            "multi_threading is refused: it loses records and ends with exit status 0",
            where="beam.options",
            hint="use the profile local or portable; see docs/platform.md for the reason",
        )
    if settings.runner == "local" and any(name.startswith("direct_") for name in given):
        raise SettingsError(
            "the profile local has one worker, in this process", where="beam.options", hint="use the profile portable"
        )
    if not settings.options:
        return
    from apache_beam.options.pipeline_options import PipelineOptions

    # Beam silently ignores unknown options, so a typing error would be a setting without effect.
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
    """Servers that must be reachable during a run: settings key -> host:port. Empty for profiles without servers."""
    if "job_endpoint" not in PROFILES[settings.runner].needs:
        return {}
    servers = {"job_endpoint": settings.job_endpoint or ""}
    if settings.environment_type == "EXTERNAL":
        servers["environment_config"] = settings.environment_config or ""
    return servers


def unreachable(settings: BeamSettings) -> str | None:
    """A message about the first server of the profile that refuses connections; None if all accept."""
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
    """The hint for a message of ``unreachable``: how to start the servers."""
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
    """Cancel this process's running Beam jobs if a server of the profile stops answering.

    A job service notices a worker that dies while it works, but waits forever for one that dies before it has called
    back, so that the job would never end.
    """
    if not addresses(settings):
        yield
        return
    from pipeline import portable_runner

    stop = threading.Event()

    def watch() -> None:
        failed = 0
        while not stop.wait(WATCH_EVERY_S):
            silent = unreachable(settings)
            failed = failed + 1 if silent else 0
            if failed >= FAILED_LOOKS:
                _LOG.error("%s any more: cancelling its jobs", silent)
                portable_runner.cancel_jobs()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        portable_runner.forget_jobs()
