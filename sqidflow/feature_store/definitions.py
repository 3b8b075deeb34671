"""What Feast knows of the project: two entities, a view for each, and the versioned service a model is trained on.

Pure: nothing is read and nothing is written; ``repository.py`` holds the objects that ``feast apply`` collects.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqidflow.core import feature_files
from sqidflow.feature_store import names
from sqidflow.feature_store.connection import import_feast
from sqidflow.ranking import features

if TYPE_CHECKING:
    from feast import Entity, FeatureService, FeatureView, FileSource


@dataclass(frozen=True)
class Definitions:
    """The Feast objects of one workdir, in the order in which they depend on each other."""

    entities: tuple[Entity, ...]
    sources: tuple[FileSource, ...]
    views: tuple[FeatureView, ...]
    services: tuple[FeatureService, ...]

    @property
    def objects(self) -> list[Entity | FileSource | FeatureView | FeatureService]:
        return [*self.entities, *self.sources, *self.views, *self.services]


def definitions(features_dir: Path) -> Definitions:
    """The project's Feast objects over the parquet sources in ``features_dir``.

    Every vector is one ``Array(Float32)`` field whose length comes with the data. A time to live of zero means
    that a vector stays valid until a newer one of the same id replaces it.
    """
    import_feast()
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
    from feast.types import Array, Float32, Int64, String

    features_dir = features_dir.resolve()
    query = Entity(
        name=names.QUERY_ENTITY,
        join_keys=[features.QUERY_ID],
        value_type=ValueType.INT64,
        description="A search query of ESCI, by its number",
    )
    product = Entity(
        name=names.PRODUCT_ENTITY,
        join_keys=[features.PRODUCT_ID],
        value_type=ValueType.STRING,
        description="A product of the catalogue, by its id",
    )
    queries = FileSource(
        name="queries",
        path=str(features_dir / feature_files.QUERIES),
        timestamp_field=features.EVENT_TIMESTAMP,
        description="Text vectors of the queries in use",
    )
    products = FileSource(
        name="products",
        path=str(features_dir / feature_files.PRODUCTS),
        timestamp_field=features.EVENT_TIMESTAMP,
        description="Text and picture vectors of the products in use",
    )
    query_view = FeatureView(
        name=names.QUERY_VIEW,
        entities=[query],
        ttl=timedelta(0),
        schema=[Field(name=features.QUERY_ID, dtype=Int64), Field(name=features.QUERY_VEC, dtype=Array(Float32))],
        source=queries,
        online=True,
        description="One vector a query, as its encoder made it (not normalised)",
        tags={"modality": "text", "normalised": "no"},
    )
    product_view = FeatureView(
        name=names.PRODUCT_VIEW,
        entities=[product],
        ttl=timedelta(0),
        schema=[
            Field(name=features.PRODUCT_ID, dtype=String),
            Field(name=features.TEXT_VEC, dtype=Array(Float32)),
            Field(name=features.IMAGE_VEC, dtype=Array(Float32)),
            Field(name=features.HAS_IMAGE, dtype=Int64),
        ],
        source=products,
        online=True,
        description="A vector of the title and one of the picture; no picture vector where has_image is 0",
        tags={"modality": "text and image", "normalised": "no"},
    )
    ranker = FeatureService(
        name=features.FEATURE_SERVICE,
        features=[query_view, product_view],
        description="Everything the ranker reads from Feast; a change of meaning takes the next version number",
        tags={"model": "ranker", "version": features.FEATURE_SERVICE.rpartition("_v")[2]},
    )
    return Definitions((query, product), (queries, products), (query_view, product_view), (ranker,))
