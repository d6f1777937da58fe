"""Left-right asymmetry of a face against its least-squares midplane.

Method, by name: *least-squares midplane*. The plane is the total least-squares plane through the midline landmarks and
the midpoints of the pairs; its residual (root mean square distance of those points from it) is reported. Each right
landmark ``p`` is reflected in the plane and compared with its left partner ``q``: ``q - reflect(p)`` is split along the
subject's axes, all positive towards left, up and front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .landmarks import LandmarkSet
from .protocol import Protocol

METHOD = "least-squares midplane over midline points and pair midpoints"
FALLBACK_AXIS = "longest in-plane axis of the points as the vertical"
#: The longest in-plane axis must exceed the other by this factor to count as the vertical; below, a few mm of landmark
#: error would turn it.
_ELONGATION = 1.1
#: The pairs' mean direction must agree with the plane's normal to 60 degrees; otherwise the points are no face.
_LEAST_AGREEMENT = 0.5


@dataclass(frozen=True, eq=False)
class Asymmetry:
    """Asymmetry of one set of landmarks, P pairs.

    Parameters
    ----------
    pairs : tuple of (str, str)
        Right and left label of each pair.
    plane_point, plane_normal : (3,) float
        A point of the midplane (mm) and its unit normal towards the subject's left; NaN without a plane.
    residual_rms_mm : float
        Root mean square distance of the points used from the plane, mm.
    points_used : int
        Number of midline points and pair midpoints that the plane rests on.
    axes : (3, 3) float
        Rows: unit vectors to the subject's left, up and front; NaN where not determined.
    axes_method : str
        How the forward direction was found; empty when it was not.
    components : (P, 3) float
        Lateral, vertical and antero-posterior component of ``q - reflect(p)``, mm.
    magnitude_mm : (P,) float
        Its length, mm.
    expected_error_mm : (P,) float
        Length to expect of it on a symmetric face, from the expected errors ``e`` of both landmarks:
        ``sqrt(e_p² + e_q²)``; the plane's own error is left out. NaN where unknown.
    failure : str
        Why there is no plane; empty when there is one.
    """

    pairs: tuple[tuple[str, str], ...]
    plane_point: np.ndarray
    plane_normal: np.ndarray
    residual_rms_mm: float
    points_used: int
    axes: np.ndarray
    axes_method: str
    components: np.ndarray
    magnitude_mm: np.ndarray
    expected_error_mm: np.ndarray
    failure: str = ""

    @property
    def lateral(self) -> np.ndarray:
        """Lateral components (P,), mm: positive where the left point lies further from the midplane."""
        return self.components[:, 0]

    @property
    def vertical(self) -> np.ndarray:
        """Vertical components (P,), mm: positive where the left point lies higher."""
        return self.components[:, 1]

    @property
    def antero_posterior(self) -> np.ndarray:
        """Antero-posterior components (P,), mm: positive where the left point lies further forward."""
        return self.components[:, 2]

    @property
    def distinguishable(self) -> np.ndarray:
        """Mask (P,) bool: the asymmetry exceeds what the landmarks' own errors would make of a symmetric face."""
        with np.errstate(invalid="ignore"):
            return self.magnitude_mm > self.expected_error_mm


