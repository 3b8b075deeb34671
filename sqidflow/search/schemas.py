"""What the service takes and answers: the one home of the API's shapes, from which the page's client is generated."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_QUERY_CHARS = 1000
MAX_RESULTS = 100
DEFAULT_RESULTS = 10
MAX_FILTER_VALUES = 50
MAX_FILTER_CHARS = 200
MAX_OFFSET = 999
"""The setting search.candidates may be 1,000 at most."""
MAX_BATCH = 100
EXAMPLE_QUERY = "red backpack"
"""Answered well on the project's sample."""

FilterValue = Annotated[str, Field(min_length=1, max_length=MAX_FILTER_CHARS)]
AttributeName = Annotated[str, Field(min_length=1, max_length=100)]
AttributeValue = bool | float | FilterValue
AttributeKind = Literal["number", "date", "boolean", "string"]
Sort = Annotated[str, Field(min_length=1, max_length=110)]
SORT_MEANING = "relevance, or a number or date and its direction, e.g. price:asc; products without a value are last"
ProductId = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
"""Whatever a shop calls its products, less control characters; percent-encoded as a whole where it is in a path."""
RequestId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
ClientId = Annotated[str, Field(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
ModelVersion = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9-]+$")]
VariantName = Literal["a", "b"]
Label = Literal["E", "S", "C", "I"]
FeedbackKind = Literal["impression", "click", "view", "judgement", "vote"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class AttributeFilter(_Model):
    """Which values of an attribute pass: any of some, or a range with both ends included."""

    any: list[AttributeValue] = Field(
        default_factory=list, max_length=MAX_FILTER_VALUES, description="any of these; texts are compared without case"
    )
    min: float | FilterValue | None = Field(None, description="lowest number or earliest date that passes")
    max: float | FilterValue | None = Field(None, description="highest number or latest date that passes")


class Filters(_Model):
    """Which products may be answered. Brands and colours are compared without case; several of one kind are an or."""

    brand: list[FilterValue] = Field(
        default_factory=list, max_length=MAX_FILTER_VALUES, description="any of these brands"
    )
    color: list[FilterValue] = Field(
        default_factory=list, max_length=MAX_FILTER_VALUES, description="any of these colours"
    )
    with_picture: bool = Field(False, description="only products that have a picture")
    attributes: dict[AttributeName, AttributeFilter] = Field(
        default_factory=dict,
        max_length=MAX_FILTER_VALUES,
        description="filters by attributes of the catalogue, which /facets names; several are an and",
    )


class SearchRequest(_Model):
    """A search by words."""

    query: str = Field(max_length=MAX_QUERY_CHARS, examples=[EXAMPLE_QUERY], description="what to search for")
    k: int = Field(DEFAULT_RESULTS, ge=1, le=MAX_RESULTS, description="most results: the length of a page")
    offset: int = Field(
        0, ge=0, le=MAX_OFFSET, description="how many products are passed over; below the setting search.candidates"
    )
    sort: Sort = Field("relevance", description=SORT_MEANING)
    facets: bool = Field(False, description="count what the products that fit have of each attribute")
    threshold: float | None = Field(
        None, ge=0, le=1, description="lowest score that is answered; null takes the calibrated cut-off"
    )
    filters: Filters = Field(Filters(), description="which products may be answered")
    explain: bool = Field(False, description="answer the parts of each score too")
    verbatim: bool = Field(False, description="search the words as they are: correct and rewrite nothing")


class Probabilities(_Model):
    """Calibrated chances of the four ESCI judgements; they add up to 1."""

    E: float = Field(ge=0, le=1, description="exact")
    S: float = Field(ge=0, le=1, description="substitute")
    C: float = Field(ge=0, le=1, description="complement")
    I: float = Field(ge=0, le=1, description="irrelevant")  # noqa: E741 - the class's own name


class ScorePart(_Model):
    """One group of features and its part in a score: ``contribution`` is its Shapley value, what the score gains by it
    over the baseline. The contributions of all parts add up to the score less the baseline."""

    name: str = Field(examples=["cosine_image"], description="the feature's name")
    label: str = Field(description="the name for people", examples=["picture like the query"])
    value: float = Field(description="the feature's value")
    contribution: float = Field(description="its part in the score")


class Result(_Model):
    """One product of an answer, best first."""

    rank: int = Field(ge=1, description="place in the answer, from 1")
    product_id: str = Field(description="the product's id")
    title: str = Field(description="the product's title")
    brand: str | None = Field(description="null where it is not known")
    color: str | None = Field(description="null where it is not known")
    description: str | None = Field(description="the product's own text; null without one")
    image: str | None = Field(description="path of the picture on this server; null where the product has none")
    attributes: dict[str, AttributeValue] = Field(
        default_factory=dict, description="its further attributes, less long texts and addresses"
    )
    score: float = Field(description="expected ESCI gain, 0 to 1")
    probabilities: Probabilities = Field(description="chances of the four judgements")
    predicted: Label = Field(description="the judgement that the model predicts, by its own rule for rare ones")
    variant: VariantName | None = Field(None, description="who brought it, where two variants were interleaved")
    explanation: list[ScorePart] | None = Field(None, description="with explain=true, the largest part first")
    baseline: float | None = Field(
        None, description="with explain=true: the score of what the product is compared with, see /explain"
    )


class ExplainRequest(_Model):
    """A search by words, as it was asked, and one product of its answer."""

    query: str = Field(max_length=MAX_QUERY_CHARS, examples=[EXAMPLE_QUERY], description="what was searched for")
    product_id: ProductId = Field(description="the product whose score is explained", examples=["S0000001"])
    filters: Filters = Field(Filters(), description="the filters of the search")
    verbatim: bool = Field(False, description="the words were searched as they are")
    variant: VariantName = Field("a", description="the variant that answered")
    model: ModelVersion | None = Field(
        None, description="`versions.model` of the answer, which another model cannot explain; null: what answers now"
    )


class Explained(_Model):
    """Why a product scores as it does. The contributions add up to ``score`` less ``baseline``."""

    product_id: str = Field(description="the product")
    score: float = Field(description="its score in the answer, expected ESCI gain")
    baseline: float = Field(description="the score of what it is compared with")
    baseline_is: str = Field(
        description="what it is compared with, in words", examples=["the middle candidate of this search"]
    )
    parts: list[ScorePart] = Field(description="the parts, the largest first")
    variant: VariantName = Field(description="the variant that answers")
    versions: Versions = Field(description="what answers")


class Versions(_Model):
    """What made an answer: enough to find the data, the features, the model and the code again."""

    model: str = Field(description="the pushed model's version")
    model_name: str = Field(examples=["pointwise"], description="the model's form")
    mlflow_run_id: str | None = Field(description="the training in MLflow; null where it was not tracked")
    feature_service: str = Field(examples=["ranker_v1"], description="Feast's feature service that the model reads")
    feature_contract: str = Field(description="digest of what the features mean")
    data_hash: str | None = Field(description="the hash in data.dvc")
    git_commit: str | None = Field(description="commit of the training; null outside a checkout")
    encoder: str = Field(examples=["offline"], description="what encodes queries and products")
    index: str = Field(description="digest of the product index")


class NoAnswer(_Model):
    """Why an answer is empty."""

    code: Literal["nothing_fits", "no_words", "filtered_out", "below_threshold", "blank_picture", "noise_picture"] = (
        Field(description="the reason, for programs")
    )
    message: str = Field(
        examples=["No product of the catalogue fits this query."], description="the reason, for people"
    )


class Change(_Model):
    """A part of the query that was replaced before it was searched."""

    original: str = Field(examples=["kettel"], description="as it was typed")
    replacement: str = Field(examples=["kettle"], description="as it was searched")
    kind: Literal["spelling", "joined", "split", "synonym", "unit", "rewritten"] = Field(
        description="why it was replaced"
    )


class UnmetWish(_Model):
    """What the query asks for and no product of the answer has; the answer has what meets the rest."""

    wish: str = Field(description="the word as it was typed", examples=["red"])
    kind: Literal["color", "material", "audience", "brand", "number", "words"] = Field(
        description="words: no product has any of the words beside the picture"
    )


class Timings(_Model):
    """Milliseconds of each part of an answer."""

    rewrite_ms: float = Field(description="correcting and rewriting the query")
    encode_ms: float = Field(description="computing the query's vector")
    retrieve_ms: float = Field(description="finding the candidates")
    rank_ms: float = Field(description="ranking and explaining them")
    total_ms: float = Field(description="the whole answer")


class FacetValue(_Model):
    """A value of an attribute in the answer."""

    value: bool | str = Field(description="the value as it is mostly written")
    products: int = Field(ge=0, description="products that fit and have it")
    selected: bool = Field(description="whether it is filtered by")


class FacetCounts(_Model):
    """What the products that fit have of an attribute; of one that is filtered by, those without its filter."""

    name: str = Field(description="the attribute's name")
    kind: AttributeKind = Field(description="what its values are")
    unit: str | None = Field(description="the currency of a price; null without one")
    products: int = Field(ge=0, description="products with a value")
    values: list[FacetValue] = Field(description="of texts and booleans, the frequent first, at most 50 and the chosen")
    least: float | str | None = Field(description="of numbers and dates, the lowest")
    most: float | str | None = Field(description="of numbers and dates, the highest")


class SearchResponse(_Model):
    """The answer to a search. ``results`` is empty where nothing fits, and ``no_answer`` says why."""

    request_id: str = Field(description="names this answer in the query log and in feedback")
    original_query: str = Field(description="the query as it was typed")
    rewritten_query: str = Field(description="the query as it was searched")
    results: list[Result] = Field(description="the products, best first")
    no_answer: NoAnswer | None = Field(None, description="why there are no results; null where there are")
    changes: list[Change] = Field(default_factory=list, description="what was replaced in the query")
    search_instead: str | None = Field(
        None, description="the query as it was typed, where words were changed; search it with verbatim=true"
    )
    unmet: list[UnmetWish] = Field(default_factory=list, description="wishes that no product of the answer meets")
    uncertain: bool = Field(False, description="the query hardly fits anything: it is among the last that are answered")
    calibrated: bool = Field(
        True, description="false: the catalogue is too small to say what fits, so everything is answered"
    )
    total: int | None = Field(
        None, ge=0, description="products that fit and pass the filters, of which results are a part; null: interleaved"
    )
    offset: int = Field(0, ge=0, description="how many products were passed over")
    next_offset: int | None = Field(
        None, description="the next page's offset, which fits to this one while versions are equal; null: no more"
    )
    facets: list[FacetCounts] = Field(
        default_factory=list, description="with facets=true, what the products that fit have of each attribute"
    )
    cutoff: float | None = Field(description="lowest score that was answered; null where any is")
    variant: VariantName | None = Field(None, description="null where the answer is interleaved")
    strategy: Literal["single", "zscore", "interleave"] = Field("single", description="which variants answered and how")
    candidates: int = Field(ge=0, description="products that were ranked")
    cached: bool = Field(False, description="the answer was computed earlier")
    versions: Versions = Field(description="what made the answer")
    timings: Timings = Field(description="how long its parts took; 0 from the cache")


class BatchRequest(_Model):
    """Several searches by words."""

    searches: list[SearchRequest] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        examples=[[{"query": EXAMPLE_QUERY}, {"query": "blue kettle", "k": 3}]],
        description="each is answered by itself",
    )


class BatchAnswer(_Model):
    """One search of a batch: its answer, or why there is none."""

    answer: SearchResponse | None = Field(description="null where there is a problem")
    problem: Problem | None = Field(description="null where there is an answer")


class BatchResponse(_Model):
    """The answers of a batch."""

    answers: list[BatchAnswer] = Field(description="in the order of the searches")


class JudgedQuery(_Model):
    """A query that a product was judged for."""

    query_id: int = Field(description="the query's number in the data")
    query: str = Field(description="the query's text")
    label: Literal["E", "S", "C", "I"] = Field(description="the judgement")


class ProductAttribute(_Model):
    """A value of an attribute."""

    name: str = Field(description="the attribute's name")
    kind: AttributeKind = Field(description="what its values are")
    unit: str | None = Field(description="the currency of a price; null without one")
    value: AttributeValue = Field(description="dates in ISO 8601")


class Product(_Model):
    """A product with all that is known of it."""

    product_id: str = Field(description="the product's id")
    title: str = Field(description="the product's title")
    brand: str | None = Field(description="null where it is not known")
    color: str | None = Field(description="null where it is not known")
    description: str | None = Field(description="the product's own text; null without one")
    bullet_points: str | None = Field(description="lines of text; null without any")
    image: str | None = Field(description="path of the picture on this server; null where the product has none")
    attributes: list[ProductAttribute] = Field(
        default_factory=list, description="its further attributes, in the order of the file of products"
    )
    judged_for: list[JudgedQuery] = Field(description="queries that it was judged for in the data")
    versions: Versions = Field(description="what answers")


class SimilarProduct(_Model):
    """A neighbour of a product; ``similarity`` is the cosine of both vectors' blend, -1 to 1."""

    product_id: str = Field(description="the neighbour's id")
    title: str = Field(description="the neighbour's title")
    brand: str | None = Field(description="null where it is not known")
    color: str | None = Field(description="null where it is not known")
    image: str | None = Field(description="path of the picture on this server; null where the product has none")
    similarity: float = Field(description="cosine, -1 to 1")


class SimilarResponse(_Model):
    product_id: str = Field(description="the product that was asked about")
    results: list[SimilarProduct] = Field(description="its neighbours, nearest first")
    versions: Versions = Field(description="what answers")


class FeaturesResponse(_Model):
    """A product's features as Feast's online store has them now."""

    product_id: str = Field(description="the product that was asked about")
    feature_service: str = Field(description="the feature service of the model that answers")
    has_image: bool = Field(description="whether it has a picture vector")
    product_text_vec: list[float] = Field(description="the text's vector")
    product_image_vec: list[float] | None = Field(description="the picture's vector; null without a picture")
    versions: Versions = Field(description="what answers searches; the vectors are those of the store")


class Feedback(_Model):
    """What a person saw or thought of an answer: an impression (the page showed it), a click on a product, a view of a
    product's page, a graded judgement, or a vote between two variants."""

    request_id: RequestId = Field(description="the answer it is about")
    kind: FeedbackKind = Field(description="what happened")
    client: ClientId | None = Field(
        None, description="random id of the browser, not of the person; without one, all are one client"
    )
    blind: bool = Field(
        False, description="of an impression or a vote: the variants' names were hidden; others do not count"
    )
    product_id: ProductId | None = Field(None, description="of a click, a view or a judgement: a product of the answer")
    label: Label | None = Field(None, description="of a judgement")
    vote: Literal["a", "b", "tie"] | None = Field(None, description="of a vote: the better variant")
    session: ClientId | None = Field(None, description="random id of the visit")
    event_id: ClientId | None = Field(
        None, description="the client's own id of this event: delivered again, it is counted once"
    )


class FeedbackAccepted(_Model):
    """The feedback is stored."""

    accepted: Literal[True] = Field(True, description="always true")
    duplicate: bool = Field(False, description="this event was delivered before and changes nothing")


class GivenJudgement(_Model):
    """The newest judgement of a client on a product for a query."""

    at: datetime = Field(description="when it was given")
    client: str = Field(description="digest of the client's id")
    query: str = Field(description="the query as it was typed")
    picture: bool = Field(description="the query had a picture too; such judgements are not exported")
    product_id: str = Field(description="the product that was judged")
    label: Label = Field(description="the judgement")


class JudgementsResponse(_Model):
    """Judgements that people gave, the newest first."""

    total: int = Field(ge=0, description="how many there are, of which `judgements` is a part")
    judgements: list[GivenJudgement] = Field(description="from `offset` on, at most `limit`")


class Interval(_Model):
    mean: float = Field(description="the estimate")
    low: float = Field(description="lower end of the 95 % interval")
    high: float = Field(description="upper end of the 95 % interval")


class VariantReport(_Model):
    """One variant of the experiment."""

    variant: VariantName = Field(description="its name")
    description: str = Field(description="its ranker and retrieval", examples=["pointwise, hybrid retrieval"])
    exposures: int = Field(description="answers with its products that the page showed, once a client")
    clicks: int = Field(description="its products that were opened from them")
    click_rate: Interval | None = Field(
        description="share of the exposures with a click, with a 95 % Wilson interval; null without any"
    )
    wins: int = Field(description="queries that it won, once a client")
    clients: int = Field(description="clients who preferred it on more queries; these are tested")


class ExperimentReport(_Model):
    """How the two variants compare."""

    variants: list[VariantReport] = Field(description="a, then b")
    ties: int = Field(description="queries that neither won, once a client")
    undecided_clients: int = Field(description="clients who preferred neither")
    not_counted: int = Field(description="votes with the names shown, or on answers that the page did not show")
    sign_test_p: float | None = Field(description="p of the test; null without a client who preferred one")
    test: str = Field(description="the statistical test, and what is counted")
    verdict: str = Field(description="the report in a sentence")


class Facet(_Model):
    value: str = Field(description="a brand or a colour")
    products: int = Field(description="how many products have it")


class AttributeInfo(_Model):
    """An attribute of the catalogue."""

    name: str = Field(description="the name that filters, sort and facets take")
    kind: AttributeKind = Field(description="what its values are")
    unit: str | None = Field(description="the currency of a price; null without one")
    facet: bool = Field(description="whether its values are counted; addresses and names of articles are not")
    sortable: bool = Field(description="whether answers can be sorted by it")


class Facets(_Model):
    """What the catalogue can be filtered by, the most frequent first, and queries to begin with."""

    products: int = Field(description="products in the index")
    with_picture: int = Field(description="those with a picture")
    brands: list[Facet] = Field(description="brands, the most frequent first")
    colors: list[Facet] = Field(description="colours, the most frequent first")
    attributes: list[AttributeInfo] = Field(
        default_factory=list, description="what products can be filtered by; brand and color are two of them"
    )
    sample_queries: list[str] = Field(description="queries to begin with")
    sample_pictures: list[str] = Field(description="paths of pictures on this server")
    max_image_bytes: int = Field(description="largest picture that can be searched with")
    picture_types: list[str] = Field(description="media types of the pictures that can be searched with")
    synthetic: bool = Field(description="the catalogue is the project's invented sample")
    index: str = Field(description="digest of the product index; answers name theirs in `versions`")


class ModelRun(_Model):
    """A training, as MLflow has it."""

    model: str = Field(description="the model's form")
    run_id: str = Field(description="MLflow's run id")
    started: datetime = Field(description="when the training began")
    ndcg: Interval | None = Field(description="on held-out queries, with a 95 % interval; null before the evaluation")
    rung: str | None = Field(description="of the ladder, how much the data could carry; null for other models")
    search_mrr: float | None = Field(description="MRR in the whole catalogue, held-out queries; null before it")
    search_recall_at_10: float | None = Field(description="recall@10 there; null before it")
    search_untrained_mrr: float | None = Field(description="MRR there of the best method without training")
    energy_kwh: float | None = Field(description="measured or estimated energy; null where it was not")
    blessed: bool | None = Field(description="the evaluator's verdict; null before it")
    serving: bool = Field(description="whether its model answers searches now")
    data_hash: str | None = Field(description="hash in data.dvc; null where it is not known")
    mlflow_path: str = Field(description="path in MLflow's own UI", examples=["#/experiments/1/runs/abc"])


class RunsResponse(_Model):
    runs: list[ModelRun] = Field(description="the newest first")
    mlflow_url: str | None = Field(description="where MLflow's UI was said to be (settings); null where it was not")
    note: str | None = Field(None, description="why there is none")


class VariantVersion(_Model):
    variant: VariantName = Field(description="its name")
    description: str = Field(description="its ranker and retrieval")
    versions: Versions = Field(description="what it was made from")


class Audited(_Model):
    """The last `sqidflow audit` of this workdir; its report is the page /audit."""

    model: str = Field(description="the model that was audited")
    verdict: Literal["pass", "warn", "block"] = Field(description="its worst line")


class Delivered(_Model):
    """Which of the pushed models answer."""

    served: str = Field(description="the version that answers")
    pinned: bool = Field(description="it stays until the pin is released, whatever is pushed")
    note: str | None = Field(description="why the newest push does not answer; null where it does")
    canary: str | None = Field(description="the version that answers a share of the clients; null without one")
    canary_share: float = Field(description="that share")
    shadow: str | None = Field(description="the version that searches beside and is not shown; null without one")


class VersionResponse(_Model):
    sqidflow: str = Field(description="the program's version")
    delivery: Delivered = Field(description="which versions answer")
    audit: Audited | None = Field(None, description="the last audit; null where there was none")
    variants: list[VariantVersion] = Field(description="a, then b")


class Health(_Model):
    """The service answers."""

    status: Literal["ok"] = Field("ok", description="ok; what is not is answered as a problem")
    index: str | None = Field(None, description="digest of the product index that answers; null from /healthz")


class FieldProblem(_Model):
    """A value of a request that does not fit."""

    field: str = Field(description="where it is: the names on the way to it, joined by dots")
    detail: str = Field(description="what is wrong with it")


class Problem(_Model):
    """Every error's body (RFC 9457, application/problem+json)."""

    type: Literal["about:blank"] = Field("about:blank", description="no more than the status says")
    title: str = Field(description="the status in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what is wrong, for people")
    request_id: str | None = Field(None, description="names the request in the service's log")
    errors: list[FieldProblem] | None = Field(None, description="with 422: each value that does not fit")
