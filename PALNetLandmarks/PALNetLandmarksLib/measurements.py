"""Distances, angles, perpendicular distances and indices between landmarks, with the error to expect of each.

Everything is computed for all measurements of a kind at once from index arrays that are made once per protocol, so that
a table can follow a landmark while it is dragged.

Expected error. A landmark's expected error ``e`` is the mean length of its error vector. Taking that vector as normal,
the same in all directions and independent between landmarks, its standard deviation along any direction is
``e / sqrt(8 / pi)``. To first order a measurement ``f`` then has the standard deviation
``sqrt(sum |grad_i f|² e_i²) / sqrt(8 / pi)`` over its landmarks ``i``, and its mean absolute error, which is what is
given, is ``sqrt(2 / pi)`` times that: exactly ``0.5 sqrt(sum |grad_i f|² e_i²)``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .landmarks import LandmarkSet
from .protocol import Protocol

#: A landmark whose expected error is larger counts as of low confidence, mm. It lies above the repeat error of a
#: trained observer on every one of the 50 landmarks (table 3 of arXiv 2510.00910, at most 3.58 mm).
LOW_CONFIDENCE_MM = 4.0


@dataclass(frozen=True)
class _Kind:
    """All measurements of one kind: their places (k,) among all measurements, their landmarks (k, n)."""

    places: np.ndarray
    points: np.ndarray


@dataclass(frozen=True)
class _Plan:
    kinds: dict[str, _Kind]
    palpated: np.ndarray
    #: Landmarks (M, 4) of every measurement; unused places repeat the first landmark.
    landmarks: np.ndarray


@dataclass(frozen=True, eq=False)
class Measurements:
    """The measurements of one set of landmarks.

    Parameters
    ----------
    protocol : Protocol
        Names, kinds and units of the M measurements.
    values : (M,) float
        In the measurement's unit (mm, degrees, percent); NaN where a landmark is missing or landmarks coincide.
    expected_error : (M,) float
        Expected absolute error in the same unit; NaN where a landmark's error is unknown.
    largest_point_error_mm : (M,) float
        Largest expected error among the measurement's landmarks; NaN where none is known.
    palpated : (M,) bool
        Whether it rests on a bony point without a feature on the skin.
    """

    protocol: Protocol
    values: np.ndarray
    expected_error: np.ndarray
    largest_point_error_mm: np.ndarray
    palpated: np.ndarray

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the measurements, in the protocol's order."""
        return tuple(item.id for item in self.protocol.measurements)

    @property
    def missing(self) -> np.ndarray:
        """Mask (M,) bool of the measurements without a value."""
        return np.isnan(self.values)

    def value(self, identifier: str) -> float:
        """Give one value by its name; KeyError when there is no such measurement."""
        for place, item in enumerate(self.protocol.measurements):
            if item.id == identifier:
                return float(self.values[place])
        raise KeyError(identifier)

    def flags(self, place: int, low_confidence_mm: float = LOW_CONFIDENCE_MM) -> tuple[str, ...]:
        """Say what a reader must know of one measurement.

        Parameters
        ----------
        place : int
            Place of the measurement in the protocol, from 0.
        low_confidence_mm : float
            Landmarks with a larger expected error count as uncertain.

        Returns
        -------
        tuple of str
            Any of ``missing``, ``low-confidence``, ``palpated``.
        """
        marks = (
            ("missing", bool(np.isnan(self.values[place]))),
            ("low-confidence", bool(self.largest_point_error_mm[place] > low_confidence_mm)),
            ("palpated", bool(self.palpated[place])),
        )
        return tuple(name for name, holds in marks if holds)


