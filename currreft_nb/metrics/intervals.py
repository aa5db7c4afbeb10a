"""Confidence intervals of means, clustered by image.

Whole images are resampled (cluster bootstrap); the interval holds the middle 95 % of the means, or a little more where
there are few images. Where fewer than six images differ from the rest, resampling underestimates the spread, and bounds
of Clopper and Pearson 1934 ("The use of confidence or fiducial limits", Biometrika 26) replace it: 20 of 20 right is
not "1.00 [1.00, 1.00]" but "1.00 [0.83, 1.00]".
"""

import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.special import betaincinv, ndtr, stdtrit

from currreft_nb import InputError

LEAST_CLUSTERS = 6  # images, or images that differ: if all of five were better, p would still be 2 / 2**5 = 0.06
AT_ONCE = 1_000_000  # numbers drawn at once: about 20 MB
LEVEL = 0.95
NOT_KNOWN = (math.nan, math.nan)


def bootstrap_interval(
    values: Sequence[float], groups: Sequence[Hashable] | None = None, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean; (nan, nan) for no values.

    `groups`: the image of each value; whole images are resampled. Equal values give an interval of no width, however
    few they are; reports use `mean_interval`.

    >>> bootstrap_interval([0, 1, 1, 1])
    (0.25, 1.0)
    """
    column, codes = _coded(values, groups)
    if not len(column):
        return NOT_KNOWN
    sums, counts = cluster_sums(column[:, None], codes)
    ((low,), (high,)) = _percentiles(sums, counts, resamples, seed, LEVEL)
    return (float(low), float(high))


def mean_interval(
    values: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> tuple[float, float]:
    """Return the interval of the mean for reports: exact where few images differ from the rest, else by bootstrap.

    The bootstrap is `bootstrap_interval` at the level of `widened`. `bounds`: the range of the values; None if unknown.
    (nan, nan) for too little data: no values, or fewer than six images of which most differ.

    >>> [round(bound, 2) for bound in mean_interval([1.0] * 20)]
    [0.83, 1.0]
    >>> mean_interval([0.2, 0.4, 0.7])
    (nan, nan)
    """
    column, codes = _coded(values, groups)
    if not len(column):
        return NOT_KNOWN
    return mean_intervals(column[:, None], codes, [bounds], resamples, seed)[0]


def mean_intervals(
    columns: np.ndarray, codes: np.ndarray, bounds: Sequence[tuple[float, float] | None], resamples: int, seed: int
) -> list[tuple[float, float]]:
    """Return the interval of each column's mean, all from the same draws; see `mean_interval`.

    `columns`: shape (values, columns). `codes`: the number of each value's image, from 0, shape (values,).
    """
    sums, counts = cluster_sums(columns, codes)
    exact = [exact_interval(column, counts, bound) for column, bound in zip(sums.T, bounds)]
    if len(counts) < LEAST_CLUSTERS or None not in exact:
        return [interval or NOT_KNOWN for interval in exact]
    low, high = _percentiles(sums, counts, resamples, seed, widened(LEVEL, len(counts)))
    drawn = [(float(a), float(b)) if a < b else NOT_KNOWN for a, b in zip(low, high)]
    return [known or found for known, found in zip(exact, drawn)]


def _coded(values: Sequence[float], groups: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    column = np.asarray(values, dtype=float)
    codes = np.arange(len(column)) if groups is None else codes_of(groups)
    if len(codes) != len(column):
        raise InputError(f"{len(column)} values but {len(codes)} groups; give each value its group")
    return column, codes


def codes_of(groups: Iterable[Hashable]) -> np.ndarray:
    """Return each value's group as a number, from 0 in order of first occurrence.

    >>> codes_of(["b", "a", "b"])
    array([0, 1, 0])
    """
    return pd.factorize(pd.Series(list(groups), dtype=object))[0]


def images_of(frame: pd.DataFrame) -> pd.Series:
    """Return the image of each record, or its id where it has none."""
    images = frame["image"] if "image" in frame else pd.Series(None, index=frame.index, dtype=object)
    return images.where(images.notna(), frame["id"] if "id" in frame else pd.Series(frame.index, frame.index))


def cluster_sums(columns: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of each column by image, shape (images, columns), and how many values each image has."""
    sums = [np.bincount(codes, column) for column in np.asarray(columns, dtype=float).T]
    return np.stack(sums, axis=1), np.bincount(codes)


def resampled_sums(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Resample the images with replacement; return the column sums of each resample, shape (resamples, columns).

    `sums`: of `cluster_sums`, shape (images, columns). How often each image was drawn is one matrix, so that all
    columns cost one product; it is made in parts to bound memory.
    """
    rng, images = np.random.default_rng(seed), len(sums)
    result = np.empty((resamples, sums.shape[1]))
    rows = max(1, AT_ONCE // images)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(images, size=(size, images)) + images * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * images).reshape(size, images)
        result[start : start + size] = times.astype(float) @ sums
    return result


def widened(level: float, images: int) -> float:
    """Return the level at which percentiles of few images reach their nominal coverage: 95 % becomes 98 % for ten.

    Source: Hesterberg 2015, "What teachers should know about the bootstrap", The American Statistician 69, expanded
    percentile intervals; they correct for the too small spread among few images, as Student's t does.

    >>> round(widened(0.95, 10), 3), round(widened(0.95, 500), 3)
    (0.983, 0.951)
    """
    reach = math.sqrt(images / (images - 1)) * stdtrit(images - 1, (1 + level) / 2)
    return float(2 * ndtr(reach) - 1)


def _percentiles(
    sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    drawn = resampled_sums(np.column_stack([sums, counts]), resamples, seed)
    low, high = np.quantile(drawn[:, :-1] / drawn[:, -1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def exact_interval(
    sums: np.ndarray, counts: np.ndarray, bounds: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Return bounds of the mean where most images have one value and fewer than six another, else None.

    `sums`, `counts`: of one column, by image. The shares of images above and below the common value get Clopper-Pearson
    bounds; each is multiplied by the mean distance of those images from it, or the largest possible one if there are
    none. Every image counts once, however many questions are about it.
    """
    if bounds is None:
        return None
    means = sums / counts
    found, times = np.unique(means.round(9), return_counts=True)
    common, others = found[times.argmax()], len(means) - times.max()
    if others >= LEAST_CLUSTERS or times.max() <= others:
        return None
    above, below = means[means > common + 1e-9] - common, common - means[means < common - 1e-9]
    up = above.mean() if above.size else bounds[1] - common
    down = below.mean() if below.size else common - bounds[0]
    (least_up, most_up), (least_down, most_down) = (share_bounds(x.size, len(means)) for x in (above, below))
    low, high = common - most_down * down + least_up * up, common + most_up * up - least_down * down
    mean = sums.sum() / counts.sum()  # images with many questions may pull it out of the interval
    return (float(max(bounds[0], min(low, mean))), float(min(bounds[1], max(high, mean))))


def share_bounds(count: int, of: int) -> tuple[float, float]:
    """Return the Clopper-Pearson bounds of a share, from `count` of `of`.

    >>> share_bounds(0, 100)[0], round(share_bounds(0, 100)[1], 3)
    (0.0, 0.036)
    """
    tail = (1 - LEVEL) / 2
    low = betaincinv(count, of - count + 1, tail) if count else 0.0
    high = betaincinv(count + 1, of - count, 1 - tail) if count < of else 1.0
    return (float(low), float(high))
