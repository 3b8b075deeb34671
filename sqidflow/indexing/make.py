"""The verb `index`: the product index of the pushed model, built from the feature version that it was trained on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core import digests, feature_files
from sqidflow.core.code import code_digest
from sqidflow.core.errors import DataError, SettingsError, SqidflowError
from sqidflow.core.model_files import ONNX_FILE, VALIDATION_QUERIES
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.data import formats
from sqidflow.data.encoder_name import encoder_of
from sqidflow.ranking import features
from sqidflow.ranking.languages import language_of
from sqidflow.search.index import FACETS_FILE, FORMAT, META_FILE, Meta, ProductIndex, index_folders
from sqidflow.search.query_encoder import make_encoder
from sqidflow.search.ranker import Ranker, newest_model

if TYPE_CHECKING:
    import pyarrow as pa

    from sqidflow.encoders.base import Encoder
    from sqidflow.indexing.build import Catalogue, Judgements

_LOG = logging.getLogger(__name__)

_CHECKED_QUERIES = 50
_LEAST_COSINE = 0.98
_KEPT_INDEXES = 3
_FEWEST_VALIDATION = 10  # forty with the ways in which people would write them


@dataclass(frozen=True)
class IndexMade:
    """What the verb came to. ``cached``: the index was there."""

    folder: Path
    meta: Meta
    seconds: float
    cached: bool

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "cached": self.cached,
            "seconds": round(self.seconds, 2),
            **{k: v for k, v in asdict(self.meta).items() if k != "fit"},
        }


def model_folder(workdir: Workdir, version: str | None) -> Path:
    """The pushed model of a version, the newest where None.

    Raises:
        SqidflowError: there is none.
    """
    folder = workdir.serving / version if version else newest_model(workdir.serving)
    if folder is None or not folder.is_dir():
        known = sorted(path.name for path in workdir.serving.glob("*") if path.is_dir())
        raise SqidflowError(
            f"there is no pushed model {version or 'with an ONNX file'}",
            where=workdir.serving,
            hint=f"pushed: {', '.join(known)}" if known and version else "train and push one: `sqidflow run`",
        )
    return folder


def encoder_name(workdir: Workdir, settings: Settings) -> str:
    """Who encodes queries: the setting, or who made the data's vectors."""
    name = settings.search.encoder or encoder_of(workdir.data)
    if name is None:
        raise SettingsError(
            "the data does not say which encoder made its vectors",
            where=workdir.data,
            hint="set search.encoder, e.g. --set search.encoder=clip for SQID's published vectors",
        )
    return name


def index_digest(workdir: Workdir, settings: Settings, model: Path) -> str:
    """Twelve hex digits over all that an index is made of."""
    from sqidflow.data.prepare import load_report

    report = load_report(workdir.artifacts)
    made_of = {
        "format": FORMAT,
        "code": code_digest([__name__]),
        "features": report.outputs,
        "model": hashlib.sha256((model / ONNX_FILE).read_bytes()).hexdigest(),
        "version": model.name,
        "encoder": [encoder_name(workdir, settings), settings.search.encoder_model],
        "rewrite": settings.search.rewrite != "none",
        "candidates": settings.search.candidates,
        "data": digests.data_hash(workdir),
        "locale": settings.data.locale,
        "language": language_of(settings.data.language, settings.data.locale),
        "synonyms": _synonyms_digest(settings.search.synonyms),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]


def _synonyms_digest(file: str | None) -> str | None:
    """What a file of synonyms says, as digits; its queries are what the cut-offs are calibrated with."""
    from sqidflow.search.rewrite import read_synonyms

    return hashlib.sha256(repr(read_synonyms(Path(file))).encode()).hexdigest() if file else None


def present_index(workdir: Workdir, settings: Settings, version: str | None = None) -> IndexMade | None:
    """The index of a pushed model where it is there and up to date, else None.

    Its folder's time becomes now: of several the service takes the one that was asked for last, which need not be the
    one that was built last, and that one is not among the oldest, which are deleted.

    Raises:
        SqidflowError: no model, no features.
    """
    target = workdir.index / index_digest(workdir, settings, model_folder(workdir, version))
    if not (target / META_FILE).is_file():
        return None
    os.utime(target)
    return IndexMade(target, Meta.read(target), 0.0, True)


