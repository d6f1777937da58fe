"""Several models on the same scans: paired differences with confidence intervals, overall and for each landmark.

The first model is the baseline. Only what both models of a pair placed enters their difference; what one of them left
out or failed on is counted beside it and enters the share of landmarks within a distance as a miss, so that a model
cannot look better by refusing difficult scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.measurements import measurement_values
from PALNetLandmarksLib.spreadsheet import number_text
from training_tools.bootstrap import DRAWS, Interval, interval_of, mean_interval
from training_tools.evaluation import LIMITS_MM, share_within
from training_tools.report.tables import TABLE_4, TABLE_5, Table
from training_tools.results_file import Evaluation

FloatArray = NDArray[np.float64]

SAME_TRUTH_MM = 0.01


@dataclass(frozen=True)
class PairedDifference:
    """A model against the baseline on the same scans.

    ``scans``: those that both predicted; ``baseline_mm``, ``mean_mm``: mean point errors on what both placed;
    ``difference``: model minus baseline with its confidence interval, mm; ``percent``: the same relative to the
    baseline; ``landmarks``: differences of each landmark; ``distances``, ``angles``: differences of the mean absolute
    error of the measurements of the paper's tables 4 (mm) and 5 (degrees).
    """

    name: str
    scans: int
    failed: int
    baseline_failed: int
    baseline_mm: float
    mean_mm: float
    difference: Interval
    percent: Interval
    landmarks: tuple[Interval, ...]
    distances: Interval
    angles: Interval


def on_common_scans(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations reduced to the scans that all of them hold, in one order.

    Raises
    ------
    InputError
        If protocols or annotations differ, or no scan is common.
    """
    first = evaluations[0]
    names = set(first.subjects).intersection(*(one.subjects for one in evaluations))
    if not names:
        raise InputError(
            "The results have no scan in common.", "Evaluate the models on the same data set.", code="compare.none"
        )
    reduced = []
    for one in evaluations:
        if one.protocol.labels != first.protocol.labels:
            raise InputError(
                f"'{one.name}' places other landmarks than '{first.name}'.",
                "Compare models of the same protocol.",
                code="compare.protocol",
            )
        place = {result.subject: result for result in one.results}
        reduced.append(replace(one, results=tuple(place[name] for name in sorted(names)), folds=()))
    for one in reduced[1:]:
        for a, b in zip(reduced[0].results, one.results, strict=True):
            if not np.allclose(a.truth, b.truth, atol=SAME_TRUTH_MM, equal_nan=True):
                raise InputError(
                    f"'{a.subject}' is annotated differently in '{first.name}' and '{one.name}'.",
                    "Evaluate both models on the same annotations.",
                    code="compare.truth",
                )
    return reduced


def paired_difference(baseline: Evaluation, other: Evaluation, seed: int = 0, draws: int = DRAWS) -> PairedDifference:
    """Compare two models on the same scans in the same order.

    Parameters
    ----------
    baseline, other : Evaluation
        As :func:`on_common_scans` gives them.
    seed, draws : int
        Of the bootstrap over scans.
    """
    first, second = baseline.errors(), other.errors()
    both = np.isfinite(first) & np.isfinite(second)
    first, second = np.where(both, first, np.nan), np.where(both, second, np.nan)
    used = both.any(axis=1)
    if not used.any():
        raise InputError(
            f"'{baseline.name}' and '{other.name}' have no landmark of any scan in common.",
            "Look at their reports: one of them failed on every scan.",
            code="compare.none",
        )
    means = np.stack([np.nanmean(first[used], axis=1), np.nanmean(second[used], axis=1)], axis=1)

    def figures(index: NDArray[np.int64]) -> FloatArray:
        a, b = means[index].mean(axis=0)
        return np.array([a, b, b - a, 100.0 * (b - a) / a])

    value, low, high = interval_of(figures, len(means), seed, draws)
    distances, angles = _measurement_differences(baseline, other, both, seed, draws)
    return PairedDifference(
        name=other.name,
        scans=int(used.sum()),
        failed=len(other.failed),
        baseline_failed=len(baseline.failed),
        baseline_mm=float(value[0]),
        mean_mm=float(value[1]),
        difference=Interval(float(value[2]), float(low[2]), float(high[2])),
        percent=Interval(float(value[3]), float(low[3]), float(high[3])),
        landmarks=tuple(mean_interval(second - first, seed, draws)),
        distances=distances,
        angles=angles,
    )


