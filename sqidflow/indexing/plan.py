"""What an index is to be made of: looked at before anything is built, as `run` does before it trains."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqidflow.core import model_files
from sqidflow.core.code import code_digest
from sqidflow.core.errors import SettingsError, SqidflowError
from sqidflow.core.pushes import newest_model, pinned_version
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.data import formats
from sqidflow.data.encoder_name import encoder_in, encoder_of
from sqidflow.data.prepare import PrepareReport
from sqidflow.data.versions import checked_preparation, verified_data_hash
from sqidflow.ranking import features
from sqidflow.ranking.languages import language_of
from sqidflow.ranking.rankers import Ranker
from sqidflow.search.index import FORMAT
from sqidflow.search.ranker import load_ranker
from sqidflow.search.rewrite import read_synonyms

_MODEL_FILES = (
    model_files.ONNX_FILE, model_files.MODEL_CARD, model_files.MAP_FILE, model_files.VALIDATION_QUERIES,
)  # fmt: skip


@dataclass(frozen=True)
class IndexPlan:
    """An index belongs to data, features, model, settings and code; ``digest`` is twelve hex digits over all of them,
    ``basis`` over all but data and features.

    ``model`` is the pushed model's folder, None for the ranker that needs no training.
    """

    digest: str
    basis: str
    prepared: PrepareReport
    ranker: Ranker
    model: Path | None
    encoder: str
    data_hash: str


def plan_index(workdir: Workdir, settings: Settings, version: str | None = None) -> IndexPlan:
    """Look at the data, the features and the model.

    Args:
        version: of a pushed model, or ``zero-shot``; None takes the pinned one, else the newest push, and ``zero-shot``
            without a push.

    Raises:
        DataError: nothing is prepared, or data, features or filters are not those that were prepared.
        SqidflowError: there is no such model, it reads other vectors, or the encoder of the vectors is unknown.
    """
    prepared = checked_preparation(workdir, settings)
    dim = prepared.dims[features.QUERY_VEC]
    if version is None:
        version = pinned_version(workdir.serving)
    if version is None and not prepared.pairs and newest_model(workdir.serving) is None:
        version = model_files.ZERO_SHOT_VERSION
    ranker = load_ranker(workdir.serving, version, dim)
    if ranker.dim != dim:
        raise SqidflowError(
            f"the features have vectors of {dim}, model {ranker.version} reads {ranker.dim}",
            where=workdir.artifacts,
            hint="train on these features: `sqidflow run`",
        )
    model = workdir.serving / ranker.version if ranker.trained else None
    encoder, data_hash = encoder_name(workdir, settings), verified_data_hash(workdir)
    basis = {
        "format": FORMAT,
        "code": code_digest(["sqidflow.indexing.make"]),
        "model": [ranker.name, ranker.version, _digests(model)],
        "encoder": [encoder, settings.search.encoder_model],
        "rewrite": settings.search.rewrite != "none",
        "candidates": settings.search.candidates,
        "locale": settings.data.locale,
        "language": language_of(settings.data.language, settings.data.locale),
        "synonyms": synonyms_digest(settings.search.synonyms),
    }
    content = {**basis, "features": dict(prepared.outputs), "data": data_hash}
    return IndexPlan(short_digest(content), short_digest(basis), prepared, ranker, model, encoder, data_hash)


def short_digest(content: Any) -> str:
    """Twelve hex digits over what JSON can say."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def known_encoder(workdir: Workdir, settings: Settings) -> str | None:
    """Who encodes queries: the setting, or who made the data's vectors; None where neither says it."""
    if formats.has_no_judgements(workdir.data):
        of_data = encoder_in(workdir.data / formats.PRODUCT_FEATURES_FILE)
    else:
        of_data = encoder_of(workdir.data)
    return settings.search.encoder or of_data


def encoder_name(workdir: Workdir, settings: Settings) -> str:
    """As :func:`known_encoder`, for what has to encode queries.

    Raises:
        SettingsError: neither says it.
    """
    name = known_encoder(workdir, settings)
    if name is None:
        raise SettingsError(
            "the data does not say which encoder made its vectors",
            where=workdir.data,
            hint="set search.encoder, e.g. --set search.encoder=clip for SQID's published vectors",
        )
    return name


def _digests(model: Path | None) -> dict[str, str]:
    files = [model / name for name in _MODEL_FILES] if model is not None else []
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def synonyms_digest(file: str | None) -> str | None:
    """What a file of synonyms says, as digits; its queries are what the cut-offs are calibrated with."""
    return hashlib.sha256(repr(read_synonyms(Path(file))).encode()).hexdigest() if file else None
