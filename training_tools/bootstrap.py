"""Confidence intervals by drawing persons again (percentile bootstrap): no assumption about how errors are spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A figure and the limits of its confidence interval; NaN where there is too little to tell."""

    value: float
    low: float
    high: float


def interval_of(
    statistic: Callable[[NDArray[np.int64]], FloatArray], count: int, seed: int = 0, draws: int = DRAWS
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return a statistic of all scans with its percentile bootstrap interval.

    Parameters
    ----------
    statistic : callable
        From indices of scans (k,), which may repeat, to an array of figures.
    count : int
        Number of scans.
    seed : int
    draws : int

    Returns
    -------
    value, low, high : arrays of the statistic's shape
    """
    value = np.asarray(statistic(np.arange(count)), dtype=np.float64)
    if count < 2:
        return value, np.full_like(value, np.nan), np.full_like(value, np.nan)
    generator = np.random.default_rng(seed)
    drawn = np.stack([statistic(generator.integers(0, count, count)) for _ in range(draws)])
    outside = (1.0 - LEVEL) / 2.0
    known = np.isfinite(drawn).any(axis=0)
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    if known.any():
        low[known], high[known] = np.nanquantile(drawn[:, known], [outside, 1.0 - outside], axis=0)
    return value, low, high


def mean_interval(values: FloatArray, seed: int = 0, draws: int = DRAWS) -> list[Interval]:
    """Return the mean of each column over the scans that have a value, with its interval.

    Parameters
    ----------
    values : (n, m) float
        NaN where a scan has none.

    Examples
    --------
    >>> import numpy as np
    >>> mean_interval(np.array([[1.0], [1.0], [np.nan]]))
    [Interval(value=1.0, low=1.0, high=1.0)]
    """
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)

    def mean(index: NDArray[np.int64]) -> FloatArray:
        # Sums by how often each scan was drawn: one matrix product instead of copies.
        times = np.bincount(index, minlength=len(values)).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: FloatArray = (times @ filled) / (times @ known)
        return found

    value, low, high = interval_of(mean, len(values), seed, draws)
    return [Interval(float(v), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True)]
