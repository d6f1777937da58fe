"""Landmark sets of a data set against its common shape: alignment that outliers do not drag, and tests of the order."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.protocol import Protocol

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

LEAST_LANDMARKS = 6
"""Fewer landmarks are not compared with the common shape."""
_ROUNDS = 12
_START_SUBJECTS = 40

ORDERS = {
    "sides": "right and left landmarks are swapped, or the scan is mirrored",
    "text": "the landmarks are in text-sorted order (1, 10, 11, …) but named in numeric order",
    "numeric": "the landmarks are in numeric order but named in text-sorted order (1, 10, 11, …)",
    "text, sides": "the landmarks are in text-sorted order, and right and left are swapped",
    "numeric, sides": "the landmarks are in numeric order but named in text-sorted order, and right and left swapped",
}


@dataclass(frozen=True, eq=False)
class Alignment:
    """N landmark sets moved, turned and scaled onto a shape.

    Parameters
    ----------
    aligned : (N, L, 3) float64
        The sets in the frame and size of the shape; NaN where missing.
    distance : (N, L) float64
        Of each landmark from the shape's.
    scale : (N,) float64
        Factor from the set to the shape; NaN where there are too few landmarks.
    rotation : (N, 3, 3) float64
    translation : (N, 3) float64
        ``aligned = scale · rotation @ p + translation``.
    """

    aligned: FloatArray
    distance: FloatArray
    scale: FloatArray
    rotation: FloatArray
    translation: FloatArray

    @property
    def misfit(self) -> FloatArray:
        """Median distance of each set, (N,); infinite where there are too few landmarks."""
        middle = _nanmedian(self.distance, axis=1)
        return np.where(np.isfinite(self.scale), middle, np.inf)


def align(sets: FloatArray, shape: FloatArray) -> Alignment:
    """Align landmark sets to a shape by similarity transforms without reflection.

    Iteratively re-weighted least squares with the weight ``1 / (1 + (d / c)²)``, c twice the set's median distance:
    a few landmarks far off hardly move the others.

    Parameters
    ----------
    sets : (N, L, 3) float
        NaN where missing.
    shape : (L, 3) float
        NaN where unknown.

    Returns
    -------
    Alignment
    """
    known = np.asarray(np.isfinite(sets).all(axis=2) & np.isfinite(shape).all(axis=1))
    source = np.where(known[..., None], sets, 0.0)
    target = np.where(known[..., None], shape, 0.0)
    enough = np.asarray(known.sum(axis=1) >= LEAST_LANDMARKS)
    weight: FloatArray = known.astype(np.float64)
    weight[~enough] = 1.0  # anything that can be computed; made NaN below
    for _ in range(_ROUNDS):
        scale, rotation, translation = _similarity(source, target, weight)
        moved = scale[:, None, None] * source @ rotation.transpose(0, 2, 1) + translation[:, None]
        distance = np.where(known, np.sqrt(((moved - target) ** 2).sum(axis=2)), np.nan)
        with np.errstate(all="ignore"):
            middle = _nanmedian(distance, axis=1)
            ratio = distance / (2.0 * np.maximum(middle, 1e-9)[:, None])
        weight = np.where(known & enough[:, None], 1.0 / (1.0 + np.nan_to_num(ratio) ** 2), weight)
    lost = ~enough
    aligned = np.where(known[..., None], moved, np.nan)
    aligned[lost], distance[lost] = np.nan, np.nan
    scale = np.where(lost, np.nan, scale)
    return Alignment(aligned, distance, scale, rotation, translation)


def _similarity(
    source: FloatArray, target: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Umeyama's weighted least-squares similarity (IEEE PAMI 1991) for N pairs of point sets at once."""
    share = (weight / weight.sum(axis=1, keepdims=True))[..., None]
    centre_s, centre_t = (share * source).sum(axis=1), (share * target).sum(axis=1)
    off_s, off_t = source - centre_s[:, None], target - centre_t[:, None]
    left, spread, right = np.linalg.svd(np.einsum("nli,nlj->nij", share * off_t, off_s))
    sign = np.ones_like(spread)
    sign[:, 2] = np.where(np.linalg.det(left @ right) < 0.0, -1.0, 1.0)
    rotation = (left * sign[:, None]) @ right
    variance = (share * off_s**2).sum(axis=(1, 2))
    scale = (spread * sign).sum(axis=1) / np.maximum(variance, 1e-300)
    translation = centre_t - scale[:, None] * np.einsum("nij,nj->ni", rotation, centre_s)
    return scale, rotation, translation


