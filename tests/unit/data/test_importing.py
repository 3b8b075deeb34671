from __future__ import annotations

import datetime as dt
import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sqidflow.core.errors import DataError
from sqidflow.data import formats, importing
from sqidflow.data.check import check_folder
from sqidflow.data.importing import import_files
from sqidflow.data.sample import SampleSpec, is_sample, write_sample
from sqidflow.encoders.offline import OfflineEncoder

JOINED = (
    "query_id,query,product_id,product_title,esci_label\n"
    "5,red shoe,A,Red shoe,E\n"
    ",blue sofa,B,Blue sofa,S\n"
    ",red shoe,B,Blue sofa,I\n"
    ",lamp,A,Red shoe,I\n"
)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    return written(tmp_path / "joined.csv", JOINED)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "work" / "data"


def vectors(path: Path, key: str, ids: list, dim: int = 4, **more: object) -> Path:
    rng = np.random.default_rng(len(ids))
    pq.write_table(pa.table({key: ids, "clip_text_features": rng.random((len(ids), dim)).tolist(), **more}), path)
    return path


def picture(path: Path, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 10, 10)).save(buffer, kind)
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestJoinedFile:
    @pytest.mark.parametrize("named_twice", [False, True])
    def test_texts_of_products_come_from_the_judgements(self, joined: Path, data: Path, named_twice: bool) -> None:
        report = import_files(data, joined, products=joined if named_twice else None)
        assert (report.judgements, report.queries, report.products) == (4, 3, 2)
        assert (report.repeated_products_dropped, report.differing_products_dropped) == (2, 0)
        products = pq.read_table(data / formats.PRODUCTS_FILE)
        assert products.schema.names == formats.PRODUCTS_SCHEMA.names
        assert products["product_title"].to_pylist() == ["Red shoe", "Blue sofa"]
        assert products["product_locale"].to_pylist() == ["us", "us"]

    def test_queries_are_numbered_by_their_text(self, joined: Path, data: Path) -> None:
        report = import_files(data, joined)
        table = pq.read_table(data / formats.EXAMPLES_FILE)
        assert table["query_id"].to_pylist() == [5, 6, 5, 7]
        assert report.queries_numbered == 2
        assert any("query_id is missing in 3 rows" in note for note in report.notes)

    def test_missing_columns_get_defaults_and_are_told(self, joined: Path, data: Path) -> None:
        report = import_files(data, joined)
        table = pq.read_table(data / formats.EXAMPLES_FILE)
        assert table.schema.names == formats.EXAMPLES_SCHEMA.names
        assert table["example_id"].to_pylist() == [0, 1, 2, 3]
        assert set(table["small_version"].to_pylist()) == set(table["large_version"].to_pylist()) == {1}
        assert set(table["split"].to_pylist()) == {"train"}
        for name in ("example_id", "small_version", "large_version", "split", "product_locale"):
            assert any(note.startswith(f"{name} is missing in 4 rows") for note in report.notes), name

    def test_an_id_of_two_texts_among_missing_ids_stays_with_the_first(self, tmp_path: Path, data: Path) -> None:
        path = written(
            tmp_path / "f.csv",
            "query_id,query,product_id,product_title,esci_label\n5,a,A,t,E\n5,b,A,t,E\n9,c,A,t,E\n,b,B,t,E\n",
        )
        report = import_files(data, path)
        assert pq.read_table(data / formats.EXAMPLES_FILE)["query_id"].to_pylist() == [5, 10, 9, 10]
        assert any("1 queries also stands for another text" in note for note in report.notes)

    def test_an_id_of_two_texts_where_all_are_given_is_an_error(self, tmp_path: Path, data: Path) -> None:
        path = written(tmp_path / "f.csv", "query_id,query,product_id,product_title,esci_label\n5,a,A,t,E\n5,b,A,t,E\n")
        with pytest.raises(DataError, match="row 2, column query_id: query_id 5 is 'b' here and 'a' in row 1"):
            import_files(data, path)

    @pytest.mark.parametrize("column", ["query_id", "example_id"])
    def test_no_number_is_left_above_the_largest(self, tmp_path: Path, data: Path, column: str) -> None:
        rows = f"{2**63 - 1},a,A,t,E\n,b,A,t,E\n"
        path = written(tmp_path / "f.csv", f"{column},query,product_id,product_title,esci_label\n{rows}")
        with pytest.raises(DataError, match=f"f.csv, column {column}: {2**63 - 1} leaves no room above it for the 1"):
            import_files(data, path)

    def test_first_of_differing_products_counts(self, tmp_path: Path, data: Path) -> None:
        path = written(
            tmp_path / "f.csv",
            "query,product_id,product_title,product_color,esci_label\na,A,one,red,E\nb,A,one,,E\nc,A,one,red,E\n",
        )
        report = import_files(data, path)
        assert (report.repeated_products_dropped, report.differing_products_dropped) == (2, 1)
        assert pq.read_table(data / formats.PRODUCTS_FILE)["product_color"].to_pylist() == ["red"]

    def test_repeated_judgement_is_dropped(self, tmp_path: Path, data: Path) -> None:
        path = written(tmp_path / "f.csv", JOINED + ",lamp,A,Red shoe,I\n")
        report = import_files(data, path)
        assert (report.judgements, report.repeated_judgements_dropped) == (4, 1)

    def test_conflict_found_after_numbering(self, tmp_path: Path, data: Path) -> None:
        path = written(tmp_path / "f.csv", JOINED + ",lamp,A,Red shoe,E\n")
        with pytest.raises(DataError, match="row 5, column esci_label: .*judged E here and I in row 4"):
            import_files(data, path)

    def test_real_file(self, real_data: Path, data: Path) -> None:
        source = real_data / "esci_us_train_sample.csv"
        report = import_files(data, source)
        assert (report.judgements, report.queries, report.products) == (1695, 1671, 1693)
        first = contents(data)
        assert import_files(data, source, products=source) == report
        assert contents(data) == first
        table = pq.read_table(data / formats.EXAMPLES_FILE)
        by_text = dict(zip(table["query"].to_pylist(), table["query_id"].to_pylist(), strict=True))
        assert by_text["bath oils for relaxation"] == 1453
        assert len(set(by_text.values())) == len(by_text)
        reports = {report.file: report for report in check_folder(data)}
        assert reports[formats.EXAMPLES_FILE].problems == reports[formats.PRODUCTS_FILE].problems == []


