"""Energy of a training, measured with CodeCarbon. A failing measurement never fails the training."""

from __future__ import annotations

import csv
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)

EMISSIONS_FILE = "emissions.csv"


@dataclass(frozen=True)
class Energy:
    """Energy use of a training. ``method`` says how the power was measured; a field is None if it is unknown."""

    energy_kwh: float | None = None
    emissions_kg_co2e: float | None = None
    duration_s: float | None = None
    cpu_power_w: float | None = None
    ram_power_w: float | None = None
    method: str = "not measured"

    def metrics(self) -> dict[str, float]:
        return {key: value for key, value in asdict(self).items() if isinstance(value, float)}


class EnergyMeter:
    """CodeCarbon's offline tracker as a context manager; writes ``emissions.csv`` into ``folder``."""

    def __init__(self, folder: Path, country_iso_code: str) -> None:
        self._folder, self._country = folder, country_iso_code
        self._tracker: Any = None
        self.energy = Energy()

    def __enter__(self) -> EnergyMeter:
        try:
            from codecarbon import OfflineEmissionsTracker

            self._folder.mkdir(parents=True, exist_ok=True)
            self._tracker = OfflineEmissionsTracker(
                country_iso_code=self._country,
                project_name="sqidflow",
                output_dir=str(self._folder),
                output_file=EMISSIONS_FILE,
                measure_power_secs=5,
                log_level="error",
                allow_multiple_runs=True,
            )
            self._tracker.start()
        except Exception as error:
            # Sensors, lock files and hardware detection fail in many ways; none may fail a training.
            _LOG.warning("CodeCarbon: not measuring: %s", error)
            self._tracker = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._tracker is None:
            return
        try:
            self._tracker.stop()
            data = self._tracker.final_emissions_data
            self.energy = Energy(
                energy_kwh=float(data.energy_consumed),
                emissions_kg_co2e=float(data.emissions),
                duration_s=float(data.duration),
                cpu_power_w=float(data.cpu_power),
                ram_power_w=float(data.ram_power),
                method=_measuring_method(self._tracker),
            )
        except Exception as error:
            # As above: the measurement is lost, the model is not.
            _LOG.warning("CodeCarbon: no result: %s", error)


def _measuring_method(tracker: Any) -> str:
    """How CodeCarbon measured the CPU's power: from hardware counters, or as an estimate from load or a constant."""
    from codecarbon.external.hardware import CPU

    modes = [part._mode for part in getattr(tracker, "_hardware", []) if isinstance(part, CPU)]
    names = {
        "intel_rapl": "hardware counters (RAPL)",
        "intel_power_gadget": "hardware counters (Intel Power Gadget)",
        "apple_silicon": "hardware counters (Apple)",
        "cpu_load": "estimated from CPU load and the processor's rated power",
        "constant": "estimated from a constant power",
    }
    methods = [names.get(mode, mode) for mode in modes]
    return "CodeCarbon, CPU " + (", ".join(methods) or "not found, constant assumed")


def read_emissions(folder: Path) -> dict[str, str]:
    """The last row of ``emissions.csv``; empty if there is none."""
    file = folder / EMISSIONS_FILE
    if not file.is_file():
        return {}
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return rows[-1] if rows else {}
