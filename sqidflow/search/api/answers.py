"""From the search core's outcome to the API's answer: cache, variants side by side, log."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import orjson
from fastapi import HTTPException

from sqidflow.ranking import features
from sqidflow.search import schemas
from sqidflow.search.api.metrics import Metrics
from sqidflow.search.api.shadow import Answered, ShadowSearches
from sqidflow.search.attributes import UnfitRequest
from sqidflow.search.cache import key_of
from sqidflow.search.engine import RELEVANCE, Hit, Outcome, Request
from sqidflow.search.experiments import Exposure, team_draft
from sqidflow.search.explain import Explanation
from sqidflow.search.state import Service, Variant
from sqidflow.search.ubi import QueryRecord

Strategy = Literal["single", "zscore", "interleave"]
_DECIMALS = 6
_PART_DECIMALS = 9
"""More than of scores: what is rounded in ten parts is not to be seen in their sum."""
_BASELINE = "the middle candidate of this search"
_PICTURE_BASELINE = "a product that is nothing like the picture and has none of the words"


def picture_path(variant: Variant, row: int, product_id: str) -> str | None:
    """The path of a product's picture on this server; None where it has none."""
    return image_path(product_id) if variant.core.index.has_picture(row) else None


def image_path(product_id: str) -> str:
    return f"/v1/product/image?id={quote(product_id, safe='')}"


def _result(variant: Variant, rank: int, hit: Hit, by: schemas.VariantName | None) -> dict[str, Any]:
    index = variant.core.index
    chance = {label: round(hit.probabilities[number], _DECIMALS) for number, label in enumerate(features.CLASSES)}
    predicted = features.predicted_classes(np.array([hit.probabilities]), variant.core.ranker.class_rule)
    explained = hit.explanation
    return {
        "rank": rank,
        "product_id": hit.product_id,
        "title": index.cell("title", hit.row) or "",
        "brand": index.cell("brand", hit.row),
        "color": index.cell("color", hit.row),
        "description": index.cell("description", hit.row),
        "image": picture_path(variant, hit.row, hit.product_id),
        "attributes": index.attributes.of_row(hit.row, short=True),
        "score": round(min(1.0, max(0.0, hit.score)), _DECIMALS),
        "probabilities": chance,
        "predicted": features.CLASSES[int(predicted[0])],
        "variant": by,
        "explanation": None if explained is None else _parts(explained),
        "baseline": None if explained is None else round(explained.baseline, _PART_DECIMALS),
    }


def _parts(explained: Explanation) -> list[dict[str, Any]]:
    return [
        {
            "name": part.name,
            "label": part.label,
            "value": round(part.value, _DECIMALS),
            "contribution": round(part.contribution, _PART_DECIMALS),
        }
        for part in explained.parts
    ]


@dataclass(frozen=True)
class Visitor:
    """Who searches, by random ids of the browser and of the visit; "" where the request has none."""

    client: str = ""
    session: str = ""


