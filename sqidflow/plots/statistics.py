"""TFDV's statistics, schemas and anomalies as tables and figures, read from their protos.

They need no network, unlike TFDV's own widgets, which load scripts from the internet. Every figure compares the splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core.files import require
from sqidflow.ranking import features

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPLITS = ("train", "eval", "test")
SPLIT_COLORS = {"train": "tab:blue", "eval": "tab:orange", "test": "tab:green"}
STATISTICS_FILE = "FeatureStats.pb"
ANOMALIES_FILE = "SchemaDiff.pb"
SCHEMA_FILE = "schema.pbtxt"
FEW_VALUES = 40
"""A text feature with more distinct values is drawn as frequency by rank instead of by value."""
SHOWN_VALUES = 10

Statistics = Mapping[str, Any]
"""split -> tensorflow_metadata DatasetFeatureStatistics"""


def read_statistics(folder: Path) -> dict[str, Any]:
    """StatisticsGen's output: split -> DatasetFeatureStatistics, the training split first.

    Raises:
        MissingInputError: the folder has no split.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    statistics = {
        split: statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets[0]
        for split, file in _split_files(folder, STATISTICS_FILE).items()
    }
    if not statistics:
        require(folder / f"Split-{SPLITS[0]}" / STATISTICS_FILE)
    return statistics


def read_anomalies(folder: Path) -> dict[str, Any]:
    """ExampleValidator's output: split -> Anomalies."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    return {
        split: anomalies_pb2.Anomalies.FromString(file.read_bytes())
        for split, file in _split_files(folder, ANOMALIES_FILE).items()
    }


def read_schema(folder: Path) -> Any:
    """The ``schema.pbtxt`` of a folder: SchemaGen's, or the curated one in ``schema/``."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    return text_format.Parse(require(folder / SCHEMA_FILE).read_text(encoding="utf-8"), schema_pb2.Schema())


def _split_files(folder: Path, name: str) -> dict[str, Path]:
    files = {file.parent.name.removeprefix("Split-"): file for file in folder.glob(f"Split-*/{name}")}
    return {split: files[split] for split in sorted(files, key=lambda split: (split not in SPLITS, _place(split)))}