def _measurement_differences(
    baseline: Evaluation, other: Evaluation, both: NDArray[np.bool_], seed: int, draws: int
) -> tuple[Interval, Interval]:
    protocol = baseline.protocol
    kept = both[:, :, None]
    errors = []
    for one in (baseline, other):
        predicted, truth = (np.where(kept, positions, np.nan) for positions in one.positions())
        errors.append(np.abs(measurement_values(predicted, protocol) - measurement_values(truth, protocol)))
    difference = errors[1] - errors[0]
    found = []
    for source in (TABLE_4, TABLE_5):
        values = difference[:, [item.source == source for item in protocol.measurements]]
        known = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            per_scan = np.where(known, values, 0.0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
        found.append(mean_interval(per_scan[:, None], seed, draws)[0])
    return found[0], found[1]


def comparison_table(evaluations: Sequence[Evaluation], pairs: Sequence[PairedDifference]) -> Table:
    """Return a row for each model: its own figures, and the paired difference from the first one."""
    rows = []
    for number, one in enumerate(evaluations):
        errors = one.errors()
        finite = errors[np.isfinite(errors)]
        paired: tuple[str, ...] = ("",) * 11
        if number:
            pair = pairs[number - 1]
            paired = (str(pair.scans), *_texts(pair.difference), *_texts(pair.percent, 1), *_texts(pair.distances, 3),
                      number_text(pair.angles.value, 3))  # fmt: skip
        rows.append((
            one.name, str(len(one.results)), str(len(one.failed)),
            number_text(float(finite.mean()) if len(finite) else np.nan, 3),
            *(number_text(100.0 * share_within(one.results, limit), 1) for limit in LIMITS_MM), *paired,
        ))  # fmt: skip
    return Table(
        "comparison", f"Models compared with {evaluations[0].name}",
        ("model", "scans", "failed", "mean_mm", *(f"within_{limit}_mm_percent" for limit in LIMITS_MM), "paired_scans",
         "difference_mm", "difference_low", "difference_high", "percent", "percent_low", "percent_high",
         "distances_mm", "distances_low", "distances_high", "angles_degrees"),
        tuple(rows),
        "difference: mean point error minus that of the first model, on landmarks of the same scans that both placed; "
        "below zero is better. low, high: 95 % confidence interval (paired bootstrap over scans). distances and "
        "angles: the same for the mean absolute error of the measurements of the paper's tables 4 and 5. within: "
        "failed scans and landmarks that were left out count as not within.",
    )  # fmt: skip


def landmark_comparison_table(evaluations: Sequence[Evaluation], pairs: Sequence[PairedDifference]) -> Table:
    """Return the paired difference of each landmark with its interval (beside the paper's figure 6)."""
    header: list[str] = ["landmark"]
    for one in evaluations:
        header.append(f"{one.name}_mm")
    for pair in pairs:
        header += [f"{pair.name}_difference", f"{pair.name}_low", f"{pair.name}_high", f"{pair.name}_sure"]
    means = [_column_means(one.errors()) for one in evaluations]
    rows = []
    for k, label in enumerate(evaluations[0].protocol.labels):
        cells = [label, *(number_text(float(mean[k]), 2) for mean in means)]
        for pair in pairs:
            interval = pair.landmarks[k]
            cells += [*_texts(interval), _verdict(interval)]
        rows.append(tuple(cells))
    return Table(
        "comparison_landmarks", "Each landmark (figure 6 of the paper)", tuple(header), tuple(rows),
        "sure: whether the interval of the paired difference leaves zero out. With 50 landmarks two or three do so by "
        "chance.",
    )  # fmt: skip


def _verdict(interval: Interval) -> str:
    if not np.isfinite(interval.low):
        return ""
    return "better" if interval.high < 0 else "worse" if interval.low > 0 else "no"


def _texts(interval: Interval, decimals: int = 3) -> tuple[str, str, str]:
    value, low, high = (number_text(number, decimals) for number in interval)
    return value, low, high


def _column_means(values: FloatArray) -> FloatArray:
    known = np.isfinite(values)
    total, count = np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
