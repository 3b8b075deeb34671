"""Settings: the only module that reads params.yaml and the environment.

Sources, later ones override earlier ones: ``params.yaml`` of the workdir (or of the checkout if the workdir has none),
``SQIDFLOW_SECTION__KEY`` variables, ``--set``. Secrets (``SECRETS``) come only from the environment and are never
written to disk.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from sqidflow.core.errors import SettingsError

_SOURCE = Path(__file__).resolve().parents[2]
CHECKOUT = _SOURCE if (_SOURCE / "pyproject.toml").is_file() else Path(__file__).resolve().parents[1] / "project"
"""The checkout, or an installed wheel's folder with copies of params.yaml, feature_repo/, schema/ and web/dist/."""
PARAMS_FILE = "params.yaml"
ENVIRONMENT_PREFIX = "SQIDFLOW_"
REDIS_URL_VARIABLE = "SQIDFLOW_REDIS_URL"
CACHE_URL_VARIABLE = "SQIDFLOW_CACHE_URL"
API_KEY_VARIABLE = "SQIDFLOW_API_KEY"
WORKDIR_VARIABLE = "SQIDFLOW_WORKDIR"
SECRETS = {"redis_url": REDIS_URL_VARIABLE, "cache_url": CACHE_URL_VARIABLE, "api_key": API_KEY_VARIABLE}
"""Fields of ``Settings`` that are read only from an environment variable."""
NOT_SETTINGS = {*SECRETS.values(), WORKDIR_VARIABLE, "SQIDFLOW_VENV", "SQIDFLOW_REAL_DATA"}
"""Variables with the project's prefix that are not settings of a section."""

Positive = Annotated[int, Field(gt=0, strict=True)]
Share = Annotated[float, Field(ge=0, le=1)]


class SpanRules(NamedTuple):
    """What decides which pairs of feedback are prepared: the shares of the splits, and how many clients must agree to
    replace an original judgement."""

    shares: tuple[int, int, int]
    overrule_clients: int


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Language = Literal[
    "none",
    "english",
    "spanish",
    "danish",
    "dutch",
    "finnish",
    "french",
    "german",
    "italian",
    "norwegian",
    "portuguese",
    "swedish",
]


class DataSettings(_Section):
    """Which judgements are used."""

    locale: str | None = Field("us", description="product_locale kept; null keeps all")
    language: Language | None = Field(
        None, description="language of the texts (stemming, colours, negations); null: the one of the locale"
    )
    small_version: bool = Field(True, description="keep only judgements of ESCI's small version, as SQID does")
    large_version: bool = Field(False, description="keep only judgements of ESCI's large version")
    splits: tuple[str, ...] = Field((), description="keep only these ESCI splits; empty keeps all")
    attributes: dict[str, Literal["number", "date", "boolean", "string"]] = Field(
        {}, description="kinds of further columns of imported products, e.g. {price: number}; others are inferred"
    )
    decimal: Literal[".", ","] | None = Field(
        None, description="mark before decimals in imported products; null: only numbers with one reading are taken"
    )

    def filters(self) -> dict[str, Any]:
        """What decides which judgements are kept: all but how texts and attributes are read."""
        return self.model_dump(exclude={"language", "attributes", "decimal"})


class FetchSettings(_Section):
    """How `sqidflow data fetch` downloads the published files, and `sqidflow data pictures` products' pictures."""

    mirror: Annotated[str, Field(pattern="^https?://")] | None = Field(
        None, description="URL of a folder with the files under their published paths; null: the public servers"
    )
    attempts: Positive = Field(5, description="consecutive attempts without progress before a download fails")
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        30.0, description="seconds without data after which an attempt ends"
    )
    picture_bytes: Positive = Field(10_000_000, description="largest picture that is fetched")
    picture_timeout_s: Annotated[float, Field(gt=0, le=600)] = Field(
        20.0, description="seconds that a picture may take, with its redirects"
    )
    picture_workers: Annotated[int, Field(ge=1, le=32, strict=True)] = Field(
        4, description="pictures that are fetched at once"
    )
    allowed_networks: tuple[str, ...] = Field(
        (), description="private addresses or networks that pictures may be fetched from all the same"
    )

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)  # raises ValueError, whose text names it
        return value