class Answerer:
    """Answers searches of a visitor; for use by many threads."""

    def __init__(
        self,
        service: Service,
        metrics: Metrics,
        visitor: Visitor = Visitor(),
        shadows: ShadowSearches | None = None,
    ) -> None:
        self._service, self._metrics, self._visitor, self._shadows = service, metrics, visitor, shadows

    def single(self, request: Request, request_id: str, name: schemas.VariantName = "a") -> bytes:
        """One variant's answer, as JSON."""
        return self._answer(request, request_id, "single", (self._service.variants[name],))

    def best(self, request: Request, request_id: str, strategy: Literal["zscore", "interleave"]) -> bytes:
        """The better variant's answer by the z-score of its top-k similarity, or both interleaved; as JSON.

        Raises:
            UnfitRequest: an interleaved answer, which is drawn anew each time, has no order but its own and no pages.
        """
        for name, plain in (("sort", request.sort == RELEVANCE), ("offset", not request.offset)):
            if strategy == "interleave" and not plain:
                raise UnfitRequest(name, "an interleaved answer has no other order and no pages; ask for one variant")
        return self._answer(request, request_id, strategy, tuple(self._service.variants.values()))

    def _answer(self, request: Request, request_id: str, strategy: Strategy, variants: tuple[Variant, ...]) -> bytes:
        started = time.perf_counter()
        cache = self._service.cache
        image = hashlib.sha256(request.image).hexdigest() if request.image is not None else None
        key = key_of(
            strategy, *(variant.identity for variant in variants), request.query, image, request.k, request.threshold,
            request.brands, request.colors, request.with_picture, request.explain, request.verbatim,
            [astuple(each) for each in request.filters], request.sort, request.offset, request.facets,
        )  # fmt: skip
        # An interleaved answer is drawn anew each time: that is what makes its comparison fair.
        kept = cache.get(key) if strategy != "interleave" else None
        document = _read(kept)
        self._metrics.cache.labels("hit" if document else "miss").inc()
        extra: dict[str, Any] = {}
        if document is None:
            document, extra = self._search(request, request_id, strategy, variants)
            if strategy != "interleave":
                cache.put(key, orjson.dumps(document))
        else:
            document["cached"] = True
            document["timings"] = dict.fromkeys(document["timings"], 0.0)
        document["request_id"] = request_id
        document["timings"]["total_ms"] = round((time.perf_counter() - started) * 1000, 3)
        models = "+".join(dict.fromkeys(variant.versions.model for variant in variants))
        self._record(document, request, image, strategy, models, extra)
        answer = orjson.dumps(document)
        if strategy != "interleave" and not document["cached"]:
            self._shadow(document, request)
        return answer

    def _shadow(self, document: dict[str, Any], request: Request) -> None:
        shadow, model = self._service.shadow, document["versions"]["model"]
        if self._shadows is None or shadow is None or shadow.versions.model == model:
            return
        products = tuple(result["product_id"] for result in document["results"])
        total_ms = document["timings"]["total_ms"]
        self._shadows.put(
            Answered(
                shadow, self._service.log, replace(request, explain=False, facets=False), document["request_id"],
                self._visitor.client, model, products, total_ms,
            )
        )  # fmt: skip

    def _search(
        self, request: Request, request_id: str, strategy: Strategy, variants: tuple[Variant, ...]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        outcomes = [variant.core.search(request) for variant in variants]
        # With equal z-scores the first, which is a.
        at = max(range(len(outcomes)), key=lambda i: (bool(outcomes[i].hits), outcomes[i].similarity_z, -i))
        variant, outcome = variants[at], outcomes[at]
        if strategy == "interleave":
            results = _interleaved(variants, outcomes, request.k, request_id)
            shown = None
        else:
            results = [_result(variant, rank, hit, None) for rank, hit in enumerate(outcome.hits, request.offset + 1)]
            shown = variant.name
        total = None if strategy == "interleave" else outcome.total
        after = request.offset + len(results)
        more = total is not None and results and after < total
        timings = {
            name: round(sum(each.timings.get(name, 0.0) for each in outcomes), 3)
            for name in ("rewrite_ms", "encode_ms", "retrieve_ms", "rank_ms")
        }
        refusal = outcome.refusal if not results else None
        document = {
            "request_id": request_id,
            "original_query": request.query,
            "rewritten_query": outcome.rewritten,
            "results": results,
            "no_answer": {"code": refusal.code, "message": refusal.message} if refusal else None,
            "changes": [asdict(change) for change in outcome.rewriting.changes],
            "search_instead": request.query if outcome.rewriting.offers_original else None,
            "unmet": [asdict(wish) for wish in outcome.unmet] if results else [],
            "uncertain": outcome.uncertain,
            "calibrated": outcome.calibrated,
            "total": total,
            "offset": request.offset,
            "next_offset": after if more else None,
            "facets": [asdict(each) for each in outcome.facets],
            "cutoff": None if outcome.cutoff is None else round(outcome.cutoff, _DECIMALS),
            "variant": shown,
            "strategy": strategy,
            "candidates": max(each.candidates for each in outcomes),
            "cached": False,
            "versions": variant.versions.model_dump(),
            "timings": {**timings, "total_ms": 0.0},
        }
        for part, milliseconds in timings.items():
            self._metrics.parts.labels(part.removesuffix("_ms")).observe(milliseconds / 1000)
        extra = {
            "similarity_z": [round(each.similarity_z, 4) for each in outcomes],
            "candidates": list(zip(outcome.candidate_ids, outcome.candidate_scores)),
        }
        return document, extra

    def _record(
        self,
        document: dict[str, Any],
        request: Request,
        image: str | None,
        strategy: Strategy,
        models: str,
        extra: dict[str, Any],
    ) -> None:
        refusal = document["no_answer"]
        outcome = refusal["code"] if refusal else "uncertain" if document["uncertain"] else "answered"
        model = document["versions"]["model"]
        self._metrics.searches.labels(document["variant"] or "both", outcome, model).inc()
        self._metrics.answers.labels(model).observe(document["timings"]["total_ms"] / 1000)
        self._metrics.log_dropped.set(self._service.log.dropped)
        shown = document["variant"]
        teams = {result["product_id"]: result["variant"] or shown for result in document["results"]}
        results = document["results"]
        record = QueryRecord(
            document["request_id"],
            document["original_query"],
            datetime.now(UTC),
            self._visitor.client,
            [result["product_id"] for result in results],
            {
                "session_id": self._visitor.session,
                "rewritten": document["rewritten_query"],
                "variant": shown,
                "strategy": strategy,
                "outcome": outcome,
                "cutoff": document["cutoff"],
                "k": request.k,
                "threshold": request.threshold,
                "brands": request.brands,
                "colors": request.colors,
                "with_picture": request.with_picture,
                "verbatim": request.verbatim,
                "filters": [asdict(each) for each in request.filters],
                "sort": request.sort,
                "offset": request.offset,
                "scores": [result["score"] for result in results],
                "classes": "".join(result["predicted"] for result in results),
                "cached": document["cached"],
                "image": image is not None,
                "timings": document["timings"],
                "model": document["versions"]["model"],
                "index": document["versions"]["index"],
                **extra,
            },
        )
        exposure = Exposure(
            document["request_id"], strategy, shown, teams, self._service.pair, request.query, image or "", models,
            self._visitor.client, self._visitor.session, request.offset + 1,
        )  # fmt: skip
        self._service.log.put(record, exposure)


class Explainer:
    """Explains answers; for use by many threads."""

    def __init__(self, service: Service, own: Service) -> None:
        """``own``: what answers the client who asks, the service itself or its canary."""
        self._service, self._own = service, own

    def explain(
        self, request: Request, product_id: str, name: schemas.VariantName, model: str | None = None
    ) -> bytes | None:
        """Why a product scores as it does in a variant's answer, as JSON; None where that has no such product.

        Args:
            model: the version that answered; None for the one that answers the client now.

        Raises:
            HTTPException: that version answers no more.
        """
        variant = self._own.variants[name] if model is None else self._of_model(model, name)
        explained = variant.core.explain(request, product_id)
        if explained is None:
            return None
        document = {
            "product_id": product_id,
            "score": round(min(1.0, max(0.0, explained.score)), _DECIMALS),
            "baseline": round(explained.baseline, _PART_DECIMALS),
            "baseline_is": _BASELINE if request.image is None else _PICTURE_BASELINE,
            "parts": _parts(explained),
            "variant": name,
            "versions": variant.versions.model_dump(),
        }
        return orjson.dumps(document)

    def _of_model(self, model: str, name: schemas.VariantName) -> Variant:
        for service in (self._service, self._service.canary):
            if service is not None and service.variants[name].versions.model == model:
                return service.variants[name]
        raise HTTPException(404, f"Model {model} answers no more; search again.")


def _read(kept: bytes | None) -> dict[str, Any] | None:
    """A kept answer; None where there is none, or where it is not one of ours."""
    if kept is None:
        return None
    try:
        document = orjson.loads(kept)
        return document if {"timings", "results", "versions", "no_answer"} <= document.keys() else None
    except (ValueError, AttributeError):
        return None


def _coins(seed: str) -> Iterator[bool]:
    draw = random.Random(seed)
    while True:
        yield draw.random() < 0.5


def _interleaved(
    variants: tuple[Variant, ...], outcomes: list[Outcome], k: int, request_id: str
) -> list[dict[str, Any]]:
    by_name: dict[str, tuple[Variant, dict[str, Hit]]] = {
        variant.name: (variant, {hit.product_id: hit for hit in outcome.hits})
        for variant, outcome in zip(variants, outcomes)
    }
    first, second = ([hit.product_id for hit in outcome.hits] for outcome in outcomes)
    results = []
    for rank, (product, name) in enumerate(team_draft(first, second, k, _coins(request_id)), 1):
        variant, hits = by_name[name]
        results.append(_result(variant, rank, hits[product], variant.name))
    return results
