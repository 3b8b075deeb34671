"""Beam's portable runner, with jobs that the rest of the process can cancel."""

from __future__ import annotations

import logging

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineResult

_LOG = logging.getLogger(__name__)
_JOBS: list[PipelineResult] = []


class CancellableRunner(PortableRunner):
    """``PortableRunner`` that remembers the jobs it submits; Beam's option ``--runner`` takes its dotted name."""

    def run_portable_pipeline(self, pipeline: beam_runner_api_pb2.Pipeline, options: PipelineOptions) -> PipelineResult:
        job = super().run_portable_pipeline(pipeline, options)
        _JOBS.append(job)
        return job


def cancel_jobs() -> None:
    """Cancel the jobs that this process submitted. A job that cannot be cancelled is logged."""
    for job in list(_JOBS):
        try:
            job.cancel()
        except Exception:  # the job service itself is gone; its clients notice the lost connection
            _LOG.warning("a job could not be cancelled", exc_info=True)


def forget_jobs() -> None:
    """Drop the references to the submitted jobs, e.g. at the end of a run."""
    _JOBS.clear()
