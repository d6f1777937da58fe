"""The mean landmarks of a model bundle, read without the packages that a prediction needs."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.errors import LandmarkingError
from PALNetLandmarksLib.protocol import Protocol
from PALNetLandmarksLib.resources import bundled_models


def bundled_mean(protocol: Protocol) -> NDArray[np.float64] | None:
    """Give the mean landmarks of a model that comes with the program and has the same landmarks.

    Parameters
    ----------
    protocol : Protocol
        The landmarks, L of them.

    Returns
    -------
    (L, 3) float64 or None
        In the reference frame (+x the subject's left, +y up, +z forward), mm; None when no model fits.
    """
    from training_tools.reference_file import read_reference

    for folder in reversed(bundled_models()):
        try:
            described = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["protocol"]
            if [landmark["label"] for landmark in described["landmarks"]] != list(protocol.labels):
                continue
            mean = read_reference(folder / "reference.safetensors").landmarks
        except (OSError, ValueError, KeyError, TypeError, LandmarkingError):
            continue  # a damaged bundle is said by whoever needs the bundle
        if mean.shape == (len(protocol), 3):
            return mean
    return None
