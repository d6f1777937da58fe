"""The reference face: points, normals and extents that scans are aligned to, and the mean landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PALNetLandmarksLib.engine.open3d_loader import open3d
from training_tools.simulation.face_model import SKIN, FaceModel

# The model's head is broader and deeper than clinical averages; the reference lies between the two.
PROPORTIONS = np.array([0.95, 1.0, 0.96])
POINTS = 9000
CENTRAL_FACE, REST_OF_FACE, FRONT_HALF, REST_OF_HEAD = range(4)


@dataclass(frozen=True)
class ReferenceFace:
    """Reference in the frame of the neutral model: origin at the nose tip, +x subject's left, +z forward, mm.

    Attributes
    ----------
    points, normals : (r, 3) float32
        Even sample of the outer skin.
    extent : (r,) uint8
        0 central face, 1 rest of the face, 2 ears and front half of the head, 3 rest of the head.
    mean_landmarks : (landmarks, 3) float64
    """

    points: np.ndarray
    normals: np.ndarray
    extent: np.ndarray
    mean_landmarks: np.ndarray


def mean_landmarks(model: FaceModel) -> np.ndarray:
    """Landmarks of the neutral face with the reference's proportions.

    Parameters
    ----------
    model : FaceModel

    Returns
    -------
    (landmarks, 3) float64
        In mm.
    """
    return (model.landmark_matrix @ model.neutral.astype(np.float64)) * PROPORTIONS


def _outside(points: np.ndarray, normals: np.ndarray, scene: object) -> np.ndarray:
    """Points that a camera somewhere round the head would see: not inside nostrils, ears or mouth; (n,) bool."""
    tensor = open3d().core.Tensor
    seen = np.zeros(len(points), bool)
    for azimuth in np.linspace(-np.pi, np.pi, 24, endpoint=False):
        for elevation in (-0.5, 0.0, 0.5):
            toward = np.array(
                [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
            )
            todo = np.flatnonzero(~seen & (normals @ toward > 0.2))
            rays = np.concatenate([points[todo] + 0.3 * normals[todo], np.tile(toward, (len(todo), 1))], axis=1)
            seen[todo] = ~scene.test_occlusions(tensor(rays.astype(np.float32))).numpy()  # type: ignore[attr-defined]
    return seen


def extents(points: np.ndarray, landmarks: dict[str, np.ndarray]) -> np.ndarray:
    """Which extent of the reference each point belongs to.

    Parameters
    ----------
    points : (n, 3) float
    landmarks : dict
        Label to (3,) mean position; needs Tr, G, Pg, Gn, T_R, T_L, Ft_R, Ex_R.

    Returns
    -------
    (n,) uint8
    """
    x, y, z = points.T
    ears = (landmarks["T_R"] + landmarks["T_L"]) / 2
    extent = np.full(len(points), REST_OF_HEAD, np.uint8)
    extent[(z > ears[2] - 30) & (y > landmarks["Gn"][1] - 25)] = FRONT_HALF
    face = (y < landmarks["Tr"][1] + 5) & (y > landmarks["Gn"][1] - 5) & (z > landmarks["Ft_R"][2] - 35)
    extent[face] = REST_OF_FACE
    centre = (y < landmarks["G"][1] + 15) & (y > landmarks["Pg"][1] - 8) & (np.abs(x) < 50)
    extent[centre & (z > landmarks["Ex_R"][2] - 8)] = CENTRAL_FACE
    return extent


def build_reference(model: FaceModel, count: int = POINTS, seed: int = 0) -> ReferenceFace:
    """Build the reference from the neutral face.

    Parameters
    ----------
    model : FaceModel
    count : int
        Points sampled on the whole skin; those that no camera would see are then dropped.
    seed : int

    Returns
    -------
    ReferenceFace
    """
    o3d = open3d()
    vertices = model.neutral.astype(np.float64) * PROPORTIONS
    triangles = model.triangles[np.isin(model.triangle_region, SKIN)]
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(triangles.astype(np.uint32)))
    mesh = o3d.geometry.TriangleMesh(o3d.utility.Vector3dVector(vertices), o3d.utility.Vector3iVector(triangles))
    o3d.utility.random.seed(seed)
    points = np.asarray(mesh.sample_points_poisson_disk(count).points)
    nearest = scene.compute_closest_points(o3d.core.Tensor(points.astype(np.float32)))
    normals = nearest["primitive_normals"].numpy()
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    seen = _outside(points, normals, scene)
    mean = mean_landmarks(model)
    extent = extents(points[seen], dict(zip(model.labels, mean, strict=True)))
    return ReferenceFace(points[seen].astype(np.float32), normals[seen].astype(np.float32), extent, mean)
