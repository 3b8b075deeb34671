"""What the service takes and answers: the one home of the API's shapes, from which the page's client is generated."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

MAX_QUERY_CHARS = 1000
MAX_RESULTS = 100
DEFAULT_RESULTS = 10
MAX_FILTER_VALUES = 50
MAX_FILTER_CHARS = 200
MAX_OFFSET = 999
"""The setting search.candidates may be 1,000 at most."""
MAX_BATCH = 100
MAX_EVENTS = 100
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
    """What the query asks for and no product of that kind has; the answer has what meets the rest."""

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
    unmet: list[UnmetWish] = Field(
        default_factory=list, description="wishes that no product of the kind that is asked for meets"
    )
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


class UbiObject(BaseModel):
    """What an event is about, as User Behavior Insights has it."""

    object_id: Annotated[str, Field(max_length=256)] | int = Field(description="the product's id")
    object_id_field: str | None = Field(None, max_length=100, description="the field that has the id")


class UbiPosition(BaseModel):
    """Where an event happened. The service takes the place that the answer had instead."""

    ordinal: int | None = Field(None, ge=0, le=1_000_000, description="rank of the product, from 1")


class UbiAttributes(BaseModel):
    """Details of an event. ``event_id``, ``label``, ``vote`` and ``blind`` are this service's own."""

    object: UbiObject | None = Field(None, description="the product")
    position: UbiPosition | None = Field(None, description="the place in the answer")
    event_id: ClientId | None = Field(
        None, description="the client's own id of this event: delivered again, it is counted once"
    )
    label: Label | None = Field(None, description="of a judgement")
    vote: Literal["a", "b", "tie"] | None = Field(None, description="of a vote: the better variant")
    blind: bool = Field(False, description="of an impression or a vote: the variants' names were hidden")


class UbiEvent(BaseModel):
    """An event of User Behavior Insights 1.3. Further fields are accepted, and not stored: no user, no address."""

    action_name: str = Field(
        min_length=1,
        max_length=100,
        examples=["item_click"],
        description="view_search_results, item_click, product_view, judgement, vote; others are logged",
    )
    timestamp: AwareDatetime = Field(description="when it happened, with a zone")
    query_id: RequestId | None = Field(None, description="the answer's request_id; left out: of no search")
    client_id: ClientId | None = Field(None, description="random id of the browser, not of the person")
    session_id: ClientId | None = Field(None, description="random id of the visit")
    event_attributes: UbiAttributes = Field(UbiAttributes(), description="the product, the place, and what else")


class Events(_Model):
    """Events in the order in which they happened."""

    events: list[UbiEvent] = Field(min_length=1, max_length=MAX_EVENTS, description="at most 100")


class RejectedEvent(_Model):
    """An event that was not stored."""

    event: int = Field(ge=0, description="its place in the request, from 0")
    code: Literal["unknown_answer", "unfit"] = Field(description="why, for programs")
    detail: str = Field(description="why, in words")


class EventsAccepted(_Model):
    """What became of the events. Those that were rejected do not keep the others from being stored."""

    accepted: int = Field(ge=0, description="stored")
    duplicates: int = Field(ge=0, description="delivered before; they change nothing")
    rejected: list[RejectedEvent] = Field(description="not stored")


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


class Counted(BaseModel):
    """A text and how often it was searched."""

    text: str = Field(description="a query or a word")
    searches: int = Field(description="how often")


class Volume(BaseModel):
    """Searches of some hours."""

    start: datetime = Field(alias="from", description="when the hours begin")
    hours: int = Field(description="how many hours")
    searches: int = Field(description="searches in them")


class Percentiles(BaseModel):
    """Milliseconds that 50, 90 and 99 of 100 answers take at most."""

    p50: float = Field(description="half of the answers")
    p90: float = Field(description="90 of 100")
    p99: float = Field(description="99 of 100")


class PositionClicks(BaseModel):
    """What was clicked at a place of answers."""

    position: int = Field(description="rank of the product, from 1")
    shown: int = Field(description="products that were shown there")
    clicks: int = Field(description="those that were clicked")
    rate: float | None = Field(description="clicks of those shown; null where none was told to be shown")


class Share(BaseModel):
    """A value's share in the training data and in the log."""

    name: str = Field(description="a category, or a range of numbers")
    training: float = Field(description="share in the training data")
    log: float = Field(description="share in the log")


class DriftCheck(BaseModel):
    """One comparison of the log with the training data."""

    name: str = Field(description="the check, for programs")
    title: str = Field(description="what is compared")
    statistic: str = Field(description="the distance")
    value: float | None = Field(description="the distance; null where it was not measured")
    threshold: float | None = Field(description="what chance reaches")
    reference_size: int = Field(description="training queries")
    window_size: int = Field(description="logged queries, each once")
    shares: list[Share] = Field(description="the two distributions; empty for vectors")
    note: str = Field(description="why it was not measured")
    alarm: bool = Field(description="the distance is beyond the threshold")


class MonitoringAlarm(BaseModel):
    """Something that somebody should look at."""

    name: str = Field(description="the measure, for programs")
    value: float = Field(description="what was measured")
    threshold: float = Field(description="what it is beyond of")
    text: str = Field(description="what it is, in words")
    hint: str = Field(description="what to do")


class LogCounts(BaseModel):
    """What was met in the log."""

    read: int = Field(description="searches and events that were read")
    before_ubi: int = Field(description="lines of before the log was of UBI, which were read too")
    duplicates: int = Field(description="deliveries of something that was delivered before")
    clock_went_back: int = Field(description="lines that are older than the line before them")
    unknown_answers: int = Field(description="events of answers that the log does not have")
    not_read: dict[str, int] = Field(description="lines that cannot be used, by reason")


class MonitoringReport(BaseModel):
    """The last report of `sqidflow monitor`."""

    created: datetime = Field(description="when it was written")
    since: datetime | None = Field(description="of searches from this time on")
    until: datetime | None = Field(description="of searches before this time")
    model: str | None = Field(description="the model that answers, with whose training data the log is compared")
    searches: int = Field(description="searches of that time")
    different_queries: int = Field(description="queries, each once")
    clients: int = Field(description="random ids of browsers")
    volume: list[Volume] = Field(description="searches over time")
    outcomes: dict[str, int] = Field(description="what came of the searches")
    nothing_fits_share: float | None = Field(
        description="share to which nothing fits; null where the log does not tell"
    )
    without_result_share: float | None = Field(description="share without a result")
    cached_share: float = Field(description="share that came from the cache")
    latency_ms: dict[str, Percentiles] = Field(description="of answers that were not cached, by part")
    classes: dict[str, int] = Field(description="predicted classes of all products shown")
    unknown_words: list[Counted] = Field(description="words that the catalogue does not know")
    queries_without_result: list[Counted] = Field(description="queries without a result")
    frequent_queries: list[Counted] = Field(description="the most frequent queries")
    actions: dict[str, int] = Field(description="events by action")
    positions: list[PositionClicks] = Field(description="clicks by position")
    answers_shown: int = Field(description="answers that somebody was shown")
    abandoned_share: float | None = Field(description="share of those without a click; null where none was shown")
    log: LogCounts = Field(description="the log itself")
    quarantine: dict[str, int] = Field(description="lines that were set aside so far, by reason")
    drift: list[DriftCheck] = Field(description="comparisons with the training data")
    note: str = Field(description="why nothing is compared; empty where it is")
    alarms: list[MonitoringAlarm] = Field(description="what somebody should look at")


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
    client_id_days: int = Field(description="days after which a browser takes another random id")


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
