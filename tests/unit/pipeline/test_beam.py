"""Runner profiles: what becomes of the settings, and what is refused."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pipeline.beam import PROFILES, beam_arguments, unreachable
from sqidflow.core.errors import SettingsError
from sqidflow.core.settings import BeamSettings, load_settings

ADDRESSES = {"job_endpoint": "jobs.example:8099", "environment_config": "localhost:50000"}
DATAFLOW = ("--project=p", "--region=r", "--temp_location=gs://b/t", "--sdk_container_image=i:1")


def test_the_default_is_in_this_process() -> None:
    assert beam_arguments(BeamSettings()) == [
        "--runner=FnApiRunner",
        "--direct_running_mode=in_memory",
        "--direct_num_workers=1",
        "--sdk_container_image=none",
    ]


def test_tfx_packs_no_archive_of_itself_for_workers_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from tfx.utils import dependency_utils

    def pack() -> str:
        raise AssertionError("no worker elsewhere needs TFX's archive")

    monkeypatch.setattr(dependency_utils, "build_ephemeral_package", pack)
    arguments = beam_arguments(BeamSettings())
    assert dependency_utils.make_beam_dependency_flags(arguments) == arguments


@pytest.mark.parametrize("runner", ["portable", "flink", "spark"])
def test_addresses_become_beam_s_options(runner: str) -> None:
    from apache_beam.options.pipeline_options import PortableOptions, StandardOptions

    settings = BeamSettings(runner=runner, **ADDRESSES, options=("--parallelism=4",))
    arguments = beam_arguments(settings)
    assert arguments[-1] == "--parallelism=4"
    portable = PortableOptions(arguments)
    assert portable.job_endpoint == "jobs.example:8099"
    assert (portable.environment_type, portable.environment_config) == ("EXTERNAL", "localhost:50000")
    assert StandardOptions(arguments).runner == "pipeline.portable_runner.CancellableRunner"


def test_dataflow_s_options_pass_its_own_validation() -> None:
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    arguments = beam_arguments(BeamSettings(runner="dataflow", options=DATAFLOW))
    assert arguments[0] == "--runner=DataflowRunner"
    cloud = GoogleCloudOptions(arguments)
    assert (cloud.project, cloud.region, cloud.temp_location) == ("p", "r", "gs://b/t")
    for missing in range(len(DATAFLOW)):
        name = DATAFLOW[missing].partition("=")[0]
        with pytest.raises(SettingsError, match=f"needs Beam's option {name}"):
            beam_arguments(BeamSettings(runner="dataflow", options=DATAFLOW[:missing] + DATAFLOW[missing + 1 :]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"runner": "portable"}, "needs beam.job_endpoint"),
        ({"runner": "flink", "job_endpoint": "a:1"}, "needs beam.environment_config"),
        ({"runner": "portable", **ADDRESSES, "job_endpoint": "a"}, "beam.job_endpoint: 'a' is not host:port"),
        ({"options": ("--direct_running_mode=multi_threading",)}, "multi_threading is refused: it loses records"),
        ({"options": ("--direct_num_workers=4",)}, "one worker, in this process"),
        ({"options": ("--runner=DaskRunner",)}, "--runner is set by the profile"),
        ({"options": ("parallelism=4",)}, "is not a Beam option"),
        ({"options": ("--paralelism=4",)}, "no option --paralelism; did you mean --parallelism"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(SettingsError) as raised:
        beam_arguments(BeamSettings(**settings))
    assert words in raised.value.message


def test_dask_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Dask runner is not offered: it drops data silently"):
        load_settings(tmp_path, ["beam.runner=dask"], {})


def test_every_profile_of_the_settings_is_there() -> None:
    runners = BeamSettings.model_fields["runner"].annotation.__args__
    assert set(runners) == set(PROFILES)


def test_what_does_not_answer_is_named() -> None:
    assert unreachable(BeamSettings()) is None
    with socket.create_server(("localhost", 0)) as jobs, socket.create_server(("localhost", 0)) as workers:
        places = [f"localhost:{server.getsockname()[1]}" for server in (jobs, workers)]
        settings = BeamSettings(runner="portable", job_endpoint=places[0], environment_config=places[1])
        assert unreachable(settings) is None
        workers.close()
        assert unreachable(settings) == f"no Beam worker answers at {places[1]} (beam.environment_config)"
        jobs.close()
        assert unreachable(settings) == f"no Beam job service answers at {places[0]} (beam.job_endpoint)"
        docker = settings.model_copy(update={"environment_type": "DOCKER", "environment_config": "image:1"})
        assert "image" not in (unreachable(docker) or "")
