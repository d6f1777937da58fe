"""Comparison of two sets of landmarks of the same scans: two observers, one observer twice, or a model and an observer.

Notation: C cases, L landmarks, *difference* second minus first. Distances are Euclidean, mm.

Dahlberg's error of a repeated measurement is ``sqrt(sum d² / 2n)`` over n repeats, systematic differences included.
Here it is given per landmark over the cases, once for each axis, where d is the difference of that coordinate, and once
for the point, where d is the distance between the two points; the square of the latter is the sum of the squares of the
former. Of a measurement, d is the difference of its two values.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .asymmetry import asymmetry
from .errors import InputError
from .landmarks import LandmarkSet
from .measurements import measurement_values
from .protocol import Protocol

#: Names of the axes that differences are split along.
FACE_AXES = ("left", "up", "front")
SCAN_AXES = ("x", "y", "z")
#: Sets whose landmarks lie further apart than this on average were hardly placed on the same scan, mm.
_APART_MM = 30.0


@dataclass(frozen=True)
class Agreement:
    """How far two sets agree on one landmark, or on all.

    Parameters
    ----------
    label : str
        The landmark; empty for all together.
    count : int
        Pairs of points that could be compared.
    missing_first, missing_second, missing_both : int
        Cases in which the landmark is missing in the first set only, in the second only, in both.
    mean_mm, sd_mm, max_mm, dahlberg_mm : float
        Of the distances between the two points. NaN without a pair; the SD (n - 1) also with one pair only.
    bias_mm, axis_sd_mm, axis_dahlberg_mm : tuple of 3 float
        Mean, SD (n - 1) and Dahlberg error of the difference second - first along each axis.
    """

    label: str
    count: int
    missing_first: int
    missing_second: int
    missing_both: int
    mean_mm: float
    sd_mm: float
    max_mm: float
    dahlberg_mm: float
    bias_mm: tuple[float, float, float]
    axis_sd_mm: tuple[float, float, float]
    axis_dahlberg_mm: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class BlandAltman:
    """Differences of pairs of values against their means (Bland and Altman, Lancet 1986).

    Parameters
    ----------
    mean, difference : (n,) float
        Mean of both values, and second minus first, of the pairs that are complete.
    left_out : int
        Pairs with a missing value.
    """

    mean: np.ndarray
    difference: np.ndarray
    left_out: int = 0

    @property
    def count(self) -> int:
        """Pairs compared, n."""
        return len(self.difference)

    @property
    def bias(self) -> float:
        """Mean difference; NaN without a pair."""
        return float(np.mean(self.difference)) if self.count else math.nan

    @property
    def sd(self) -> float:
        """Standard deviation of the differences (n - 1); NaN with fewer than 2 pairs."""
        return float(np.std(self.difference, ddof=1)) if self.count > 1 else math.nan

    @property
    def limits(self) -> tuple[float, float]:
        """Limits of agreement, bias - 1.96 SD and bias + 1.96 SD."""
        return self.bias - 1.96 * self.sd, self.bias + 1.96 * self.sd

    @property
    def dahlberg(self) -> float:
        """Dahlberg error ``sqrt(sum d² / 2n)`` of the differences; NaN without a pair."""
        return dahlberg(self.difference)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sets of landmarks for each of C cases.

    Parameters
    ----------
    protocol : Protocol
        Names of the L landmarks and of the measurements.
    cases : tuple of str
        Identifiers of the cases that both have.
    first, second : (C, L, 3) float
        Positions in one frame, mm, along :attr:`axes`; NaN where missing.
    axes : tuple of 3 str
        ``left, up, front`` (the subject's), or ``x, y, z`` of the frame.
    only_first, only_second : tuple of str
        Cases that only one of them has; they are not compared.
    warnings : tuple of str
        What a reader should know.
    """

    protocol: Protocol
    cases: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    axes: tuple[str, str, str]
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def difference(self) -> np.ndarray:
        """Second minus first (C, L, 3), mm; NaN where one is missing."""
        return self.second - self.first

    @property
    def distance(self) -> np.ndarray:
        """Distance of the two points (C, L), mm; NaN where one is missing."""
        return np.asarray(np.sqrt(np.sum(self.difference**2, axis=-1)))

    def landmarks(self) -> tuple[Agreement, ...]:
        """Say how far the sets agree on each of the L landmarks, in order."""
        points = zip(self.protocol.labels, np.moveaxis(self.first, 1, 0), np.moveaxis(self.second, 1, 0))
        return tuple(_agreement(label, first, second) for label, first, second in points)

    def overall(self) -> Agreement:
        """Say how far the sets agree on all landmarks together."""
        return _agreement("", self.first.reshape(-1, 3), self.second.reshape(-1, 3))

    def coordinates(self, axis: int) -> BlandAltman:
        """Compare the coordinates of all landmarks along one axis.

        Parameters
        ----------
        axis : int
            0, 1 or 2, see :attr:`axes`.

        Returns
        -------
        BlandAltman
            Over landmarks and cases; coordinates are counted from the middle of the face where the axes are the
            subject's, else from the frame's origin.
        """
        return bland_altman(self.first[..., axis].ravel(), self.second[..., axis].ravel())

    def values(self, unit: str) -> BlandAltman:
        """Compare all measurements of one unit.

        Parameters
        ----------
        unit : {"mm", "degree", "percent"}
            Which measurements.

        Returns
        -------
        BlandAltman
            Over measurements and cases.
        """
        chosen = [place for place, item in enumerate(self.protocol.measurements) if item.unit == unit]
        first, second = self._measured
        return bland_altman(first[:, chosen].ravel(), second[:, chosen].ravel())

    def measurement(self, place: int) -> BlandAltman:
        """Compare one measurement over the cases.

        Parameters
        ----------
        place : int
            Its place in the protocol, from 0.

        Returns
        -------
        BlandAltman
            Over the cases.
        """
        first, second = self._measured
        return bland_altman(first[:, place], second[:, place])

    @functools.cached_property
    def _measured(self) -> tuple[np.ndarray, np.ndarray]:
        return measurement_values(self.first, self.protocol), measurement_values(self.second, self.protocol)