def _place(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _color(split: str) -> str:
    return SPLIT_COLORS.get(split, "tab:gray")


def _by_name(dataset: Any) -> dict[str, Any]:
    return {"/".join(feature.path.step) or feature.name: feature for feature in dataset.features}


def _common(feature: Any) -> Any:
    return getattr(feature, feature.WhichOneof("stats")).common_stats


def text_counts(feature: Any) -> dict[str, float]:
    """value -> number of pairs, most frequent first; TFDV keeps the first thousand values."""
    return {bucket.label: bucket.sample_count for bucket in feature.string_stats.rank_histogram.buckets}


def _is_text(feature: Any) -> bool:
    return feature.WhichOneof("stats") == "string_stats"


def missing_shares(dataset: Any) -> dict[str, float]:
    """feature -> share of the pairs without it, in 0..1.

    An absent feature, an empty text, and the zero vector of a missing picture all count as missing.
    """
    by_name = _by_name(dataset)
    shares = {}
    for name, feature in by_name.items():
        missing = dataset.num_examples - _common(feature).num_non_missing
        if _is_text(feature):
            missing += text_counts(feature).get("", 0)
        shares[name] = missing / dataset.num_examples
    if features.IMAGE_VEC in shares and features.HAS_IMAGE in by_name:
        shares[features.IMAGE_VEC] = by_name[features.HAS_IMAGE].num_stats.num_zeros / dataset.num_examples
    return shares


def feature_table(dataset: Any) -> pd.DataFrame:
    """One row per feature of one split: kind, values per pair, share missing, and a summary of the values."""
    import pandas as pd

    missing = missing_shares(dataset)
    rows = []
    for name, feature in _by_name(dataset).items():
        common = _common(feature)
        row = {
            "feature": name,
            "kind": "text" if _is_text(feature) else "number" if common.max_num_values <= 1 else "vector",
            "values per pair": common.max_num_values,
            "missing": f"{missing[name]:.1%}",
        }
        if _is_text(feature):
            row["distinct"] = feature.string_stats.unique
            row["most frequent"] = next((text for text in text_counts(feature) if text), "")[:48]
        else:
            numbers = feature.num_stats
            row |= {"mean": numbers.mean, "std": numbers.std_dev, "min": numbers.min, "max": numbers.max}
        rows.append(row)
    columns = ["kind", "values per pair", "missing", "distinct", "most frequent", "mean", "std", "min", "max"]
    table = pd.DataFrame(rows).set_index("feature").reindex(columns=columns).sort_values("kind", kind="stable")
    table = table.astype({"distinct": "Int64"}).round(4).astype(object)
    return table.where(table.notna(), "")


def missing_figure(statistics: Statistics) -> Figure:
    """Share of the pairs without each feature, one bar per split."""
    from matplotlib.figure import Figure

    shares = {split: missing_shares(dataset) for split, dataset in statistics.items()}
    order = sorted(next(iter(shares.values())), key=lambda name: max(share.get(name, 1.0) for share in shares.values()))
    figure = Figure(figsize=(8.5, 0.3 * len(order) + 1.4), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(shares)
    for number, (split, share) in enumerate(shares.items()):
        values = np.array([share.get(name, 1.0) for name in order]) * 100
        at = np.arange(len(order)) + (len(shares) - 1 - 2 * number) / 2 * height
        axes.barh(at, values, height, color=_color(split), label=split)
    for row, name in enumerate(order):
        top = max(share.get(name, 1.0) for share in shares.values()) * 100
        axes.annotate(
            f"{top:.1f} %" if top else "none",
            (top, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="black" if top else "0.5",
        )
    axes.set_yticks(range(len(order)), order)
    axes.set(xlabel="missing, % of pairs", title="Missing values: absent, empty text, or no picture", ylim=(-0.6, None))
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.legend(loc="lower right")
    return figure


def _buckets(feature: Any, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Edges [b + 1] and counts [b] of one of TFDV's two histograms, "STANDARD" (equal widths) or "QUANTILES"."""
    for item in feature.num_stats.histograms:
        if item.type == getattr(item, kind) and item.buckets:
            edges = np.array([item.buckets[0].low_value, *(bucket.high_value for bucket in item.buckets)])
            return edges, np.array([bucket.sample_count for bucket in item.buckets])
    return None


def _histograms(by_split: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Histograms of one feature: quantiles, or equal widths if a frequent value makes a quantile bucket empty.

    Quantiles are preferred because ten equal widths put nearly all entries of an embedding into one or two buckets.
    """
    for kind in ("QUANTILES", "STANDARD"):
        histograms = {
            split: buckets for split, item in by_split.items() if (buckets := _buckets(item, kind)) is not None
        }
        if len(histograms) == len(by_split) and all((np.diff(edges) > 0).all() for edges, _ in histograms.values()):
            return histograms
    return histograms


def _grid(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.5), layout="constrained")
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in cells[count:]:
        spare.set_axis_off()
    return figure, cells


def _common_legend(figure: Figure, splits: Statistics, title: str) -> None:
    from matplotlib.patches import Patch

    figure.suptitle(title, fontsize=12)
    figure.legend(
        handles=[Patch(color=_color(split), label=split) for split in splits], loc="outside lower center", ncols=3
    )


def number_figure(statistics: Statistics) -> Figure:
    """Distribution of every number and vector in each split."""
    by_split = {split: _by_name(dataset) for split, dataset in statistics.items()}
    names = [name for name, feature in next(iter(by_split.values())).items() if not _is_text(feature)]
    figure, cells = _grid(len(names), 4, 3.0, 2.3)
    for axes, name in zip(cells, names):
        own = {split: by_name[name] for split, by_name in by_split.items() if name in by_name}
        for split, (edges, counts) in _histograms(own).items():
            widths = np.maximum(np.diff(edges), 1e-12)
            axes.stairs(counts / max(counts.sum(), 1) / widths, edges, color=_color(split), lw=1.6)
        axes.set_title(name, fontsize=10)
        axes.set_ylim(bottom=0)
        vector = max(_common(feature).max_num_values for feature in own.values()) > 1
        axes.set_ylabel("density of entries" if vector else "density of pairs", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=5)
    _common_legend(figure, statistics, "Numbers and vectors (for a vector: its entries)")
    return figure


def text_figure(statistics: Statistics) -> Figure:
    """The most frequent values of every text feature in each split; with many values, frequency by rank instead."""
    by_split = {split: _by_name(dataset) for split, dataset in statistics.items()}
    first = next(iter(by_split.values()))
    texts = [name for name, feature in first.items() if _is_text(feature)]
    few = [name for name in texts if first[name].string_stats.unique <= FEW_VALUES]
    many = [name for name in texts if name not in few]
    figure, cells = _grid(len(texts), 3, 4.0, 2.7)
    for axes, name in zip(cells, few):
        values = list(text_counts(first[name]))[:SHOWN_VALUES]
        width = 0.8 / len(by_split)
        for number, (split, by_name) in enumerate(by_split.items()):
            counts = text_counts(by_name[name]) if name in by_name else {}
            shares = [counts.get(value, 0) / statistics[split].num_examples for value in values]
            at = np.arange(len(values)) + (len(by_split) - 1 - 2 * number) / 2 * width
            axes.barh(at, shares, width, color=_color(split))
        axes.set_yticks(range(len(values)), [_short(value) or "(empty)" for value in values], fontsize=8)
        axes.invert_yaxis()
        hidden = first[name].string_stats.unique - len(values)
        axes.set_title(name + (f" ({hidden} more values)" if hidden > 0 else ""), fontsize=10)
        axes.set_xlabel("share of pairs", fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
    for axes, name in zip(cells[len(few) :], many):
        for split, by_name in by_split.items():
            by_rank = list(text_counts(by_name[name]).values()) if name in by_name else []
            axes.semilogx(range(1, len(by_rank) + 1), by_rank, color=_color(split), marker=".", ms=3, lw=1)
        axes.set_title(f"{name} ({first[name].string_stats.unique:,} values in {next(iter(statistics))})", fontsize=10)
        axes.set_xlabel("rank of the value", fontsize=8)
        axes.set_ylabel("pairs", fontsize=8)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=8)
    _common_legend(figure, statistics, "Texts: the values, or frequency by rank if there are many")
    return figure


def _short(text: str, length: int = 18) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def text_distance(left: Any, right: Any) -> float:
    """L-infinity distance in 0..1, as in TFDV's drift comparator: the largest difference of one value's share."""
    one, other = text_counts(left), text_counts(right)
    totals = _common(left).num_non_missing or 1, _common(right).num_non_missing or 1
    return max(
        (abs(one.get(value, 0) / totals[0] - other.get(value, 0) / totals[1]) for value in {*one, *other}), default=0.0
    )


def number_distance(left: Any, right: Any) -> float:
    """Mean difference of the deciles of two features, in standard deviations of the left one.

    A divergence between histograms would depend on their edges: nearly all entries of an embedding are in one or two of
    TFDV's ten buckets.
    """
    deciles = np.linspace(0.1, 0.9, 9)
    values = []
    for feature in (left, right):
        histogram = _buckets(feature, "QUANTILES")
        if histogram is None:
            return float("nan")
        edges, counts = histogram
        values.append(np.interp(deciles, np.concatenate([[0.0], np.cumsum(counts) / max(counts.sum(), 1)]), edges))
    difference = float(np.abs(values[0] - values[1]).mean())
    return difference / left.num_stats.std_dev if left.num_stats.std_dev else difference


def distances(statistics: Statistics, base: str = SPLITS[0]) -> dict[str, dict[str, float]]:
    """feature -> split -> distance from the ``base`` split, for features that both splits have."""
    train = _by_name(statistics[base])
    by_feature: dict[str, dict[str, float]] = {}
    for split, dataset in statistics.items():
        if split == base:
            continue
        for name, feature in _by_name(dataset).items():
            if name in train:
                measure = text_distance if _is_text(feature) else number_distance
                by_feature.setdefault(name, {})[split] = measure(train[name], feature)
    return by_feature


def distance_figure(statistics: Statistics, schema: Any) -> Figure:
    """Distance of each split from the training split, with the drift thresholds of ``schema``."""
    from matplotlib.figure import Figure

    by_name = distances(statistics)
    order = sorted(by_name, key=lambda name: np.nan_to_num(max(by_name[name].values())))
    thresholds = {feature.name: feature.drift_comparator.infinity_norm.threshold for feature in schema.feature}
    figure = Figure(figsize=(8.5, 0.28 * len(order) + 1.6), layout="constrained")
    axes = figure.subplots()
    for split in [split for split in statistics if split != SPLITS[0]]:
        values = [by_name[name].get(split, np.nan) for name in order]
        axes.plot(values, range(len(order)), "o", color=_color(split), label=f"{split} against {SPLITS[0]}")
    for row, name in enumerate(order):
        if thresholds.get(name):
            axes.plot([thresholds[name]] * 2, [row - 0.4, row + 0.4], color="tab:red", lw=2)
    if any(thresholds.get(name) for name in order):
        axes.plot([], [], color="tab:red", lw=2, label="drift threshold of the schema")
    axes.set_yticks(range(len(order)), order)
    axes.set(
        xlabel="texts: largest difference of a value's share; numbers: mean difference of deciles / standard deviation",
        title="Train against the other splits",
    )
    axes.xaxis.label.set_fontsize(8.5)
    axes.set_xlim(left=-0.005)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def _presence(feature: Any) -> str:
    return f"{feature.presence.min_fraction:.0%}" if feature.HasField("presence") else "any"


def _bounds(feature: Any, schema: Any) -> str:
    kind = feature.WhichOneof("domain_info")
    if kind == "domain":
        [values] = [domain.value for domain in schema.string_domain if domain.name == feature.domain]
        return ", ".join(values) if len(values) <= 6 else f"{len(values)} values"
    if kind in ("int_domain", "float_domain"):
        domain = getattr(feature, kind)
        low = f"{domain.min:g}" if domain.HasField("min") else ""
        high = f"{domain.max:g}" if domain.HasField("max") else ""
        return f"{low}..{high}"
    return ""


def schema_table(inferred: Any, curated: Any) -> pd.DataFrame:
    """SchemaGen's inferred schema (what the data is) next to the curated one (what it should be)."""
    import pandas as pd
    from tensorflow_metadata.proto.v0 import schema_pb2

    sides = {"inferred": inferred, "curated": curated}
    names = list(dict.fromkeys(feature.name for schema in sides.values() for feature in schema.feature))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for side, schema in sides.items():
        for feature in schema.feature:
            values = {
                "type": schema_pb2.FeatureType.Name(feature.type),
                "presence": _presence(feature),
                "values": _bounds(feature, schema),
            }
            if side == "inferred":
                values["shape"] = "x".join(str(dim.size) for dim in feature.shape.dim) or "1"
            else:
                drift = feature.drift_comparator.infinity_norm.threshold
                values["drift"] = f"{drift:g}" if drift else ""
            for column, value in values.items():
                rows.setdefault((side, column), {})[feature.name] = value
    return pd.DataFrame(rows, index=names).fillna("").sort_index(axis=1, level=0, ascending=False, sort_remaining=False)


def anomalies_table(anomalies: Mapping[str, Any]) -> pd.DataFrame:
    """One row per anomaly; a split without anomalies has a row with "none"."""
    import pandas as pd

    rows = []
    for split, report in anomalies.items():
        for name, info in sorted(report.anomaly_info.items()):
            rows.append((split, name, info.short_description, info.description))
        if report.HasField("dataset_anomaly_info"):
            info = report.dataset_anomaly_info
            rows.append((split, "(whole split)", info.short_description, info.description))
        if not rows or rows[-1][0] != split:
            rows.append((split, "", "none", ""))
    return pd.DataFrame(rows, columns=["split", "feature", "anomaly", "description"])