class SampleSettings(_Section):
    """Size of the synthetic sample."""

    queries: Positive = Field(2000, description="queries")
    products: Positive = Field(3000, description="products")
    pairs_per_query: Positive = Field(20, description="judged products per query")
    dim: Positive = Field(768, description="length of each vector")
    seed: int = Field(7, ge=0, description="seed of the generator")


class SplitSettings(_Section):
    """How the judged queries are split; shares of the queries as whole numbers."""

    by: Literal["query", "esci"] = Field(
        "query",
        description="query: a hash of the query's id decides; esci: the file's column split, train and test",
    )
    train: Positive = Field(4, description="share of the queries the model learns from")
    eval: Positive = Field(2, description="share of the queries used for early stopping")
    test: Positive = Field(4, description="share of the queries held out for the final evaluation")

    @property
    def esci_shares(self) -> tuple[int, int] | None:
        """Shares of training and validation where ESCI's own split says what is held out; None elsewhere."""
        return (self.train, self.eval) if self.by == "esci" else None


class TrainSettings(_Section):
    """The ranker and its hyper-parameters; null means the model's default."""

    model: str = Field(
        "ladder",
        description="which ranker: ladder, linear, ensemble, pointwise, listwise, lambdamart, cosine or query_mlp",
    )
    batch_size: Positive | None = Field(None, description="pairs per training step")
    epochs: Positive | None = Field(None, description="maximum number of epochs")
    patience: Positive | None = Field(None, description="epochs without a better validation NDCG before training stops")
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Adam's learning rate"
    )
    dropout: Share | None = Field(None, description="dropout rate in training")
    hidden: tuple[Positive, ...] | None = Field(None, description="units of each hidden layer, e.g. [256, 64]")
    l2: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(None, description="L2 regularisation weight")
    heads: Positive | None = Field(None, description="networks whose probabilities are averaged")
    tree_share: Share | None = Field(None, description="weight of the trees in the ensemble")
    seed: Annotated[int, Field(ge=0)] | None = Field(None, description="seed of initial weights and shuffling")

    def overrides(self) -> dict[str, Any]:
        return {name: value for name, value in self.model_dump(exclude={"model"}).items() if value is not None}


class EvaluationSettings(_Section):
    """When the Evaluator blesses a model, and the slices that TFMA reports."""

    min_lift: Annotated[float, Field(allow_inf_nan=False)] = Field(
        0.0, description="a model is blessed only if its NDCG exceeds the zero-shot cosine's by more than this"
    )
    max_loss: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="NDCG that a blessed model may lose against the last blessed one"
    )
    slices: tuple[Literal["pictures", "query_length", "exact_share"], ...] = Field(
        ("pictures", "query_length", "exact_share"), description="query features whose values TFMA also reports by"
    )


class AuditSettings(_Section):
    """`sqidflow audit`, and what of it the blessing takes into account."""

    queries: Positive = Field(100, description="held-out queries that each kind of change is tried on")
    seed: int = Field(17, ge=0, description="seed of the changes and of the chosen queries")
    rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        0.2, description="share of a query's words that a typing error changes; one at least"
    )
    least_group: Positive = Field(20, description="queries that a group needs for a verdict")
    disparity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        0.15, description="a difference between groups is a disparity where its whole interval is beyond this"
    )
    block: tuple[Literal["typing", "audience", "feast", "brand", "picture", "price"], ...] = Field(
        ("audience",), description="lines that block a blessing; the others warn"
    )


class FeedbackSettings(_Section):
    """Which feedback of the service becomes judgements."""

    clicks: bool = Field(True, description="whether clicks become judgements; human judgements always do")
    client_events_per_day: Positive = Field(
        500, description="clicks, views and judgements of one client in a day; of a client with more, nothing is used"
    )
    client_pairs: Positive = Field(50, description="judgements of a span that one client alone may always decide")
    client_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.2, description="share of a span that one client alone may decide, where that is more than client_pairs"
    )
    group_clients: Annotated[int, Field(ge=0, strict=True)] = Field(
        10, description="clients that came for one product alone before they can be a suspicious group; 0: no test"
    )
    overrule_clients: Positive = Field(
        3, description="clients that must agree before a label of theirs replaces one of the original judgements"
    )
    least_impressions: Positive = Field(
        20, description="impressions that were examined, as the click model counts, before clicks give a label"
    )
    click_exact: Annotated[float, Field(gt=0, le=1)] = Field(
        0.4, description="a pair is Exact where its click rate at rank 1, the whole interval, is above this"
    )
    click_irrelevant: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="a pair is Irrelevant where its click rate at rank 1, the whole interval, is below this"
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> FeedbackSettings:
        if self.click_irrelevant >= self.click_exact:
            raise ValueError("click_irrelevant must be below click_exact")
        return self


