"""The pipeline graph. ``create_pipeline`` is pure; each orchestrator has a runner file that calls it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

# Not from tfx.v1, which also imports Google's AI platform: two seconds at each start.
from tfx.components import CsvExampleGen, Evaluator, Pusher, SchemaGen, StatisticsGen, Trainer
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2, transform_pb2
from tfx.types import standard_artifacts
from tfx.types.channel import Channel

from components.anomaly_gate import AnomalyGate
from components.example_validator import ExampleValidator
from components.feature_join import FeatureJoin
from components.latest_blessed import LatestOtherBlessedModel
from components.ranking_report import RankingReport
from components.transform import Transform
from modules.tfma_metrics import evaluation_config
from pipeline.nodes import HELD_OUT, LOOK_UP, SPLITS
from sqidflow.ranking import features


@dataclass(frozen=True)
class PipelineConfig:
    """All parameters of the graph. Paths are strings, because TFX's are URIs.

    ``code`` has a code digest for each of "features", "schema", "transform", "trainer", "report". TFX does not hash the
    module behind a dotted path, so the digest is a parameter: a code change then misses the cache.
    """

    name: str
    root: str
    prepared_dir: str
    serving_dir: str
    metadata_path: str
    curated_schema_dir: str
    context_file: str
    feature_config: dict[str, Any]
    search_config: dict[str, Any]
    code: dict[str, str]
    model: str
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    split_shares: tuple[int, int, int] = (6, 2, 2)
    split_by: str = "query"
    min_lift: float = 0.0
    max_loss: float = 0.0
    slices: tuple[str, ...] = features.SLICES
    beam_arguments: tuple[str, ...] = ()
    enable_cache: bool = True
    stock_resolver: bool = False
    """Use TFX's own resolver strategy, because Kubeflow Pipelines supports no other: the baseline is then the last
    blessed model, pushed or not."""


def _split_by(split_by: str, shares: tuple[int, int, int]) -> dict[str, Any]:
    """What CsvExampleGen reads and how it splits it: one file by a hash of the query, or a file for each of ESCI's
    splits as it is."""
    if split_by == "esci":
        files = [example_gen_pb2.Input.Split(name=name, pattern=f"by_split/{name}.csv") for name in SPLITS]
        return {"input_config": example_gen_pb2.Input(splits=files)}
    buckets = [
        example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=share)
        for name, share in zip(SPLITS, shares, strict=True)
    ]
    return {
        "input_config": example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="pairs", pattern="pairs.csv")]),
        "output_config": example_gen_pb2.Output(
            split_config=example_gen_pb2.SplitConfig(splits=buckets, partition_feature_name=features.QUERY_ID)
        ),
    }


def create_pipeline(config: PipelineConfig) -> Pipeline:
    """Connect the components. Reads nothing and runs nothing."""
    # Reads the judged pairs, without vectors, and splits them by query so that no query is in two splits.
    example_gen = CsvExampleGen(input_base=config.prepared_dir, **_split_by(config.split_by, config.split_shares))

    # Joins point-in-time correct vectors from Feast to the pairs and computes the list features of each query.
    feature_join = FeatureJoin(
        examples=example_gen.outputs["examples"],
        feature_config=json.dumps({**config.feature_config, "code": config.code["features"]}, sort_keys=True),
    )

    # Describes the data as it is: distributions of every feature, and the types and shapes inferred from them.
    statistics_gen = StatisticsGen(examples=feature_join.outputs["examples"])
    schema_gen = SchemaGen(
        statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True, exclude_splits=["eval", HELD_OUT]
    )

    # Validates the data against what it should be: the reviewed schema in schema/.
    curated_schema = Importer(
        source_uri=config.curated_schema_dir,
        artifact_type=standard_artifacts.Schema,
        custom_properties={"digest": config.code["schema"]},  # an edited schema becomes a new artifact
    ).with_id("CuratedSchema")
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=curated_schema.outputs["result"]
    )
    anomaly_gate = AnomalyGate(
        anomalies=example_validator.outputs["anomalies"],
        schema_file="schema/schema.pbtxt",
        given_split=HELD_OUT if config.split_by == "esci" else "",
    )

    # Computes unit vectors, the missing-picture flag and the cosines that the ranker reads.
    transform = Transform(
        examples=feature_join.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="modules.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "eval"]),
        custom_config={"code": config.code["transform"]},
        # StatisticsGen already computed statistics of the same vectors.
        disable_statistics=True,
    )
    transform.add_upstream_node(anomaly_gate)

    # Trains the ranker; measures its energy and logs to MLflow.
    trainer = Trainer(
        run_fn="modules.trainer.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
        custom_config={
            "code": config.code["trainer"],
            "model": config.model,
            "hyperparameters": config.hyperparameters,
            "context_file": config.context_file,
            # The catalogue that judged lists are completed from, with its digests.
            "catalogue": config.feature_config,
        },
    )

    # Blesses the model if it beats the zero-shot cosine and is not worse than the last blessed one, on held-out
    # queries.
    strategy = (
        {"strategy_class": LatestBlessedModelStrategy}
        if config.stock_resolver
        else {"strategy_class": LatestOtherBlessedModel, "candidate": trainer.outputs["model"]}
    )
    latest_blessed = Resolver(
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
        **strategy,
    ).with_id(LOOK_UP)
    evaluator = Evaluator(
        examples=feature_join.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=latest_blessed.outputs["model"],
        eval_config=evaluation_config(config.min_lift, config.max_loss, config.slices, config.code["report"]),
        example_splits=[HELD_OUT],
        module_path="components.evaluator.extractors",
    )

    # Compares the model with the baselines on the same queries, in files that can be read without TensorFlow.
    ranking_report = RankingReport(
        model=trainer.outputs["model"],
        examples=feature_join.outputs["examples"],
        blessing=evaluator.outputs["blessing"],
        split=HELD_OUT,
        context_file=config.context_file,
        catalogue=json.dumps({**config.feature_config, **config.search_config}, sort_keys=True),
        code=config.code["report"],
    )

    # Pushes a model that is blessed in lists and in search, after its report has been written.
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=ranking_report.outputs["gate"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=config.serving_dir)
        ),
    )

    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=config.root,
        components=[
            example_gen,
            feature_join,
            statistics_gen,
            schema_gen,
            curated_schema,
            example_validator,
            anomaly_gate,
            transform,
            trainer,
            latest_blessed,
            evaluator,
            ranking_report,
            pusher,
        ],
        enable_cache=config.enable_cache,
        metadata_connection_config=sqlite_metadata_connection_config(config.metadata_path),
        beam_pipeline_args=list(config.beam_arguments),
    )