def asymmetry(
    landmarks: LandmarkSet | np.ndarray,
    protocol: Protocol | None = None,
    *,
    expected_error_mm: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> Asymmetry:
    """Compare right and left landmarks after reflection in the least-squares midplane.

    The forward axis is the first of the protocol's ``anterior_axes`` whose landmarks are all there (for the 50
    landmarks: the Frankfurt horizontal from mid-tragion to mid-orbitale, else mid-tragion to the midpoint of nasion and
    subnasale), laid into the midplane; up is at right angles to it. Without one, the longest in-plane axis of the
    midline points and pair midpoints is the vertical and the midline lies in front. Without that, only the lateral
    component is given.

    Parameters
    ----------
    landmarks : LandmarkSet or (L, 3) float
        Positions, mm, in any right-handed frame; missing ones NaN.
    protocol : Protocol, optional
        Needed with an array; a set has its own.
    expected_error_mm : (L,) float, optional
        Expected error of each landmark; a set has its own.
    weights : (L,) float, optional
        Weight of each landmark in the plane's fit, as an inverse variance; equal by default. A pair's midpoint has the
        weight ``4 / (1 / w_right + 1 / w_left)``.

    Returns
    -------
    Asymmetry
        With NaN throughout and ``failure`` set when there are fewer than 3 points for the plane, when they lie on a
        line, or when the plane does not separate right from left.

    Examples
    --------
    >>> import numpy as np
    >>> from PALNetLandmarksLib.protocol import Protocol
    >>> protocol = Protocol.from_dict({
    ...     "id": "tiny", "version": "1.0", "title": "five points",
    ...     "landmarks": [
    ...         {"label": "N", "side": "midline"}, {"label": "Prn", "side": "midline"},
    ...         {"label": "Gn", "side": "midline"},
    ...         {"label": "Ch_R", "side": "right"}, {"label": "Ch_L", "side": "left"}],
    ... })
    >>> face = np.array([[0.0, 50, 0], [0, 0, 20], [0, -70, 0], [-25, -30, 0], [25, -28, 0]])
    >>> result = asymmetry(face, protocol)
    >>> result.magnitude_mm.round(3).tolist(), result.plane_normal.round(3).tolist()
    ([2.0], [1.0, 0.0, 0.0])
    """
    if isinstance(landmarks, LandmarkSet):
        protocol, positions = landmarks.protocol, landmarks.positions
        errors = landmarks.expected_error_mm if expected_error_mm is None else np.asarray(expected_error_mm, float)
    else:
        positions = np.asarray(landmarks, dtype=np.float64)
        if protocol is None:
            raise ValueError("positions without a LandmarkSet need the protocol")
        errors = np.full(len(protocol), np.nan) if expected_error_mm is None else np.asarray(expected_error_mm, float)
    if positions.shape != (len(protocol), 3) or errors.shape != (len(protocol),):
        raise ValueError(f"positions must be ({len(protocol)}, 3) and errors ({len(protocol)},)")
    pairs = np.array(protocol.pairs, dtype=np.intp).reshape(-1, 2)
    names = tuple((protocol.labels[right], protocol.labels[left]) for right, left in pairs)
    right, left = positions[pairs[:, 0]], positions[pairs[:, 1]]
    points, point_weights = _plane_points(positions, protocol, pairs, weights)
    centre, directions, spreads, failure = _fit_plane(points, point_weights)
    normal = directions[2]
    if not failure:
        normal, failure = _towards_left(normal, left - right)
    if failure:
        return _without_plane(names, len(points), failure)
    axes, method = _axes(positions, protocol, normal, directions, spreads, (right + left) / 2.0)
    reflected = right - 2.0 * ((right - centre) @ normal)[:, None] * normal
    difference = left - reflected
    residual = float(np.sqrt(np.average(((points - centre) @ normal) ** 2, weights=point_weights)))
    return Asymmetry(
        pairs=names,
        plane_point=centre,
        plane_normal=normal,
        residual_rms_mm=residual,
        points_used=len(points),
        axes=axes,
        axes_method=method,
        components=difference @ axes.T,
        magnitude_mm=np.linalg.norm(difference, axis=1),
        expected_error_mm=np.hypot(errors[pairs[:, 0]], errors[pairs[:, 1]]),
    )


def _plane_points(
    positions: np.ndarray, protocol: Protocol, pairs: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Give the midline points and pair midpoints that are there, (k, 3), and their weights, (k,)."""
    middle = np.array(protocol.midline, dtype=np.intp)
    points = np.concatenate([positions[middle], positions[pairs].mean(axis=1)])
    if weights is None:
        point_weights = np.ones(len(points))
    else:
        given = np.asarray(weights, dtype=np.float64)
        if given.shape != (len(protocol),):
            raise ValueError(f"weights must have shape ({len(protocol)},), not {given.shape}")
        with np.errstate(divide="ignore"):
            midpoint = 4.0 / (1.0 / given[pairs[:, 0]] + 1.0 / given[pairs[:, 1]])
        point_weights = np.concatenate([given[middle], midpoint])
    there = ~np.isnan(points).any(axis=1) & (point_weights > 0)
    return points[there], point_weights[there]


def _fit_plane(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Fit a total least-squares plane: centre (3,), directions (3, 3) by falling spread, spreads (3,), failure."""
    nothing = np.full(3, np.nan), np.full((3, 3), np.nan), np.full(3, np.nan)
    if len(points) < 3:
        return (*nothing, "fewer than 3 midline points and complete pairs")
    centre = np.average(points, axis=0, weights=weights)
    _, spreads, directions = np.linalg.svd(np.sqrt(weights)[:, None] * (points - centre), full_matrices=True)
    if spreads[1] <= 1e-6 * spreads[0] or spreads[0] == 0.0:
        return (*nothing, "the midline points and pair midpoints lie on a line")
    return centre, directions, spreads, ""


def _towards_left(normal: np.ndarray, right_to_left: np.ndarray) -> tuple[np.ndarray, str]:
    """Turn the normal to the subject's left, or say that the plane does not lie between right and left."""
    there = right_to_left[~np.isnan(right_to_left).any(axis=1)]
    if not len(there):
        return normal, "no pair is complete"
    mean = there.mean(axis=0)
    length = float(np.linalg.norm(mean))
    agreement = float(mean @ normal) / length if length > 0 else 0.0
    if abs(agreement) < _LEAST_AGREEMENT:
        return normal, "the plane does not lie between right and left"
    return normal * np.sign(agreement), ""


def _axes(
    positions: np.ndarray,
    protocol: Protocol,
    normal: np.ndarray,
    directions: np.ndarray,
    spreads: np.ndarray,
    midpoints: np.ndarray,
) -> tuple[np.ndarray, str]:
    """Give the unit vectors left, up and front as rows (3, 3), and how the front was found."""
    for axis in protocol.anterior_axes:
        start = positions[[protocol.index(label) for label in axis.start]].mean(axis=0)
        end = positions[[protocol.index(label) for label in axis.end]].mean(axis=0)
        forward = _in_plane(end - start, normal)
        if not np.isnan(forward).any():
            return np.array([normal, np.cross(forward, normal), forward]), axis.name
    front = np.full(3, np.nan)
    if spreads[0] > _ELONGATION * spreads[1] and protocol.midline:
        middle = positions[list(protocol.midline)]
        if not np.isnan(middle).all() and not np.isnan(midpoints).all():
            towards = float((np.nanmean(middle, axis=0) - np.nanmean(midpoints, axis=0)) @ directions[1])
            if abs(towards) > 1e-6 * spreads[0]:
                front = np.sign(towards) * directions[1]
    if np.isnan(front).any():
        return np.array([normal, front, front]), ""
    return np.array([normal, np.cross(front, normal), front]), FALLBACK_AXIS


def _in_plane(vector: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Lay a vector into the plane and give it unit length; NaN when it stands on the plane."""
    flat = vector - (vector @ normal) * normal
    length = np.linalg.norm(flat)
    return flat / length if length > 1e-6 * np.linalg.norm(vector) else np.full(3, np.nan)


def _without_plane(names: tuple[tuple[str, str], ...], points_used: int, failure: str) -> Asymmetry:
    count = len(names)
    return Asymmetry(
        pairs=names,
        plane_point=np.full(3, np.nan),
        plane_normal=np.full(3, np.nan),
        residual_rms_mm=float("nan"),
        points_used=points_used,
        axes=np.full((3, 3), np.nan),
        axes_method="",
        components=np.full((count, 3), np.nan),
        magnitude_mm=np.full(count, np.nan),
        expected_error_mm=np.full(count, np.nan),
        failure=failure,
    )
