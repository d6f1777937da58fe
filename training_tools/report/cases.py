"""Pictures of the best, the median and the worst case, coloured by measured error (the paper's figure 7)."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from PALNetLandmarksLib.engine.picture import draw_picture
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.rigid import rigid_fit
from PALNetLandmarksLib.errors import LandmarkingError
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.report_html import Picture
from training_tools.dataset import Subject
from training_tools.evaluation import ScanResult
from training_tools.results_file import Evaluation

FEWEST_LANDMARKS = 3


def chosen_cases(evaluation: Evaluation) -> list[tuple[str, ScanResult]]:
    """Return the scans with the least, the median and the largest mean error, with what to call them."""
    done = [r for r in evaluation.done if np.isfinite(r.counted).sum() >= FEWEST_LANDMARKS]
    if not done:
        return []
    order = sorted(done, key=lambda result: float(np.nanmean(result.counted)))
    cases = {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": order[-1]}
    seen: dict[str, tuple[str, ScanResult]] = {}
    for name, result in cases.items():
        seen.setdefault(result.subject, (name, result))
    return list(seen.values())


def case_pictures(evaluation: Evaluation, subjects: Mapping[str, Subject]) -> tuple[list[Picture], str]:
    """Draw the cases.

    Parameters
    ----------
    evaluation : Evaluation
    subjects : mapping
        The scans by their names.

    Returns
    -------
    list of Picture
    str
        Why there are none or fewer; empty otherwise.
    """
    pictures, problem = [], ""
    for name, result in chosen_cases(evaluation):
        if result.subject not in subjects:
            problem = "The scans are not at hand: no pictures of cases."
            continue
        try:
            pictures.append(_picture(name, result, evaluation, subjects[result.subject]))
        except LandmarkingError as error:
            problem = f"No pictures of cases: {error.message}"
    return pictures, problem


def _picture(name: str, result: ScanResult, evaluation: Evaluation, subject: Subject) -> Picture:
    scan = read_scan(subject.mesh, unit=subject.unit)
    counted = result.counted
    positions = np.where(np.isfinite(counted)[:, None], result.predicted, np.nan)
    landmarks = LandmarkSet.from_positions(evaluation.protocol, positions, "predicted", expected_error_mm=counted)
    mean = float(np.nanmean(counted))
    image = draw_picture(
        scan.vertices, scan.triangles, landmarks, _upright(result, evaluation), case=f"{name} case: {result.subject}",
        remark=f"mean {mean:.2f} mm",
        error_name="measured error",
    )  # fmt: skip
    buffer = io.BytesIO()
    image.resize((1200, 552)).save(buffer, format="PNG", optimize=True)
    return Picture(f"{name} case, {result.subject}: mean error {mean:.2f} mm", buffer.getvalue(), wide=True)


def _upright(result: ScanResult, evaluation: Evaluation) -> np.ndarray:
    """Return the rigid motion (4, 4) that turns a face upright and forward, from its true landmarks."""
    mean = np.asarray(evaluation.information.get("mean_landmarks", []), dtype=np.float64)
    known = np.isfinite(result.truth).all(axis=1)
    if mean.shape != result.truth.shape or known.sum() < FEWEST_LANDMARKS:
        return np.eye(4)
    return rigid_fit(result.truth[known], mean[known])
