"""The command line, for the tests of the pipeline."""

from __future__ import annotations

from tests.command_line import TINY_SAMPLE, TINY_TRAINING, Answer, command, must, sqidflow

__all__ = ["TINY_SAMPLE", "TINY_TRAINING", "Answer", "command", "must", "sqidflow"]
