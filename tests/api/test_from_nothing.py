"""A shop that begins: a spreadsheet's export in German, a search, thirty judgements, a trained model that answers."""

from __future__ import annotations

import csv
import itertools
import shlex
from pathlib import Path
from typing import Any

from tests.api.test_server import Server
from tests.command_line import must, sqidflow
from tests.conftest import REPOSITORY
from tests.docs.sessions import commands, steps_of

KINDS = ("Wasserkocher", "Teekannen", "Turnschuhe", "Schreibtischlampen", "Wolldecken", "Rucksäcke", "Kaffeebecher")
COLORS = ("rot", "grün", "blau", "schwarz", "weiß")
BRANDS = ("Größwerk", "Müller & Söhne", "Nordlicht")
QUERIES = ("Teekanne rot", "turnschuh", "Rucksack blau", "schreibtischlampe weiß", "Wolldecke", "kaffeebecher grün")
LOCALE = ("data.locale=de",)
LENIENT = ("evaluation.min_lift=-0.1",)
"""Two held-out queries that the cosine answers without a fault leave nothing to be better at."""


def write_export(file: Path) -> Path:
    """As a German spreadsheet saves it: semicolons, byte order mark, `sep=`, trailing empty columns, leading zeros."""
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        stream.write("sep=;\r\n")
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(
            ["product_id", "product_title", "product_brand", "product_color", "product_description", "product_locale"]
            + ["", ""]
        )
        for number, (kind, color, brand) in enumerate(itertools.product(KINDS, COLORS, BRANDS)):
            title = f"{brand} {kind} {color}, Modell {number}"
            text = f'{kind} in {color};\n"sehr schön"'
            writer.writerow([f"{number:05d}", title, brand, color, text, "de", "", ""])
    return file


def label_of(query: str, title: str, color: str | None) -> str:
    """What a person would press."""
    right_kind = title.split(",")[0].casefold().find(query.split()[0].casefold()[:5]) >= 0
    asked = [each for each in COLORS if each in query]
    if not right_kind:
        return "I"
    return "E" if not asked or color in asked else "S"


def learn(work: Path, folder: Path) -> dict[str, Any]:
    """Type the commands of the shop's page below "Learn from judgements"; what `run` printed."""
    printed: dict[str, Any] = {}
    settings = LOCALE + LENIENT
    for typed in commands(steps_of(REPOSITORY / "docs" / "start" / "shop.md", "Learn from judgements")):
        arguments = [*shlex.split(typed)[1:], "--json", "--workdir", str(work)]
        answer = sqidflow(*arguments, settings=settings, cwd=folder)
        if answer.code == 2 and "falls into the split" in answer.err:
            # Six queries need not fall into all three splits: the hint says what to add.
            assert answer.err.count("\n") == 1, answer.err
            settings += tuple(part for part in answer.err.split() if part.startswith("split."))
            answer = sqidflow(*arguments, settings=settings, cwd=folder)
        printed[typed] = must(answer).json
    exported, imported, _, _, run, _ = printed.values()
    assert exported["rows"] == 30
    assert (imported["judgements"], imported["queries"]) == (30, len(QUERIES))
    return dict(run)


def test_from_a_products_file_to_a_trained_model(tmp_path: Path) -> None:
    products, work = write_export(tmp_path / "produkte.csv"), tmp_path / "work"
    place = ("--workdir", str(work))
    refused = sqidflow("quickstart", "--products", str(products), "--no-serve", *place)
    assert refused.code == 2 and "--set data.locale=de" in refused.err, refused.err
    must(sqidflow("quickstart", "--products", str(products), "--no-serve", *place, settings=LOCALE))
    server = Server(work, *LOCALE)
    try:
        judged: set[tuple[str, str]] = set()
        for query in QUERIES:
            status, answer = server.search(query, k=5)
            assert status == 200 and answer["versions"]["model_name"] == "zero-shot, not trained"
            assert len(answer["results"]) == 5
            for hit in answer["results"]:
                body = {
                    "kind": "judgement", "request_id": answer["request_id"], "client": "shop-keeper-1",
                    "product_id": hit["product_id"], "label": label_of(query, hit["title"], hit["color"]),
                }  # fmt: skip
                assert server.request("POST", "/feedback", body)[0] == 202
                judged.add((query, hit["product_id"]))
        assert len(judged) == 30

        run = learn(work, tmp_path)
    finally:
        server.end()

    assert run["pushed_model"] is not None
    server = Server(work, *LOCALE)
    try:
        status, answer = server.search("Teekanne rot", k=5)
        assert status == 200 and answer["versions"]["model_name"] != "zero-shot, not trained"
        assert answer["versions"]["model"] == Path(run["pushed_model"]).name
        assert "Teekannen rot" in answer["results"][0]["title"]
        leading_zeros = [hit["product_id"] for hit in answer["results"]]
        assert all(len(product) == 5 for product in leading_zeros), "ids stay texts"
    finally:
        server.end()
