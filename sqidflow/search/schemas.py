"""What the service takes and answers: the one home of the API's shapes, from which the page's client is generated."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_QUERY_CHARS = 1000
MAX_RESULTS = 100
DEFAULT_RESULTS = 10
MAX_FILTER_VALUES = 50

FilterValue = Annotated[str, Field(min_length=1, max_length=200)]
ProductId = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
"""Whatever a shop calls its products, less control characters; percent-encoded as a whole where it is in a path."""
RequestId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
VariantName = Literal["a", "b"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Filters(_Model):
    """Which products may be answered. Brands and colours are compared without case; several of one kind are an or."""

    brand: list[FilterValue] = Field(default_factory=list, max_length=MAX_FILTER_VALUES)
    color: list[FilterValue] = Field(default_factory=list, max_length=MAX_FILTER_VALUES)
    with_picture: bool = Field(False, description="only products that have a picture")


class SearchRequest(_Model):
    """A search by words."""

    query: str = Field(max_length=MAX_QUERY_CHARS, examples=["red trail running shoes"])
    k: int = Field(DEFAULT_RESULTS, ge=1, le=MAX_RESULTS, description="most results")
    threshold: float | None = Field(
        None, ge=0, le=1, description="lowest score that is answered; null takes the calibrated cut-off"
    )
    filters: Filters = Filters()
    explain: bool = Field(False, description="answer the parts of each score too")
    verbatim: bool = Field(False, description="search the words as they are: correct and rewrite nothing")


class Probabilities(_Model):
    """Calibrated chances of the four ESCI judgements; they add up to 1."""

    E: float = Field(ge=0, le=1, description="exact")
    S: float = Field(ge=0, le=1, description="substitute")
    C: float = Field(ge=0, le=1, description="complement")
    I: float = Field(ge=0, le=1, description="irrelevant")  # noqa: E741 - the class's own name


class ScorePart(_Model):
    """One feature's part in a score: ``contribution`` is how much the score would fall without it."""

    name: str = Field(examples=["cosine_image"])
    label: str = Field(description="the name for people", examples=["picture like the query"])
    value: float
    contribution: float


class Result(_Model):
    """One product of an answer, best first."""

    rank: int = Field(ge=1)
    product_id: str
    title: str
    brand: str | None
    color: str | None
    description: str | None
    image: str | None = Field(description="path of the picture on this server; null where the product has none")
    score: float = Field(description="expected ESCI gain, 0 to 1")
    probabilities: Probabilities
    variant: VariantName | None = Field(None, description="who brought it, where two variants were interleaved")
    explanation: list[ScorePart] | None = Field(None, description="with explain=true, the largest part first")


class Versions(_Model):
    """What made an answer: enough to find the data, the features, the model and the code again."""

    model: str = Field(description="the pushed model's version")
    model_name: str = Field(examples=["pointwise"])
    mlflow_run_id: str | None
    feature_service: str = Field(examples=["ranker_v1"])
    feature_contract: str
    data_hash: str | None = Field(description="the hash in data.dvc")
    git_commit: str | None
    encoder: str = Field(examples=["offline"])
    index: str = Field(description="digest of the product index")


class NoAnswer(_Model):
    """Why an answer is empty."""

    code: Literal["nothing_fits", "no_words", "filtered_out", "below_threshold", "blank_picture", "noise_picture"]
    message: str = Field(examples=["No product of the catalogue fits this query."])


class Change(_Model):
    """A part of the query that was replaced before it was searched."""

    original: str = Field(examples=["kettel"])
    replacement: str = Field(examples=["kettle"])
    kind: Literal["spelling", "joined", "split", "synonym", "unit", "rewritten"]


class UnmetWish(_Model):
    """What the query asks for and no product of the answer has; the answer has what meets the rest."""

    wish: str = Field(description="the word as it was typed", examples=["red"])
    kind: Literal["color", "material", "audience", "brand", "number", "words"] = Field(
        description="words: no product has any of the words beside the picture"
    )


class Timings(_Model):
    """Milliseconds of each part of an answer."""

    rewrite_ms: float
    encode_ms: float
    retrieve_ms: float
    rank_ms: float
    total_ms: float


