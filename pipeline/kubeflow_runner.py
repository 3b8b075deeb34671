"""`sqidflow compile`: writes the pipeline graph as a Kubeflow Pipelines v2 specification."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pipeline.local_runner import pipeline_config, run_context
from sqidflow.core.collector import no_collections
from sqidflow.core.errors import SettingsError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir

CONTEXT_FILE = "kubeflow_context.json"
ENDINGS = (".yaml", ".yml", ".json")


def compile_pipeline(workdir: Workdir, settings: Settings, out: Path) -> dict[str, Any]:
    """Write the specification of ``create_pipeline`` for a workdir whose features are prepared.

    All paths in it are container paths: the workdir is mounted at ``kubeflow.workdir``. Also writes
    ``var/kubeflow_context.json``, which the Trainer reads in the container.

    Args:
        out: ``.yaml`` (pipeline specification) or ``.json`` (a whole job, as Vertex AI takes it).

    Returns:
        ``file``, ``image``, ``root``, and ``nodes``: name -> names of the nodes whose outputs it reads or waits for.

    Raises:
        SettingsError: the extension of ``out`` or a setting is invalid.
        DataError, FeatureStoreError: nothing is prepared.
    """
    if out.suffix not in ENDINGS:
        raise SettingsError(
            f"{out.name} has an unknown extension", where="--out", hint=f"end the name in {', '.join(ENDINGS)}"
        )
    with no_collections():
        from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig

        from pipeline.graph import create_pipeline
    from sqidflow.core import digests
    from sqidflow.data import versions

    mounted = Workdir(Path(PurePosixPath(settings.kubeflow.workdir)))
    context = run_context(
        workdir,
        settings,
        f"{settings.train.model} on Kubeflow",
        digests.data_hash(workdir),
    )
    if settings.tracking.uri is None:
        context = replace(context, tracking_uri=f"sqlite:///{mounted.mlflow / 'mlflow.db'}")
    # A step's lock may not be seen by another step's machine.
    context = replace(context, artifact_root=mounted.mlflow.joinpath("artifacts").as_uri(), processes=None)
    context.write(workdir.var / CONTEXT_FILE)

    prepared = versions.checked_preparation(workdir, settings)
    local = pipeline_config(workdir, settings, prepared, mounted.var / CONTEXT_FILE)
    config = replace(
        local,
        name=local.name.lower().replace("_", "-"),  # Kubeflow allows letters, digits and hyphens only
        root=settings.kubeflow.root or str(mounted.tfx_root / "pipeline"),
        prepared_dir=str(mounted.prepared),
        serving_dir=str(mounted.serving),
        curated_schema_dir=str(mounted.root / "schema"),
        feature_config={**local.feature_config, "artifacts_dir": str(mounted.artifacts)},
        stock_resolver=True,
    )
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.stem}.part{out.suffix}")
    runner = KubeflowV2DagRunner(
        config=KubeflowV2DagRunnerConfig(default_image=settings.kubeflow.image, use_pipeline_spec_2_1=True),
        output_dir=str(temporary.parent),
        output_filename=temporary.name,
    )
    try:
        job = runner.run(create_pipeline(config))
        if out.suffix != ".json":  # TFX writes the root into the job only, and a YAML file has no job
            with temporary.open("a") as stream:
                stream.write(yaml.safe_dump({"defaultPipelineRoot": config.root}))
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    job = json.loads(job) if isinstance(job, str) else job
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    return {
        "file": str(out),
        "image": settings.kubeflow.image,
        "root": config.root,
        "nodes": {name: sorted(task.get("dependentTasks", ())) for name, task in tasks.items()},
    }
