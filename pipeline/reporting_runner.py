"""TFX's LocalDagRunner with a hook around each node."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import launcher, partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2


class ReportingDagRunner(LocalDagRunner):
    """Runs each node inside ``around(node_id)``, in the order of the pipeline.

    The stock runner has no hook, and its log lines are lost when a library changes the log level.
    """

    def __init__(self, around: Callable[[str], AbstractContextManager[None]]) -> None:
        super().__init__()
        self._around = around

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None) -> None:
        """Run the compiled pipeline in this process; ``run_options`` restrict it to the part between two nodes."""
        # The stock id is the time. Under a clock that was set back it can repeat; TFX then takes the earlier run's
        # executions for this run's, and writes nothing.
        run_id = f"{datetime.now(UTC).isoformat()}-{uuid.uuid4().hex}"
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        chosen = deployment.metadata_connection_config.WhichOneof("connection_config")
        store = getattr(deployment.metadata_connection_config, chosen)
        if run_options:
            part = run_options.partial_run
            partial_run_utils.mark_pipeline(
                pipeline, part.from_nodes or None, part.to_nodes or None, snapshot_settings=part.snapshot_settings
            )
        for node in (entry.pipeline_node for entry in pipeline.nodes):
            if node.execution_options.HasField("skip"):
                continue
            name = node.node_info.id
            if node.execution_options.run.perform_snapshot:
                with metadata.Metadata(store) as handle:
                    partial_run_utils.snapshot(handle, pipeline)
            with self._around(name):
                launcher.Launcher(
                    pipeline_node=node,
                    mlmd_connection=metadata.Metadata(store),
                    pipeline_info=pipeline.pipeline_info,
                    pipeline_runtime_spec=pipeline.runtime_spec,
                    executor_spec=runner_utils.extract_executor_spec(deployment, name),
                    custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
                ).launch()
