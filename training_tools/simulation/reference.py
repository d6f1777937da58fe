"""The reference face: points, normals and extents that scans are aligned to, and the mean landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training_tools.simulation.face_model import FaceModel

# The model's head is broader and deeper than clinical averages; the reference lies between the two.
PROPORTIONS = np.array([0.95, 1.0, 0.96])


@dataclass(frozen=True)
class ReferenceFace:
    """Reference in the frame of the neutral model: origin at the nose tip, mm."""

    points: np.ndarray
    normals: np.ndarray
    extent: np.ndarray
    mean_landmarks: np.ndarray


def mean_landmarks(model: FaceModel) -> np.ndarray:
    """Landmarks of the neutral face with the reference's proportions, (landmarks, 3) mm."""
    return (model.landmark_matrix @ model.neutral.astype(np.float64)) * PROPORTIONS
