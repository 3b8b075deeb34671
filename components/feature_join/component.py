"""FeatureJoin as a node of the graph."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.feature_join import executor
from sqidflow.core import feature_files
from sqidflow.core.errors import DataError
from sqidflow.feature_store import store
from sqidflow.ranking import features
from sqidflow.ranking.retrieval import Fusion
from sqidflow.ranking.served import DEFAULT_CANDIDATES
from sqidflow.ranking.words import DEFAULT_LANGUAGE


def feature_config(
    artifacts_dir: Path,
    *,
    fusion: Fusion,
    candidates: int = DEFAULT_CANDIDATES,
    service: str = features.FEATURE_SERVICE,
    language: str = DEFAULT_LANGUAGE,
) -> dict[str, Any]:
    """What FeatureJoin is told: where store and catalogue are, digests of both, how lists are retrieved from the
    catalogue, and the language that texts are read in. The Trainer is told the same.

    TFX sees neither the feature store nor the catalogue; with the digests it joins anew when they have changed.

    Args:
        fusion: weights of the order that needs no training. candidates: how many products a list has.

    Raises:
        FeatureStoreError: a source of the store is missing.
        DataError: the prepared catalogue is missing.
    """
    file = artifacts_dir / feature_files.CATALOGUE
    if not file.is_file():
        raise DataError("the prepared catalogue is missing", file=file, hint="run `sqidflow features`")
    with file.open("rb") as stream:
        catalogue = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "artifacts_dir": str(artifacts_dir.resolve()),
        "service": service,
        "sources": store.sources_digest(artifacts_dir),
        "catalogue": catalogue,
        "fusion": fusion.as_json(),
        "candidates": candidates,
        "language": language,
    }


class FeatureJoinSpec(ComponentSpec):
    """Pairs in, the same splits of joined examples out (TFX wants two names, though both are examples)."""

    PARAMETERS: ClassVar = {executor.FEATURE_CONFIG_KEY: ExecutionParameter(type=str)}
    INPUTS: ClassVar = {executor.PAIRS_KEY: ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS: ClassVar = {executor.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples)}


class FeatureJoin(base_component.BaseComponent):
    """Point-in-time correct vectors from Feast's offline store onto the judged pairs.

    Args:
        examples: narrow examples of pairs, as CsvExampleGen makes them.
        feature_config: JSON of ``feature_config()``; every other key in it is only part of the cache key.

    The one output, ``examples``, has the same splits with a record for each pair: the pair's own columns, ``rating``,
    one ``FLOAT[d]`` feature a vector, ``has_image``, and
    ``lexical_features``, ``relative_features`` and ``retrieval_features`` within the list that search would retrieve.
    """

    SPEC_CLASS = FeatureJoinSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, examples: types.BaseChannel, feature_config: str) -> None:
        json.loads(feature_config)
        output = channel_utils.as_channel([standard_artifacts.Examples()])
        super().__init__(FeatureJoinSpec(pairs=examples, feature_config=feature_config, examples=output))
