"""MLflow's model registry: each blessed model becomes a version that ranks from raw ids.

The alias ``champion`` is the version pushed last, ``challenger`` the newest other one. If the registry is not
reachable, the model is not registered; the run succeeds all the same.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.ranking import features, metrics
from sqidflow.ranking.retrieval import Fusion
from sqidflow.ranking.served import DEFAULT_CANDIDATES, ServedCatalogue
from sqidflow.ranking.words import DEFAULT_LANGUAGE
from sqidflow.tracking import runs

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
ARTIFACT = "ranker"
SCORE, RANK = "score", "rank"
PROBABILITIES = {f"prob_{label}": features.CLASS_IDS[label] for label in ("E", "S", "C", "I")}
"""Output column of each class -> class id."""
_EXAMPLE_PAIRS = 3


@dataclass(frozen=True)
class RankerConfig:
    """The inputs that a registered ranker was trained for: the prepared files for id look-ups, by path and SHA-256.

    ``dim`` is the length of the vectors, ``contract`` is :func:`sqidflow.ranking.features.contract`, ``language`` the
    one that texts are read in, ``fusion`` the weights of :class:`sqidflow.ranking.retrieval.Fusion`.
    """

    dim: int
    contract: str
    pairs: str
    pairs_sha256: str
    queries: str
    queries_sha256: str
    products: str
    products_sha256: str
    catalogue: str
    catalogue_sha256: str
    candidates: int = DEFAULT_CANDIDATES
    language: str = DEFAULT_LANGUAGE
    fusion: Sequence[float] = (0.2, 0.5, 0.3)

    def check(self) -> None:
        """Raise ValueError if the code or a file is not the one that the model was trained for; names both."""
        if self.contract != features.contract():
            raise ValueError(
                f"the model was trained for feature contract {self.contract}, this code has {features.contract()}; "
                "retrain with `sqidflow run`, or check out the commit in the run's tag git_commit"
            )
        for name in ("pairs", "queries", "products", "catalogue"):
            file, expected = Path(getattr(self, name)), getattr(self, f"{name}_sha256")
            if not file.is_file():
                raise ValueError(f"{file}: does not exist, the model reads its {name} from it; run `sqidflow features`")
            with file.open("rb") as stream:
                actual = hashlib.file_digest(stream, "sha256").hexdigest()
            if actual != expected:
                raise ValueError(
                    f"{file}: the data has changed: SHA-256 is {actual}, the model was trained on {expected}; "
                    "retrain with `sqidflow run`"
                )


@dataclass(frozen=True)
class _Products:
    """See :class:`sqidflow.ranking.served.Products`."""

    product_ids: Sequence[str]
    titles: Sequence[str]
    brands: Sequence[str | None]
    colors: Sequence[str | None]
    text: np.ndarray
    image: np.ndarray
    has_image: np.ndarray


class IdRanker:
    """Scores pairs of ids with an exported SavedModel, using the newest vectors and the texts of the prepared pairs."""

    def __init__(self, model_dir: str, config: RankerConfig) -> None:
        """Load the model.

        Raises:
            ValueError: as :meth:`RankerConfig.check`.
        """
        import pyarrow.csv as pacsv
        import tensorflow as tf

        config.check()
        self.config = config
        self._model = tf.saved_model.load(model_dir)
        types = {features.QUERY: "string", features.QUERY_ID: "int64"}
        read = pacsv.read_csv(
            config.pairs,
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(column_types=types, include_columns=list(types)),
        )
        self._queries = dict(zip(read[features.QUERY_ID].to_pylist(), read[features.QUERY].to_pylist()))

    @cached_property
    def _served(self) -> ServedCatalogue:
        """What search would retrieve a query's list from: features depend on the whole of it."""
        import pyarrow.parquet as pq

        config, names = self.config, (features.TITLE, features.BRAND, features.COLOR)
        known = pq.read_table(config.products, columns=[features.PRODUCT_ID])[features.PRODUCT_ID].unique().to_pylist()
        ids = sorted(known, key=str.encode)
        rows = pq.read_table(config.catalogue, columns=[features.PRODUCT_ID, *names]).to_pydict()
        texts = dict(zip(rows[features.PRODUCT_ID], zip(*(rows[name] for name in names))))
        vectors, place = self._vectors(
            config.products, features.PRODUCT_ID, np.array(ids), (features.TEXT_VEC, features.IMAGE_VEC)
        )
        titles, brands, colors = zip(*(texts.get(product, ("", "", "")) for product in ids))
        products = _Products(
            ids, titles, brands, colors,
            vectors[features.TEXT_VEC][0][place], vectors[features.IMAGE_VEC][0][place],
            vectors[features.IMAGE_VEC][1][place],
        )  # fmt: skip
        return ServedCatalogue(products, Fusion(*config.fusion), config.candidates, config.language)

    def rank(self, query_ids: Sequence[int], product_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Score n pairs. The products of one query are ranked against each other, with the features that they
        have in the list that search would retrieve.

        Returns:
            Output column -> values, in the order of the input: ``score`` (expected gain) and ``prob_*`` float64 [n],
            ``rank`` int64 [n], which counts from 1 within a query; ties are broken by product id.

        Raises:
            ValueError: an id is not in the prepared files, or the length of a vector differs from the model's.
        """
        import tensorflow as tf

        if not len(query_ids):
            empty = {name: np.zeros(0) for name in (SCORE, *PROBABILITIES)}
            return {**empty, RANK: np.zeros(0, np.int64)}
        queries = np.asarray(query_ids, np.int64)
        products = np.asarray(product_ids, object).astype(str)
        lists = metrics.RankedLists.of(queries, products)
        records = self._records(queries, products, lists)
        outputs = self._model.signatures["serving_default"](examples=tf.constant(records))
        score = outputs["score"].numpy().astype(np.float64)
        probabilities = outputs["probs"].numpy().astype(np.float64)
        sizes = np.diff(np.append(lists.starts, len(score)))
        by_score = lists.order[np.lexsort((-score[lists.order], np.repeat(np.arange(len(sizes)), sizes)))]
        rank = np.empty(len(score), np.int64)
        rank[by_score] = np.arange(len(score)) - np.repeat(lists.starts, sizes) + 1
        return {SCORE: score, **{name: probabilities[:, at] for name, at in PROBABILITIES.items()}, RANK: rank}

    def _records(self, query_ids: np.ndarray, products: np.ndarray, lists: metrics.RankedLists) -> list[bytes]:
        """Serialised examples in the format that FeatureJoin writes."""
        import pyarrow as pa
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

        query_vec, query_rows = self._vectors(self.config.queries, features.QUERY_ID, query_ids, (features.QUERY_VEC,))
        product_vecs, rows = self._vectors(
            self.config.products, features.PRODUCT_ID, products, (features.TEXT_VEC, features.IMAGE_VEC)
        )
        matrices = {
            features.QUERY_VEC: query_vec[features.QUERY_VEC][0][query_rows],
            features.TEXT_VEC: product_vecs[features.TEXT_VEC][0][rows],
            features.IMAGE_VEC: product_vecs[features.IMAGE_VEC][0][rows],
            features.LEXICAL: np.empty((len(products), len(features.LEXICAL_NAMES)), np.float32),
            features.RELATIVE: np.empty((len(products), len(features.RELATIVE_NAMES)), np.float32),
            features.RETRIEVAL: np.empty((len(products), len(features.RETRIEVAL_NAMES)), np.float32),
        }
        has_image = product_vecs[features.IMAGE_VEC][1][rows]
        ends = np.append(lists.starts[1:], len(products))
        owns = [lists.order[start:end] for start, end in zip(lists.starts, ends)]
        served_rows = [self._served.rows_of(products[own].tolist()) for own in owns]
        found = self._served.lists(
            [self._queries[int(query)] or "" for query in lists.query_ids],
            matrices[features.QUERY_VEC][[own[0] for own in owns]],
            [np.unique(each) for each in served_rows],
        )
        for own, rows_of_list, served in zip(owns, served_rows, found):
            places = served.places_of(rows_of_list)
            for name in (features.LEXICAL, features.RELATIVE, features.RETRIEVAL):
                matrices[name][own] = served.features[name][places]
        columns = {
            name: pa.ListArray.from_arrays(
                pa.array(np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32)), pa.array(matrix.reshape(-1))
            )
            for name, matrix in matrices.items()
        }
        pictured = pa.array(has_image.astype(np.int64))
        one_each = pa.array(np.arange(len(rows) + 1, dtype=np.int32))
        columns[features.HAS_IMAGE] = pa.ListArray.from_arrays(one_each, pictured)
        records: list[bytes] = RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_pydict(columns))
        return records

    def _vectors(
        self, file: str, key: str, ids: np.ndarray, names: tuple[str, ...]
    ) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray]:
        """The newest vectors of m distinct ids: name -> (float32 [m, dim], bool [m]: the id has a vector); and for each
        of ``ids`` its row in 0..m."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        distinct, rows = np.unique(ids, return_inverse=True)
        in_ids = ds.field(key).isin(pa.array(distinct.tolist()))
        table = ds.dataset(file).to_table([key, features.EVENT_TIMESTAMP, *names], filter=in_ids)
        table = table.sort_by(features.EVENT_TIMESTAMP)
        newest = {value: row for row, value in enumerate(table[key].to_pylist())}
        missing = [value for value in distinct.tolist() if value not in newest]
        if missing:
            raise ValueError(f"{file}: has no {key} {missing[0]!r} ({len(missing)} unknown ids in total)")
        table = table.take(pa.array([newest[value] for value in distinct.tolist()]))
        vectors = {}
        for name in names:
            column = table[name].combine_chunks()
            present = column.is_valid().to_numpy(zero_copy_only=False)
            matrix = np.zeros((len(distinct), self.config.dim), np.float32)
            if present.any():
                values = column.drop_null().flatten().to_numpy().reshape(int(present.sum()), -1)
                if values.shape[1] != self.config.dim:
                    raise ValueError(
                        f"{file}: {name} has {values.shape[1]} values, the model was trained on {self.config.dim}"
                    )
                matrix[present] = values
            vectors[name] = (matrix, present)
        return vectors, rows


def python_model() -> Any:
    """The ``mlflow.pyfunc`` model around :class:`IdRanker`: ``query_id``, ``product_id`` in, scores and ranks out."""
    import mlflow

    python_model_class: Any = mlflow.pyfunc.PythonModel

    class Ranker(python_model_class):  # type: ignore[misc]
        def load_context(self, context: Any) -> None:
            from sqidflow.tracking.registry import IdRanker, RankerConfig

            self.ranker = IdRanker(context.artifacts["model"], RankerConfig(**context.model_config))

        def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
            import pandas as pd

            ranked = self.ranker.rank(model_input["query_id"].to_numpy(), model_input["product_id"].to_numpy())
            return pd.DataFrame(ranked, index=model_input.index)

    return Ranker()


def register(
    context: runs.RunContext,
    run_id: str,
    model_dir: Path,
    config: RankerConfig,
    tags: Mapping[str, Any],
    pushed: bool,
) -> int | None:
    """Register a blessed model, unless the model of its run is already registered, and move the aliases.

    Args:
        context: the store; the registered model is named after its experiment.
        run_id: the training's MLflow run. model_dir: the exported SavedModel.
        tags: tags of the version; values of None are left out. pushed: makes the version the champion.

    Returns:
        The version; None, with a warning in the log, if anything failed.
    """
    if runs.TrackedRun(context, run_id=run_id).run_id is None:
        return None
    import mlflow

    name = context.experiment
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(context.tracking_uri)
    try:
        client = mlflow.MlflowClient()
        known = {int(v.version): v for v in client.search_model_versions(f"name='{name}'")}
        version = next((number for number, v in known.items() if v.run_id == run_id), None)
        if version is None:
            version_tags = {key: str(value) for key, value in tags.items() if value is not None}
            version_tags["tfx_execution"] = client.get_run(run_id).data.tags.get("tfx_execution", "")
            with runs.open_again(context, client, run_id):
                uri = _log_model(run_id, model_dir, config)
            version = int(mlflow.register_model(uri, name, tags=version_tags).version)
        _move_aliases(client, name, {*known, version}, version, pushed)
        return version
    except Exception as error:
        # As with tracking: an error of the registry's backend must not fail the run.
        _LOG.warning("MLflow: could not register the model: %s", (str(error).splitlines() or [repr(error)])[0])
        return None
    finally:
        mlflow.set_tracking_uri(before)


def make_champion(tracking_uri: str, name: str, run_id: str) -> int:
    """Give the alias ``champion`` to the registered model of a training's run; its version.

    Raises:
        SqidflowError: the store is not reachable, or has no registered model of this run.
    """
    try:
        import mlflow

        runs.be_impatient()
        file = runs.sqlite_file(tracking_uri)
        if file is not None and not file.is_file():
            raise SqidflowError("does not exist", where=file)
        runs.check_sqlite(tracking_uri)
        client = mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        known = {int(each.version): each.run_id for each in client.search_model_versions(f"name='{name}'")}
        version = next((number for number, of_run in known.items() if of_run == run_id), None)
        if version is None:
            raise SqidflowError(f"no registered model of run {run_id}", where="MLflow's registry")
        _move_aliases(client, name, set(known), version, pushed=True)
        return version
    except SqidflowError:
        raise
    except Exception as error:  # MLflow raises its own, SQLAlchemy's and requests' errors
        why = (str(error).splitlines() or [repr(error)])[0][:200]
        raise SqidflowError(f"not reachable ({type(error).__name__}: {why})", where="MLflow's registry") from error


def _move_aliases(client: Any, name: str, versions: set[int], version: int, pushed: bool) -> None:
    aliases = {alias: int(at) for alias, at in client.get_registered_model(name).aliases.items()}
    champion = version if pushed else aliases.get(CHAMPION)
    if champion is not None and aliases.get(CHAMPION) != champion:
        client.set_registered_model_alias(name, CHAMPION, str(champion))
    challenger = max(versions - {champion}, default=None)
    if challenger is not None:
        client.set_registered_model_alias(name, CHALLENGER, str(challenger))
    elif CHALLENGER in aliases:
        client.delete_registered_model_alias(name, CHALLENGER)


def _log_model(run_id: str, model_dir: Path, config: RankerConfig) -> str:
    """Log the pyfunc model to its training's run; its URI."""
    import mlflow
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs: list[Any] = [ColSpec("long", features.QUERY_ID), ColSpec("string", features.PRODUCT_ID)]
    outputs: list[Any] = [*(ColSpec("double", column) for column in (SCORE, *PROBABILITIES)), ColSpec("long", RANK)]
    example = pd.read_csv(
        config.pairs, nrows=_EXAMPLE_PAIRS, usecols=[features.QUERY_ID, features.PRODUCT_ID],
        dtype={features.QUERY_ID: "int64", features.PRODUCT_ID: str},
    )  # fmt: skip
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.pyfunc.log_model(
            name=ARTIFACT,
            python_model=python_model(),
            artifacts={"model": str(model_dir)},
            model_config=asdict(config),
            signature=ModelSignature(Schema(inputs), Schema(outputs)),
            input_example=example,
            # Given here, because inferring the requirements would load the model a second time.
            pip_requirements=["tensorflow>=2.21,<2.22", "tfx-bsl==1.16.1", "mlflow==3.17.2"],
        )
    uri: str = logged.model_uri
    return uri