def measure(
    landmarks: LandmarkSet | np.ndarray,
    protocol: Protocol | None = None,
    *,
    expected_error_mm: np.ndarray | None = None,
) -> Measurements:
    """Compute all measurements of a protocol.

    Parameters
    ----------
    landmarks : LandmarkSet or (L, 3) float
        Positions, mm, in any frame; missing ones NaN.
    protocol : Protocol, optional
        Needed with an array; a set has its own.
    expected_error_mm : (L,) float, optional
        Expected error of each landmark; a set has its own.

    Returns
    -------
    Measurements
        One value per measurement of the protocol.

    Examples
    --------
    >>> import numpy as np
    >>> from PALNetLandmarksLib.protocol import Protocol
    >>> protocol = Protocol.from_dict({
    ...     "id": "tiny", "version": "1.0", "title": "two points",
    ...     "landmarks": [{"label": "Ch_R", "side": "right"}, {"label": "Ch_L", "side": "left"}],
    ...     "measurements": [{"id": "mouth width", "kind": "distance", "points": "Ch_R Ch_L"}],
    ... })
    >>> result = measure(np.array([[-25.0, 0, 0], [25, 0, 0]]), protocol, expected_error_mm=np.array([3.0, 4.0]))
    >>> float(result.value("mouth width")), result.expected_error.tolist()
    (50.0, [2.5])
    """
    if isinstance(landmarks, LandmarkSet):
        protocol = landmarks.protocol
        positions = landmarks.positions
        errors = landmarks.expected_error_mm if expected_error_mm is None else np.asarray(expected_error_mm, float)
    else:
        positions = np.asarray(landmarks, dtype=np.float64)
        if protocol is None:
            raise ValueError("positions without a LandmarkSet need the protocol")
        errors = np.full(len(protocol), np.nan) if expected_error_mm is None else np.asarray(expected_error_mm, float)
    if positions.shape != (len(protocol), 3) or errors.shape != (len(protocol),):
        raise ValueError(f"positions must be ({len(protocol)}, 3) and errors ({len(protocol)},)")
    plan = _plan(protocol)
    largest = np.fmax.reduce(errors[plan.landmarks], axis=1) if len(plan.landmarks) else np.empty(0)
    return Measurements(
        protocol=protocol,
        values=measurement_values(positions, protocol),
        expected_error=_expected_error(positions, errors, plan),
        largest_point_error_mm=largest,
        palpated=plan.palpated,
    )