def make_index(
    workdir: Workdir, settings: Settings, *, version: str | None = None, say: Callable[[str], None] = lambda text: None
) -> IndexMade:
    """Build the index of a pushed model, unless it is there.

    Raises:
        SqidflowError: no model, no features, another encoder than the data's.
    """
    from sqidflow.data.prepare import load_report

    started = time.monotonic()
    load_report(workdir.artifacts)
    folder = model_folder(workdir, version)
    ranker = Ranker(folder)
    found = present_index(workdir, settings, version)
    if found is not None:
        return replace(found, seconds=time.monotonic() - started)
    digest = index_digest(workdir, settings, folder)
    target = workdir.index / digest
    name = encoder_name(workdir, settings)
    encoder = make_encoder(name, settings.search.encoder_model, ranker.dim)
    say("reading the features")
    catalogue = read_catalogue(workdir, settings.data.locale)
    if catalogue.text.shape[1] != ranker.dim:
        raise SqidflowError(
            f"the features have vectors of {catalogue.text.shape[1]}, model {ranker.version} reads {ranker.dim}",
            where=workdir.artifacts,
            hint="train on these features: `sqidflow run`",
        )
    pairs = _read_pairs(workdir)
    judgements = _judgements(pairs, catalogue)
    query_ids, query_vectors = _read_queries(workdir)
    texts = dict(zip(pairs["query_id"].to_pylist(), pairs["query"].to_pylist()))
    _check_encoder(encoder, query_ids, query_vectors, texts)
    meta = Meta(
        digest=digest, format=FORMAT, products=len(catalogue.product_ids),
        with_picture=int(catalogue.has_image.sum()), dim=ranker.dim, encoder=encoder.name,
        encoder_model=settings.search.encoder_model, model_version=ranker.version, model=ranker.model,
        feature_contract=ranker.card["feature_contract"], feature_service=ranker.card["feature_service"],
        data_hash=ranker.card.get("data_hash"), git_commit=ranker.card.get("git_commit"),
        mlflow_run_id=ranker.card.get("mlflow_run_id"), synthetic=_is_synthetic(workdir.data),
        kind="", nprobe=None, recall_at_10=0.0, recall_at_100=0.0, candidates=settings.search.candidates,
        rewrite=settings.search.rewrite != "none",
    )  # fmt: skip
    from sqidflow.indexing.build import build

    beside = workdir.index / f".{digest}.{os.getpid()}"
    workdir.index.mkdir(parents=True, exist_ok=True)
    for left in workdir.index.glob(".*"):  # of a build that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        say(f"vectors, words and texts of {meta.products:,} products")
        rows = {product: row for row, product in enumerate(catalogue.product_ids)}
        language = language_of(settings.data.language, settings.data.locale)
        pictures = _pictures(workdir.data, rows)
        meta = build(beside, catalogue, judgements, pictures, query_vectors, ranker, meta, language)
        say("calibrating what is not answered")
        _add_samples(beside, folder, pairs, catalogue)
        meta = _calibrated(beside, meta, ranker, encoder, settings, folder, pairs, catalogue)
        meta.write(beside)  # known items are searched as the service does, with the cut-offs
        known = _known_items(beside, ranker, encoder, settings, workdir.evaluations / ranker.model / "scores.parquet")
        meta = replace(meta, known_items=known)
        meta.write(beside)
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    for old in index_folders(workdir.index)[_KEPT_INDEXES:]:
        shutil.rmtree(old, ignore_errors=True)
    return IndexMade(target, meta, time.monotonic() - started, False)


