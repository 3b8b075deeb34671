"""How Feast is imported."""

from __future__ import annotations

import subprocess
import sys


def test_feast_is_imported_without_rewriting_its_functions():
    """That rewriting is three quarters of the time of a first look-up of a product's features."""
    program = (
        "import sys, typeguard\n"
        "from sqidflow.feature_store.connection import import_feast\n"
        "before = typeguard.typechecked\n"
        "rewritten = []\n"
        "import typeguard._decorators as decorators\n"
        "instrument = decorators.instrument\n"
        "decorators.instrument = lambda function: rewritten.append(function) or instrument(function)\n"
        "import_feast()\n"
        "import feast\n"
        "assert rewritten == [], len(rewritten)\n"
        "assert typeguard.typechecked is before, 'other users of typeguard get it as it is'\n"
        "feast.Field(name='vector', dtype=feast.types.Array(feast.types.Float32))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
