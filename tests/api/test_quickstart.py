"""`sqidflow quickstart`, as a shop begins: one command, then the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.test_server import Server
from tests.command_line import must, sqidflow
from tests.unit.cli.conftest import write_products


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    products = write_products(root / "products.csv")
    done = must(
        sqidflow("quickstart", "--products", str(products), "--no-serve", "--json", "--workdir", str(root / "work"))
    )
    assert done.json["index"]["model"] == "zero-shot, not trained" and done.json["prepared"]["products"] == 40
    return root / "work"


def test_the_service_answers_and_names_its_ranker(shop: Path) -> None:
    server = Server(shop)
    try:
        status, answer = server.search("borealis green running shoe", k=1)
        assert status == 200 and answer["results"][0]["title"] == "Borealis green running shoe, model 23"
        assert answer["versions"]["model_name"] == "zero-shot, not trained"
        status, _, content = server.get("/version")
        assert status == 200 and b"zero-shot, not trained" in content
        assert server.search("qwrtzp xkcdfg", threshold=None)[1]["no_answer"]["code"] == "nothing_fits"
    finally:
        server.end()


def test_a_damaged_file_is_found_and_built_anew(shop: Path) -> None:
    place = ("--workdir", str(shop))
    folder = Path(must(sqidflow("index", "--json", *place)).json["folder"])
    whole = must(sqidflow("index", "--verify", "--json", *place)).json["whole"]
    assert whole.keys() == {folder.name}
    file = folder / "image.npy"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    damaged = sqidflow("index", "--verify", *place)
    assert damaged.code == 2 and str(file) in damaged.err and damaged.err.count("\n") == 1
    assert not must(sqidflow("index", "--json", *place)).json["cached"]
    assert file.read_bytes() == content
    assert must(sqidflow("index", "--json", *place)).json["cached"]


def test_training_needs_judgements(shop: Path) -> None:
    done = sqidflow("run", "--workdir", str(shop))
    assert done.code == 2 and "no product is judged yet" in done.err and "Traceback" not in done.err