class RetrainSettings(_Section):
    """`sqidflow retrain`: what starts it, and when a challenger is pushed."""

    judgements: Positive = Field(100, description="new judgements from feedback that start a retraining")
    drift: bool = Field(True, description="whether an alarm of drift starts a retraining")
    new_data: bool = Field(True, description="whether another version of data/ starts a retraining")
    every_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="hours after which a retraining starts in any case; null: no schedule"
    )
    min_gain: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="a challenger is pushed only if the lower bound of its gain over the champion is above this"
    )
    check_every_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        60.0, description="seconds between two looks of `sqidflow retrain --watch`"
    )


class TrackingSettings(_Section):
    """MLflow."""

    uri: str | None = Field(None, description="MLflow's tracking store; null: sqlite in var/mlflow")
    experiment: str = Field("sqidflow", min_length=1, description="name of the MLflow experiment")


class EnergySettings(_Section):
    """CodeCarbon."""

    country_iso_code: Annotated[str, Field(pattern="^[A-Z]{3}$")] = Field(
        "DEU", description="ISO 3166 alpha-3 code of the country whose electricity mix turns kWh into CO2e"
    )


class BeamSettings(_Section):
    """Where Beam pipelines run."""

    runner: Literal["local", "portable", "flink", "spark", "dataflow"] = Field(
        "local", description="runner profile: local (in this process, in memory), portable, flink, spark or dataflow"
    )
    job_endpoint: str | None = Field(None, description="host:port of the Beam job service")
    environment_type: Literal["EXTERNAL", "DOCKER"] = Field(
        "EXTERNAL", description="where workers run: EXTERNAL (a worker pool) or DOCKER (an image)"
    )
    environment_config: str | None = Field(
        None, description="EXTERNAL: host:port of the worker pool; DOCKER: the image"
    )
    options: tuple[str, ...] = Field((), description="further Beam options, each --name=value")

    @field_validator("runner", mode="before")
    @classmethod
    def _refuse_dask(cls, value: Any) -> Any:
        if str(value).lower().startswith("dask"):
            raise ValueError("Beam's Dask runner is not offered: it drops data silently, see docs/platform.md")
        return value


class KubeflowSettings(_Section):
    """What `sqidflow compile` writes into the specification."""

    image: str = Field("sqidflow:latest", min_length=1, description="container image of every step")
    workdir: Annotated[str, Field(pattern="^/")] = Field(
        "/sqidflow", description="mount path of the checkout with data/ and artifacts/ in every step's container"
    )
    root: str | None = Field(
        None, description="path or object store URI that steps write their outputs to; null: in kubeflow.workdir"
    )


