"""Run a model over annotated scans, from the mesh on, and say honestly how far off it is.

Every scan goes through the whole program: reading, registration from the pose it lies in, network, projection. A scan
whose registration is refused counts as failed and is reported as such, never left out in silence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.protocol import Protocol
from training_tools.datasets import Reader
from training_tools.memory import peak_memory_mb, process_died

FloatArray = NDArray[np.float64]

LARGE_ERROR_MM = 4.0
LEAST_CONFIDENT_SHARE = 0.2
LIMITS_MM = (1, 2, 3, 4)


@dataclass(frozen=True)
class ScanResult:
    """Outcome of one scan.

    ``error_mm`` (l,): distance to the truth, NaN where there is no truth or no prediction; ``expected_mm`` (l,): what
    the program expected; ``raw_mm`` (l,): what the network said before calibration; ``visible`` (l,): truth;
    ``found`` (l,): not reported missing; ``visible_probability`` (l,); ``failure``: the error's code, or ''.
    ``predicted``, ``truth`` (l, 3): in the scan's own frame, mm, NaN where there is none; ``stages``: seconds of each
    stage; ``memory_mb``: most memory that the predicting process has used so far.
    """

    subject: str
    error_mm: FloatArray
    unprojected_error_mm: FloatArray
    expected_mm: FloatArray
    raw_mm: FloatArray
    visible: NDArray[np.bool_]
    found: NDArray[np.bool_]
    visible_probability: FloatArray
    registration_mm: float
    realigned_mm: float
    seconds: float
    failure: str
    predicted: FloatArray = field(default_factory=lambda: np.empty((0, 3)))
    truth: FloatArray = field(default_factory=lambda: np.empty((0, 3)))
    stages: Mapping[str, float] = field(default_factory=dict)
    memory_mb: float = float("nan")

    @property
    def counted(self) -> FloatArray:
        """Errors (l,) of the landmarks that the scan shows and the program found; NaN elsewhere."""
        return np.where(self.visible & self.found, self.error_mm, np.nan)


_predictor: Any = None
_reader: Reader | None = None


def _start(bundle: str, reader: Reader | None) -> None:
    global _predictor, _reader
    import torch

    from PALNetLandmarksLib.engine.bundle import load_bundle
    from PALNetLandmarksLib.engine.predictor import Predictor
    from PALNetLandmarksLib.engine.processes import end_with_parent

    end_with_parent()
    torch.set_num_threads(1)
    _reader = reader
    _predictor = Predictor(load_bundle(bundle), "cpu", threads=1)


def _run(folder: Path) -> ScanResult:
    from PALNetLandmarksLib.engine.reading import read_scan
    from PALNetLandmarksLib.engine.rigid import apply_transform
    from PALNetLandmarksLib.errors import LandmarkingError
    from training_tools.dataset import read_subject

    protocol = _predictor.bundle.protocol
    nothing, nowhere = np.full(len(protocol), np.nan), np.full((len(protocol), 3), np.nan)
    truth, visible = nowhere, np.zeros(len(protocol), dtype=bool)
    try:
        subject = read_subject(folder, protocol, _reader)
        truth, visible = subject.landmarks, subject.visible
        started = time.perf_counter()
        scan = read_scan(subject.mesh, unit=subject.unit)
        reading = time.perf_counter() - started
        prediction = _predictor.predict(scan)
    except LandmarkingError as error:
        return ScanResult(
            folder.name, nothing, nothing, nothing, nothing, visible, np.zeros(len(protocol), dtype=bool),
            nothing, np.nan, np.nan, np.nan, error.code, nowhere, truth,
        )  # fmt: skip

    def displaced(transform: FloatArray) -> float:
        if subject.scan_to_reference is None:
            return float("nan")
        true = apply_transform(subject.scan_to_reference, subject.landmarks)
        apart = np.linalg.norm(apply_transform(transform, subject.landmarks) - true, axis=1)
        return float(np.nanmean(apart))

    landmarks = prediction.landmarks
    return ScanResult(
        subject=folder.name,
        error_mm=np.linalg.norm(landmarks.positions - subject.landmarks, axis=1),
        unprojected_error_mm=np.linalg.norm(prediction.located.landmarks - subject.landmarks, axis=1),
        expected_mm=np.asarray(landmarks.expected_error_mm),
        raw_mm=prediction.located.raw_error,
        visible=subject.visible,
        found=np.array([status != "missing" for status in landmarks.status]),
        visible_probability=prediction.located.visible,
        registration_mm=displaced(prediction.registration.scan_to_reference),
        realigned_mm=displaced(prediction.scan_to_reference),
        seconds=sum(prediction.stage_seconds.values()),
        failure="",
        predicted=np.asarray(landmarks.positions),
        truth=subject.landmarks,
        stages={"reading": reading, **prediction.stage_seconds},
        memory_mb=peak_memory_mb(),
    )


def evaluate(
    bundle: Path, folders: Sequence[Path], jobs: int = 2, reader: Reader | None = None
) -> Iterator[ScanResult]:
    """Predict every scan from its mesh and compare with its annotation.

    Parameters
    ----------
    bundle : Path
    folders : sequence of Path
        Annotated scans.
    jobs : int
        Processes, one thread each.
    reader : Reader, optional
        How to read the scans; told from their places by default.

    Yields
    ------
    ScanResult
        In the order of ``folders``.
    """
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_start, initargs=(str(bundle), reader)) as pool:
        try:
            yield from pool.map(_run, folders)
        except BrokenProcessPool as error:
            raise process_died() from error


def summarise(results: list[ScanResult], protocol: Protocol) -> dict[str, Any]:
    """Put the results in figures.

    Returns
    -------
    dict
        ``mean_mm`` over all landmarks that are visible and found, ``failed`` scans, per-landmark means, how missing
        regions were recognised, and whether low confidence finds large errors.
    """
    done = [result for result in results if not result.failure]
    failures: dict[str, int] = {}
    for result in results:
        if result.failure:
            failures[result.failure] = failures.get(result.failure, 0) + 1
    summary: dict[str, Any] = {"scans": len(results), "failed": len(results) - len(done), "failures": failures}
    if not done:
        return summary
    error = np.stack([result.error_mm for result in done])
    visible = np.stack([result.visible for result in done])
    found = np.stack([result.found for result in done])
    counted = np.stack([result.counted for result in done])
    expected = np.stack([result.expected_mm for result in done])
    per_scan = np.nanmean(counted, axis=1)
    values = counted[np.isfinite(counted)]
    registration = np.array([result.registration_mm for result in done])
    ears = np.array([landmark.peripheral_ear for landmark in protocol.landmarks])
    summary |= {
        "mean_mm": float(values.mean()),
        "median_mm": float(np.median(values)),
        "p95_mm": float(np.percentile(values, 95)),
        "worst_scan_mm": float(np.nanmax(per_scan)),
        "share_within_mm": {str(limit): float((values <= limit).mean()) for limit in LIMITS_MM},
        "share_within_mm_with_failures": {str(limit): share_within(results, limit) for limit in LIMITS_MM},
        "mean_without_ears_mm": _mean(counted[:, ~ears]),
        "visible_reported_missing": float((visible & ~found).sum() / visible.sum()),
        "hidden_reported_missing": float((~visible & ~found).sum() / max((~visible).sum(), 1)),
        "hidden_mean_mm": _mean(error[~visible & found]),
        "registration_median_mm": _median(registration),
        "registration_over_10_mm": int((registration > 10.0).sum()),
        "realigned_median_mm": _median(np.array([result.realigned_mm for result in done])),
        "seconds_median": float(np.median([result.seconds for result in done])),
        "landmarks": {
            label: {
                "mean_mm": _mean(counted[:, i]),
                "sd_mm": _deviation(counted[:, i]),
                "scans": int(np.isfinite(counted[:, i]).sum()),
            }
            for i, label in enumerate(protocol.labels)
        },
    }
    if np.isfinite(expected).any():
        summary["confidence"] = confidence_figures(counted, expected)
    return summary


def share_within(results: Sequence[ScanResult], limit: float) -> float:
    """Return the share of all landmarks that the scans show which lie within a limit, mm, of the truth.

    Landmarks that were not found, and all of a scan that failed, count as not within: nobody could use them.
    """
    shown = sum(int(result.visible.sum()) for result in results)
    within = sum(int((result.counted <= limit).sum()) for result in results)
    return within / shown if shown else float("nan")


def confidence_figures(error: FloatArray, expected: FloatArray) -> Mapping[str, float]:
    """Say how well the expected error tells good landmarks from bad ones.

    Parameters
    ----------
    error, expected : (n, l) float64
        NaN where not counted.
    """
    known = np.isfinite(error) & np.isfinite(expected)
    error, expected = error[known], expected[known]
    least = expected >= np.quantile(expected, 1.0 - LEAST_CONFIDENT_SHARE)
    large = error > LARGE_ERROR_MM
    return {
        "large_errors": int(large.sum()),
        "large_among_least_confident": float((large & least).sum() / max(large.sum(), 1)),
        "mean_expected_mm": float(expected.mean()),
        "mean_error_mm": float(error.mean()),
        "correlation": float(np.corrcoef(error, expected)[0, 1]) if error.std() * expected.std() > 0 else 0.0,
    }


def _mean(values: FloatArray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def _median(values: FloatArray) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _deviation(values: FloatArray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.std(ddof=1)) if len(values) > 1 else None
