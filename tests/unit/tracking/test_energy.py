"""What a training cost is measured where it can be, and never costs the training."""

from __future__ import annotations

import csv
import sys

import pytest

from sqidflow.tracking import energy
from sqidflow.tracking.energy import Energy, EnergyMeter, read_emissions


def test_energy_is_measured_and_says_how(tmp_path):
    pytest.importorskip("codecarbon")
    with EnergyMeter(tmp_path / "energy", "DEU") as meter:
        sum(range(2_000_000))
    assert meter.energy.energy_kwh > 0
    assert meter.energy.emissions_kg_co2e > 0
    assert 0 < meter.energy.duration_s < 60
    assert meter.energy.method.startswith("CodeCarbon, CPU ")
    with (tmp_path / "energy" / energy.EMISSIONS_FILE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 1
    assert rows[0]["country_iso_code"] == "DEU"
    assert read_emissions(tmp_path / "energy") == rows[0]
    assert set(meter.energy.metrics()) == {
        "energy_kwh",
        "emissions_kg_co2e",
        "duration_s",
        "cpu_power_w",
        "ram_power_w",
    }


def test_no_emissions_where_none_were_written(tmp_path):
    assert read_emissions(tmp_path) == {}


def test_what_a_training_raises_passes_the_meter(tmp_path):
    with pytest.raises(KeyError), EnergyMeter(tmp_path, "DEU"):
        raise KeyError("the training's own")


@pytest.mark.parametrize("when", ["import", "start", "stop"])
def test_a_meter_that_fails_fails_nothing(tmp_path, monkeypatch, when):
    class Tracker:
        def __init__(self, **_):
            pass

        def start(self):
            if when == "start":
                raise OSError("no sensor")

        def stop(self):
            raise RuntimeError("no result")

    if when == "import":
        monkeypatch.setitem(sys.modules, "codecarbon", None)
    else:
        monkeypatch.setattr("codecarbon.OfflineEmissionsTracker", Tracker)
    with EnergyMeter(tmp_path, "DEU") as meter:
        done = True
    assert done
    assert meter.energy == Energy()
    assert meter.energy.metrics() == {}


def test_a_country_that_is_none_fails_nothing(tmp_path):
    with EnergyMeter(tmp_path, "XXX") as meter:
        done = True
    assert done
    assert meter.energy.method