def read_catalogue(workdir: Workdir, locale: str | None) -> Catalogue:
    """The products of the feature sources, the newest vectors of each, with their texts; in the order of their ids.

    ``locale``: of the judgements; None where those of all are kept.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from sqidflow.indexing.build import Catalogue

    file = workdir.artifacts / "features" / feature_files.PRODUCTS
    columns = [features.PRODUCT_ID, features.TEXT_VEC, features.IMAGE_VEC, features.HAS_IMAGE, features.EVENT_TIMESTAMP]
    table = pq.read_table(file, columns=columns)
    newest = table.select([features.PRODUCT_ID, features.EVENT_TIMESTAMP]).append_column(
        "at", pa.array(range(len(table)))
    )
    newest = newest.sort_by([(features.PRODUCT_ID, "ascending"), (features.EVENT_TIMESTAMP, "descending")])
    ids = newest[features.PRODUCT_ID].combine_chunks()
    first = np.ones(len(ids), bool)
    first[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    rows = newest["at"].to_numpy()[first]
    table = table.take(pa.array(rows))
    ids = table[features.PRODUCT_ID].to_pylist()
    text = _vectors(table[features.TEXT_VEC], None)
    image = _vectors(table[features.IMAGE_VEC], text.shape[1])
    has_image = table[features.HAS_IMAGE].to_numpy() > 0
    texts = _product_texts(workdir.data, set(ids), locale)
    missing = next((product for product in ids if product not in texts), None)
    if missing is not None:
        raise DataError(
            f"product {missing} has features and no text",
            file=workdir.data / formats.PRODUCTS_FILE,
            hint="run `sqidflow features`",
        )
    columns = list(zip(*(texts[product] for product in ids)))
    return Catalogue(ids, *columns, text=text, image=image, has_image=has_image)


def _vectors(column: pa.ChunkedArray, dim: int | None) -> np.ndarray:
    """float32 [n, d], zeros for nulls."""
    import pyarrow as pa

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    there = column.is_valid().to_numpy(zero_copy_only=False)
    values = column.drop_null().flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if not there.any():
        return np.zeros((len(column), dim or 0), np.float32)
    values = values.reshape(int(there.sum()), -1)
    if there.all():
        return values
    out = np.zeros((len(column), values.shape[1]), np.float32)
    out[there] = values
    return out


def _product_texts(data_dir: Path, wanted: set[str], locale: str | None) -> dict[str, tuple[str, ...]]:
    """Title, brand, colour, description, bullet points by id.

    An id that stands in several locales has the texts of that in which it is judged, as the judgements have them; of
    several such, and where none says, the first.
    """
    import pyarrow.dataset as ds

    judged_in = {} if locale else _first_locales(data_dir, wanted)
    columns = [
        "product_id", "product_locale", "product_title", "product_brand", "product_color", "product_description",
        "product_bullet_point",
    ]  # fmt: skip
    found = {}
    for batch in ds.dataset(data_dir / formats.PRODUCTS_FILE).to_batches(columns=columns):
        for product, of, title, *rest in zip(*(batch[name].to_pylist() for name in columns)):
            if product not in wanted:
                continue
            if product not in found or of == (locale or judged_in.get(product)):
                found[product] = (title or "", *rest)
    return found


def _first_locales(data_dir: Path, wanted: set[str]) -> dict[str, str]:
    """The locale of each product's first judgement."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    table = ds.dataset(data_dir / formats.EXAMPLES_FILE).to_table(columns=["product_id", "product_locale"])
    table = table.filter(pc.is_in(table["product_id"], pa.array(sorted(wanted), pa.string())))
    first = table.group_by("product_id", use_threads=False).aggregate([("product_locale", "first")])
    return dict(zip(first["product_id"].to_pylist(), first["product_locale_first"].to_pylist()))


def _read_pairs(workdir: Workdir) -> pa.Table:
    import pyarrow.csv as pacsv

    names = [features.QUERY_ID, features.PRODUCT_ID, features.LABEL, features.QUERY]
    types = dict.fromkeys(names[1:], "string") | {features.QUERY_ID: "int64"}
    options = pacsv.ConvertOptions(column_types=types, include_columns=names)
    return pacsv.read_csv(
        workdir.pairs, convert_options=options, parse_options=pacsv.ParseOptions(newlines_in_values=True)
    )


def _judgements(pairs: pa.Table, catalogue: Catalogue) -> Judgements:
    from sqidflow.indexing.build import Judgements

    rows = {product: row for row, product in enumerate(catalogue.product_ids)}
    return Judgements(
        np.array([rows[product] for product in pairs[features.PRODUCT_ID].to_pylist()], np.int64),
        pairs[features.QUERY_ID].to_numpy(),
        pairs[features.QUERY].to_pylist(),
        pairs[features.LABEL].to_pylist(),
    )


def _read_queries(workdir: Workdir) -> tuple[list[int], np.ndarray]:
    import pyarrow.parquet as pq

    table = pq.read_table(workdir.artifacts / "features" / feature_files.QUERIES)
    return table[features.QUERY_ID].to_pylist(), _vectors(table[features.QUERY_VEC], None)