def common_shape(sets: FloatArray, start: FloatArray | None = None, rounds: int = 4) -> FloatArray:
    """Find the median shape of landmark sets (generalised Procrustes with medians).

    Parameters
    ----------
    sets : (N, L, 3) float
        In mm.
    start : (L, 3) float, optional
        A first shape, whose frame is kept; by default the set that fits the others best.
    rounds : int

    Returns
    -------
    (L, 3) float64
        In mm, of the median size of the sets; NaN for landmarks that nobody has.
    """
    shape = _most_central(sets) if start is None else start.astype(np.float64)
    for _ in range(rounds):
        found = align(sets, shape)
        fits = np.isfinite(found.scale)
        if not fits.any():
            return shape
        # Sets in a wrong order must not pull; half of them at least is taken.
        limit = max(2.0 * float(np.median(found.misfit[fits])), 1e-9)
        kept = fits & (found.misfit <= limit)
        middle = _nanmedian(found.aligned[kept], axis=0)
        size = float(np.median(1.0 / found.scale[kept]))
        placed = align(middle[None], shape).aligned[0]  # back to where the shape was: its frame must not drift
        shape = np.where(np.isfinite(placed), placed, middle)
        centre = np.nanmean(shape, axis=0)
        shape = centre + size * (shape - centre)
    return shape


def _most_central(sets: FloatArray) -> FloatArray:
    chosen = np.linspace(0, len(sets) - 1, min(len(sets), _START_SUBJECTS)).round().astype(int)
    misfits = [align(sets[chosen], sets[one]).misfit for one in chosen]
    middle = [float(np.median(np.where(np.isfinite(row), row, 1e9))) for row in misfits]
    shape: FloatArray = sets[chosen[int(np.argmin(middle))]].copy()
    return shape


def reordered(sets: FloatArray, protocol: Protocol) -> dict[str, FloatArray]:
    """Give the sets in each order that is mistaken for the protocol's in practice.

    Parameters
    ----------
    sets : (N, L, 3) float
    protocol : Protocol

    Returns
    -------
    dict of str to (N, L, 3) float64
        By the keys of :data:`ORDERS`: what the sets would be if that mistake had been made and is taken back.
    """
    rows = np.array([landmark.lafas_file_row - 1 for landmark in protocol.landmarks])
    text, numeric = sets[:, rows], sets[:, np.argsort(rows)]
    mirror = protocol.mirror
    orders = {"sides": sets[:, mirror]}
    if not np.array_equal(rows, np.arange(len(rows))):
        orders |= {"text": text, "numeric": numeric, "text, sides": text[:, mirror]}
        orders["numeric, sides"] = numeric[:, mirror]
    return orders


def wrong_orders(
    sets: FloatArray, shape: FloatArray, protocol: Protocol, least_mm: float
) -> list[tuple[str, float, float]]:
    """Say which sets fit the common shape in another order only.

    Parameters
    ----------
    sets : (N, L, 3) float
    shape : (L, 3) float
    protocol : Protocol
    least_mm : float
        Median distance below which the order is right beyond doubt.

    Returns
    -------
    list of (str, float, float)
        For each set the key of :data:`ORDERS`, empty where the order is right, and the median distance as it is and in
        that order, mm.
    """
    own = align(sets, shape).misfit
    others = {key: align(order, shape).misfit for key, order in reordered(sets, protocol).items()}
    result = []
    for place, misfit in enumerate(own):
        best = min(others, key=lambda key: others[key][place])
        other = others[best][place]
        wrong = np.isfinite(misfit) and misfit > least_mm and other < 0.5 * misfit
        result.append((best if wrong else "", float(misfit), float(other)))
    return result


def exchanged(aligned: FloatArray, shape: FloatArray, protocol: Protocol, least_mm: float) -> list[tuple[str, str]]:
    """Find pairs of landmarks of one set that would fit if they changed places.

    Parameters
    ----------
    aligned : (L, 3) float
        One set in the frame of the shape.
    shape : (L, 3) float
    protocol : Protocol
    least_mm : float
        Least distance of each from its place.

    Returns
    -------
    list of (str, str)
        Labels, each in one pair at most.
    """
    apart = np.linalg.norm(aligned[:, None] - shape[None], axis=2)
    own = np.diag(apart)
    with np.errstate(invalid="ignore"):
        gain = own[:, None] + own[None] - 2.0 * (apart + apart.T)
        candidates = (gain > 0.0) & (own[:, None] > least_mm) & (own[None] > least_mm)
    found: list[tuple[str, str]] = []
    used: set[int] = set()
    for one, other in sorted(np.argwhere(np.triu(candidates, 1)).tolist(), key=lambda pair: -gain[pair[0], pair[1]]):
        if not used & {one, other}:
            used |= {one, other}
            found.append((protocol.labels[one], protocol.labels[other]))
    return found


def _nanmedian(values: FloatArray, axis: int) -> FloatArray:
    """Median without NaN; NaN where there is nothing, and no warning about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(values, axis=axis))
