"""FeatureJoin: the join itself, and the component in a pipeline of two nodes."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.feature_join import join
from sqidflow.core import feature_files
from sqidflow.core.errors import FeatureStoreError, PipelineError
from sqidflow.data import formats
from sqidflow.data.prepare import FEATURE_EPOCH, prepare
from sqidflow.feature_store import store
from sqidflow.indexing.build import Catalogue
from sqidflow.indexing.served import read_served
from sqidflow.ranking import features
from sqidflow.ranking.retrieval import Fusion
from sqidflow.ranking.served import ServedCatalogue

FUSION = Fusion.of("lexical")
EPOCH_TEXT = "2024-01-01T00:00:00.000000Z"


def example(**columns: Any) -> bytes:
    """A record as CsvExampleGen writes it: None is a feature without value, an absent name no feature at all."""
    import tensorflow as tf

    record = tf.train.Example()
    for name, value in columns.items():
        feature = record.features.feature[name]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
    return record.SerializeToString()


def pair(query_id: int, product_id: Any, label: str = "E", **more: Any) -> dict[str, Any]:
    return {
        "query_id": query_id,
        "product_id": product_id,
        "esci_label": label,
        "query": f"red shoe {query_id}",
        "product_title": f"shoe {product_id}",
        "event_timestamp": EPOCH_TEXT,
        **more,
    }


def decoded(*pairs: dict[str, Any]) -> pa.RecordBatch:
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    return ExamplesToRecordBatchDecoder().DecodeBatch([example(**columns) for columns in pairs])


def no_pairs() -> pa.Table:
    raise AssertionError("the texts were text")


def test_pairs_are_sorted_and_gaps_are_empty_texts() -> None:
    first = decoded(pair(2, "B", product_color="Red"), pair(1, "C", product_color=None))
    second = decoded(pair(1, "A", product_brand="Acme"))
    table = join.pairs_table([first, second], no_pairs)
    assert table.schema == join.PAIRS_SCHEMA
    assert list(zip(table["query_id"].to_pylist(), table["product_id"].to_pylist(), strict=True)) == [
        (1, "A"),
        (1, "C"),
        (2, "B"),
    ]
    assert table["product_color"].to_pylist() == ["", "", "Red"]
    assert table["product_brand"].to_pylist() == ["Acme", "", ""]
    assert table["query"].to_pylist() == ["red shoe 1", "red shoe 1", "red shoe 2"]


def test_text_columns_that_came_as_numbers_are_text_again() -> None:
    rows = [pair(1, "A", product_title=501, query=7, product_brand=15.5), pair(1, "B", product_title=15, query=7)]
    texts = [("A", "501", "7", "15.50"), ("B", "015", "7", "")]
    names = ("product_id", "product_title", "query", "product_brand")
    prepared = pa.table({"query_id": [1, 1], **dict(zip(names, map(list, zip(*texts, strict=True)), strict=True))})
    table = join.pairs_table([decoded(rows[1]), decoded(rows[0])], lambda: prepared)
    assert table.schema == join.PAIRS_SCHEMA
    assert list(zip(*(table[name].to_pylist() for name in names), strict=True)) == texts
    with pytest.raises(ValueError, match="query 1 and product B are not among the prepared pairs"):
        join.pairs_table([decoded(*rows)], lambda: prepared.slice(0, 1))


@pytest.mark.parametrize(
    ("ids", "as_read"),
    [
        (["0012", "12", "0262033844"], [12, 12, 262033844]),
        (["4006381333931", "4006381355008", "1E5"], [4006381355008.0, 4006381355008.0, 1e5]),
        (["99999999999999999999", "99999999999999999998", "1"], [1e20, 1e20, 1.0]),
    ],
)
def test_ids_that_were_read_as_numbers_are_those_of_the_prepared_pairs(ids: list[str], as_read: list[Any]) -> None:
    prepared = pa.table(
        {
            "query_id": [1, 1, 2, 3],
            "product_id": [*ids, "another"],
            "esci_label": ["E", "S", "I", "C"],
            "query": ["a", "a", "b", "c"],
            "product_title": ["x", "015", "y", "z"],
            "product_brand": ["", "", "", ""],
            "product_color": ["", "", "", ""],
            "event_timestamp": [EPOCH_TEXT] * 4,
        }
    )
    rows = [pair(query, number) for query, number in zip((1, 1, 2), as_read, strict=True)]
    asked = []
    table = join.pairs_table([decoded(rows[2]), decoded(*rows[:2])], lambda: asked.append(1) or prepared)
    assert table.schema == join.PAIRS_SCHEMA
    expected = sorted(zip([1, 1, 2], ids, ["E", "S", "I"], ["x", "015", "y"], strict=True))
    names = ("query_id", "product_id", "esci_label", "product_title")
    assert list(zip(*(table[name].to_pylist() for name in names), strict=True)) == expected
    assert asked == [1]
    with pytest.raises(ValueError, match="the pairs of query 1 are not the prepared ones"):
        join.pairs_table([decoded(rows[0])], lambda: prepared)
    with pytest.raises(ValueError, match="the pairs of query 7 are not the prepared ones"):
        join.pairs_table([decoded(pair(7, 12))], lambda: prepared)


def catalogue_of(
    ids: list[str],
    titles: list[str],
    brands: list[str] | None = None,
    colors: list[str] | None = None,
    text: np.ndarray | None = None,
    image: np.ndarray | None = None,
    has_image: np.ndarray | None = None,
) -> ServedCatalogue:
    """What lists are retrieved from; without vectors, all products are alike."""
    count = len(ids)
    text = np.ones((count, 3), np.float32) if text is None else text
    catalogue = Catalogue(
        ids, titles, brands or [""] * count, colors or [""] * count, [None] * count, [None] * count, text,
        np.zeros_like(text) if image is None else image, np.zeros(count, bool) if has_image is None else has_image > 0,
    )  # fmt: skip
    return ServedCatalogue(catalogue, FUSION, 100, "english")


def test_no_pair_at_all() -> None:
    table = join.pairs_table([], no_pairs)
    assert table.num_rows == 0
    assert len(join.distinct(table, "query_id").ids) == 0
    nothing = np.zeros(0, np.int64)
    vectors = {name: (np.zeros((0, 3), np.float32), nothing) for name in features.VECTORS}
    scalars = {features.HAS_IMAGE: (nothing, nothing)}
    assert list(join.joined_batches(table, catalogue_of(["A"], ["shoe"]), vectors, scalars, 10)) == []


def test_distinct_asks_for_each_id_and_time_once() -> None:
    later = "2024-01-02T00:00:00.500000Z"
    pairs = [pair(1, "A"), pair(1, "B"), pair(2, "A"), pair(2, "B", event_timestamp=later), pair(3, "A")]
    table = join.pairs_table([decoded(*pairs)], no_pairs)
    asked = join.distinct(table, "product_id")
    assert list(zip(asked.ids.to_pylist(), asked.timestamps.to_pylist(), strict=True)) == [
        ("A", FEATURE_EPOCH),
        ("B", FEATURE_EPOCH),
        ("B", FEATURE_EPOCH + timedelta(days=1, milliseconds=500)),
    ]
    assert asked.position.tolist() == [0, 1, 0, 2, 0]
    assert asked.ids.take(pa.array(asked.position)).to_pylist() == table["product_id"].to_pylist()


def test_labels_become_class_ids_and_an_unknown_one_is_named() -> None:
    table = join.pairs_table([decoded(*(pair(1, name, name) for name in "CEIS"))], no_pairs)
    assert join.ratings(table).tolist() == [1, 3, 0, 2]
    wrong = join.pairs_table([decoded(pair(1, "A"), pair(5, "B", "X"))], no_pairs)
    with pytest.raises(ValueError, match="label 'X' of query 5"):
        join.ratings(wrong)


@pytest.mark.parametrize(
    ("rows_per_batch", "expected"),
    [(1, [(0, 3), (3, 4), (4, 6)]), (3, [(0, 3), (3, 6)]), (4, [(0, 4), (4, 6)]), (5, [(0, 4), (4, 6)]), (9, [(0, 6)])],
)
def test_batches_hold_whole_lists(rows_per_batch: int, expected: list[tuple[int, int]]) -> None:
    assert list(join.list_batches(np.array([0, 3, 4, 6]), rows_per_batch)) == expected


@pytest.mark.parametrize("rows_per_batch", [1, 2, 100])
def test_batches_gather_by_position_and_compute_what_a_service_computes_for_a_list(rows_per_batch: int) -> None:
    pairs = [pair(2, "A"), pair(1, "C"), pair(1, "A", product_title="red shoe", product_brand="Acme")]
    pairs.append(pair(1, "B", "S", product_title="lamp", product_color="red"))
    table = join.pairs_table([decoded(*pairs[:2]), decoded(*pairs[2:])], no_pairs)
    rng = np.random.default_rng(5)
    query_vec, text_vec, image_vec = (rng.standard_normal((count, 8)).astype(np.float32) * 9 for count in (2, 3, 3))
    of_query, of_product = np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0])
    vectors = {
        features.QUERY_VEC: (query_vec, of_query),
        features.TEXT_VEC: (text_vec, of_product),
        features.IMAGE_VEC: (image_vec, of_product),
    }
    has_image = np.array([1, 0, 1])
    scalars = {features.HAS_IMAGE: (has_image, of_product)}
    titles, brands, colors = ["red shoe", "lamp", "shoe C", "red sofa"], ["Acme", "", "", ""], ["", "red", "", ""]
    # A fourth product that nobody judged; the third has no vector of today's, but one as of its judgement.
    today = np.concatenate([text_vec, text_vec[:1] + 1])
    today[2] = -5
    images = np.concatenate([image_vec, image_vec[:1]])
    pictured = np.append(has_image, 0)
    served = catalogue_of(["A", "B", "C", "D"], titles, brands, colors, today, images, pictured)
    batches = list(join.joined_batches(table, served, vectors, scalars, rows_per_batch))
    joined = pa.Table.from_batches(batches).combine_chunks()
    assert joined["query_id"].to_pylist() == [[1], [1], [1], [2]]
    assert joined["product_id"].to_pylist() == [[b"A"], [b"B"], [b"C"], [b"A"]]
    assert joined["product_brand"].to_pylist() == [[b"Acme"], [b""], [b""], [b""]]
    assert joined["query"].to_pylist() == [[b"red shoe 1"]] * 3 + [[b"red shoe 2"]]
    assert joined[features.QUERY_VEC].to_pylist() == query_vec[of_query].tolist()
    assert joined[features.IMAGE_VEC].to_pylist() == image_vec[of_product].tolist()
    assert joined[features.HAS_IMAGE].to_pylist() == [[1], [0], [1], [1]]
    assert joined[features.PICTURES].to_pylist() == [[b"some without"]] * 3 + [[b"all with picture"]]
    assert joined[features.EXACT_SHARE].to_pylist() == [[b"up to 2/3"]] * 3 + [[b"above 2/3"]]
    assert joined[features.RATING].to_pylist() == [[3], [2], [3], [3]]
    as_of_judgement = today.copy()
    for query, judged, text in ((0, [0, 1, 2], text_vec), (1, [0], today)):
        as_of_judgement[: len(text_vec)] = text[: len(text_vec)]
        kept = [features.unit(each).astype(np.float16) for each in (as_of_judgement, images)]
        expected = features.candidate_features(
            f"red shoe {query + 1}", titles, brands, colors, features.unit(query_vec[query]), *kept, pictured, FUSION
        )
        rows = slice(0, 3) if query == 0 else slice(3, 4)
        for name in (features.LEXICAL, features.RELATIVE, features.RETRIEVAL):
            # Retrieval puts the list into an order of its own: sums may differ by their last bit.
            # One column counts differences of cosines in their own spread, which is small in so short a list.
            least = np.full(expected[name].shape[1], 1e-5)
            if name == features.RETRIEVAL:
                least[features.RETRIEVAL_NAMES.index("z_thing")] = 1e-3
            differences = np.abs(np.array(joined[name].to_pylist()[rows]) - expected[name][judged])
            assert (differences <= least).all(), (name, differences.max(axis=0))


def test_a_further_pair_of_known_products_costs_no_words() -> None:
    """Texts are kept once, however often their pairs come."""
    title = "a long title " * 40
    pairs = [pair(query, f"P{number}", product_title=f"{title}{number}") for query in (1, 2) for number in range(20)]
    once = join.pairs_table([decoded(*pairs[:20])], no_pairs)
    twice = join.pairs_table([decoded(*pairs)], no_pairs)
    assert twice.num_rows == 2 * once.num_rows
    assert twice.nbytes - once.nbytes < 20 * 80


# --- one split --------------------------------------------------------------------------------------------------------


@pytest.fixture
def artifacts(tiny_data: Path, tmp_path: Path) -> Path:
    """A prepared and applied workdir of the tiny sample."""
    artifacts = tmp_path / "artifacts"
    prepare(tiny_data, artifacts)
    store.apply(artifacts)
    return artifacts


def write_split(folder: Path, *pairs: dict[str, Any]) -> str:
    import tensorflow as tf

    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), "GZIP") as writer:
        for columns in pairs:
            writer.write(example(**columns))
    return str(folder)


def read_split(folder: Path | str) -> list[dict[str, list[Any]]]:
    import tensorflow as tf

    out = []
    for record in tf.data.TFRecordDataset(sorted(str(file) for file in Path(folder).iterdir())).as_numpy_iterator():
        kinds = tf.train.Example.FromString(record).features.feature
        out.append({name: list(getattr(kind, kind.WhichOneof("kind")).value) for name, kind in kinds.items()})
    return out


def join_one(artifacts: Path, source: str, target: Path) -> int:
    from components.feature_join import executor

    feast = store.open_store(artifacts)
    wanted = store.service_features(feast, features.FEATURE_SERVICE)
    served = read_served(artifacts, FUSION)
    return executor.join_split(feast, wanted, "train", source, str(target), served)


def test_a_split_gets_the_vectors_of_its_ids(artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.feature_join import executor

    monkeypatch.setattr(executor, "ROWS_PER_BATCH", 2)
    monkeypatch.setattr(executor, "ROWS_PER_SHARD", 4)
    queries = pq.read_table(artifacts / "features" / feature_files.QUERIES)
    products = pq.read_table(artifacts / "features" / feature_files.PRODUCTS)
    bare = products["has_image"].to_pylist().index(0)
    chosen = [0, bare, 5, 6, 7]
    ids = [products["product_id"][row].as_py() for row in chosen]
    query = queries["query_id"][3].as_py()
    source = write_split(tmp_path / "in", *(pair(query, name, "S") for name in reversed(ids)))
    assert join_one(artifacts, source, tmp_path / "out") == 5

    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "data_tfrecord-00000-of-00002",
        "data_tfrecord-00001-of-00002",
    ]
    records = read_split(tmp_path / "out")
    assert [record["product_id"][0].decode() for record in records] == sorted(ids)
    by_id = {record["product_id"][0].decode(): record for record in records}
    for row, name in zip(chosen, ids, strict=True):
        record = by_id[name]
        assert record["query_vec"] == queries["query_vec"][3].as_py()
        assert record["product_text_vec"] == products["product_text_vec"][row].as_py()
        assert record["product_image_vec"] == (products["product_image_vec"][row].as_py() or [0.0] * 64)
        assert record["has_image"] == [int(row != bare)]
        assert record["rating"] == [2]
        assert len(record["lexical_features"]) == len(features.LEXICAL_NAMES)
        assert len(record["relative_features"]) == len(features.RELATIVE_NAMES)
        assert len(record["retrieval_features"]) == len(features.RETRIEVAL_NAMES)
        assert record["product_brand"] == [b""]
    assert not list(tmp_path.glob("out.part*"))


def test_a_split_without_any_picture_has_zeros_of_the_same_length(artifacts: Path, tmp_path: Path) -> None:
    products = pq.read_table(artifacts / "features" / feature_files.PRODUCTS)
    bare = products["product_id"][products["has_image"].to_pylist().index(0)].as_py()
    query = pq.read_table(artifacts / "features" / feature_files.QUERIES)["query_id"][0].as_py()
    join_one(artifacts, write_split(tmp_path / "in", pair(query, bare)), tmp_path / "out")
    (record,) = read_split(tmp_path / "out")
    assert record["product_image_vec"] == [0.0] * 64
    assert record["has_image"] == [0]


def test_what_has_no_vector_at_its_time_is_named(artifacts: Path, tmp_path: Path) -> None:
    product = pq.read_table(artifacts / "features" / feature_files.PRODUCTS)["product_id"][0].as_py()
    query = pq.read_table(artifacts / "features" / feature_files.QUERIES)["query_id"][0].as_py()
    strange = write_split(tmp_path / "strange", pair(query, product), pair(query, "B00NOWHERE"))
    with pytest.raises(FeatureStoreError, match="'train': product_id 'B00NOWHERE' has no product_text_vec as of"):
        join_one(artifacts, strange, tmp_path / "out")
    early = write_split(tmp_path / "early", pair(query, product, event_timestamp="2023-12-31T23:59:59.999999Z"))
    with pytest.raises(FeatureStoreError, match=f"query_id {query} has no query_vec as of 2023-12-31 23:59:59.999999"):
        join_one(artifacts, early, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_label_stops_the_split(artifacts: Path, tmp_path: Path) -> None:
    product = pq.read_table(artifacts / "features" / feature_files.PRODUCTS)["product_id"][0].as_py()
    query = pq.read_table(artifacts / "features" / feature_files.QUERIES)["query_id"][0].as_py()
    source = write_split(tmp_path / "in", pair(query, product, "X"))
    with pytest.raises(PipelineError, match=f"FeatureJoin, split 'train': label 'X' of query {query}"):
        join_one(artifacts, source, tmp_path / "out")


def test_records_that_get_lost_are_counted(artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.feature_join import executor

    products = pq.read_table(artifacts / "features" / feature_files.PRODUCTS)["product_id"].to_pylist()[:3]
    query = pq.read_table(artifacts / "features" / feature_files.QUERIES)["query_id"][0].as_py()
    source = write_split(tmp_path / "in", *(pair(query, name) for name in products))
    whole = executor.join.pairs_table
    monkeypatch.setattr(executor.join, "pairs_table", lambda *given: whole(*given).slice(0, 2))
    with pytest.raises(PipelineError, match="3 pairs went in and 2 records came out"):
        join_one(artifacts, source, tmp_path / "out")


# --- the component ----------------------------------------------------------------------------------------------------


def run_two_nodes(workdir: Path, artifacts: Path) -> None:
    from tfx import v1 as tfx
    from tfx.components import CsvExampleGen
    from tfx.orchestration.pipeline import Pipeline
    from tfx.proto import example_gen_pb2

    from components.feature_join import FeatureJoin, feature_config

    buckets = [
        example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=share)
        for name, share in (("train", 6), ("eval", 2), ("test", 2))
    ]
    example_gen = CsvExampleGen(
        input_base=str(artifacts / "prepared"),
        input_config=example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="pairs", pattern="pairs.csv")]),
        output_config=example_gen_pb2.Output(
            split_config=example_gen_pb2.SplitConfig(splits=buckets, partition_feature_name=features.QUERY_ID)
        ),
    )
    feature_join = FeatureJoin(
        examples=example_gen.outputs["examples"],
        feature_config=json.dumps(feature_config(artifacts, fusion=FUSION), sort_keys=True),
    )
    tfx.orchestration.LocalDagRunner().run(
        Pipeline(
            pipeline_name="two-nodes",
            pipeline_root=str(workdir / "root"),
            components=[example_gen, feature_join],
            enable_cache=True,
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                str(workdir / "metadata.db")
            ),
            beam_pipeline_args=["--runner=FnApiRunner"],
        )
    )


def executions(workdir: Path) -> list[tuple[str, int]]:
    """(component, last known state) of every execution, in order."""
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2

    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(workdir / "metadata.db")
    opened = MetadataStore(config)
    types = {kind.id: kind.name.rpartition(".")[2] for kind in opened.get_execution_types()}
    found = sorted(opened.get_executions(), key=lambda execution: execution.id)
    return [(types[execution.type_id], execution.last_known_state) for execution in found]


def joined_artifacts(workdir: Path) -> list[Any]:
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2

    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(workdir / "metadata.db")
    found = MetadataStore(config).get_artifacts_by_type("Examples")
    return sorted((item for item in found if "/FeatureJoin/" in item.uri), key=lambda item: item.id)


def test_texts_of_digits_come_through_the_pipeline_as_they_are(tiny_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    table = pq.read_table(data / formats.PRODUCTS_FILE)
    for name, text in (("product_brand", "015"), ("product_color", "15.50")):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.array([text] * table.num_rows))
    pq.write_table(table, data / formats.PRODUCTS_FILE)
    artifacts = tmp_path / "artifacts"
    prepare(data, artifacts)
    store.apply(artifacts)
    run_two_nodes(tmp_path, artifacts)
    (joined,) = joined_artifacts(tmp_path)
    for record in read_split(f"{joined.uri}/Split-test"):
        assert (record["product_brand"], record["product_color"]) == ([b"015"], [b"15.50"])


def test_ids_like_numbers_come_through_the_pipeline_as_they_are(tiny_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    ids = pq.read_table(data / formats.PRODUCTS_FILE)["product_id"].to_pylist()
    spelt = ["1E5", "00001", "1", "0001", "4006381333931", "4006381355008", "99999999999999999999", "1e400", "-7"]
    renamed = dict(zip(ids, [*spelt, *(f"{4006381300000 + number:013d}" for number in range(len(ids)))], strict=False))
    for name in (formats.EXAMPLES_FILE, formats.PRODUCTS_FILE, formats.PRODUCT_FEATURES_FILE):
        table = pq.read_table(data / name)
        at = table.schema.get_field_index("product_id")
        pq.write_table(
            table.set_column(at, "product_id", pa.array([renamed[key] for key in table["product_id"].to_pylist()])),
            data / name,
        )
    judged = pq.read_table(data / formats.EXAMPLES_FILE)
    artifacts = tmp_path / "artifacts"
    prepare(data, artifacts)
    store.apply(artifacts)
    run_two_nodes(tmp_path, artifacts)
    (joined,) = joined_artifacts(tmp_path)
    vectors = pq.read_table(artifacts / "features" / feature_files.PRODUCTS)
    of_product = dict(zip(vectors["product_id"].to_pylist(), vectors["product_text_vec"].to_pylist(), strict=True))
    seen = []
    for split in ("train", "eval", "test"):
        for record in read_split(f"{joined.uri}/Split-{split}"):
            product = record["product_id"][0].decode()
            assert record["product_text_vec"] == of_product[product]
            seen.append((record["query_id"][0], product, record["esci_label"][0].decode()))
    names = ("query_id", "product_id", "esci_label")
    assert sorted(seen) == sorted(zip(*(judged[name].to_pylist() for name in names), strict=True))


def test_in_a_pipeline_with_the_cache(artifacts: Path, tmp_path: Path) -> None:
    from ml_metadata.proto import metadata_store_pb2

    complete, cached = metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED
    run_two_nodes(tmp_path, artifacts)
    (joined,) = joined_artifacts(tmp_path)
    counts = {name: joined.custom_properties[f"records_{name}"].int_value for name in ("train", "eval", "test")}
    assert sum(counts.values()) == 400
    assert json.loads(joined.properties["split_names"].string_value) == ["train", "eval", "test"]
    assert joined.custom_properties["feature_service"].string_value == features.FEATURE_SERVICE
    queries: dict[str, set[int]] = {}
    for split, count in counts.items():
        records = read_split(f"{joined.uri}/Split-{split}")
        assert len(records) == count
        queries[split] = {record["query_id"][0] for record in records}
        keys = [(record["query_id"][0], record["product_id"][0]) for record in records]
        assert keys == sorted(keys)
        assert all(len(record[name]) == 64 for record in records for name in features.VECTORS)
    assert len(set.union(*queries.values())) == sum(map(len, queries.values())) == 40
    record = read_split(f"{joined.uri}/Split-test")[0]
    judged = pq.read_table(artifacts / "features" / feature_files.QUERIES)
    row = judged["query_id"].to_pylist().index(record["query_id"][0])
    assert record["query_vec"] == judged["query_vec"][row].as_py()

    # Nothing changed: nothing is computed.
    run_two_nodes(tmp_path, artifacts)
    assert executions(tmp_path)[2:] == [("CsvExampleGen", cached), ("FeatureJoin", cached)]

    # Other vectors, the same pairs: the join alone is done again.
    file = artifacts / "features" / feature_files.PRODUCTS
    table = pq.read_table(file)
    at = table.schema.get_field_index(features.TEXT_VEC)
    doubled = pa.array([[2 * x for x in row] for row in table[features.TEXT_VEC].to_pylist()], formats.VECTOR_TYPE)
    pq.write_table(table.set_column(at, features.TEXT_VEC, doubled), file)
    run_two_nodes(tmp_path, artifacts)
    assert executions(tmp_path)[4:] == [("CsvExampleGen", cached), ("FeatureJoin", complete)]
    after = read_split(f"{joined_artifacts(tmp_path)[-1].uri}/Split-test")[0]
    assert after["product_text_vec"] == [2 * x for x in record["product_text_vec"]]
    assert after["query_vec"] == record["query_vec"]