def compare_sets(first: LandmarkSet, second: LandmarkSet, case: str = "case") -> Comparison:
    """Compare two sets of landmarks of one scan.

    Parameters
    ----------
    first, second : LandmarkSet
        Of the same protocol; a set in the other frame (LPS, RAS) is converted.
    case : str
        Identifier of the case.

    Returns
    -------
    Comparison
        Of one case.

    Raises
    ------
    InputError
        When the protocols differ.

    Examples
    --------
    >>> import numpy as np
    >>> from PALNetLandmarksLib.protocol import load_protocol
    >>> protocol = load_protocol()
    >>> one = LandmarkSet.from_positions(protocol, np.zeros((50, 3)) + np.arange(50)[:, None])
    >>> other = LandmarkSet.from_positions(protocol, one.positions + (3.0, 4.0, 0.0))
    >>> result = compare_sets(one, other).overall()
    >>> result.count, result.mean_mm, round(result.dahlberg_mm, 4)
    (50, 5.0, 3.5355)
    """
    return compare_cases({case: first}, {case: second})


def compare_cases(first: Mapping[str, LandmarkSet], second: Mapping[str, LandmarkSet]) -> Comparison:
    """Compare two sets of landmarks for each of many cases, matched by their identifiers.

    Differences are split along the subject's own axes (left, up, front), found from the mean of both sets as for
    asymmetry, so that they mean the same in every scan. Where they cannot be found in one of the cases, the axes of the
    scan's frame (LPS) are used for all, with a warning. Distances do not depend on it.

    Parameters
    ----------
    first, second : mapping of str to LandmarkSet
        Sets by case; a set in the other frame (LPS, RAS) is converted.

    Returns
    -------
    Comparison
        Of the cases that both have, in the order of the first.

    Raises
    ------
    InputError
        When no case is in both, or protocols differ.
    """
    cases = tuple(case for case in first if case in second)
    if not cases:
        raise InputError(
            "No case is in both sets.", "The files of a case need the same name in both folders.", code="compare.cases"
        )
    protocol = first[cases[0]].protocol
    for landmarks in (*first.values(), *second.values()):
        _check_protocol(landmarks.protocol, protocol)
    ours = np.stack([first[case].in_coordinate_system("LPS").positions for case in cases])
    theirs = np.stack([second[case].in_coordinate_system("LPS").positions for case in cases])
    warnings = [warning for case in cases for warning in _doubts(case, first[case], second[case], len(cases))]
    frames = [_face_frame(one, other, protocol) for one, other in zip(ours, theirs)]
    lacking = [case for case, frame in zip(cases, frames) if frame is None]
    if lacking:
        # A mixture of axes would mean nothing in a mean over the cases.
        names = ", ".join(lacking[:5]) + (" and others" if len(lacking) > 5 else "")
        where = f" in {names}" if len(cases) > 1 else ""
        warnings.append(
            f"The subject's axes could not be found{where}: differences are along the scan's x, y, z (LPS)."
        )
    else:
        for place, frame in enumerate(frames):
            origin, axes = frame  # type: ignore[misc]
            ours[place] = (ours[place] - origin) @ axes.T
            theirs[place] = (theirs[place] - origin) @ axes.T
    return Comparison(
        protocol=protocol,
        cases=cases,
        first=ours,
        second=theirs,
        axes=SCAN_AXES if lacking else FACE_AXES,
        only_first=tuple(case for case in first if case not in second),
        only_second=tuple(case for case in second if case not in first),
        warnings=tuple(warnings),
    )


