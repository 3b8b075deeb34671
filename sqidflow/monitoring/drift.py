"""Whether what is searched is still what the model was trained on.

Each query counts once, however often it is searched: the training data has each once, and no single client can move a
distribution by repeating itself. Every check compares a distance to what two samples of the training queries reach by
chance, see ``distances``; the share of reports without drift that raise any alarm is a setting, which all checks share.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import MonitoringSettings, Settings
from sqidflow.core.workdir import Workdir
from sqidflow.monitoring.distances import (
    Distance,
    bin_edges,
    discrepancy,
    histogram,
    jensen_shannon,
    l_infinity,
    threshold_of,
)
from sqidflow.monitoring.query_language import guess_language
from sqidflow.monitoring.reference import Catalogue, encoded, kept_reference
from sqidflow.monitoring.window import NOTHING_FITS, Served, Window, read_window
from sqidflow.ranking.words import surfaces
from sqidflow.search.engine import SearchCore
from sqidflow.search.query_log import QUERIES, log_files
from sqidflow.search.state import choose, open_core

_SEED = 161
_BRANDS = 20
_OTHER = "others"
_NO_BRAND = "none"
LEAST_VECTORS = 4
Statistic = Literal["L-infinity", "Jensen-Shannon divergence", "maximum mean discrepancy"]
L_INFINITY: Statistic = "L-infinity"
JENSEN_SHANNON: Statistic = "Jensen-Shannon divergence"
DISCREPANCY: Statistic = "maximum mean discrepancy"


@dataclass(frozen=True)
class Alarm:
    """Something that somebody should look at. ``value`` is beyond ``threshold``; ``hint`` says what to do."""

    name: str
    value: float
    threshold: float
    text: str
    hint: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Check:
    """A comparison with the training data. ``shares``: category or bin -> share in training, share in the log.

    ``value`` and ``threshold`` are None where it was not measured; ``note`` says why.
    """

    name: str
    title: str
    statistic: Statistic
    value: float | None
    threshold: float | None
    reference_size: int
    window_size: int
    shares: tuple[tuple[str, float, float], ...] = ()
    note: str = ""

    @property
    def drifted(self) -> bool:
        return self.value is not None and self.threshold is not None and self.value > self.threshold

    def as_dict(self) -> dict[str, Any]:
        shares = [{"name": name, "training": first, "log": second} for name, first, second in self.shares]
        return {**asdict(self), "shares": shares, "alarm": self.drifted}


@dataclass(frozen=True)
class Sample:
    """Queries, each once, with what a check reads of them. ``served`` are those that the model was asked plainly."""

    queries: Sequence[str]
    words: np.ndarray
    unknown: Sequence[str]
    languages: Sequence[str]
    served: Sequence[Served]
    brands: Sequence[str | None]
    vectors: np.ndarray


TITLES = {
    "query_length": "words of a query",
    "unknown_words": "words that the catalogue does not know",
    "language": "language of a query",
    "nothing_fits": "searches to which nothing fits",
    "score": "score of the first product",
    "class": "predicted class of the first product",
    "brand": "brand of the first product",
    "vectors": "vectors of queries",
}
HINTS = {
    "query_length": "read the queries; where they are sentences, try search.rewrite gemini, and judge some of them",
    "unknown_words": "add the products or synonyms that are asked for: `sqidflow data import --merge`, search.synonyms",
    "language": "add products and judgements of that language, or set data.locale and data.language",
    "nothing_fits": "see the queries without a result; import what is missing, then `sqidflow index` for the cut-off",
    "score": "judge some of these queries and retrain: `sqidflow audit` shows which kinds of query are weak",
    "class": "judge some of these queries and retrain; the catalogue may lack what is asked for",
    "brand": "see which brands are asked for now; import their products and judge queries for them",
    "vectors": "people ask for other things: judge a sample of the newest queries and retrain",
}


def sample_of(
    queries: Iterable[str],
    served: Sequence[Served],
    brands: Sequence[str | None],
    vectors: np.ndarray,
    unknown_words: Callable[[str], tuple[list[str], int]],
) -> Sample:
    """What the checks read; ``unknown_words``: a query's words that the catalogue lacks, and how many words it has."""
    queries = list(queries)
    return Sample(
        queries,
        np.array([len(surfaces(query)) for query in queries], float),
        [_unknown(*unknown_words(query)) for query in queries],
        [guess_language(query) for query in queries],
        served,
        brands,
        vectors,
    )