def _check_encoder(encoder: Encoder, ids: list[int], vectors: np.ndarray, texts: dict[int, str]) -> None:
    """The data's queries, encoded anew, must be the vectors that are there.

    Raises:
        SqidflowError: they are another encoder's.
    """
    if encoder.dim != vectors.shape[1]:
        raise SqidflowError(
            f"it makes vectors of {encoder.dim}, the features have {vectors.shape[1]}",
            where=f"encoder {encoder.name}",
            hint="set search.encoder to the one that made the data's vectors",
        )
    known = [at for at, query in enumerate(ids) if query in texts][:_CHECKED_QUERIES]
    made = encoder.encode_texts([texts[ids[at]] for at in known])
    given = vectors[known]
    cosine = (made * given).sum(1) / np.maximum(np.linalg.norm(made, axis=1) * np.linalg.norm(given, axis=1), 1e-12)
    if np.median(cosine) < _LEAST_COSINE:
        raise SqidflowError(
            f"the data's query vectors are not its own (median cosine {np.median(cosine):.2f})",
            where=f"encoder {encoder.name}",
            hint="set search.encoder to the one that made the data's vectors",
        )


def _pictures(data_dir: Path, rows: dict[str, int]) -> Iterator[tuple[int, bytes]]:
    import pyarrow.dataset as ds

    file = data_dir / formats.IMAGES_FILE
    if not file.is_file():
        return
    ids = ds.dataset(file).to_table(columns=["product_id"])["product_id"].to_pylist()
    order = sorted((rows[product], at) for at, product in enumerate(ids) if product in rows)
    for start in range(0, len(order), 512):
        part = order[start : start + 512]
        images = ds.dataset(file).take([at for _, at in part], columns=["image"])["image"].to_pylist()
        before = -1
        for (row, _), image in zip(part, images):
            if image and row != before:
                yield row, image
            before = row


def _is_synthetic(data_dir: Path) -> bool:
    import pyarrow.parquet as pq

    return b"sqidflow" in (pq.read_schema(data_dir / formats.PRODUCTS_FILE).metadata or {})


_SAMPLES = 8


def _add_samples(folder: Path, model: Path, pairs: pa.Table, catalogue: Catalogue) -> None:
    """Leave some validation queries and products with pictures for the page to begin with."""
    ids = set(json.loads((model / VALIDATION_QUERIES).read_text())["query_ids"])
    known = zip(pairs[features.QUERY_ID].to_pylist(), pairs[features.QUERY].to_pylist())
    queries = sorted(
        {text for query, text in known if query in ids}, key=lambda text: hashlib.md5(text.encode()).digest()
    )
    offsets = np.load(folder / "pictures_offsets.npy")
    pictured = np.flatnonzero(np.diff(offsets))
    chosen = pictured[np.linspace(0, len(pictured) - 1, min(_SAMPLES, len(pictured))).astype(int)]
    file = folder / FACETS_FILE
    facets = json.loads(file.read_text(encoding="utf-8"))
    facets["sample_queries"] = queries[:_SAMPLES]
    facets["sample_pictures"] = [catalogue.product_ids[row] for row in chosen]
    file.write_text(json.dumps(facets), encoding="utf-8")