class SearchSettings(_Section):
    """The search service."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="port to listen on; 0 takes a free one")
    workers: Positive = Field(1, description="worker processes; they share the index's files")
    threads: Positive = Field(2, description="concurrent searches per worker")
    queue: Positive = Field(256, description="searches that may wait per worker; further ones get 429")
    encoder: str | None = Field(None, description="encoder of queries; null: the one that encoded the data")
    encoder_model: str | None = Field(None, description="the encoder's weights: a name on the hub or a local folder")
    candidates: Annotated[int, Field(ge=10, le=1000, strict=True)] = Field(
        100, description="candidates that are ranked per query"
    )
    update_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.1, description="share of the products that may change before `sqidflow index` builds all anew; 0: at once"
    )
    retrieval_a: Literal["hybrid", "vectors"] = Field("hybrid", description="how variant a retrieves its candidates")
    retrieval_b: Literal["hybrid", "vectors"] = Field("vectors", description="how variant b retrieves its candidates")
    model_b: str | None = Field(None, description="version of the pushed model in variant b; null: the newest")
    canary_share: Share = Field(
        0.0, description="share of the clients whose searches another model answers: search.canary_model; 0: none"
    )
    canary_model: str | None = Field(
        None, description="version of the pushed model for that share; null: the newest that has an index"
    )
    shadow_model: str | None = Field(
        None,
        description="version of a pushed model that answers beside the served one, logged and not shown; null: none",
    )
    rewrite: Literal["none", "local", "gemini"] = Field("local", description="how queries are rewritten")
    synonyms: str | None = Field(
        None, description="text file of synonyms, one group per line, separated by commas; null: only the built-in ones"
    )
    gemini_model: str = Field("gemini-2.5-flash-lite", min_length=1, description="model that rewrites queries")
    gemini_timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        2.0, description="seconds to wait for Gemini before spelling is corrected locally"
    )
    gemini_url: str | None = Field(None, description="another address of Gemini's API; null: Google's")
    batch_timeout_s: Annotated[float, Field(gt=0, le=600)] = Field(
        30.0, description="seconds a batch of searches may take; what is left then has an error of its own"
    )
    cache_entries: Annotated[int, Field(ge=0, strict=True)] = Field(
        2000, description="answers cached in each worker's memory; 0 turns the cache off, in Redis too"
    )
    cache_seconds: Positive = Field(3600, description="how long an answer is cached")
    max_body_bytes: Positive = Field(16_000_000, description="largest request body; JSON has a lower limit of its own")
    body_timeout_s: Annotated[float, Field(gt=0)] = Field(20.0, description="seconds a request body may take to arrive")
    rate_limit: str | None = Field(None, description="request limit per client, e.g. 600/minute; null: no limit")
    write_rate_limit: str | None = Field("120/minute", description="request limit per client for feedback and events")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="addresses or networks of proxies whose X-Forwarded-For names the client"
    )
    cors_origins: tuple[str, ...] = Field((), description="other sites whose pages may call the API")
    query_log: bool = Field(True, description="whether queries are logged to var/search")
    query_log_days: Positive = Field(30, description="days after which logged queries and events are deleted")
    query_log_mb: Positive = Field(50, description="size in MB at which a new log file begins")
    client_id_days: Positive = Field(30, description="days after which a browser takes another random id")
    mlflow_url: str | None = Field(None, description="address of MLflow's UI, for links from the page")

    @field_validator("model_b", "canary_model", "shadow_model", mode="before")
    @classmethod
    def _as_version(cls, value: Any) -> Any:
        """A pushed model's version has digits alone, which YAML reads as a number."""
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class MonitoringSettings(_Section):
    """`sqidflow monitor`: what is compared with the training data, and when that is an alarm."""

    days: Positive = Field(7, description="days of the log that a report is of where no time is named")
    false_alarms: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = Field(
        0.05, description="share of the reports without any drift that may raise an alarm; all checks share it"
    )
    resamples: Annotated[int, Field(ge=200, le=100_000, strict=True)] = Field(
        2000, description="pairs of samples of the training queries that a threshold comes from"
    )
    least_queries: Annotated[int, Field(ge=10, strict=True)] = Field(
        50, description="different queries that a comparison needs, of training and of the log"
    )
    reference_queries: Annotated[int, Field(ge=50, le=100_000, strict=True)] = Field(
        500, description="training queries that the model is asked, once, to compare its answers with"
    )
    vectors: Annotated[int, Field(ge=10, le=5000, strict=True)] = Field(
        250, description="logged queries whose vectors are compared, with twice as many of training"
    )
    latency_p99_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1000.0, description="an answer's 99th percentile in ms above which there is an alarm"
    )


class Settings(_Section):
    """All settings, by section."""

    data: DataSettings = DataSettings()
    fetch: FetchSettings = FetchSettings()
    sample: SampleSettings = SampleSettings()
    split: SplitSettings = SplitSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    audit: AuditSettings = AuditSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    retrain: RetrainSettings = RetrainSettings()
    tracking: TrackingSettings = TrackingSettings()
    energy: EnergySettings = EnergySettings()
    beam: BeamSettings = BeamSettings()
    kubeflow: KubeflowSettings = KubeflowSettings()
    search: SearchSettings = SearchSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    cache_url: SecretStr | None = Field(None, exclude=True, description="only from SQIDFLOW_CACHE_URL")
    api_key: SecretStr | None = Field(None, exclude=True, description="only from SQIDFLOW_API_KEY")
    redis_url: SecretStr | None = Field(None, exclude=True, description="only from SQIDFLOW_REDIS_URL")

    def preparation(self) -> dict[str, Any]:
        """What decides, beside the files, which pairs are prepared and what is held out of them."""
        rules = SpanRules((self.split.train, self.split.eval, self.split.test), self.feedback.overrule_clients)
        return {**self.data.filters(), "esci": self.split.esci_shares, "spans": rules}


