from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sqidflow.core.errors import DataError, SqidflowError
from sqidflow.data import formats
from sqidflow.data.check import check_folder
from sqidflow.data.encode import encode_missing
from sqidflow.data.importing import import_files
from sqidflow.data.merging import ids_to_remove
from sqidflow.data.prepare import prepare
from sqidflow.encoders.offline import OfflineEncoder

PRODUCTS = (
    "product_id,product_title,product_description,product_brand\n"
    "A,Red shoe,Of leather,Acme\nB,Blue sofa,,\nC,Green lamp,For desks,Lux\n"
)
JUDGED = "query,product_id,esci_label,split\nred shoe,A,E,train\nred shoe,B,I,test\nlamp,C,E,train\nsofa,B,S,train\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def products(data: Path) -> dict[str, dict[str, str | None]]:
    return {row["product_id"]: row for row in pq.read_table(data / formats.PRODUCTS_FILE).to_pylist()}


def judgements(data: Path) -> list[tuple[int, str, str, str]]:
    table = pq.read_table(data / formats.EXAMPLES_FILE).select(["query_id", "query", "product_id", "esci_label"])
    return [tuple(row.values()) for row in table.to_pylist()]


def ids(file: Path, key: str = "product_id") -> list:
    return pq.read_table(file)[key].to_pylist()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three products, four judgements, vectors by the offline encoder, pictures and addresses of two products."""
    folder = tmp_path / "work" / "data"
    images = tmp_path / "pictures"
    images.mkdir()
    for name, color in (("A", (200, 0, 0)), ("B", (0, 0, 200))):
        Image.new("RGB", (20, 20), color).save(images / f"{name}.png")
    import_files(
        folder,
        written(tmp_path / "judged.csv", JUDGED),
        products=written(tmp_path / "products.csv", PRODUCTS),
        images_dir=images,
        image_urls=written(tmp_path / "urls.csv", "product_id,image_url\nA,http://x/a\nB,http://x/b\n"),
    )
    encode_missing(folder, OfflineEncoder(64))
    return folder


class TestProducts:
    def test_added_replaced_and_unchanged_are_told_apart(self, data: Path, tmp_path: Path) -> None:
        change = written(
            tmp_path / "c.csv",
            "product_id,product_title,product_description,product_brand\n"
            "B,Blue couch,Soft,\nA,Red shoe,Of leather,Acme\nD,White bed,,\n",
        )
        report = import_files(data, products=change, merge=True)
        assert (report.products_added, report.products_replaced, report.products_unchanged) == (1, 1, 1)
        assert (report.products, report.judgements, report.products_removed) == (4, 4, 0)
        assert ids(data / formats.PRODUCTS_FILE) == ["A", "B", "C", "D"]
        assert products(data)["B"]["product_title"] == "Blue couch"
        assert len(judgements(data)) == 4

    def test_what_the_file_has_no_column_for_stays_and_an_empty_field_clears(self, data: Path, tmp_path: Path) -> None:
        change = written(tmp_path / "c.csv", "product_id,product_title,product_brand\nA,Scarlet shoe,\n")
        import_files(data, products=change, merge=True)
        assert products(data)["A"]["product_description"] == "Of leather"
        assert products(data)["A"]["product_brand"] is None

    def test_a_product_without_a_locale_is_of_the_locale_it_has(self, tmp_path: Path) -> None:
        data = tmp_path / "work" / "data"
        first = written(tmp_path / "p.csv", "product_id,product_title,product_locale\nA,Roter Schuh,de\n")
        import_files(data, products=first)
        change = written(tmp_path / "c.csv", "product_id,product_title\nA,Rote Schuhe\nB,Blaues Sofa\n")
        report = import_files(data, products=change, merge=True)
        assert (report.products_added, report.products_replaced) == (1, 1)
        assert [row["product_locale"] for row in products(data).values()] == ["de", "de"]

    def test_a_product_of_two_locales_needs_its_locale(self, tmp_path: Path) -> None:
        data = tmp_path / "work" / "data"
        rows = "A,Schuh,de\nA,Shoe,us\n"
        import_files(data, products=written(tmp_path / "p.csv", f"product_id,product_title,product_locale\n{rows}"))
        before = contents(data)
        change = written(tmp_path / "c.csv", "product_id,product_title\nB,Bed\nA,Shoes\n")
        with pytest.raises(DataError, match="c.csv, row 2, column product_locale: product A stands in several"):
            import_files(data, products=change, merge=True)
        assert contents(data) == before

    def test_two_texts_of_one_id_change_nothing(self, data: Path, tmp_path: Path) -> None:
        before = contents(data)
        change = written(tmp_path / "c.csv", "product_id,product_title\nD,Bed\nE,Cup\nD,Chair\n")
        with pytest.raises(DataError, match="c.csv, row 3, column product_title: product D .* has 'Chair' here"):
            import_files(data, products=change, merge=True)
        assert contents(data) == before

    def test_there_is_nothing_to_merge_into(self, tmp_path: Path) -> None:
        change = written(tmp_path / "c.csv", "product_id,product_title\nA,Shoe\n")
        with pytest.raises(DataError, match="no products to merge into; leave --merge out"):
            import_files(tmp_path / "work" / "data", products=change, merge=True)
        assert not (tmp_path / "work" / "data").exists()

    def test_the_sample_is_no_sample_any_more(self, tmp_path: Path) -> None:
        from sqidflow.data.sample import SampleSpec, is_sample, write_sample

        data = tmp_path / "work" / "data"
        write_sample(data, SampleSpec(queries=20, products=60, pairs_per_query=3, dim=64))
        import_files(data, products=written(tmp_path / "c.csv", "product_id,product_title\nnew,Bed\n"), merge=True)
        assert not is_sample(data)
        assert "new" in products(data)


class TestJudgements:
    def test_known_queries_keep_their_ids(self, data: Path, tmp_path: Path) -> None:
        change = written(
            tmp_path / "j.csv", "query,product_id,esci_label\nRED  shoe,B,C\nlamp,C,E\nbed,A,I\nlamp,A,I\n"
        )
        report = import_files(data, change, merge=True)
        assert (report.judgements_added, report.judgements_replaced, report.judgements_unchanged) == (2, 1, 1)
        assert judgements(data) == [
            (1, "red shoe", "A", "E"),
            (1, "red shoe", "B", "C"),
            (2, "lamp", "C", "E"),
            (3, "sofa", "B", "S"),
            (4, "bed", "A", "I"),
            (2, "lamp", "A", "I"),
        ]
        table = pq.read_table(data / formats.EXAMPLES_FILE)
        assert table["split"].to_pylist() == ["train", "test", "train", "train", "train", "train"]
        assert table["example_id"].to_pylist() == [0, 1, 2, 3, 4, 5]
        assert report.queries == 4

    def test_a_given_id_of_another_query_is_an_error(self, tmp_path: Path) -> None:
        data = tmp_path / "work" / "data"
        text = "query_id,query,product_id,product_title,esci_label\n5,shoe,A,Shoe,E\n"
        import_files(data, written(tmp_path / "j.csv", text))
        before = contents(data)
        change = written(tmp_path / "c.csv", "query_id,query,product_id,esci_label\n6,boot,A,S\n5,lamp,A,I\n")
        with pytest.raises(DataError, match="c.csv, row 2, column query_id: query_id 5 is 'lamp' here and 'shoe' in"):
            import_files(data, change, merge=True)
        assert contents(data) == before

    def test_a_given_id_gives_way_to_one_that_was_made_up(self, data: Path, tmp_path: Path) -> None:
        change = written(tmp_path / "c.csv", "query_id,query,product_id,esci_label\n1,bed,A,I\n9,lamp,A,I\n")
        import_files(data, change, merge=True)
        assert judgements(data)[4:] == [(4, "bed", "A", "I"), (2, "lamp", "A", "I")]

    def test_a_judged_product_without_a_row_changes_nothing(self, data: Path, tmp_path: Path) -> None:
        before = contents(data)
        change = written(tmp_path / "j.csv", "query,product_id,esci_label\nlamp,C,S\nlamp,Z,E\n")
        with pytest.raises(DataError, match="j.csv, row 2, column product_id: product Z .* is not among the products"):
            import_files(data, change, merge=True)
        with pytest.raises(DataError, match="j.csv, row 1, column product_id: product C .* is not among"):
            import_files(data, change, merge=True, remove=("C",))
        assert contents(data) == before

    def test_first_judgements_of_a_catalogue(self, tmp_path: Path) -> None:
        data = tmp_path / "work" / "data"
        import_files(data, products=written(tmp_path / "p.csv", PRODUCTS))
        report = import_files(data, written(tmp_path / "j.csv", JUDGED), merge=True)
        assert (report.judgements_added, report.products) == (4, 3)
        assert not [
            p for r in check_folder(data) for p in r.problems if "vector" not in p and "does not exist" not in p
        ]

    def test_joined_judgements_bring_their_products(self, data: Path, tmp_path: Path) -> None:
        change = written(tmp_path / "j.csv", "query,product_id,product_title,esci_label\nbed,D,White bed,E\n")
        report = import_files(data, change, merge=True)
        assert (report.products_added, report.judgements_added) == (1, 1)
        assert products(data)["D"]["product_title"] == "White bed"


class TestRemoval:
    def test_all_that_is_of_a_product_goes_with_it(self, data: Path) -> None:
        report = import_files(data, merge=True, remove=("B",))
        assert (report.products_removed, report.judgements_removed, report.product_vectors_removed) == (1, 2, 1)
        assert (report.pictures_removed, report.image_urls_removed, report.query_vectors_removed) == (1, 1, 1)
        assert [row[1:] for row in judgements(data)] == [("red shoe", "A", "E"), ("lamp", "C", "E")]
        for file in (formats.PRODUCTS_FILE, formats.PRODUCT_FEATURES_FILE):
            assert "B" not in ids(data / file)
        assert ids(data / formats.IMAGES_FILE) == ["A"]
        assert pacsv.read_csv(data / formats.IMAGE_URLS_FILE)["product_id"].to_pylist() == ["A"]
        assert not [problem for file in check_folder(data) for problem in file.problems]

    def test_a_new_query_does_not_get_the_vector_of_one_that_went(self, data: Path, tmp_path: Path) -> None:
        change = written(tmp_path / "j.csv", "query,product_id,esci_label\nchair,A,I\n")
        import_files(data, change, merge=True, remove=("B",))
        assert judgements(data)[-1] == (4, "chair", "A", "I")
        assert sorted(map(int, ids(data / formats.QUERY_FEATURES_FILE, "query_id"))) == [1, 2]

    @pytest.mark.parametrize(
        ("remove", "message"),
        [
            (("A", "Q", "R"), "--remove: Q is no product of .*, like 1 more; correct the id or leave it out"),
            (("A", "B", "C"), "no product would be left"),
        ],
    )
    def test_refused_whole(self, data: Path, remove: tuple[str, ...], message: str) -> None:
        before = contents(data)
        with pytest.raises(SqidflowError, match=message):
            import_files(data, merge=True, remove=remove)
        assert contents(data) == before

    def test_a_product_to_be_added_and_removed(self, data: Path, tmp_path: Path) -> None:
        change = written(tmp_path / "c.csv", "product_id,product_title\nA,Shoe\n")
        with pytest.raises(SqidflowError, match="product A is to be removed and is among the products of the files"):
            import_files(data, products=change, merge=True, remove=("A",))

    def test_the_last_judgement(self, tmp_path: Path) -> None:
        data = tmp_path / "work" / "data"
        judged = written(tmp_path / "j.csv", "query,product_id,esci_label\nshoe,A,E\n")
        import_files(data, judged, products=written(tmp_path / "p.csv", PRODUCTS))
        encode_missing(data, OfflineEncoder(64))
        report = import_files(data, merge=True, remove=("A",))
        assert formats.has_no_judgements(data)
        assert any("no judgements are left" in note for note in report.notes)

    def test_without_merge(self, data: Path) -> None:
        with pytest.raises(DataError, match="add --merge"):
            import_files(data, remove=("A",))

    def test_ids(self, tmp_path: Path) -> None:
        assert ids_to_remove("A, B,,A") == ("A", "B")
        file = tmp_path / "gone.txt"
        file.write_bytes("\ufeffproduct_id\r\na,b\r\n\r\n00012\r\n".encode())
        assert ids_to_remove(f"@{file}") == ("a,b", "00012")
        with pytest.raises(SqidflowError, match="names no product"):
            ids_to_remove(" , ")
        with pytest.raises(DataError, match="does not exist"):
            ids_to_remove(f"@{tmp_path / 'none.txt'}")


class TestVectors:
    def test_only_what_is_new_or_changed_is_encoded(self, data: Path, tmp_path: Path) -> None:
        change = written(tmp_path / "c.csv", "product_id,product_title\nA,Scarlet shoe\nB,Blue sofa\nD,White bed\n")
        import_files(
            data, written(tmp_path / "j.csv", "query,product_id,esci_label\nbed,D,E\n"), products=change, merge=True
        )
        encoded: list[str] = []

        class Recording(OfflineEncoder):
            def encode_texts(self, texts: list[str]) -> np.ndarray:
                encoded.extend(texts)
                return super().encode_texts(texts)

        report = encode_missing(data, Recording(64))
        assert sorted(encoded) == ["Scarlet shoe", "White bed", "bed"]
        assert (report.queries_encoded, report.queries_renewed, report.queries_kept) == (1, 0, 3)
        assert (report.product_texts_encoded, report.product_texts_renewed, report.product_texts_kept) == (1, 1, 2)
        assert (report.pictures_encoded, report.pictures_renewed) == (0, 0)

    def test_a_vector_of_unknown_origin_goes_with_its_title(self, tmp_path: Path) -> None:
        data = tmp_path / "work" / "data"
        vectors = tmp_path / "v.parquet"
        rows = np.random.default_rng(0).random((3, 8)).tolist()
        pq.write_table(pa.table({"product_id": ["A", "B", "C"], "clip_text_features": rows}), vectors)
        import_files(data, products=written(tmp_path / "p.csv", PRODUCTS), product_features=vectors, encoder="mine")
        change = written(
            tmp_path / "c.csv", "product_id,product_title,product_brand\nA,Scarlet shoe,\nB,Blue sofa,Sofy\n"
        )
        report = import_files(data, products=change, merge=True)
        assert report.text_vectors_dropped == 1
        table = pq.read_table(data / formats.PRODUCT_FEATURES_FILE)
        assert [row is None for row in table[formats.TEXT_VECTOR].to_pylist()] == [True, False, False]
        assert table.schema.metadata[formats.ENCODER_KEY.encode()] == b"mine"
        again = tmp_path / "again.parquet"
        pq.write_table(pa.table({"product_id": ["B"], "clip_text_features": [[1.0] * 8]}), again)
        change.write_text("product_id,product_title\nB,Blue couch\n")
        import_files(data, products=change, product_features=again, encoder="mine", merge=True)
        table = pq.read_table(data / formats.PRODUCT_FEATURES_FILE)
        vector_of = dict(zip(table["product_id"].to_pylist(), table[formats.TEXT_VECTOR].to_pylist(), strict=True))
        assert vector_of["B"] == [1.0] * 8
        assert vector_of["C"] is not None

    def test_a_change_of_texts_leaves_the_vectors_alone(self, data: Path, tmp_path: Path) -> None:
        vectors = data / formats.PRODUCT_FEATURES_FILE
        before, content = vectors.stat().st_ino, vectors.read_bytes()
        change = written(tmp_path / "c.csv", "product_id,product_title\nA,Scarlet shoe\nD,White bed\n")
        import_files(data, products=change, merge=True)
        assert (vectors.stat().st_ino, vectors.read_bytes()) == (before, content)

    def test_features_are_not_made_of_a_vector_of_the_former_title(self, data: Path, tmp_path: Path) -> None:
        prepare(data, tmp_path / "artifacts")
        change = written(tmp_path / "c.csv", "product_id,product_title\nD,White bed\n")
        import_files(data, products=change, merge=True)
        encode_missing(data, OfflineEncoder(64))
        prepare(data, tmp_path / "artifacts")
        import_files(data, products=written(change, "product_id,product_title\nD,Black bed\n"), merge=True)
        outdated = "1 product has a vector of another title.*run `sqidflow data encode`"
        with pytest.raises(DataError, match=outdated):
            prepare(data, tmp_path / "artifacts")
        (problem,) = (problem for report in check_folder(data) for problem in report.problems)
        assert re.search(outdated, problem)
        encode_missing(data, OfflineEncoder(64))
        prepare(data, tmp_path / "artifacts")

    def test_prepare_follows(self, data: Path, tmp_path: Path) -> None:
        artifacts = tmp_path / "artifacts"
        prepare(data, artifacts)
        change = written(tmp_path / "c.csv", "product_id,product_title\nA,Scarlet shoe\nD,White bed\n")
        import_files(data, products=change, merge=True, remove=("C",))
        encode_missing(data, OfflineEncoder(64))
        report = prepare(data, artifacts)
        assert not report.cached
        catalogue = pq.read_table(artifacts / "prepared" / "products.parquet")
        assert dict(zip(catalogue["product_id"].to_pylist(), catalogue["product_title"].to_pylist(), strict=True)) == {
            "A": "Scarlet shoe",
            "B": "Blue sofa",
            "D": "White bed",
        }
        assert "C" not in ids(artifacts / "features" / "products.parquet")