def _unknown(unknown: list[str], words: int) -> str:
    return "none" if not unknown else "all" if len(unknown) == words else "some"


def measure_drift(training: Sample, log: Sample, settings: MonitoringSettings, seed: int = _SEED) -> list[Check]:
    """Every check that can be measured, with thresholds that together raise a false alarm in ``false_alarms`` of
    reports."""
    rng = np.random.default_rng(seed)
    names = list(TITLES)
    rate = settings.false_alarms / len(names)  # Bonferroni: over all, whether or not each can be measured
    resamples = max(settings.resamples, int(np.ceil(1 / rate)))

    def categories(name: str, first: Sequence[str], second: Sequence[str]) -> Check:
        order = [each for each, _ in (Counter(first) + Counter(second)).most_common()]
        counts = [np.array([Counter(values)[each] for each in order], float) for values in (first, second)]
        return checked(name, L_INFINITY, l_infinity, order, counts[0], counts[1])

    def numbers(name: str, first: np.ndarray, second: np.ndarray) -> Check:
        both = np.concatenate([first, second])
        edges = bin_edges(both) if len(both) else np.zeros(0)
        counts = [histogram(values, edges) for values in (first, second)]
        return checked(name, JENSEN_SHANNON, jensen_shannon, _bin_names(edges), counts[0], counts[1])

    def checked(
        name: str, statistic: Statistic, distance: Distance, order: Sequence[str], first: np.ndarray, second: np.ndarray
    ) -> Check:
        sizes = int(first.sum()), int(second.sum())
        if min(sizes) < settings.least_queries:
            return Check(name, TITLES[name], statistic, None, None, *sizes, (), _too_few(sizes, settings))
        shares = tuple(
            (label, float(a), float(b)) for label, a, b in zip(order, first / first.sum(), second / second.sum())
        )
        value = float(distance(first, second))
        threshold = threshold_of(first, second, distance, rate, resamples, rng)
        return Check(name, TITLES[name], statistic, value, threshold, *sizes, shares)

    top = _frequent_brands(training)
    found = {
        "query_length": numbers("query_length", training.words, log.words),
        "unknown_words": categories("unknown_words", training.unknown, log.unknown),
        "language": categories("language", training.languages, log.languages),
        "nothing_fits": categories("nothing_fits", _fits(training), _fits(log)),
        "score": numbers("score", _scores(training), _scores(log)),
        "class": categories("class", _classes(training), _classes(log)),
        "brand": categories("brand", _brands(training, top), _brands(log, top)),
        "vectors": _vectors(training, log, settings, rate, resamples, rng),
    }
    return [found[name] for name in names]


def _too_few(sizes: tuple[int, int], settings: MonitoringSettings) -> str:
    least = settings.least_queries
    return f"not measured: {sizes[0]} training and {sizes[1]} logged queries, {least} of each are needed"


def _bin_names(edges: np.ndarray) -> list[str]:
    if not len(edges):
        return ["all"]
    inner = [f"{low:.3g} to {high:.3g}" for low, high in zip(edges, edges[1:])]
    return [f"below {edges[0]:.3g}", *inner, f"{edges[-1]:.3g} and more"]


def _fits(sample: Sample) -> list[str]:
    return [NOTHING_FITS if each.outcome == NOTHING_FITS else "something fits" for each in sample.served]


def _scores(sample: Sample) -> np.ndarray:
    return np.array([each.top_score for each in sample.served if each.top_score is not None], float)


def _classes(sample: Sample) -> list[str]:
    return [each.top_class for each in sample.served if each.top_class is not None]


def _frequent_brands(sample: Sample) -> set[str]:
    return {brand for brand, _ in Counter(brand for brand in sample.brands if brand).most_common(_BRANDS)}


def _brands(sample: Sample, top: set[str]) -> list[str]:
    """Of the queries that brought a product; the rarer brands together."""
    return [
        _NO_BRAND if not brand else brand if brand in top else _OTHER
        for brand, each in zip(sample.brands, sample.served)
        if each.top_product is not None
    ]


