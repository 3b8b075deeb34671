"""The weights of a catalogue's fusion, where no model brings its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pyarrow.parquet as pq

from sqidflow.core import feature_files
from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.encoders.base import Encoder
from sqidflow.encoders.registry import kind_of
from sqidflow.indexing.plan import encoder_name, known_encoder
from sqidflow.ranking import features
from sqidflow.ranking.languages import language_of
from sqidflow.ranking.retrieval import Fusion, Kind, fusion_kind
from sqidflow.search.query_encoder import make_encoder

_LOG = logging.getLogger(__name__)


def fusion_of(titles: Sequence[str], encoder: Encoder, language: str) -> Fusion:
    """By what the encoder knows of the catalogue's own titles, see :func:`sqidflow.ranking.retrieval.fusion_kind`."""
    return Fusion.of(fusion_kind(titles, encoder.encode_texts, language))


def prepared_fusion(workdir: Workdir, settings: Settings, dim: int) -> Fusion:
    """Of the prepared catalogue; by the kind of encoder alone where that cannot be loaded here.

    Vectors whose encoder nobody names, as SQID's published ones, count as semantic: training reads them as they are.

    Args:
        dim: length of the prepared vectors.
    """
    name = known_encoder(workdir, settings)
    try:
        encoder = make_encoder(encoder_name(workdir, settings), settings.search.encoder_model, dim)
    except SqidflowError as error:
        kind: Kind = "lexical" if name and kind_of(name) == "offline" else "semantic"
        _LOG.warning("the weights of vectors and words are those of %s vectors: %s", kind, error)
        return Fusion.of(kind)
    titles = pq.read_table(workdir.artifacts / feature_files.CATALOGUE, columns=[features.TITLE])
    language = language_of(settings.data.language, settings.data.locale)
    return fusion_of(titles[features.TITLE].to_pylist(), encoder, language)
