"""Whether a model shows asymmetry as it is or shrinks it towards a symmetric mean face.

For each left–right pair the predicted difference between the sides is regressed on the true one over all scans. A slope
of 1 is honest, below 1 the model shrinks true asymmetry, 0 means that it knows nothing of it. Two ways to take the
difference:

- *plane*: the three components of the left point minus the reflected right one, after the least-squares midplane of
  :mod:`PALNetLandmarksLib.asymmetry`, each set of landmarks with its own plane;
- *frame-free*: the distance of the left point to a midline landmark minus that of the right one, for all midline
  landmarks; no plane and no axes enter.

Each component, and each midline landmark, has its own intercept (a systematic shift of a landmark is no shrinkage);
they share one slope. Errors of the annotation lower the slope: it is exact only where the truth is, as in simulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.asymmetry import asymmetry
from PALNetLandmarksLib.protocol import Protocol
from training_tools.bootstrap import DRAWS, Interval, interval_of

FloatArray = NDArray[np.float64]

FEWEST_SCANS = 5


@dataclass(frozen=True)
class PairSlope:
    """How much of a pair's true asymmetry a model shows.

    ``right``, ``left``: labels, empty for all pairs together; ``feature``: whether the pair can be seen on the surface;
    ``scans`` that have both; ``true_mm``: root mean square of the true difference about its mean; ``plane`` and
    ``frame_free``: slopes with confidence intervals.
    """

    right: str
    left: str
    feature: bool
    scans: int
    true_mm: float
    plane: Interval
    frame_free: Interval


def plane_differences(positions: FloatArray, protocol: Protocol) -> FloatArray:
    """Return the components of each pair's asymmetry after the midplane, (n, p, 3); NaN where there is none."""
    return np.stack([asymmetry(one, protocol).components for one in positions])


def frame_free_differences(positions: FloatArray, protocol: Protocol) -> FloatArray:
    """Return distance of left minus distance of right point to each midline landmark, (n, p, m)."""
    pairs = np.array(protocol.pairs, dtype=np.intp).reshape(-1, 2)
    midline = positions[:, None, list(protocol.midline)]
    right, left = positions[:, pairs[:, 0], None], positions[:, pairs[:, 1], None]
    difference: FloatArray = np.linalg.norm(left - midline, axis=-1) - np.linalg.norm(right - midline, axis=-1)
    return difference


def pair_slopes(
    predicted: FloatArray, truth: FloatArray, protocol: Protocol, seed: int = 0, draws: int = DRAWS
) -> list[PairSlope]:
    """Return the slopes of every pair, of all pairs with a feature on the surface, and of all pairs, in this order.

    Parameters
    ----------
    predicted, truth : (n, l, 3) float
        Mm, each scan in any frame; NaN where a landmark does not count.
    protocol : Protocol
    seed : int
        Of the bootstrap over scans.
    draws : int
    """
    pairs = list(protocol.pairs)
    if not pairs or len(predicted) < FEWEST_SCANS:
        return []
    feature = np.array([not protocol.palpated[right] and not protocol.palpated[left] for right, left in pairs])
    plane = [plane_differences(positions, protocol) for positions in (truth, predicted)]
    free = [frame_free_differences(positions, protocol) for positions in (truth, predicted)]
    groups = [np.arange(len(pairs)) == index for index in range(len(pairs))]
    names = [(protocol.labels[right], protocol.labels[left]) for right, left in pairs]
    groups += [feature, np.ones(len(pairs), dtype=bool)]
    names += [("", ""), ("", "")]
    seen = [*feature, True, False]
    by_plane = _slopes(plane[0], plane[1], groups, seed, draws)
    by_distance = _slopes(free[0], free[1], groups, seed, draws)
    rows = []
    for k, group in enumerate(groups):
        true = plane[0][:, group]
        known = np.asarray(np.isfinite(true).all(axis=2) & np.isfinite(plane[1][:, group]).all(axis=2))
        scans = int(known.any(axis=1).sum())
        rows.append(PairSlope(*names[k], bool(seen[k]), scans, _spread(true, known), by_plane[k], by_distance[k]))
    return rows


def _slopes(
    truth: FloatArray, predicted: FloatArray, groups: list[NDArray[np.bool_]], seed: int, draws: int
) -> list[Interval]:
    """Return the pooled slope of each group of pairs over (n, p, c) differences, each (pair, component) centred."""
    known = np.isfinite(truth) & np.isfinite(predicted)
    x, y = np.where(known, truth, 0.0), np.where(known, predicted, 0.0)
    flat = [values.reshape(len(x), -1) for values in (known.astype(np.float64), x, y, x * x, x * y)]
    components = truth.shape[2]
    member = np.stack([np.repeat(group, components) for group in groups], axis=1).astype(np.float64)

    def slope(index: NDArray[np.int64]) -> FloatArray:
        times = np.bincount(index, minlength=len(x)).astype(np.float64)
        count, sum_x, sum_y, sum_xx, sum_xy = (times @ values for values in flat)
        safe = np.maximum(count, 1.0)
        square = (sum_xx - sum_x * sum_x / safe) @ member
        product = (sum_xy - sum_x * sum_y / safe) @ member
        return np.where(square > 1e-9, product / np.maximum(square, 1e-9), np.nan)

    value, low, high = interval_of(slope, len(x), seed, draws)
    return [Interval(float(v), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True)]


def _spread(true: FloatArray, known: NDArray[np.bool_]) -> float:
    """Root mean square length of the differences (n, p, 3) about each pair's mean."""
    squared, count = 0.0, 0
    for pair in range(true.shape[1]):
        values = true[known[:, pair], pair]
        if len(values) > 1:
            squared += float(((values - values.mean(axis=0)) ** 2).sum())
            count += len(values)
    return float(np.sqrt(squared / count)) if count else float("nan")
