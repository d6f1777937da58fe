"""What is learnt from validation scans after training: scale of the expected error, limit of visibility."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training_tools.evaluation import ScanResult

FloatArray = NDArray[np.float64]

PRIOR_SCANS = 20.0
"""A landmark's own factor counts against the common one as if that rested on so many scans."""

FALSE_MISSING_SHARE = 0.005
"""Share of captured landmarks that may be reported missing for the sake of finding covered ones."""


def error_scale(results: list[ScanResult]) -> FloatArray:
    """Return the factor (l,) from the network's own estimate to the expected error of each landmark.

    The ratio of mean measured to mean estimated error over visible landmarks, drawn towards the common ratio where few
    scans show the landmark.
    """
    done = [result for result in results if not result.failure]
    error = np.stack([result.error_mm for result in done])
    raw = np.stack([result.raw_mm for result in done])
    use = np.stack([result.visible & result.found for result in done]) & np.isfinite(error)
    common = error[use].mean() / raw[use].mean()
    weight = PRIOR_SCANS * raw[use].mean()
    scale: FloatArray = (np.where(use, error, 0.0).sum(axis=0) + weight * common) / (
        np.where(use, raw, 0.0).sum(axis=0) + weight
    )
    return scale


def visibility_limit(results: list[ScanResult]) -> float:
    """Return the probability below which a landmark is reported missing.

    The largest one that loses no more than ``FALSE_MISSING_SHARE`` of the captured landmarks.
    """
    done = [result for result in results if not result.failure]
    probability = np.stack([result.visible_probability for result in done])
    visible = np.stack([result.visible for result in done])
    return float(min(0.5, np.quantile(probability[visible], FALSE_MISSING_SHARE)))
