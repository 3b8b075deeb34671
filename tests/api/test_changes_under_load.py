"""Products are added, changed and deleted while eight clients search: each answer is of one index, and none fails."""

from __future__ import annotations

from pathlib import Path

from pipeline.features import make_features
from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.data.encode import encode_missing
from sqidflow.data.importing import import_files
from sqidflow.data.prepare import prepare
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.indexing.make import make_index
from sqidflow.search.index import ProductIndex
from tests.api.clients import Clients, answer_of
from tests.api.test_server import Server
from tests.command_line import must, sqidflow
from tests.conftest import Measured
from tests.unit.cli.conftest import write_products

HEAD = "product_id,product_title,product_brand,product_color\n"
FIELDS = ("product_id", "title")
NEW, CHANGED, DELETED = "N1", "P20", "P05"
QUERIES = ("red kettle", "violet teapot", "borealis blue", "acme running shoe", "zephyr", "white desk lamp", "backpack")


def test_no_answer_fails_or_is_of_two_indexes(tmp_path: Path, measured: Measured) -> None:
    products = write_products(tmp_path / "products.csv")
    must(sqidflow("quickstart", "--products", str(products), "--no-serve", "--workdir", str(tmp_path / "work")))
    place = Workdir(tmp_path / "work")
    settings = load_settings(place.root, (), {})
    titles: dict[str, dict[str, str]] = {}

    def known(folder: Path) -> str:
        index = ProductIndex(folder)
        titles[folder.name] = dict(zip(index.column("product_id"), index.column("title")))
        return folder.name

    def change(rows: str | None, *remove: str) -> str:
        file = tmp_path / "changed.csv"
        file.write_text(HEAD + (rows or ""))
        import_files(place.data, products=file if rows else None, merge=True, remove=remove)
        encode_missing(place.data, OfflineEncoder())
        prepare(place.data, place.artifacts, **settings.data.filters())
        made = make_index(place, settings)
        assert made.meta.updated_from is not None
        return known(made.folder)

    def routes(product: str) -> dict[str, int]:
        """The status of each route that is about one product."""
        paths = ("", "/similar", "/image", "/features")
        about = {path: server.get(f"/v1/product{path}?id={product}")[0] for path in paths}
        asked = {"query": "teapot", "product_id": product}
        return about | {"/explain": server.request("POST", "/v1/explain", asked)[0]}

    make_features(place, settings)
    server = Server(place.root)
    try:
        assert routes(DELETED) == {"": 200, "/similar": 200, "/image": 404, "/features": 200, "/explain": 200}
        indexes = [known(next(place.index.iterdir()))]
        with Clients(answer_of(server, k=10), QUERIES, count=8, by="index", fields=FIELDS) as clients:
            clients.wait_for(indexes[-1], 100)
            for rows, *remove in (
                (f"{NEW},Zephyr violet teapot,Zephyr,violet\n",),
                (f"{CHANGED},Zephyr violet umbrella,Zephyr,violet\n",),
                (None, DELETED),
            ):
                indexes.append(change(rows, *remove))
                clients.wait_for(indexes[-1], 100)
        mixed = [
            (index, product)
            for (index, _), answers in clients.results.items()
            for hits in answers
            for product, title in hits
            if titles[index].get(product) != title
        ]
        measured("answers by index", str([clients.answers[index] for index in indexes]))
        measured("failed, mixed", f"{len(clients.failed)}, {len(mixed)}")
        assert not clients.failed and not mixed
        assert sorted(clients.answers) == sorted(indexes) and min(clients.answers.values()) > 100
        varied = {key for key, answers in clients.results.items() if len(answers) != 1}
        assert not varied, "a query has one answer in one index"

        assert clients.results[indexes[1], "violet teapot"].pop()[0] == (NEW, "Zephyr violet teapot")
        assert (CHANGED, "Zephyr violet umbrella") in clients.results[indexes[2], "zephyr"].pop()
        declared, said = load_settings(place.root, ("data.attributes={size: number}",), {}), list[str]()
        told = "data.attributes declares {size: number}, but size is not in the data"
        assert make_features(place, declared).notes[0].startswith(told)
        assert make_index(place, declared, say=said.append).cached and said[0].startswith(f"note: {told}")
        assert set(routes(DELETED).values()) == {404}
        assert routes(NEW) == {"": 200, "/similar": 200, "/image": 404, "/features": 200, "/explain": 200}
        for path in (f"/products/{DELETED}", f"/products/{DELETED}/similar", f"/products/{DELETED}/image"):
            assert server.get(path)[0] == 404, path
    finally:
        server.end()