class TestPublishedFiles:
    def test_round_trip(self, tiny_data: Path, data: Path) -> None:
        report = import_files(
            data,
            tiny_data / formats.EXAMPLES_FILE,
            products=tiny_data / formats.PRODUCTS_FILE,
            query_features=tiny_data / formats.QUERY_FEATURES_FILE,
            product_features=tiny_data / formats.PRODUCT_FEATURES_FILE,
            image_urls=tiny_data / formats.IMAGE_URLS_FILE,
        )
        for name in (
            formats.EXAMPLES_FILE,
            formats.PRODUCTS_FILE,
            formats.QUERY_FEATURES_FILE,
            formats.PRODUCT_FEATURES_FILE,
        ):
            ours, theirs = pq.read_table(data / name), pq.read_table(tiny_data / name)
            assert ours.equals(theirs.cast(ours.schema)), name
        attributes = "price (number), category (string), rating (number), in_stock (boolean)"
        assert report.notes == (f"columns of {formats.PRODUCTS_FILE} kept as attributes: {attributes}",)
        assert report.query_vectors == 40 and report.product_vectors == 300
        assert report.query_vectors_not_judged == report.product_vectors_of_no_product == 0
        assert [problem for file in check_folder(data) for problem in file.problems] == []

    def test_judged_product_without_a_row(self, tmp_path: Path, data: Path) -> None:
        examples = written(tmp_path / "e.csv", "query,product_id,esci_label\na,A,E\nb,B,E\nb,C,E\n")
        products = written(tmp_path / "p.csv", "product_id,product_title\nA,one\n")
        with pytest.raises(DataError, match="e.csv, row 2, column product_id: product B .*like 1 more"):
            import_files(data, examples, products=products)
        assert not data.exists()

    def test_judgements_without_products(self, tmp_path: Path, data: Path) -> None:
        examples = written(tmp_path / "e.csv", "query,product_id,esci_label\na,A,E\n")
        with pytest.raises(DataError, match="product_title.*--products"):
            import_files(data, examples)


