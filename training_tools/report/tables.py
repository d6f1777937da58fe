"""The tables of a report: figures computed from an evaluation, each as rows of text for CSV and for HTML."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.measurements import measurement_values
from PALNetLandmarksLib.protocol import Protocol
from PALNetLandmarksLib.spreadsheet import number_text
from training_tools.asymmetry_slopes import PairSlope
from training_tools.bootstrap import mean_interval
from training_tools.evaluation import LIMITS_MM, share_within
from training_tools.results_file import Evaluation

FloatArray = NDArray[np.float64]

TABLE_4, TABLE_5 = "PAL-Net table 4", "PAL-Net table 5"


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes
    ----------
    name : str
        File name of its CSV without ending.
    title, note : str
    header : tuple of str
    rows : tuple of tuple of str
    words : int
        Columns at the left that hold words; the others hold numbers.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: int = 1


def landmark_table(evaluation: Evaluation) -> Table:
    """Return the error of each landmark beside the observer's own (the paper's table 3), then of the groups."""
    errors, protocol = evaluation.errors(), evaluation.protocol
    intervals = mean_interval(errors)
    rows = []
    for k, landmark in enumerate(protocol.landmarks):
        low, high = intervals[k].low, intervals[k].high
        rows.append((
            landmark.label, landmark.name, landmark.side, *_spread(errors[:, k]), number_text(low, 2),
            number_text(high, 2), _given(landmark.intra_observer_mm), _given(landmark.palnet_lafas_mean_mm),
            _given(landmark.palnet_lafas_sd_mm),
        ))  # fmt: skip
    sides = np.array([landmark.side for landmark in protocol.landmarks])
    for name, chosen in (*((side, sides == side) for side in ("midline", "right", "left")), ("all", sides != "")):
        if chosen.any():
            interval = mean_interval(np.nanmean(_unwarned(errors[:, chosen]), axis=1)[:, None])[0]
            given = [
                _mean_given([getattr(m, field) for m, use in zip(protocol.landmarks, chosen, strict=True) if use])
                for field in ("intra_observer_mm", "palnet_lafas_mean_mm")
            ]
            rows.append((
                name, f"mean of {int(chosen.sum())} landmarks", "", *_spread(errors[:, chosen].ravel()),
                number_text(interval.low, 2), number_text(interval.high, 2), *given, "",
            ))  # fmt: skip
    return Table(
        "landmarks",
        "Error of each landmark (table 3 of the paper)",
        ("landmark", "name", "side", "scans", "mean_mm", "sd_mm", "median_mm", "p95_mm", "ci_low_mm", "ci_high_mm",
         "observer_mm", "paper_mean_mm", "paper_sd_mm"),
        tuple(rows),
        "Distance from the annotation, mm, on scans that did not fail; landmarks that the scan does not show are left "
        "out. ci: 95 % confidence interval of the mean (bootstrap over scans). observer: what the same observer "
        "differs by from one day to another; paper: PAL-Net on 214 LAFAS scans.",
        words=3,
    )  # fmt: skip


def measurement_table(evaluation: Evaluation) -> Table:
    """Return distances, angles and indices with their errors over all scans (the paper's tables 4 and 5)."""
    protocol = evaluation.protocol
    predicted, truth = evaluation.positions()
    found, true = measurement_values(predicted, protocol), measurement_values(truth, protocol)
    rows = []
    for k, item in enumerate(protocol.measurements):
        known = np.isfinite(found[:, k]) & np.isfinite(true[:, k])
        difference, base = (found - true)[known, k], true[known, k]
        unit = {"angle": "degrees", "ratio_percent": "percent"}.get(item.kind, "mm")
        if len(difference):
            with np.errstate(divide="ignore", invalid="ignore"):
                relative = 100.0 * np.abs(difference) / np.abs(base)
            figures = (
                number_text(float(base.mean()), 2), number_text(float(difference.mean()), 2),
                number_text(float(np.abs(difference).mean()), 2), number_text(_sd(np.abs(difference)), 2),
                number_text(float(relative[np.isfinite(relative)].mean()), 2) if np.isfinite(relative).any() else "",
            )  # fmt: skip
        else:
            figures = ("",) * 5
        rows.append((
            item.id, item.kind, unit, item.source, str(len(difference)), *figures, _given(item.palnet_error),
            _given(item.palnet_error_percent),
        ))  # fmt: skip
    return Table(
        "measurements",
        "Distances, angles and indices (tables 4 and 5 of the paper)",
        ("measurement", "kind", "unit", "source", "scans", "true_mean", "bias", "mean_absolute_error", "sd_of_error",
         "relative_error_percent", "paper_error", "paper_error_percent"),
        tuple(rows),
        "Over all scans with both landmarks sets complete for the measurement. bias: mean of predicted minus true; "
        "relative: mean of absolute error over the true value of the same scan.",
        words=4,
    )  # fmt: skip


def measurement_summary(evaluation: Evaluation) -> dict[str, float]:
    """Return the mean relative error of table 4's distances, percent, and the mean error of table 5's angles, degrees.

    NaN where the protocol has none of them.
    """
    protocol = evaluation.protocol
    predicted, truth = evaluation.positions()
    found, true = measurement_values(predicted, protocol), measurement_values(truth, protocol)
    source = np.array([item.source for item in protocol.measurements])
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 100.0 * np.abs(found - true) / true
    distances, angles = relative[:, source == TABLE_4], np.abs(found - true)[:, source == TABLE_5]
    return {
        "distances_mean_error_mm": _finite_mean(np.abs(found - true)[:, source == TABLE_4]),
        "distances_relative_error_percent": _finite_mean(distances),
        "angles_error_degrees": _finite_mean(angles),
    }


def ear_table(evaluation: Evaluation) -> Table:
    """Return the errors with and without the points round the ears (the paper's table 7)."""
    errors = evaluation.errors()
    ears = np.array([landmark.peripheral_ear for landmark in evaluation.protocol.landmarks])
    rows = []
    for name, chosen in (("all landmarks", ears | True), ("without the ear points", ~ears), ("ear points only", ears)):
        if chosen.any():
            scan_means = np.nanmean(_unwarned(errors[:, chosen]), axis=1)
            interval = mean_interval(scan_means[:, None])[0]
            rows.append((
                name, str(int(chosen.sum())), *_spread(errors[:, chosen].ravel())[1:], number_text(interval.low, 2),
                number_text(interval.high, 2),
            ))  # fmt: skip
    return Table(
        "ears", "With and without the ear points (table 7 of the paper)",
        ("landmarks", "count", "mean_mm", "sd_mm", "median_mm", "p95_mm", "ci_low_mm", "ci_high_mm"), tuple(rows),
    )  # fmt: skip


def success_table(evaluation: Evaluation) -> Table:
    """Return the share of landmarks within 1, 2, 3 and 4 mm, without and with what failed."""
    values = evaluation.errors()
    values = values[np.isfinite(values)]
    rows = tuple(
        (
            f"{limit} mm",
            number_text(100.0 * float((values <= limit).mean()) if len(values) else np.nan, 1),
            number_text(100.0 * share_within(evaluation.results, limit), 1),
        )
        for limit in LIMITS_MM
    )
    return Table(
        "success", "Landmarks within a distance of the truth", ("within", "of_found_percent", "of_all_percent"), rows,
        "of all: landmarks that the program left out, and those of scans that failed, count as not within.",
    )  # fmt: skip


def failure_table(evaluation: Evaluation) -> Table:
    """Return every scan that failed, by name and reason."""
    rows = tuple((result.subject, result.failure) for result in evaluation.failed)
    return Table(
        "failures", f"Failures: {len(rows)} of {len(evaluation.results)} scans", ("scan", "reason"), rows,
        "" if rows else "Every scan was registered and predicted.", words=2,
    )  # fmt: skip


def runtime_table(evaluation: Evaluation) -> Table:
    """Return the seconds of each stage (the paper's table 2), and time and memory of the training (table 1)."""
    rows = []
    done = evaluation.done
    for stage in dict.fromkeys(name for result in done for name in result.stages):
        seconds = np.array([result.stages.get(stage, np.nan) for result in done])
        rows.append((stage, "s a scan", *_quantiles(seconds)))
    if done:
        total = np.array([sum(result.stages.values()) or result.seconds for result in done])
        rows.append(("all stages", "s a scan", *_quantiles(total)))
        rows.append(("memory", "MB", *_quantiles(np.array([result.memory_mb for result in done]))))
    training = evaluation.information.get("training", {})
    for key, name, unit in (
        ("seconds_per_epoch", "training epoch", "s"), ("training_seconds", "training", "s"),
        ("training_memory_mb", "training memory", "MB"), ("weights_mb", "weights", "MB"),
    ):  # fmt: skip
        if isinstance(training.get(key), (int, float)):
            rows.append((name, unit, number_text(float(training[key]), 2), ""))
    return Table(
        "runtime", "Time and memory (tables 1 and 2 of the paper)", ("stage", "unit", "median", "p95"), tuple(rows),
        "On one thread of the machine that ran the evaluation.", words=2,
    )  # fmt: skip


def fold_table(evaluation: Evaluation) -> Table | None:
    """Return the figures of each fold of a cross-validation; None without folds."""
    numbers = sorted({fold for fold in evaluation.folds if fold})
    if not numbers:
        return None
    rows = []
    for number in numbers:
        results = [r for r, fold in zip(evaluation.results, evaluation.folds, strict=True) if fold == number]
        errors = np.concatenate([r.counted for r in results])
        failed = sum(bool(r.failure) for r in results)
        rows.append((str(number), str(len(results)), str(failed), *_spread(errors)[1:]))
    return Table(
        "folds", "Folds", ("fold", "scans", "failed", "mean_mm", "sd_mm", "median_mm", "p95_mm"), tuple(rows),
        "Each fold's model saw neither its test scans nor chose its best epoch on them.", words=0,
    )  # fmt: skip


def asymmetry_table(slopes: list[PairSlope]) -> Table:
    """Return how much of the true left-right difference is shown, pair by pair."""
    rows = []
    for slope in slopes:
        name = f"{slope.right} – {slope.left}" if slope.right else (
            "all pairs with a surface feature" if slope.feature else "all pairs"
        )  # fmt: skip
        rows.append((
            name, "yes" if slope.feature else "no", str(slope.scans), number_text(slope.true_mm, 2),
            *(number_text(value, 2) for value in (*slope.plane, *slope.frame_free)),
        ))  # fmt: skip
    return Table(
        "asymmetry", "Is asymmetry shown as it is?",
        ("pair", "surface_feature", "scans", "true_mm", "slope_plane", "plane_low", "plane_high", "slope_frame_free",
         "frame_free_low", "frame_free_high"),
        tuple(rows),
        "Slope of the predicted on the true left–right difference: 1 is honest, below 1 the model shrinks asymmetry "
        "towards a symmetric mean face. plane: after the least-squares midplane; frame-free: distances to the midline "
        "landmarks. Low and high: 95 % confidence interval. Errors of the annotation lower the slope, too.",
        words=2,
    )  # fmt: skip


def pair_matrix(evaluation: Evaluation) -> FloatArray:
    """Return the mean absolute error of the distance between each two landmarks, (l, l) mm (the paper's figure 4)."""
    predicted, truth = evaluation.positions()
    total = np.zeros((len(evaluation.protocol),) * 2)
    count = np.zeros_like(total)
    for one, other in zip(predicted, truth, strict=True):
        error = np.abs(_distances(one) - _distances(other))
        known = np.isfinite(error)
        total += np.where(known, error, 0.0)
        count += known
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def matrix_table(matrix: FloatArray, protocol: Protocol) -> Table:
    """Return the matrix of distance errors as a table."""
    rows = tuple(
        (label, *(number_text(float(value), 3) for value in row))
        for label, row in zip(protocol.labels, matrix, strict=True)
    )
    return Table("distance_errors", "Errors of all distances, mm", ("landmark", *protocol.labels), rows)


def group_distances(evaluation: Evaluation, side: str) -> tuple[FloatArray, FloatArray]:
    """Return true and predicted distances between all landmarks of one side, (k,) each, over all scans."""
    chosen = np.array([landmark.side == side for landmark in evaluation.protocol.landmarks])
    first, second = np.triu_indices(int(chosen.sum()), 1)
    predicted, truth = (positions[:, chosen] for positions in evaluation.positions())
    one = np.linalg.norm(predicted[:, first] - predicted[:, second], axis=-1).ravel()
    other = np.linalg.norm(truth[:, first] - truth[:, second], axis=-1).ravel()
    known = np.isfinite(one) & np.isfinite(other)
    return other[known], one[known]


def _distances(points: FloatArray) -> FloatArray:
    found: FloatArray = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return found


def _spread(values: FloatArray) -> tuple[str, ...]:
    values = values[np.isfinite(values)]
    if not len(values):
        return ("0", "", "", "", "")
    figures = (float(values.mean()), _sd(values), float(np.median(values)), float(np.percentile(values, 95)))
    return (str(len(values)), *(number_text(figure, 2) for figure in figures))


def _quantiles(values: FloatArray) -> tuple[str, str]:
    values = values[np.isfinite(values)]
    if not len(values):
        return "", ""
    return number_text(float(np.median(values)), 3), number_text(float(np.percentile(values, 95)), 3)


def _sd(values: FloatArray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _unwarned(values: FloatArray) -> FloatArray:
    """Leave out scans without any value, whose mean would warn."""
    return values[np.isfinite(values).any(axis=1)]


def _finite_mean(values: FloatArray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _given(value: float | None) -> str:
    return "" if value is None else number_text(value, 2)


def _mean_given(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return number_text(float(np.mean(known)), 2) if known else ""