class SearchResponse(_Model):
    """The answer to a search. ``results`` is empty where nothing fits, and ``no_answer`` says why."""

    request_id: str = Field(description="names this answer in the query log and in feedback")
    original_query: str
    rewritten_query: str
    results: list[Result]
    no_answer: NoAnswer | None = None
    changes: list[Change] = Field(default_factory=list, description="what was replaced in the query")
    search_instead: str | None = Field(
        None, description="the query as it was typed, where words were changed; search it with verbatim=true"
    )
    unmet: list[UnmetWish] = Field(default_factory=list, description="wishes that no product of the answer meets")
    uncertain: bool = Field(False, description="the query hardly fits anything: it is among the last that are answered")
    calibrated: bool = Field(
        True, description="false: the catalogue is too small to say what fits, so everything is answered"
    )
    cutoff: float | None = Field(description="lowest score that was answered; null where any is")
    variant: VariantName | None = Field(None, description="null where the answer is interleaved")
    strategy: Literal["single", "zscore", "interleave"] = "single"
    candidates: int = Field(ge=0, description="products that were ranked")
    cached: bool = False
    versions: Versions
    timings: Timings


class JudgedQuery(_Model):
    """A query that a product was judged for."""

    query_id: int
    query: str
    label: Literal["E", "S", "C", "I"]


class Product(_Model):
    """A product with all that is known of it."""

    product_id: str
    title: str
    brand: str | None
    color: str | None
    description: str | None
    bullet_points: str | None
    image: str | None
    judged_for: list[JudgedQuery]
    versions: Versions


class SimilarProduct(_Model):
    """A neighbour of a product; ``similarity`` is the cosine of both vectors' blend, -1 to 1."""

    product_id: str
    title: str
    brand: str | None
    color: str | None
    image: str | None
    similarity: float


class SimilarResponse(_Model):
    product_id: str
    results: list[SimilarProduct]


class FeaturesResponse(_Model):
    """A product's features as Feast's online store has them now."""

    product_id: str
    feature_service: str
    has_image: bool
    product_text_vec: list[float]
    product_image_vec: list[float] | None


class Feedback(_Model):
    """What a person thought of an answer: a click on a product, a graded judgement, or a vote between two variants."""

    request_id: RequestId
    kind: Literal["click", "judgement", "vote"]
    product_id: ProductId | None = Field(None, description="of a click or a judgement")
    label: Literal["E", "S", "C", "I"] | None = Field(None, description="of a judgement")
    vote: Literal["a", "b", "tie"] | None = Field(None, description="of a vote")


class FeedbackAccepted(_Model):
    accepted: Literal[True] = True


class Interval(_Model):
    mean: float
    low: float
    high: float


class VariantReport(_Model):
    """One variant of the experiment."""

    variant: VariantName
    description: str = Field(examples=["pointwise, hybrid retrieval"])
    exposures: int
    clicks: int
    click_rate: Interval | None = Field(description="clicks an exposure with a 95 % Wilson interval; null without any")
    wins: int = Field(description="interleaved answers of which it got more clicks, and votes")


class ExperimentReport(_Model):
    """How the two variants compare."""

    variants: list[VariantReport]
    ties: int
    sign_test_p: float | None = Field(description="two-sided exact binomial test of the wins; null without any")
    verdict: str


class Facet(_Model):
    value: str
    products: int


class Facets(_Model):
    """What the catalogue can be filtered by, the most frequent first, and queries to begin with."""

    products: int
    with_picture: int
    brands: list[Facet]
    colors: list[Facet]
    sample_queries: list[str]
    sample_pictures: list[str] = Field(description="paths of pictures on this server")
    max_image_bytes: int
    picture_types: list[str] = Field(description="media types of the pictures that can be searched with")
    synthetic: bool = Field(description="the catalogue is the project's invented sample")


class ModelRun(_Model):
    """A training, as MLflow has it."""

    model: str
    run_id: str
    started: datetime
    ndcg: Interval | None
    energy_kwh: float | None
    blessed: bool | None
    serving: bool = Field(description="whether its model answers searches now")
    data_hash: str | None
    mlflow_path: str = Field(description="path in MLflow's own UI", examples=["#/experiments/1/runs/abc"])


class RunsResponse(_Model):
    runs: list[ModelRun]
    mlflow_url: str | None = Field(description="where MLflow's UI was said to be (settings); null where it was not")
    note: str | None = Field(None, description="why there is none")


class VariantVersion(_Model):
    variant: VariantName
    description: str
    versions: Versions


class VersionResponse(_Model):
    sqidflow: str
    variants: list[VariantVersion]


class Health(_Model):
    status: Literal["ok", "starting", "not ready"]
    detail: str | None = None


class Problem(_Model):
    """Every error's body (RFC 9457, application/problem+json)."""

    title: str
    status: int
    detail: str
    request_id: str | None = None