class TestAddingVectors:
    def test_real_query_vectors_alone(self, real_data: Path, data: Path) -> None:
        report = import_files(data, query_features=real_data / "query_features_with_timestamp.csv.gz")
        assert report.query_vectors == 672
        table = pq.read_table(data / formats.QUERY_FEATURES_FILE)
        assert table.schema.names == ["query_id", "clip_text_features", "event_timestamp"]
        assert table["query_id"].type == pa.string()
        assert set(table["event_timestamp"].to_pylist()) == {dt.datetime(2025, 3, 27, 7, 1, 4, 332726, dt.UTC)}

    def test_new_replace_old_of_their_ids_others_are_kept(self, joined: Path, tmp_path: Path, data: Path) -> None:
        import_files(data, joined, query_features=vectors(tmp_path / "q1.parquet", "query_id", [5, 90, 100]))
        before = pq.read_table(data / formats.QUERY_FEATURES_FILE)
        texts = (data / formats.EXAMPLES_FILE).read_bytes()
        newer = vectors(
            tmp_path / "q2.parquet", "query_id", ["90.0", "100"], event_timestamp=["2025-01-01T00:00:00Z", None]
        )
        report = import_files(data, query_features=newer)
        assert (report.query_vectors, report.query_vectors_kept, report.query_vectors_not_judged) == (2, 2, 2)
        table = pq.read_table(data / formats.QUERY_FEATURES_FILE).to_pylist()
        after = {(row["query_id"], row["event_timestamp"]): row["clip_text_features"] for row in table}
        old = before["clip_text_features"].to_pylist()
        assert set(after) == {("5", None), ("90", None), ("90", dt.datetime(2025, 1, 1, tzinfo=dt.UTC)), ("100", None)}
        assert [after["5", None], after["90", None]] == old[:2]
        assert after["100", None] != old[2]
        assert (data / formats.EXAMPLES_FILE).read_bytes() == texts

    def test_of_another_length_than_those_kept(self, joined: Path, tmp_path: Path, data: Path) -> None:
        import_files(data, joined, query_features=vectors(tmp_path / "q1.parquet", "query_id", [5, 90]))
        before = contents(data)
        with pytest.raises(DataError, match="vectors of 3 values, those kept .* have 4"):
            import_files(data, query_features=vectors(tmp_path / "q2.parquet", "query_id", [91], dim=3))
        assert contents(data) == before

    def test_two_of_one_id_and_time(self, tmp_path: Path, data: Path) -> None:
        path = vectors(tmp_path / "p.parquet", "product_id", ["A", "B", "A"])
        with pytest.raises(DataError, match="row 3, column product_id: A has a vector here and in row 1"):
            import_files(data, product_features=path)

    def test_history_of_one_id_is_legal(self, tmp_path: Path, data: Path) -> None:
        times = pa.array([1, 2], formats.TIMESTAMP_TYPE)
        path = vectors(tmp_path / "p.parquet", "product_id", ["A", "A"], event_timestamp=times)
        assert import_files(data, product_features=path).product_vectors == 2

    def test_gaps_are_told(self, joined: Path, tmp_path: Path, data: Path) -> None:
        report = import_files(data, joined, product_features=vectors(tmp_path / "p.parquet", "product_id", ["A", "Z"]))
        assert report.product_vectors_of_no_product == 1
        assert report.products_without_picture_vector == 2
        assert "1 of 2 products have no vector yet" in report.notes
        assert "3 of 3 queries have no vector yet" in report.notes

    def test_new_judgements_drop_old_vectors(self, joined: Path, tmp_path: Path, data: Path) -> None:
        """Their ids may now mean other queries."""
        import_files(data, joined, query_features=vectors(tmp_path / "q.parquet", "query_id", [5]))
        import_files(data, joined)
        assert not (data / formats.QUERY_FEATURES_FILE).exists()

    def test_link_to_old_files_does_not_let_them_change(self, joined: Path, tmp_path: Path, data: Path) -> None:
        import_files(data, joined)
        inode = (data / formats.PRODUCTS_FILE).stat().st_ino
        import_files(data, query_features=vectors(tmp_path / "q.parquet", "query_id", [5]))
        assert (data / formats.PRODUCTS_FILE).stat().st_ino == inode


class TestPictures:
    def test_folder_of_files(self, joined: Path, tmp_path: Path, data: Path) -> None:
        folder = tmp_path / "images"
        folder.mkdir()
        expected = {"A": picture(folder / "A.png"), "B": picture(folder / "B.JPG", "JPEG")}
        picture(folder / "unknown.png")
        written(folder / "readme.txt", "no picture")
        report = import_files(data, joined, images_dir=folder)
        assert (report.pictures, report.pictures_of_no_product) == (2, 1)
        rows = pq.read_table(data / formats.IMAGES_FILE).to_pylist()
        assert {row["product_id"]: row["image"] for row in rows} == expected

    def test_new_replace_old_of_their_products_others_are_kept(self, joined: Path, tmp_path: Path, data: Path) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        second.mkdir()
        old = {"A": picture(first / "A.png"), "B": picture(first / "B.png")}
        import_files(data, joined, images_dir=first)
        new = picture(second / "B.jpg", "JPEG")
        report = import_files(data, images_dir=second)
        assert (report.pictures, report.pictures_kept) == (1, 1)
        rows = pq.read_table(data / formats.IMAGES_FILE).to_pylist()
        assert {row["product_id"]: row["image"] for row in rows} == {"A": old["A"], "B": new}
        assert [problem for file in check_folder(data)[6:] for problem in file.problems] == []

    def test_damaged_picture(self, joined: Path, tmp_path: Path, data: Path) -> None:
        (tmp_path / "A.png").write_bytes(picture(tmp_path / "A.png")[:40])
        with pytest.raises(DataError, match="A.png: not a whole"):
            import_files(data, joined, images_dir=tmp_path)
        assert not data.exists()

    def test_folder_not_there(self, joined: Path, tmp_path: Path, data: Path) -> None:
        with pytest.raises(DataError, match="none: does not exist"):
            import_files(data, joined, images_dir=tmp_path / "none")

    def test_addresses(self, joined: Path, tmp_path: Path, data: Path) -> None:
        urls = written(tmp_path / "u.csv", 'product_id,image_url\nA,"https://x.invalid/a,b.png"\nB,\n')
        assert import_files(data, joined, image_urls=urls).image_urls == 1
        assert (data / formats.IMAGE_URLS_FILE).read_text().splitlines() == [
            '"product_id","image_url"',
            '"A","https://x.invalid/a,b.png"',
        ]


