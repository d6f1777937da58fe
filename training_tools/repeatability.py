"""How far two annotations of the same scans agree: distances, Dahlberg's error, and intraclass correlations.

Distances and Dahlberg's error are those of :mod:`PALNetLandmarksLib.observers`. The intraclass correlation is
ICC(2,1) of Shrout and Fleiss (Psychological Bulletin 1979): two-way random effects, absolute agreement, one rater. Of a
landmark it is given for each coordinate along the subject's own axes, counted from the middle of the face: in the axes
of the scans it would mostly say how differently the heads lay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.measurements import measurement_values
from PALNetLandmarksLib.observer_files import Table, landmark_table, measurement_table
from PALNetLandmarksLib.observers import FACE_AXES, Comparison, compare_cases, compare_sets
from PALNetLandmarksLib.spreadsheet import number_text

FloatArray = NDArray[np.float64]

LEAST_SUBJECTS = 3
"""Fewer subjects have no intraclass correlation."""


def icc_2_1(ratings: FloatArray) -> float:
    """Compute ICC(2,1): two-way random effects, absolute agreement, single rater.

    ``(MSR - MSE) / (MSR + (k - 1) MSE + k (MSC - MSE) / n)`` of the mean squares of rows (subjects), columns (raters)
    and error. It is negative where raters agree less than by chance.

    Parameters
    ----------
    ratings : (n, k) float
        A row for each subject, a column for each rater; rows with NaN are left out.

    Returns
    -------
    float
        At most 1; NaN with fewer than 3 complete rows, or when nothing varies.

    Examples
    --------
    >>> import numpy as np
    >>> judges = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    >>> round(icc_2_1(np.array(judges)), 2)
    0.29
    """
    values = np.asarray(ratings, dtype=np.float64)
    values = values[np.isfinite(values).all(axis=1)]
    n, k = values.shape
    if n < LEAST_SUBJECTS or k < 2:
        return math.nan
    mean, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    between_rows = k * float(((rows - mean) ** 2).sum()) / (n - 1)
    between_columns = n * float(((columns - mean) ** 2).sum()) / (k - 1)
    rest = values - rows[:, None] - columns[None] + mean
    error = float((rest**2).sum()) / ((n - 1) * (k - 1))
    whole = between_rows + (k - 1) * error + k * (between_columns - error) / n
    # Rounding leaves some 1e-30 where all values are the same.
    return (between_rows - error) / whole if whole > 1e-12 * max(float((values**2).mean()), 1e-12) else math.nan


@dataclass(frozen=True, eq=False)
class Repeatability:
    """Two annotations of the same scans, C cases with L landmarks and M measurements.

    Parameters
    ----------
    comparison : Comparison
        Distances and Dahlberg's errors, of the cases that both have.
    landmark_icc : (L, 3) float64
        Along the subject's left, up and front; NaN where it cannot be computed.
    measurement_icc : (M,) float64
    without_axes : tuple of str
        Cases in which the subject's axes could not be found, left out of the landmarks' ICC.
    """

    comparison: Comparison
    landmark_icc: FloatArray
    measurement_icc: FloatArray
    without_axes: tuple[str, ...]


def repeatability(first: Mapping[str, LandmarkSet], second: Mapping[str, LandmarkSet]) -> Repeatability:
    """Compare two annotations of the same scans.

    Parameters
    ----------
    first, second : mapping of str to LandmarkSet
        By case.

    Returns
    -------
    Repeatability

    Raises
    ------
    InputError
        When no case is in both, or protocols differ.
    """
    comparison = compare_cases(first, second)
    without: tuple[str, ...] = ()
    turned: Comparison | None = comparison
    if comparison.axes != FACE_AXES:
        without = tuple(case for case in comparison.cases if compare_sets(first[case], second[case]).axes != FACE_AXES)
        kept = [case for case in comparison.cases if case not in without]
        turned = compare_cases({case: first[case] for case in kept}, second) if kept else None
    count = len(comparison.protocol)
    icc = np.full((count, 3), np.nan)
    if turned is not None:
        pairs = np.stack([turned.first, turned.second], axis=-1)  # (C, L, 3, 2)
        icc = np.array([[icc_2_1(pairs[:, place, axis]) for axis in range(3)] for place in range(count)])
    measured = [measurement_values(points, comparison.protocol) for points in (comparison.first, comparison.second)]
    values = np.stack(measured, axis=-1)
    of_measurements = np.array([icc_2_1(values[:, place]) for place in range(values.shape[1])])
    return Repeatability(comparison, icc, of_measurements, without)


def landmark_rows(result: Repeatability) -> Table:
    """Make the table of landmarks: a row for each and one for all, with what is known of the comparison.

    Parameters
    ----------
    result : Repeatability

    Returns
    -------
    header : list of str
    rows : list of list of str
        As :func:`PALNetLandmarksLib.observer_files.landmark_table`, with the ICC along each of the subject's axes; in
        the last row the median of the landmarks' ICC.
    """
    header, rows = landmark_table(result.comparison)
    place = header.index("cases")
    icc = np.vstack([result.landmark_icc, _median_icc(result)])
    names = [f"icc_{axis}" for axis in FACE_AXES]
    filled = [[*row[:place], *(number_text(float(value), 4) for value in own), *row[place:]]
              for row, own in zip(rows, icc, strict=True)]  # fmt: skip
    return [*header[:place], *names, *header[place:]], filled


def measurement_rows(result: Repeatability) -> Table:
    """Make the table of measurements: as `observer_files.measurement_table`, with the ICC."""
    header, rows = measurement_table(result.comparison)
    place = header.index("dahlberg") + 1
    filled = [[*row[:place], number_text(float(value), 4), *row[place:]]
              for row, value in zip(rows, result.measurement_icc, strict=True)]  # fmt: skip
    return [*header[:place], "icc", *header[place:]], filled


def summary_text(result: Repeatability, problems: Sequence[str] = ()) -> str:
    """Say in plain text how far the annotations agree.

    Parameters
    ----------
    result : Repeatability
    problems : sequence of str
        Files that could not be used.

    Returns
    -------
    str
        A table of the landmarks, and every case and landmark that is missing counted.
    """
    comparison = result.comparison
    protocol, overall = comparison.protocol, comparison.overall()
    lines = [
        f"Repeatability of {len(protocol)} landmarks ({protocol.id} {protocol.version}) in {len(comparison.cases)} "
        "scans",
        "",
        f"{'landmark':14s}{'n':>5s}{'missing':>9s}{'mean':>8s}{'SD':>8s}{'max':>8s}{'Dahlberg':>10s}"
        f"{'ICC left':>10s}{'up':>7s}{'front':>7s}{'published':>11s}",
    ]
    published = [landmark.intra_observer_mm for landmark in protocol.landmarks]
    for item, icc, known in zip(
        (*comparison.landmarks(), overall),
        [*result.landmark_icc, _median_icc(result)],
        [*published, None],
        strict=True,
    ):
        missing = item.missing_first + item.missing_second + item.missing_both
        numbers = (item.mean_mm, item.sd_mm, item.max_mm)
        lines.append(
            f"{item.label or 'all':14s}{item.count:5d}{missing:9d}"
            + "".join(f"{_short(value, 2):>8s}" for value in numbers)
            + f"{_short(item.dahlberg_mm, 2):>10s}{_short(icc[0], 3):>10s}{_short(icc[1], 3):>7s}"
            + f"{_short(icc[2], 3):>7s}{'-' if known is None else f'{known:.2f}':>11s}"
        )
    lines += [
        "",
        "Lengths in mm: distance of the two points (mean, SD, largest), Dahlberg's error sqrt(sum d^2 / 2n).",
        "ICC(2,1) of the coordinates along the subject's axes; in the last row the median of the landmarks.",
    ]
    if any(value is not None for value in published):
        lines.append("Published: intra-observer error of the protocol's source, where known; other scans and people.")
    lines += [
        "",
        f"Missing in the first only: {overall.missing_first}; in the second only: {overall.missing_second}; "
        f"in both: {overall.missing_both} (of {len(comparison.cases) * len(protocol)} landmarks).",
        f"Scans in the first only: {_names(comparison.only_first)}",
        f"Scans in the second only: {_names(comparison.only_second)}",
    ]
    if result.without_axes:
        lines.append(f"Left out of the ICC, the subject's axes could not be found: {_names(result.without_axes)}")
    if len(comparison.cases) - len(result.without_axes) < LEAST_SUBJECTS:
        lines.append(f"No ICC: it takes at least {LEAST_SUBJECTS} scans.")
    lines += [f"Warning: {text}" for text in (*problems, *comparison.warnings)]
    return "\n".join(lines) + "\n"


def _median_icc(result: Repeatability) -> FloatArray:
    columns = [column[np.isfinite(column)] for column in result.landmark_icc.T]
    return np.array([np.median(column) if len(column) else np.nan for column in columns])


def _short(value: float, decimals: int) -> str:
    return number_text(float(value), decimals) or "-"


def _names(cases: Sequence[str]) -> str:
    return f"{len(cases)}" + (f" ({', '.join(cases)})" if cases else "")


def refuse_same_folder(first: str, second: str) -> None:
    """Refuse to compare annotations with themselves, which would look like perfect agreement."""
    if first == second:
        raise InputError(
            "Both annotations are the same folder.", "Give the two folders to compare.", code="repeatability.same"
        )