def known_keys() -> list[str]:
    """Every ``section.key`` that params.yaml may set."""
    return [
        f"{section}.{key}"
        for section, field in Settings.model_fields.items()
        if section not in SECRETS
        for key in field.annotation.model_fields  # type: ignore[union-attr]
    ]


def load_settings(
    workdir: Path, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings of a workdir.

    Args:
        workdir: its params.yaml is read, or the checkout's if it has none.
        overrides: ``section.key=value`` each, the value as YAML.
        environment: variables to read; None means the process's.

    Raises:
        SettingsError: an unknown key (names the nearest known one) or an invalid value.
    """
    environment = os.environ if environment is None else environment
    file = workdir / PARAMS_FILE
    if not file.is_file():
        file = CHECKOUT / PARAMS_FILE
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def put(key: str, value: Any, origin: str) -> None:
        known = known_keys()
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.5) or difflib.get_close_matches(
                key.split(".")[-1], [name.split(".")[-1] for name in known], 1, 0.6
            )
            nearest = next((name for name in known if near and (name == near[0] or name.endswith("." + near[0]))), None)
            hint = f"did you mean {nearest}?" if nearest else f"known: {', '.join(known)}"
            raise SettingsError(f"unknown setting {key!r}", where=origin, hint=hint)
        section, name = key.split(".")
        values.setdefault(section, {})[name] = value
        origins[key] = origin

    for section, content in _read_yaml(file).items():
        if section in {key.split(".")[0] for key in known_keys()}:
            if content is None or content == {}:
                continue  # a section without keys keeps its defaults
            if not isinstance(content, dict):
                raise SettingsError(
                    f"{section} is a section, not {content!r}",
                    where=file,
                    hint=f"write its settings below it, e.g. `{section}:` and `  key: value`; see docs/settings.md",
                )
        if not isinstance(content, dict) or not content:
            put(str(section), content, str(file))
        else:
            for name, value in content.items():
                put(f"{section}.{name}", value, str(file))
    for variable, text in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in NOT_SETTINGS:
            key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
            put(key, _parse(text, variable), f"environment variable {variable}")
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise SettingsError("the value is missing", where=f"--set {override}", hint="write --set section.key=value")
        put(key.strip(), _parse(text, override), f"--set {key}={_shown(text, str)}")

    secrets = {name: environment.get(variable) or None for name, variable in SECRETS.items()}
    try:
        return Settings(**values, **secrets)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        raise SettingsError(
            f"setting {key} cannot be {_shown(first['input'])}: {first['msg'].removeprefix('Value error, ')}",
            where=origins.get(key, str(file)),
            hint="see docs/settings.md for valid values",
        ) from error


def _shown(value: Any, form: Callable[[Any], str] = repr) -> str:
    """An invalid value, safe to print: an address may contain a password."""
    return "that address" if isinstance(value, str) and "://" in value and "@" in value else form(value)


class _UniqueKeys(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Refuses a key that stands twice in a mapping: YAML forbids it, and PyYAML silently takes the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def _load_yaml(text: str) -> Any:
    return yaml.load(text, _UniqueKeys)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = _load_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError("does not exist", where=file, hint="restore it: git checkout -- params.yaml") from error
    except UnicodeDecodeError as error:
        raise SettingsError("invalid YAML: the file is not UTF-8 text", where=file, hint="save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"invalid YAML: {error}", where=file, hint="correct the line that it names") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError("the file must contain sections with keys", where=file, hint="see docs/settings.md")
    return content


def _parse(text: str, origin: str) -> Any:
    if text.strip() == ",":  # no YAML, and what a shell makes of data.decimal=","
        return ","
    try:
        return _load_yaml(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"the value is not valid YAML: {text!r}", where=origin, hint="quote it") from error


def default_workdir() -> Path:
    """The folder in ``SQIDFLOW_WORKDIR``; if unset the checkout, or the current folder for an installed wheel."""
    named = os.environ.get(WORKDIR_VARIABLE)
    return Path(named or (CHECKOUT if CHECKOUT == _SOURCE else Path.cwd())).expanduser().absolute()