class TestASample:
    def test_that_something_was_added_to_is_no_sample_any_more(
        self, tiny_data: Path, tmp_path: Path, data: Path
    ) -> None:
        shutil.copytree(tiny_data, data)
        mine = vectors(tmp_path / "q.parquet", "query_id", ["1"], dim=64)
        report = import_files(data, query_features=mine, encoder=OfflineEncoder.name)
        assert not is_sample(data) and any("no sample any more" in note for note in report.notes)
        with pytest.raises(DataError, match="not the sample"):
            write_sample(data, SampleSpec(queries=3, products=60, pairs_per_query=4, dim=16))

    def test_a_readme_of_ones_own_stays(self, joined: Path, tmp_path: Path, data: Path) -> None:
        import_files(data, joined)
        written(data / formats.README_FILE, "mine")
        import_files(data, query_features=vectors(tmp_path / "q.parquet", "query_id", [5]))
        assert (data / formats.README_FILE).read_text() == "mine"


class TestNothingHalfWritten:
    @pytest.mark.parametrize("bad", ["examples", "products", "query_features", "product_features", "image_urls"])
    def test_a_fault_in_any_file_leaves_the_old_data(
        self, bad: str, tiny_data: Path, tmp_path: Path, data: Path
    ) -> None:
        import_files(data, written(tmp_path / "j.csv", JOINED))
        before = contents(data)
        files = {
            "examples": tiny_data / formats.EXAMPLES_FILE,
            "products": tiny_data / formats.PRODUCTS_FILE,
            "query_features": tiny_data / formats.QUERY_FEATURES_FILE,
            "product_features": tiny_data / formats.PRODUCT_FEATURES_FILE,
            "image_urls": tiny_data / formats.IMAGE_URLS_FILE,
        }
        files[bad] = tmp_path / f"bad{files[bad].suffix}"
        files[bad].write_bytes(b"PAR1" if files[bad].suffix == ".parquet" else b"")
        with pytest.raises(DataError, match="bad"):
            import_files(data, files.pop("examples"), **files)
        assert contents(data) == before
        assert [path.name for path in data.parent.iterdir()] == ["data"]

    def test_an_interruption_leaves_the_old_data(
        self, joined: Path, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import_files(data, joined)
        before = contents(data)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(importing, "_count_gaps", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_files(data, joined)
        assert contents(data) == before

    def test_nothing_to_import(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="nothing to import"):
            import_files(data)


class TestProductsAlone:
    """How a shop begins: a catalogue that nobody has judged."""

    def test_from_a_products_file_to_prepared_products(self, tmp_path: Path) -> None:
        from sqidflow.data.check import check_folder
        from sqidflow.data.encode import encode_missing
        from sqidflow.data.prepare import load_report, prepare
        from sqidflow.encoders.offline import OfflineEncoder

        file, data = tmp_path / "products.csv", tmp_path / "work" / "data"
        file.write_text("product_id,product_title\nA,red kettle\nB,blue lamp\nA,red kettle\n")
        report = import_files(data, products=file)
        assert (report.products, report.repeated_products_dropped, report.judgements) == (2, 1, 0)
        assert report.products_not_judged == 2
        assert sorted(path.name for path in data.iterdir()) == [formats.PRODUCTS_FILE]
        encoded = encode_missing(data, OfflineEncoder(dim=16))
        assert (encoded.product_texts_encoded, encoded.queries_encoded) == (2, 0)
        assert [problem for each in check_folder(data) for problem in each.problems] == []
        prepared = prepare(data, tmp_path / "artifacts")
        assert (prepared.products, prepared.products_not_judged, prepared.pairs) == (2, 2, 0)
        assert load_report(tmp_path / "artifacts", data).products == 2

    def test_judgements_are_not_dropped_by_them(self, tiny_data: Path, tmp_path: Path) -> None:
        data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
        file = tmp_path / "products.csv"
        file.write_text("product_id,product_title\nA,red kettle\n")
        with pytest.raises(DataError, match="products alone would drop the judgements"):
            import_files(data, products=file)
        assert sorted(path.name for path in data.iterdir()) == sorted(path.name for path in tiny_data.iterdir())
