"""How far two samples are apart, and how far two samples of one population are: the thresholds come from resampling.

The distances are those of TensorFlow Data Validation: L-infinity for categories, Jensen-Shannon divergence for numbers.
They are a few lines of NumPy here, since the monitoring is to run where only the search is installed and TensorFlow is
not, and TensorFlow takes ten seconds to import; a test compares them with TFDV's. Vectors have the kernel two-sample
statistic (maximum mean discrepancy) of Gretton et al. 2012.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
_MOST_BINS = 10


def l_infinity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The largest difference of the shares of a category; counts float [..., categories] to [...], 0 to 1."""
    difference: np.ndarray = np.abs(_shares(first) - _shares(second)).max(axis=-1)
    return difference


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence of two histograms with base 2; counts float [..., bins] to [...], 0 to 1."""
    p, q = _shares(first), _shares(second)
    middle = (p + q) / 2
    # A tiny negative number would be the rounding of equal histograms.
    return np.maximum((_relative(p, middle) + _relative(q, middle)) / 2, 0.0)


def _relative(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        total: np.ndarray = np.where(p > 0, p * np.log2(p / q), 0.0).sum(axis=-1)
    return total


def _shares(counts: np.ndarray) -> np.ndarray:
    shares: np.ndarray = counts / counts.sum(axis=-1, keepdims=True)
    return shares


def bin_edges(values: np.ndarray) -> np.ndarray:
    """Inner edges of at most ten bins that the values fill about equally; float [n] to [bins - 1]."""
    return np.unique(np.quantile(values, np.linspace(0, 1, _MOST_BINS + 1)[1:-1]))


def histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts of the bins between the edges; below the first and from the last on are bins too."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).astype(float)


def threshold_of(
    reference: np.ndarray, sample: np.ndarray, distance: Distance, rate: float, resamples: int, rng: np.random.Generator
) -> float:
    """The distance that two samples of one population exceed in a share ``rate`` of cases; the larger of two.

    The first comes from resampling the reference: a sample of its size and one of the other's. Where the reference
    happens to have little of a rare category, this is too low, and twice as many alarms would be false. So the second
    shuffles reference and sample together and deals them out again, which is exact for any size.

    Args:
        reference, sample: counts, float [categories].
    """
    size, own = int(sample.sum()), int(reference.sum())
    shares = reference / reference.sum()
    first = rng.multinomial(own, shares, resamples)
    second = rng.multinomial(size, shares, resamples)
    resampled = quantile_above(distance(first.astype(float), second.astype(float)), rate)
    both = (reference + sample).astype(np.int64)
    dealt = rng.multivariate_hypergeometric(both, size, resamples, method="marginals")
    shuffled = quantile_above(distance((both - dealt).astype(float), dealt.astype(float)), rate)
    return max(resampled, shuffled)


def quantile_above(values: np.ndarray, rate: float) -> float:
    """The value that at most a share ``rate`` of the values exceed."""
    return float(np.quantile(values, 1 - rate, method="higher"))


def discrepancy(
    reference: np.ndarray, sample: np.ndarray, rate: float, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Maximum mean discrepancy of two sets of vectors, squared, and its threshold.

    The threshold comes from splitting the reference into two of the same sizes, again and again. The kernel is
    Gaussian, its width the median distance within the reference. At most half of the reference stands for the sample's
    size, since both parts must come from it.

    Args:
        reference: float [n, d], n at least 4. sample: float [m, d], m at least 2.
    """
    size = min(len(sample), len(reference) // 2)
    sample = sample[rng.permutation(len(sample))[:size]]
    rest = len(reference) - size
    squared = _squared_distances(reference, reference)
    width = float(np.median(squared[np.triu_indices(len(reference), 1)])) or 1.0
    kernel = np.exp(-squared / width)
    chosen = np.zeros((len(reference), resamples), np.float32)
    for column in range(resamples):
        chosen[rng.permutation(len(reference))[:size], column] = 1
    product = kernel.astype(np.float32) @ chosen
    within = (chosen * product).sum(axis=0)
    across = product.sum(axis=0) - within
    others = float(kernel.sum()) - within - 2 * across
    null = _unbiased(within, others, across, size, rest)
    kept = rng.permutation(len(reference))[:rest]
    between = np.exp(-_squared_distances(reference[kept], sample) / width)
    own = np.exp(-_squared_distances(sample, sample) / width)
    value = _unbiased(own.sum(), kernel[np.ix_(kept, kept)].sum(), between.sum(), size, rest)
    return float(value), quantile_above(null, rate)


def _unbiased(own: np.ndarray, other: np.ndarray, across: np.ndarray, size: int, rest: int) -> np.ndarray:
    """From sums of the kernel within either set, its diagonal of ones among them, and across both."""
    return (
        (own - size) / (size * (size - 1))
        + (other - rest) / (rest * (rest - 1))
        - 2 * np.asarray(across) / (size * rest)
    )


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None, :] - 2 * first @ second.T
    return np.maximum(squares, 0.0)