def _vectors(
    training: Sample, log: Sample, settings: MonitoringSettings, rate: float, resamples: int, rng: np.random.Generator
) -> Check:
    sizes = len(training.vectors), len(log.vectors)
    if min(sizes) < max(settings.least_queries, LEAST_VECTORS):
        return Check("vectors", TITLES["vectors"], DISCREPANCY, None, None, *sizes, (), _too_few(sizes, settings))
    value, threshold = discrepancy(training.vectors, log.vectors, rate, resamples, rng)
    return Check("vectors", TITLES["vectors"], DISCREPANCY, value, threshold, *sizes)


def alarms_of(checks: Iterable[Check]) -> list[Alarm]:
    """An alarm for each check that drifted."""
    return [
        Alarm(check.name, check.value, check.threshold, _told(check), HINTS[check.name])
        for check in checks
        if check.drifted and check.value is not None and check.threshold is not None
    ]


def _told(check: Check) -> str:
    text = f"{check.title}: {check.statistic} {check.value:.3f} from the training data, by chance {check.threshold:.3f}"
    if check.shares:
        name, first, second = max(check.shares, key=lambda share: abs(share[1] - share[2]))
        text += f"; {name}: {first:.0%} in training, {second:.0%} now"
    return text


# --- from a workdir ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """The log of a time beside the training data; without a model or pairs ``note`` says what is missing."""

    window: Window
    checks: list[Check]
    model: str | None = None
    index: str | None = None
    unknown_words: Counter[str] | None = None
    note: str = ""


def compare(
    workdir: Workdir, settings: Settings, since: datetime | None, until: datetime | None, now: datetime
) -> Compared:
    """Read the log of a time and compare it with the training data of the model that answers."""
    folder = workdir.var / "search"
    try:
        core = _core(workdir, settings)
    except SqidflowError as error:
        window = read_window(folder, since, until, now, None, None)
        return Compared(window, [], note=f"nothing is compared: {error.message}")
    meta = core.index.meta
    window = read_window(folder, since, until, now, meta.model_version, meta.digest)
    catalogue = Catalogue(core)
    unknown: Counter[str] = Counter()
    words: dict[str, tuple[list[str], int]] = {}
    for key, query in window.queries.items():
        words[query] = catalogue.unknown_words(query)
        unknown.update({word: window.counts[key] for word in words[query][0]})
    try:
        reference = kept_reference(workdir, settings, core)
    except SqidflowError as error:
        note = f"nothing is compared: {error.message}"
        return Compared(window, [], meta.model_version, meta.digest, unknown, note)
    training = sample_of(
        reference.queries, reference.served, reference.brands, reference.vectors, catalogue.unknown_words
    )
    served = list(window.served.values())
    log = sample_of(
        window.queries.values(),
        served,
        [catalogue.brand_of(each.top_product) for each in served],
        encoded(core, _some(window, settings.monitoring.vectors)),
        words.__getitem__,
    )
    return Compared(window, measure_drift(training, log, settings.monitoring), meta.model_version, meta.digest, unknown)


def _some(window: Window, most: int) -> list[str]:
    """Queries whose vectors are compared: drawn, and the same in each report of the same log."""
    queries = list(window.queries.values())
    chosen = np.random.default_rng(_SEED).permutation(len(queries))[:most]
    return [queries[each] for each in chosen]


def _core(workdir: Workdir, settings: Settings) -> SearchCore:
    version, index = choose(workdir, settings)
    if settings.search.rewrite == "gemini":  # a thousand requests to a paid service are not what a report is to make
        settings = settings.model_copy(update={"search": settings.search.model_copy(update={"rewrite": "local"})})
    return open_core(workdir, version, index, settings, settings.search.retrieval_a, dict(os.environ))


def drift_alarms(workdir: Workdir, settings: Settings, now: datetime | None = None) -> list[Alarm]:
    """Alarms of drift in the last ``monitoring.days``; none where too little was searched, or nothing was trained.

    Reads the log and writes nothing but the kept reference.
    """
    if not log_files(workdir.var / "search", QUERIES):
        return []
    now = now or datetime.now(UTC)
    since = now - timedelta(days=settings.monitoring.days)
    return alarms_of(compare(workdir, settings, since, None, now).checks)
