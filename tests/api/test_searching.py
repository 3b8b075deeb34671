"""Searches by words and pictures, their parts, filters, variants."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sqidflow.core.model_files import VALIDATION_QUERIES
from sqidflow.search import schemas
from tests.api.conftest import problem, product_of


def search(client: TestClient, query: str, **more) -> schemas.SearchResponse:
    answer = client.post("/predict", json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return schemas.SearchResponse.model_validate(answer.json())


def test_an_answer_is_ranked_calibrated_and_traceable(client, known_query, first_run) -> None:
    found = search(client, known_query, k=7)
    assert 0 < len(found.results) <= 7
    assert [result.rank for result in found.results] == list(range(1, len(found.results) + 1))
    scores = [result.score for result in found.results]
    assert scores == sorted(scores, reverse=True) and scores[-1] >= found.cutoff > 0
    for result in found.results:
        chance = result.probabilities
        assert pytest.approx(1, abs=1e-4) == chance.E + chance.S + chance.C + chance.I
        assert result.score == pytest.approx(chance.E + 0.1 * chance.S + 0.01 * chance.C, abs=1e-4)
        assert result.explanation is None
    assert found.versions.model == first_run["pushed_model"].rpartition("/")[2]
    assert found.versions.mlflow_run_id == first_run["mlflow_run_id"]
    assert found.versions.data_hash == first_run["data_hash"]
    assert found.variant == "a" and found.candidates == 100 and not found.cached


def test_an_answer_explains_itself(client, known_query) -> None:
    found = search(client, known_query, k=3, explain=True)
    for result in found.results:
        parts = [abs(part.contribution) for part in result.explanation]
        assert parts == sorted(parts, reverse=True) and len(parts) >= 8 and parts[0] > 0
        total = sum(part.contribution for part in result.explanation)
        assert total == pytest.approx(result.score - result.baseline, abs=1e-5)
    brand = next(part for part in found.results[0].explanation if part.name == "cosine_text")
    assert -1 <= brand.value <= 1 and brand.label


def test_the_documented_example_is_answered(client) -> None:
    answer = client.post("/v1/predict", json={"query": schemas.EXAMPLE_QUERY}).json()
    assert answer["no_answer"] is None and answer["results"]


def test_a_product_is_found_by_its_title(client, facets) -> None:
    product = product_of(facets["sample_pictures"][0])
    title = client.get(f"/products/{product}").json()["title"]
    assert product in [result.product_id for result in search(client, title).results]


@pytest.mark.parametrize("query", ["asdfghjkl", "zxcvb qwrtpsdf", "9281736450", "capital of france"])
def test_nothing_fits(client, query) -> None:
    found = search(client, query)
    assert found.results == [] and found.no_answer.code == "nothing_fits"


def test_a_threshold_of_the_request_decides_alone(client) -> None:
    found = search(client, "asdfghjkl", threshold=0)
    assert len(found.results) == 10 and found.cutoff == 0 and not found.uncertain


@pytest.mark.parametrize("query", ["", "   ", "!!! ???", "\u0000\u0007", "\U0001f45f\U0001f45f", "---___"])
def test_no_words(client, query) -> None:
    found = search(client, query)
    assert found.results == [] and found.no_answer.code == "no_words"


def test_typos_spaces_slang_and_long_questions_are_kept(client, facets) -> None:
    from sqidflow.search.fitness import disguised

    queries = facets["sample_queries"]
    empty = [query for query in disguised(queries, seed=77) if not search(client, query).results]
    assert len(empty) <= len(queries) * 3 * 0.1, empty


def test_what_was_measured_of_the_cut_off_is_printed(index_document, first_run) -> None:
    measured = index_document["calibration"]
    held = json.loads((Path(first_run["pushed_model"]) / VALIDATION_QUERIES).read_text())["query_ids"]
    assert 10 <= measured["measured"]["validation_queries"] <= len(held), "those that have an Exact product"
    assert measured["false_rejects"]["validation_queries"] <= 0.05
    assert measured["false_rejects"]["mistyped_and_wrapped_queries"] <= 0.1
    assert measured["false_accepts"]["gibberish"] <= 0.05
    assert measured["false_accepts"]["off_catalogue"] <= 0.25
    assert index_document["recall_at_10"] == 1.0


def test_filters(client, known_query, facets) -> None:
    brand, color = facets["brands"][0]["value"], facets["colors"][0]["value"]
    found = search(client, known_query, threshold=0, k=50, filters={"brand": [brand.upper()]})
    assert found.results and {result.brand for result in found.results} == {brand}
    found = search(client, known_query, threshold=0, k=50, filters={"color": [color], "with_picture": True})
    assert found.results and all(result.color == color and result.image for result in found.results)
    found = search(client, known_query, filters={"brand": ["nobody makes this"]})
    assert found.results == [] and found.no_answer.code == "filtered_out"


def test_a_filter_refuses_no_query_that_was_answered(client, prepared, first_run) -> None:
    import pyarrow.csv

    ids = set(json.loads((Path(first_run["pushed_model"]) / VALIDATION_QUERIES).read_text())["query_ids"])
    pairs = pyarrow.csv.read_csv(prepared / "artifacts/prepared/pairs.csv").select(["query_id", "query"]).to_pylist()
    refused, scores = [], []
    for query in sorted({pair["query"] for pair in pairs if pair["query_id"] in ids}):
        for hit in search(client, query, k=3).results:
            filters = {"brand": [hit.brand] if hit.brand else [], "color": [hit.color] if hit.color else []}
            found = search(client, query, filters=filters)
            same = [result for result in found.results if result.product_id == hit.product_id]
            if not same:
                refused.append((query, hit.product_id, filters))
            else:
                scores.append(abs(same[0].score - hit.score))
    assert len(scores) > 20 and not refused
    assert max(scores) < 0.1  # what it is compared with stays the same, nearly


def test_gibberish_stays_gibberish_behind_a_filter(client, facets) -> None:
    found = search(client, "asdfghjkl", filters={"brand": [facets["brands"][0]["value"]]})
    assert found.results == [] and found.no_answer.code == "nothing_fits"


def test_threshold(client, known_query) -> None:
    every = search(client, known_query, threshold=0, k=100)
    assert len(every.results) == 100 and every.cutoff == 0
    some = search(client, known_query, threshold=every.results[4].score, k=100)
    assert [r.product_id for r in some.results] == [r.product_id for r in every.results][: len(some.results)]
    assert len(some.results) >= 4
    none = search(client, known_query, threshold=1.0)
    assert none.results == [] and none.no_answer.code == "below_threshold"


def test_a_picture_finds_its_product(client, facets) -> None:
    hits = 0
    for path in facets["sample_pictures"]:
        answer = client.post("/predict-image", files={"image": client.get(path).content}, data={"k": 10})
        assert answer.status_code == 200, answer.text
        own = client.get("/v1/product", params={"id": product_of(path)}).json()
        found = schemas.SearchResponse.model_validate(answer.json()).results
        assert found
        # Pictures of one kind and colour are alike: one of the same kind must be there, mostly itself.
        hits += own["product_id"] in [result.product_id for result in found]
    assert hits >= len(facets["sample_pictures"]) // 2


def test_a_picture_with_words_follows_both(client, picture, known_query) -> None:
    alone = client.post("/predict-image", files={"image": picture}, data={"threshold": 0}).json()
    both = client.post("/predict-image", files={"image": picture}, data={"query": known_query, "threshold": 0}).json()
    assert both["original_query"] == known_query and alone["original_query"] == ""
    assert [r["product_id"] for r in alone["results"]] != [r["product_id"] for r in both["results"]]


def test_variants(client, known_query) -> None:
    a = client.get("/search_a", params={"query": known_query, "threshold": 0}).json()
    b = client.get("/search_b", params={"query": known_query, "threshold": 0}).json()
    assert (a["variant"], b["variant"]) == ("a", "b")
    predicted = client.post("/predict", json={"query": known_query, "threshold": 0}).json()
    assert [r["product_id"] for r in predicted["results"]] == [r["product_id"] for r in a["results"]]
    best = client.get("/search_best", params={"query": known_query, "threshold": 0}).json()
    assert best["strategy"] == "zscore" and best["variant"] in ("a", "b")
    chosen = {"a": a, "b": b}[best["variant"]]
    assert [r["product_id"] for r in best["results"]] == [r["product_id"] for r in chosen["results"]]


def test_interleaving_and_its_report(client, known_query) -> None:
    before = client.get("/experiments/report").json()
    answer = client.get(
        "/search_best", params={"query": known_query, "strategy": "interleave", "threshold": 0, "k": 10}
    ).json()
    teams = [result["variant"] for result in answer["results"]]
    assert answer["variant"] is None and abs(teams.count("a") - teams.count("b")) <= 1
    assert len({result["product_id"] for result in answer["results"]}) == 10
    of_b = next(result for result in answer["results"] if result["variant"] == "b")
    about = {"request_id": answer["request_id"], "client": "browser-1", "blind": True}
    click = {**about, "kind": "click", "product_id": of_b["product_id"]}
    for told in ({**about, "kind": "impression"}, click, click):  # a click counts once
        assert client.post("/feedback", json=told).status_code == 202
    after = client.get("/experiments/report").json()
    gained = {
        name: {key: new[key] - old[key] for key in ("exposures", "clicks", "wins")}
        for name, old, new in zip("ab", before["variants"], after["variants"])
    }
    assert gained == {"a": {"exposures": 1, "clicks": 0, "wins": 0}, "b": {"exposures": 1, "clicks": 1, "wins": 1}}
    assert 0 < after["sign_test_p"] <= 1
    assert client.post("/feedback", json={**about, "kind": "vote", "vote": "a"}).status_code == 202
    voted = client.get("/experiments/report").json()["variants"]
    # One vote a client and query: it takes the place of the click.
    assert [each["wins"] - old["wins"] for each, old in zip(voted, before["variants"])] == [1, 0]


def test_products(client, facets, prepared) -> None:
    product = product_of(facets["sample_pictures"][0])
    found = schemas.Product.model_validate(client.get(f"/products/{product}").json())
    assert found.title and found.image == facets["sample_pictures"][0]
    assert found.judged_for and {judged.label for judged in found.judged_for} <= set("ESCI")
    near = client.get(f"/products/{product}/similar", params={"k": 5}).json()["results"]
    assert len(near) == 5 and product not in [each["product_id"] for each in near]
    similarity = [each["similarity"] for each in near]
    assert similarity == sorted(similarity, reverse=True) and similarity[0] > 0.3
    problem(client.get("/products/NOSUCH"), 404)
    problem(client.get("/products/NOSUCH/similar"), 404)
    problem(client.get("/features/NOSUCH"), 404)


def test_a_picture_is_not_sent_twice(client, facets) -> None:
    path = facets["sample_pictures"][0]
    first = client.get(path)
    assert first.headers["content-type"] == "image/png" and first.content.startswith(b"\x89PNG")
    assert "max-age" in first.headers["cache-control"]
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b""


def test_features_are_those_of_the_feature_store(client, facets, prepared) -> None:
    import pyarrow.parquet as pq

    product = product_of(facets["sample_pictures"][0])
    found = schemas.FeaturesResponse.model_validate(client.get(f"/features/{product}").json())
    rows = pq.read_table(prepared / "artifacts/features/products.parquet", filters=[("product_id", "=", product)])
    assert found.product_text_vec == pytest.approx(rows["product_text_vec"][0].as_py(), abs=1e-6)
    assert found.product_image_vec == pytest.approx(rows["product_image_vec"][0].as_py(), abs=1e-6)


def test_operations(client, first_run, prepared) -> None:
    assert client.get("/healthz").json()["status"] == client.get("/readyz").json()["status"] == "ok"
    runs = schemas.RunsResponse.model_validate(client.get("/runs").json())
    mine = next(run for run in runs.runs if run.run_id == first_run["mlflow_run_id"])
    assert mine.serving and mine.model == first_run["model"] and mine.blessed
    assert mine.ndcg.mean == pytest.approx(first_run["ndcg"][first_run["model"]]["mean"], abs=1e-9)
    versions = schemas.VersionResponse.model_validate(client.get("/version").json())
    assert [variant.description for variant in versions.variants] == [
        f"{first_run['model']}, hybrid retrieval", f"{first_run['model']}, vectors only",
    ]  # fmt: skip
    text = client.get("/metrics").text
    assert "sqidflow_searches_total" in text and 'path="/predict"' in text


def test_the_page_says_how_it_is_built_or_is_there(client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200 and "html" in answer.headers["content-type"]


def test_every_result_of_many_searches_is_explained_to_the_last_digits(client, prepared) -> None:
    import pyarrow.csv as pacsv

    pairs = pacsv.read_csv(prepared / "artifacts/prepared/pairs.csv")
    queries = sorted(set(pairs["query"].to_pylist()))[:100]
    worst, explained = 0.0, 0
    for query in queries:
        for result in search(client, query, k=5).results:
            answer = client.post("/v1/explain", json={"query": query, "product_id": result.product_id}).json()
            total = sum(part["contribution"] for part in answer["parts"])
            worst, explained = max(worst, abs(total - (result.score - answer["baseline"]))), explained + 1
    assert explained > len(queries) and worst < 1e-5
