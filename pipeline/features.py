"""`sqidflow features`: from raw data to prepared pairs, feature sources and a materialized feature store."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir

if TYPE_CHECKING:
    from sqidflow.data.prepare import PrepareReport
    from sqidflow.feature_store.store import MaterializeReport


@dataclass(frozen=True)
class FeaturesReport:
    """Results of the three steps of `sqidflow features`."""

    prepared: PrepareReport
    applied: bool
    apply_seconds: float
    materialized: MaterializeReport
    long_lists: dict[int, int]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "prepared": asdict(self.prepared),
            "applied": self.applied,
            "materialized": {**asdict(self.materialized), "rows": dict(self.materialized.rows)},
            "lists_too_long_for_trees": {str(query): size for query, size in self.long_lists.items()},
            "notes": list(self.notes),
        }

    def table_rows(self) -> list[tuple[str, str, str]]:
        """Rows of (step, result, time)."""
        prepared, materialized = self.prepared, self.materialized
        labels = ", ".join(f"{label} {count:,}" for label, count in prepared.labels.items())
        rows = [("judgements read", f"{prepared.judgements:,}", "")]
        rows += [(f"  left out: {reason}", f"{count:,}", "") for reason, count in prepared.filtered.items() if count]
        rows += [
            ("pairs", f"{prepared.pairs:,} ({labels})", _time(prepared.seconds, prepared.cached)),
            ("  queries", _queries(prepared), ""),
            *([("  split by ESCI's column", _of_split(prepared), "")] if prepared.pairs_of_split else []),
            *_of_feedback(prepared),
            ("products", f"{prepared.products:,}", ""),
            ("  judged", f"{prepared.products_judged:,}{_several_locales(prepared)}", ""),
            ("  not judged", f"{prepared.products_not_judged:,}", ""),
            ("  without a vector", _without_vector(prepared), ""),
            ("  without a picture", f"{prepared.products_without_picture:,}", ""),
            ("  vectors", ", ".join(f"{name} {dim}" for name, dim in prepared.dims.items()), ""),
            ("feature store", prepared.feature_service, _time(self.apply_seconds, not self.applied)),
            (
                f"online store ({materialized.online_store})",
                ", ".join(f"{name} {count:,}" for name, count in materialized.rows.items()),
                _time(materialized.seconds, materialized.cached),
            ),
        ]
        for query_id, size in self.long_lists.items():
            rows.append(("note", f"query {query_id}: {size:,} judged products, too many for models with trees", ""))
        return rows + [("note", note, "") for note in self.notes]


def _queries(prepared: PrepareReport) -> str:
    merged = f" ({prepared.merged_queries:,} more ids had the text of one of them)" if prepared.merged_queries else ""
    return f"{prepared.queries:,}{merged}"


def _of_split(prepared: PrepareReport) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in prepared.pairs_of_split.items())


def _of_feedback(prepared: PrepareReport) -> list[tuple[str, str, str]]:
    """What became of the judgements of data/feedback, one row each."""
    counts = prepared.feedback
    if not counts:
        return []
    rows = [("feedback", f"{counts['judgements']:,} judgements in {counts['spans']:,} spans", "")]
    return rows + [
        (f"  {name}", f"{count:,}", "")
        for name, count in counts.items()
        if count and name not in ("judgements", "spans")
    ]


def _several_locales(prepared: PrepareReport) -> str:
    several = prepared.products_in_several_locales
    return f" ({several:,} in several locales: searched with the texts of their first judgement)" if several else ""


def _without_vector(prepared: PrepareReport) -> str:
    hint = " (cannot be searched; run `sqidflow data encode`)" if prepared.products_without_vector else ""
    return f"{prepared.products_without_vector:,}{hint}"


def _time(seconds: float, cached: bool) -> str:
    return f"{seconds:.1f} s " + ("[cyan]cached[/]" if cached else "[green]ran[/]")


def make_features(workdir: Workdir, settings: Settings) -> FeaturesReport:
    """Prepare, apply, materialize. A step whose inputs have not changed is skipped.

    Raises:
        DataError, FeatureStoreError, DiskFullError: raised by the steps.
    """
    from pipeline.long_lists import long_lists
    from sqidflow.data.attributes import declared_otherwise
    from sqidflow.data.formats import PRODUCTS_FILE
    from sqidflow.data.prepare import prepare
    from sqidflow.data.versions import prepared_digests, verified_data_hash

    if workdir.data.is_dir():  # otherwise prepare() reports what is missing
        verified_data_hash(workdir)
    digests = prepared_digests(workdir)
    prepared = prepare(workdir.data, workdir.artifacts, **settings.preparation(), digests=digests)
    digests.save()
    # Imported after the checks: Feast takes seconds to import, and invalid data should be reported at once.
    from sqidflow.feature_store import store

    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    started = time.monotonic()
    applied = store.apply(workdir.artifacts, redis_url=redis_url)
    apply_seconds = time.monotonic() - started
    materialized = store.materialize(workdir.artifacts, redis_url=redis_url, digests=prepared.outputs)
    otherwise = declared_otherwise(workdir.data / PRODUCTS_FILE, settings.data.attributes)
    notes = (otherwise,) if otherwise else ()
    return FeaturesReport(prepared, applied, apply_seconds, materialized, long_lists(workdir.pairs), notes)