def measurement_values(positions: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Compute the values only, of one face or of many at once.

    Parameters
    ----------
    positions : (..., L, 3) float
        Landmarks, mm; missing ones NaN.
    protocol : Protocol
        What to measure.

    Returns
    -------
    (..., M) float
        Values in the measurements' units; NaN where a landmark is missing, and for an angle, a perpendicular distance
        or an index whose base has no length.

    Examples
    --------
    >>> import numpy as np
    >>> from PALNetLandmarksLib.protocol import Protocol
    >>> protocol = Protocol.from_dict({
    ...     "id": "tiny", "version": "1.0", "title": "three points",
    ...     "landmarks": [{"label": "A", "side": "midline"}, {"label": "B", "side": "midline"},
    ...                   {"label": "C", "side": "midline"}],
    ...     "measurements": [
    ...         {"id": "angle", "kind": "angle", "points": "A B C"},
    ...         {"id": "height", "kind": "point_to_line", "points": "A B C"},
    ...         {"id": "index", "kind": "ratio_percent", "points": "A B / B C"},
    ...     ],
    ... })
    >>> measurement_values(np.array([[0.0, 3, 0], [0, 0, 0], [4, 0, 0]]), protocol).tolist()
    [90.0, 3.0, 75.0]
    """
    points = np.asarray(positions, dtype=np.float64)
    values = np.full((*points.shape[:-2], len(protocol.measurements)), np.nan)
    with np.errstate(all="ignore"):
        for name, kind in _plan(protocol).kinds.items():
            corners = [points[..., kind.points[:, k], :] for k in range(kind.points.shape[1])]
            values[..., kind.places] = _VALUES[name](*corners)
    return values


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _norm(a - b)


def _angle(a: np.ndarray, vertex: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle in degrees; the arctangent stays exact near 0 and 180 degrees, where the arccosine does not."""
    first, second = a - vertex, b - vertex
    angle = np.degrees(np.arctan2(_norm(_cross(first, second)), _dot(first, second)))
    return np.where((_norm(first) > 0) & (_norm(second) > 0), angle, np.nan)


def _point_to_line(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Unsigned perpendicular distance."""
    line = end - start
    length = _norm(line)
    return np.where(length > 0, _norm(_cross(point - start, line)) / length, np.nan)


def _ratio_percent(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    base = _norm(c - d)
    return np.where(base > 0, 100.0 * _norm(a - b) / base, np.nan)


_VALUES: dict[str, Callable[..., np.ndarray]] = {
    "distance": _distance,
    "angle": _angle,
    "point_to_line": _point_to_line,
    "ratio_percent": _ratio_percent,
}


@functools.lru_cache(maxsize=16)
def _plan(protocol: Protocol) -> _Plan:
    items = protocol.measurements
    kinds = {}
    landmarks = np.zeros((len(items), 4), dtype=np.intp)
    for place, item in enumerate(items):
        places = [protocol.index(label) for label in item.points]
        landmarks[place] = (places + [places[0]] * 4)[:4]
    for name in _VALUES:
        chosen = [place for place, item in enumerate(items) if item.kind == name]
        if chosen:
            points = [[protocol.index(label) for label in items[place].points] for place in chosen]
            kinds[name] = _Kind(np.array(chosen, dtype=np.intp), np.array(points, dtype=np.intp))
    palpated = np.asarray(protocol.palpated[landmarks].any(axis=1))
    palpated.setflags(write=False)
    return _Plan(kinds, palpated, landmarks)


def _expected_error(positions: np.ndarray, errors: np.ndarray, plan: _Plan) -> np.ndarray:
    """Propagate the landmarks' expected errors (L,) to the measurements (M,), see the module's head."""
    result = np.full(len(plan.landmarks), np.nan)
    with np.errstate(all="ignore"):
        for name, kind in plan.kinds.items():
            gradients = _GRADIENTS[name](*(positions[kind.points[:, k]] for k in range(kind.points.shape[1])))
            squared = errors[kind.points] ** 2
            total = np.zeros(len(kind.places))
            for k, gradient in enumerate(gradients):
                total += _dot(gradient, gradient) * squared[:, k]
            # A landmark that stands in both distances of an index moves both: its gradients add up before squaring.
            for k, other in ((0, 2), (0, 3), (1, 2), (1, 3)) if name == "ratio_percent" else ():
                shared = kind.points[:, k] == kind.points[:, other]
                total += np.where(shared, 2.0 * _dot(gradients[k], gradients[other]) * squared[:, k], 0.0)
            result[kind.places] = 0.5 * np.sqrt(np.maximum(total, 0.0))
    return np.where(np.isfinite(result), result, np.nan)


Gradients = tuple[np.ndarray, ...]


def _distance_gradients(a: np.ndarray, b: np.ndarray) -> Gradients:
    unit = _unit(a - b)
    return unit, -unit


def _angle_gradients(a: np.ndarray, vertex: np.ndarray, b: np.ndarray) -> Gradients:
    """Gradients in degrees per mm; where the three points are in line, any direction across it."""
    first, second = a - vertex, b - vertex
    across = _cross(first, second)
    straight = _norm(across) <= 1e-12 * _norm(first) * _norm(second)
    across = _unit(np.where(straight[:, None], _any_perpendicular(first), across))
    to_a = np.degrees(_cross(first, across) / _dot(first, first)[:, None])
    to_b = np.degrees(_cross(across, second) / _dot(second, second)[:, None])
    return to_a, -(to_a + to_b), to_b


def _point_to_line_gradients(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> Gradients:
    line = end - start
    share = (_dot(point - start, line) / _dot(line, line))[:, None]
    away = point - start - share * line
    on_line = _norm(away) <= 1e-12 * _norm(line)
    away = _unit(np.where(on_line[:, None], _any_perpendicular(line), away))
    return away, -(1.0 - share) * away, -share * away


def _ratio_gradients(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> Gradients:
    top, base = _norm(a - b)[:, None], _norm(c - d)[:, None]
    upper = 100.0 * _unit(a - b) / base
    lower = 100.0 * top / base**2 * _unit(c - d)
    return upper, -upper, -lower, lower


_GRADIENTS: dict[str, Callable[..., Gradients]] = {
    "distance": _distance_gradients,
    "angle": _angle_gradients,
    "point_to_line": _point_to_line_gradients,
    "ratio_percent": _ratio_gradients,
}


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...k,...k->...", a, b)


def _norm(a: np.ndarray) -> np.ndarray:
    return np.sqrt(_dot(a, a))


def _unit(a: np.ndarray) -> np.ndarray:
    return a / _norm(a)[..., None]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product along the last axis; numpy's own is several times slower on small arrays."""
    result = np.empty(np.broadcast_shapes(a.shape, b.shape))
    result[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    result[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    result[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return result


def _any_perpendicular(a: np.ndarray) -> np.ndarray:
    """Give one vector (k, 3) across each of ``a``."""
    smallest = np.argmin(np.abs(a), axis=-1)
    return _cross(a, np.eye(3)[smallest])