def _calibrated(
    folder: Path,
    meta: Meta,
    ranker: Ranker,
    encoder: Encoder,
    settings: Settings,
    model: Path,
    pairs: pa.Table,
    catalogue: Catalogue,
) -> Meta:
    """Cut-offs from the validation queries, and how often they are wrong."""
    from sqidflow.search import fitness
    from sqidflow.search.engine import SearchCore
    from sqidflow.search.rewrite import NoRewriter, local_rewriter

    index = ProductIndex(folder)
    # The model behind gemini answers differently every day: what it falls back to is what is calibrated.
    rewriter = NoRewriter() if settings.search.rewrite == "none" else local_rewriter(index, settings.search)
    core = SearchCore(index, ranker, encoder, rewriter, "hybrid", settings.search.candidates)
    ids = set(json.loads((model / VALIDATION_QUERIES).read_text())["query_ids"])
    texts: dict[int, str] = {}
    exact: dict[int, list[str]] = {}
    for query, text, product, label in zip(
        *(pairs[name].to_pylist() for name in (features.QUERY_ID, features.QUERY, features.PRODUCT_ID, features.LABEL))
    ):
        if query in ids:
            texts[query] = text
            if label == "E":
                exact.setdefault(query, []).append(product)
    queries = [texts[query] for query in sorted(texts)][:_MOST_VALIDATION]
    if len(queries) < _FEWEST_VALIDATION:
        _LOG.warning("only %d validation queries: nothing is refused", len(queries))
        return meta

    def rows(of: list[str]) -> np.ndarray:
        found = [core.signals(query) for query in of]
        return np.array([row for row in found if row is not None])

    validation = rows(queries)
    positive = np.concatenate([validation, rows(fitness.disguised(queries, seed=1))])
    known = index.document_counts
    negative = rows([*fitness.gibberish(150, seed=1), *fitness.off_catalogue(0, known)])
    fit = fitness.calibrate(positive, negative, validation)
    measured = {
        "validation_queries": validation,
        "mistyped_and_wrapped_queries": rows(fitness.disguised(queries, seed=2)),
        "gibberish": rows(fitness.gibberish(300, seed=2)),
        "off_catalogue": rows(fitness.off_catalogue(1, known)),
    }
    below = {
        name: float(np.mean([fitness.fitness(fit, row) < fit.cutoff for row in found]))
        for name, found in measured.items()
    }
    scores = np.concatenate(
        [core.scores_of(texts[query], products) for query, products in sorted(exact.items())[:_MOST_VALIDATION]]
    )
    calibration = {
        "validation_queries": len(validation),
        "false_rejects": {name: below[name] for name in ("validation_queries", "mistyped_and_wrapped_queries")},
        "false_accepts": {name: 1 - below[name] for name in ("gibberish", "off_catalogue")},
        "measured": {name: len(found) for name, found in measured.items()},
    }
    return replace(
        meta,
        fit=fit,
        score_cutoff=float(np.quantile(scores, 0.01)),
        picture_cutoff=_picture_cutoff(core, catalogue),
        calibration=calibration,
    )


def _known_items(
    folder: Path, ranker: Ranker, encoder: Encoder, settings: Settings, scores: Path
) -> dict[str, float] | None:
    """Known-item search with the held-out queries of the model's last evaluation, as variant a answers it."""
    from sqidflow.indexing.known_item import measure
    from sqidflow.search.engine import Request, SearchCore
    from sqidflow.search.rewrite import NoRewriter, local_rewriter

    wanted = held_out_items(scores)
    if not wanted:
        return None
    index = ProductIndex(folder)
    rewriter = NoRewriter() if settings.search.rewrite == "none" else local_rewriter(index, settings.search)
    core = SearchCore(index, ranker, encoder, rewriter, settings.search.retrieval_a, settings.search.candidates)
    found = measure(lambda query: [hit.product_id for hit in core.search(Request(query)).hits], wanted)
    return asdict(found)


def held_out_items(scores: Path) -> dict[str, set[str]]:
    """Held-out queries and their Exact products, from a model's scores.parquet; empty where there is none."""
    import pyarrow.parquet as pq

    from sqidflow.indexing.known_item import wanted_items

    if not scores.is_file():
        return {}
    table = pq.read_table(scores, columns=["query", features.PRODUCT_ID, features.RATING])
    labels = (features.CLASSES[rating] for rating in table[features.RATING].to_pylist())
    return wanted_items(zip(table["query"].to_pylist(), table[features.PRODUCT_ID].to_pylist(), labels))


_MOST_VALIDATION = 400
_MEASURED_PICTURES = 200


def _picture_cutoff(core: Any, catalogue: Catalogue) -> float:
    """Similarity that 99 % of the catalogue's own pictures have with the best other product; -1 without pictures."""
    pictured = np.flatnonzero(catalogue.has_image)
    if not len(pictured):
        return -1.0
    chosen = np.random.default_rng(0).permutation(pictured)[:_MEASURED_PICTURES]
    best = []
    for row in chosen:
        vector = np.asarray(core.index.image[row], np.float32)
        found = core.retrieve("", vector)
        others = found.similarity[found.rows != row]
        if len(others):
            best.append(others.max())
    return float(np.quantile(best, 0.01)) if best else -1.0