def bland_altman(first: np.ndarray, second: np.ndarray) -> BlandAltman:
    """Compare pairs of values.

    Parameters
    ----------
    first, second : (n,) float
        Values; NaN where missing.

    Returns
    -------
    BlandAltman
        Of the complete pairs.

    Examples
    --------
    >>> import numpy as np
    >>> result = bland_altman(np.array([1.0, 2.0, np.nan]), np.array([2.0, 4.0, 1.0]))
    >>> result.bias, round(result.sd, 4), result.count, result.left_out
    (1.5, 0.7071, 2, 1)
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    there = np.isfinite(one) & np.isfinite(other)
    return BlandAltman((one + other)[there] / 2.0, (other - one)[there], int(np.sum(~there)))


def dahlberg(difference: np.ndarray) -> float:
    """Give Dahlberg's error ``sqrt(sum d² / 2n)``.

    Parameters
    ----------
    difference : (n,) float
        Differences d of repeated measurements, or distances of repeated points; NaN ones are left out.

    Returns
    -------
    float
        In the same unit; NaN when there is none.

    Examples
    --------
    >>> dahlberg(np.array([1.0, -1.0, 1.0, -1.0])) == math.sqrt(0.5)
    True
    """
    known = np.asarray(difference, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(np.sqrt(np.sum(known**2) / (2 * len(known)))) if len(known) else math.nan


def _agreement(label: str, first: np.ndarray, second: np.ndarray) -> Agreement:
    """Compare points (n, 3) with points (n, 3)."""
    no_first, no_second = np.isnan(first).any(axis=1), np.isnan(second).any(axis=1)
    difference = (second - first)[~no_first & ~no_second]
    distance = np.sqrt(np.sum(difference**2, axis=1))
    count = len(distance)
    spread = np.std(difference, axis=0, ddof=1) if count > 1 else np.full(3, math.nan)
    bias = np.mean(difference, axis=0) if count else np.full(3, math.nan)
    return Agreement(
        label=label,
        count=count,
        missing_first=int(np.sum(no_first & ~no_second)),
        missing_second=int(np.sum(~no_first & no_second)),
        missing_both=int(np.sum(no_first & no_second)),
        mean_mm=float(np.mean(distance)) if count else math.nan,
        sd_mm=float(np.std(distance, ddof=1)) if count > 1 else math.nan,
        max_mm=float(np.max(distance)) if count else math.nan,
        dahlberg_mm=dahlberg(distance),
        bias_mm=(float(bias[0]), float(bias[1]), float(bias[2])),
        axis_sd_mm=(float(spread[0]), float(spread[1]), float(spread[2])),
        axis_dahlberg_mm=(dahlberg(difference[:, 0]), dahlberg(difference[:, 1]), dahlberg(difference[:, 2])),
    )


def _face_frame(first: np.ndarray, second: np.ndarray, protocol: Protocol) -> tuple[np.ndarray, np.ndarray] | None:
    """Give origin (3,) and axes (3, 3) of the face from the mean of both sets; None where there are none."""
    result = asymmetry((first + second) / 2.0, protocol)
    return None if np.isnan(result.axes).any() else (result.plane_point, result.axes)


def _check_protocol(one: Protocol, other: Protocol) -> None:
    if one is not other and one != other:
        raise InputError(
            f"The sets were made with different protocols: {other.id} {other.version} and {one.id} {one.version}.",
            "Only sets of one protocol can be compared: their landmarks may be defined differently.",
            code="compare.protocol",
        )


def _doubts(case: str, first: LandmarkSet, second: LandmarkSet, count: int) -> Sequence[str]:
    """Say when two sets look as though they were placed on different scans."""
    which = f"{case}: " if count > 1 else ""
    scans = first.provenance.get("scan_sha256", ""), second.provenance.get("scan_sha256", "")
    if all(scans) and scans[0] != scans[1]:
        return [f"{which}the two sets were made on different scans."]
    offset = second.in_coordinate_system("LPS").positions - first.in_coordinate_system("LPS").positions
    distance = np.sqrt(np.sum(offset**2, axis=1))
    if np.isfinite(distance).any() and np.nanmedian(distance) > _APART_MM:
        return [f"{which}the two sets lie {np.nanmedian(distance):.0f} mm apart: was the scan moved between them?"]
    return []
