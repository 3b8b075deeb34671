"""From the service's store to the judgements of the next span: what is new, what is left out, and why."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqidflow.core import feature_files
from sqidflow.core.files import require
from sqidflow.core.settings import FeedbackSettings, Settings
from sqidflow.core.workdir import Workdir
from sqidflow.data import catalogue, esci_split, spans
from sqidflow.data.spans import CLICKS, HUMAN, SpanRow
from sqidflow.monitoring import clicks
from sqidflow.monitoring.feedback import Feedback, read_feedback, store_file
from sqidflow.monitoring.quarantine import (
    CONTRADICTED,
    ONE_CLIENT,
    Judged,
    Quarantined,
    Sifted,
    quarantined_judgement,
    sift,
)
from sqidflow.ranking import features
from sqidflow.ranking.query_text import query_key
from sqidflow.search.experiments import client_name
from sqidflow.search.ubi import JUDGEMENT

HELD_OUT, PICTURE, EMPTY, DELETED = "held-out query", "picture query", "empty query", "product deleted"
LEFT_OUT = (HELD_OUT, PICTURE, EMPTY, DELETED)
"""Feedback that is sound and cannot be learned from."""
NO_PROPENSITIES = (
    "no propensities: too few products stood at several ranks of interleaved answers, so clicks give no labels"
)
CLICKS_OFF = "clicks are not used (feedback.clicks)"


@dataclass(frozen=True)
class Catalogue:
    """What the prepared files say: the locale of each product, and the normal forms of the held-out queries."""

    locale_of: Mapping[str, str]
    held_out: frozenset[str]


@dataclass
class Collected:
    """``rows``: the judgements of the next span. ``left_out``: reason -> how many judgements or pairs. ``clicks``: what
    the click model was estimated from, and what it gave."""

    rows: list[SpanRow] = field(default_factory=list)
    answers: int = 0
    events: int = 0
    judgements: int = 0
    clients: int = 0
    first: str = ""
    last: str = ""
    left_out: dict[str, int] = field(default_factory=dict)
    clicks: dict[str, Any] = field(default_factory=dict)
    quarantined: list[Quarantined] = field(default_factory=list)
    damaged_answers: int = 0

    @property
    def quarantine(self) -> dict[str, int]:
        """Reason -> how many, see ``sqidflow.monitoring.quarantine``."""
        return Sifted(quarantined=self.quarantined).counts

    def about(self) -> dict[str, Any]:
        """What the manifest of the span says of it."""
        return {
            "first": self.first, "last": self.last, "clients": self.clients, "left_out": self.left_out,
            "quarantine": self.quarantine, "clicks": self.clicks,
        }  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        return {
            "new_judgements": len(self.rows), "answers": self.answers, "events": self.events,
            "judgements": self.judgements, "damaged_answers": self.damaged_answers, **self.about(),
        }  # fmt: skip


def read_catalogue(workdir: Workdir, settings: Settings) -> Catalogue:
    """Raises MissingInputError where nothing is prepared."""
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    file = require(workdir.artifacts / feature_files.CATALOGUE, "sqidflow features")
    products = pq.read_table(file, columns=[features.PRODUCT_ID, catalogue.LOCALE]).to_pydict()
    rules = settings.preparation()["spans"]
    types: dict[str, Any] = {features.QUERY: "string", features.QUERY_ID: "int64"}
    convert = pacsv.ConvertOptions(column_types=types, include_columns=list(types), strings_can_be_null=False)
    held_out: set[str] = set()
    by_esci = settings.split.by == "esci"
    files = [workdir.pairs_of_split(name) for name in esci_split.SPLITS[1:]] if by_esci else [workdir.pairs]
    for each in files:
        parse = pacsv.ParseOptions(newlines_in_values=True)
        pairs = pacsv.read_csv(require(each, "sqidflow features"), convert_options=convert, parse_options=parse)
        queries = dict(zip(pairs[features.QUERY_ID].to_pylist(), pairs[features.QUERY].to_pylist(), strict=True))
        held_out |= {
            query_key(text)
            for query_id, text in queries.items()
            if by_esci or spans.is_held_out(query_id, rules, esci=False)
        }
    locale_of = dict(zip(products[features.PRODUCT_ID], products[catalogue.LOCALE], strict=True))
    return Catalogue(locale_of, frozenset(held_out))


def collect(workdir: Workdir, settings: Settings, now: datetime) -> Collected:
    """What feedback says that no span has yet. Writes nothing.

    Raises:
        SqidflowError: nothing is prepared, the store or a span is damaged.
    """
    known = spans.standing_in(workdir.data)
    feedback = read_feedback(store_file(workdir))
    return collected(feedback, read_catalogue(workdir, settings), known, settings.feedback, now)


def collected(
    feedback: Feedback,
    of: Catalogue,
    known: Mapping[tuple[str, str, str], SpanRow],
    rules: FeedbackSettings,
    now: datetime,
) -> Collected:
    """See :func:`collect`; ``known``: what the spans say."""
    sifted = sift(feedback, rules, now)
    out = Collected(
        answers=len(feedback.answers),
        events=len(feedback.events),
        judgements=len(feedback.judgements),
        clients=len({event.client for event in feedback.events} | {each.client for each in feedback.judgements}),
        quarantined=sifted.quarantined,
        damaged_answers=feedback.damaged_answers,
    )
    moments = [event.at for event in feedback.events if event.at is not None and event.at <= now]
    if moments:
        out.first, out.last = (moment.isoformat(timespec="seconds") for moment in (min(moments), max(moments)))
    left_out: Counter[str] = Counter()
    human, supporters, order = _human_rows(sifted, of, left_out)
    clicked = _click_rows(sifted, of, rules, out, left_out)
    rows = spans.new_rows([*(row for row in clicked if row.key not in {each.key for each in human}), *human], known)
    out.rows = _within_share(rows, supporters, order, rules, out.quarantined)
    out.left_out = {reason: left_out[reason] for reason in LEFT_OUT if left_out[reason]}
    return out


_Key = tuple[str, str, str]


def _human_rows(
    sifted: Sifted, of: Catalogue, left_out: Counter[str]
) -> tuple[list[SpanRow], dict[_Key, set[str]], dict[_Key, datetime]]:
    """The label that most clients give to each query and product; with the clients, and the time of the newest.

    Who gave another label is quarantined, and all where two labels have as many clients.
    """
    by_pair: dict[_Key, dict[str, Judged]] = defaultdict(dict)  # of a client the newest, however it spelt the query
    for judged in sifted.judgements:
        given = judged.given
        reason = _why_left_out(given.query, given.picture, given.product_id, of)
        if reason is not None:
            left_out[reason] += 1
            continue
        of_clients = by_pair[given.key, given.product_id, of.locale_of[given.product_id]]
        if given.client not in of_clients or _time(judged) > _time(of_clients[given.client]):
            of_clients[given.client] = judged
    rows, supporters, order = [], {}, {}
    for key in sorted(by_pair):
        given_here = list(by_pair[key].values())
        counted = Counter(judged.given.label for judged in given_here).most_common(2)
        label = None if len(counted) > 1 and counted[0][1] == counted[1][1] else counted[0][0]
        agreeing = [judged for judged in given_here if judged.given.label == label]
        sifted.quarantined.extend(
            quarantined_judgement(judged, CONTRADICTED) for judged in given_here if judged.given.label != label
        )
        if not agreeing:
            continue
        newest = max(agreeing, key=lambda judged: (_time(judged), judged.given.client))
        rows.append(
            SpanRow(
                spans.query_text(newest.given.query), key[1], key[2], str(label), HUMAN, len(agreeing),
                answer=newest.answer.request_id if newest.answer else "",
                model=newest.answer.model if newest.answer else "",
            )
        )  # fmt: skip
        supporters[key] = {judged.given.client for judged in agreeing}
        order[key] = _time(newest)
    return rows, supporters, order


def _time(judged: Judged) -> datetime:
    """When it was given; what has no time is quarantined before."""
    return judged.given.at or datetime.min.replace(tzinfo=UTC)


def _why_left_out(query: str, picture: bool, product: str, of: Catalogue) -> str | None:
    if picture:
        return PICTURE
    key = query_key(query)
    if not key:
        return EMPTY
    if key in of.held_out:
        return HELD_OUT
    return None if product in of.locale_of else DELETED


def _click_rows(
    sifted: Sifted, of: Catalogue, rules: FeedbackSettings, out: Collected, left_out: Counter[str]
) -> list[SpanRow]:
    if not rules.clicks:
        out.clicks = {"used": False, "why": CLICKS_OFF}
        return []
    known = clicks.propensities(sifted.seen)
    interleaved = sum(each.answer.strategy == clicks.INTERLEAVED for each in sifted.seen)
    out.clicks = {
        "used": bool(known),
        **({} if known else {"why": NO_PROPENSITIES}),
        "answers_seen": len(sifted.seen),
        "interleaved": interleaved,
        "clicks": sum(len(each.clicked) for each in sifted.seen),
        "propensities": {str(rank): [each.mean, each.low, each.high] for rank, each in sorted(known.items())},
    }
    texts = {each.answer.key: each.answer.query for each in sifted.seen}
    rows = []
    for (key, product), impressions in sorted(clicks.counted(sifted.seen).items()) if known else ():
        rate = clicks.click_rate(impressions, known)
        label = clicks.label_of(rate, rules) if rate is not None else None
        if rate is None or label is None:
            continue
        reason = _why_left_out(texts[key], False, product, of)
        if reason is not None:
            left_out[reason] += 1
            continue
        rows.append(
            SpanRow(
                spans.query_text(texts[key]), product, of.locale_of[product], label, CLICKS, impressions.clients,
                sum(impressions.shown.values()), rate.low, rate.high, impressions.answer, impressions.model,
            )
        )  # fmt: skip
    out.clicks["pairs_with_a_label"] = len(rows)
    return rows


def _within_share(
    rows: Sequence[SpanRow],
    supporters: Mapping[_Key, set[str]],
    order: Mapping[_Key, datetime],
    rules: FeedbackSettings,
    quarantined: list[Quarantined],
) -> list[SpanRow]:
    """The rows without those that one client alone decides beyond its share; the oldest of a client stay."""
    alone: dict[str, list[SpanRow]] = defaultdict(list)
    for row in rows:
        clients = supporters.get(row.key, set()) if row.source == HUMAN else set()
        if len(clients) == 1:
            alone[next(iter(clients))].append(row)
    dropped: set[_Key] = set()
    for client, own in sorted(alone.items()):
        others = len(rows) - len(own)
        share = rules.client_share
        allowed = len(own) if share == 1 else max(rules.client_pairs, int(share / (1 - share) * others))
        own.sort(key=lambda row: (order[row.key], row.key))
        for row in own[allowed:]:
            dropped.add(row.key)
            quarantined.append(
                Quarantined(
                    ONE_CLIENT, JUDGEMENT, client_name(client), row.query, row.product_id, row.esci_label,
                    order[row.key].isoformat(timespec="seconds"), row.answer,
                )
            )  # fmt: skip
    return [row for row in rows if row.key not in dropped]


# --- files ------------------------------------------------------------------------------------------------------------

_ROWS, _REPORT, _QUARANTINE = "rows.json", "collected.json", "quarantine.csv"


def write_collected(folder: Path, found: Collected) -> None:
    """Write into ``folder`` all that the next steps need, and the list of what is quarantined."""
    (folder / _ROWS).write_text(json.dumps([asdict(row) for row in found.rows]), encoding="utf-8")
    document = {"document": found.as_dict(), "about": found.about()}
    (folder / _REPORT).write_text(json.dumps(document, indent=2), encoding="utf-8")
    (folder / _QUARANTINE).write_text(quarantine_csv(found.quarantined), encoding="utf-8")


def read_collected(folder: Path) -> tuple[list[SpanRow], dict[str, Any], dict[str, Any]]:
    """The rows of the span, what its manifest says of it, and the document for reports."""
    rows = [SpanRow(**row) for row in json.loads((folder / _ROWS).read_text(encoding="utf-8"))]
    document = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
    return rows, document["about"], document["document"]


def quarantine_csv(quarantined: Iterable[Quarantined]) -> str:
    """The list as CSV, sorted by reason and time."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([each.name for each in fields(Quarantined)])
    rows = sorted((tuple(asdict(each).values()) for each in quarantined), key=lambda row: (row[0], row[6], row))
    writer.writerows(rows)
    return stream.getvalue()
