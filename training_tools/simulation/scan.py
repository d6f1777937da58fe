"""Simulate one scan from the face model: head, capture, finishing, pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from PALNetLandmarksLib.engine.open3d_loader import open3d
from PALNetLandmarksLib.errors import InputError
from training_tools.simulation import finishing
from training_tools.simulation.capture import Optics, Scanner, draw_kind, draw_optics, draw_views
from training_tools.simulation.dressing import DressedHead, dress, visible_triangles
from training_tools.simulation.face_model import FaceModel
from training_tools.simulation.noise import ScalarNoise
from training_tools.simulation.reference import mean_landmarks
from training_tools.simulation.scene import Surface, vertex_normals
from training_tools.simulation.subject import Subject, draw_subject, with_asymmetry

SEEN_WITHIN_MM = 3.0
_FEWEST, _MOST = 5_000, 200_000
_LEAST_VISIBLE = 0.3  # share of landmarks; a scan that shows less is taken again
_ATTEMPTS = 8
_ASYMMETRY = 77  # marks the random numbers of the added asymmetry, apart from all others
_PERIPHERAL = ("Tr", "T_", "Pra_", "Sa_", "Pa_", "Sba_")  # not used for the true alignment: they vary too much


@dataclass(frozen=True)
class SimulatedScan:
    """One scan in an arbitrary pose, mm.

    Attributes
    ----------
    vertices, triangles : (n, 3) float32, (m, 3) int32
    landmarks : (landmarks, 3) float64
        True positions, also of landmarks that the scan does not show.
    visible : (landmarks,) bool
    distance_mm : (landmarks,) float64
        From each landmark to the scan.
    scan_to_reference : (4, 4) float64
    record : dict
        What was drawn.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray
    visible: np.ndarray
    distance_mm: np.ndarray
    scan_to_reference: np.ndarray
    record: dict[str, Any]


def rigid_fit(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares rigid motion (Kabsch) that takes ``source`` to ``target``; (4, 4)."""
    a, b = source.mean(axis=0), target.mean(axis=0)
    u, _, vt = np.linalg.svd((source - a).T @ (target - b))
    turn = vt.T @ np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, b - turn @ a
    return matrix


def _crop(
    vertices: np.ndarray, triangles: np.ndarray, subject: Subject, kind: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, str]:
    """Cut the scan as an operator or the software would; the cut is ragged. Returns mesh and the name of the crop."""
    names = ["none", "face", "ear_to_ear", "head", "neck"]
    shares = {
        "full_head": [0.5, 0.02, 0.08, 0.2, 0.2],
        "phone_single": [0.3, 0.35, 0.15, 0.1, 0.1],
    }.get(kind, [0.3, 0.1, 0.28, 0.17, 0.15])
    crop = str(rng.choice(names, p=shares))
    scale = subject.proportions["scale"]
    ragged = ScalarNoise(rng, rng.uniform(10, 40))(vertices) * rng.uniform(0.5, 4.0)
    x, y, z = (vertices / scale).T
    chin = float(subject.landmarks[:, 1].min()) / scale
    keep = np.ones(len(vertices), bool)
    if crop == "face":
        keep &= (z + ragged > rng.uniform(-100, -72)) & (y + ragged > chin - rng.uniform(4, 30))
        keep &= y + ragged < rng.uniform(98, 130)
    elif crop == "ear_to_ear":
        keep &= (z + ragged > rng.uniform(-175, -125)) & (y + ragged > chin - rng.uniform(10, 60))
        keep &= y + ragged < rng.uniform(108, 165)
    elif crop == "head":
        keep &= y + ragged > chin - rng.uniform(10, 50)
    elif crop == "neck":
        keep &= y + ragged > chin - rng.uniform(50, 100)
    else:
        keep &= y + ragged > chin - rng.uniform(90, 260)
    inside = keep[triangles].all(axis=1)
    return (*finishing.compact(vertices, triangles[inside]), crop)


def _scanned(
    model: FaceModel, subject: Subject, head: DressedHead, kind: str, target: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    views = draw_views(kind, rng)
    area = {"phone_single": 6.5e4, "phone_sweep": 8.5e4, "full_head": 2.1e5}.get(kind, 1.15e5)
    ideal = np.sqrt(1.45 * area / target)  # marching cubes gives about 1.45 vertices per squared voxel
    refine_after = ideal < 0.85 and rng.random() < 0.7
    voxel = float(np.clip(ideal * (2.0 if refine_after else 1.0), 0.9, 1.6))
    if ideal > 1.3 and rng.random() < 0.5:
        voxel = float(np.clip(ideal * rng.uniform(0.64, 0.85), 0.95, 1.6))  # measured finely, then decimated
    optics = draw_optics(float(np.clip(voxel * 0.65, 0.65, 1.0)), rng)
    focus = np.array([0.0, rng.uniform(-25.0, 0.0), -95.0])
    size = (330.0, 430.0) if kind != "full_head" else (380.0, 460.0)
    vertices, triangles = Scanner(head.everything(), rng).fuse(views, optics, voxel, focus, size)
    if len(triangles) < 200:
        raise finishing.NothingCapturedError
    vertices, triangles, crop = _crop(vertices, triangles, subject, kind, rng)
    smallest = float(np.exp(rng.uniform(np.log(0.0005), np.log(0.01)))) if rng.random() < 0.3 else 0.04
    vertices, triangles = finishing.keep_components(vertices, triangles, smallest, np.array([0.0, 0.0, -40.0]))
    filled = 0
    if rng.random() < 0.7:
        filled = int(rng.choice([12, 30, 80, 250], p=[0.35, 0.3, 0.2, 0.15]))
        vertices, triangles = finishing.fill_holes(vertices, triangles, filled)
    rounds = int(rng.integers(1, 8)) if rng.random() < 0.9 else 0
    vertices = finishing.smooth(vertices, triangles, rounds, bool(rng.random() < 0.6))
    if refine_after and len(vertices) * 2.2 < target:
        vertices, triangles = finishing.refine(vertices, triangles)
    if len(vertices) > 1.35 * target:
        if len(vertices) > 3 * target or rng.random() < 0.45:
            between = int(min(1.9 * target, 0.8 * len(vertices)))
            vertices, triangles = finishing.thin_out(vertices, triangles, max(between, target), rng)
        if len(vertices) > 1.35 * target and rng.random() < 0.6:
            vertices, triangles = finishing.decimate(vertices, triangles, target)
    spikes = int(rng.integers(1, 15)) if rng.random() < 0.3 else 0
    vertices = finishing.add_spikes(vertices, triangles, spikes, rng)
    record = {
        "views": len(views),
        "voxel_mm": round(voxel, 3),
        "crop": crop,
        "filled_up_to": filled,
        "smoothing_rounds": rounds,
        "spikes": spikes,
        "optics": {name: round(float(getattr(optics, name)), 4) for name in Optics.__dataclass_fields__},
    }
    return vertices, triangles, record


def _cleaned(
    model: FaceModel, subject: Subject, head: DressedHead, target: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Clean a head as an artist leaves it: closed and smooth, without hair over the ears or clothing."""
    triangles = visible_triangles(model, subject)
    vertices = subject.vertices.copy()
    if rng.random() < 0.3:
        count = len(model.fine_neutral)
        relief = head.skin.vertices[:count] - subject.vertices
        thin = np.linalg.norm(relief, axis=1, keepdims=True)
        vertices += relief * np.minimum(1.0, 1.0 / np.maximum(thin, 1e-6))
    vertices, triangles = finishing.compact(vertices, triangles.astype(np.int64))
    limit = int(np.clip(target, _FEWEST + 500, 0.9 * len(vertices)))
    vertices, triangles = finishing.decimate(vertices, triangles, limit)
    bottom = subject.landmarks[:, 1].min() - rng.uniform(60, 200)
    triangles = triangles[(vertices[triangles, 1] > bottom).all(axis=1)]
    vertices, triangles = finishing.compact(vertices, triangles)
    return vertices, triangles, {"crop": "neck", "views": 0}


def _seen(
    subject: Subject, normals: np.ndarray, head: DressedHead, kind: str, vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which landmarks the scan shows, and how far from it each is."""
    o3d = open3d()

    def scene(points: np.ndarray, corners: np.ndarray) -> Any:
        built = o3d.t.geometry.RaycastingScene(nthreads=1)
        built.add_triangles(
            o3d.core.Tensor(np.ascontiguousarray(points, np.float32)),
            o3d.core.Tensor(np.ascontiguousarray(corners, np.uint32)),
        )
        return built

    points = subject.landmarks.astype(np.float32)
    nearest = scene(vertices, triangles).compute_closest_points(o3d.core.Tensor(points), nthreads=1)
    distance = np.linalg.norm(nearest["points"].numpy() - points, axis=1).astype(np.float64)
    visible = distance <= SEEN_WITHIN_MM
    if head.covers is not None and kind != "cleaned":
        rays = np.concatenate([points + 0.2 * normals, normals], axis=1).astype(np.float32)
        covers: Surface = head.covers
        hit = scene(covers.vertices, covers.triangles).cast_rays(o3d.core.Tensor(rays), nthreads=1)["t_hit"].numpy()
        visible &= ~(hit < 60.0)
    return visible, distance


def simulate_scan(model: FaceModel, seed: int, number: int, asymmetry_mm: float = 0.0) -> SimulatedScan:
    """Simulate one scan; the result depends on the model, ``seed``, ``number`` and ``asymmetry_mm`` only.

    Parameters
    ----------
    model : FaceModel
    seed : int
    number : int
        Number of the subject, from 1.
    asymmetry_mm : float
        Added left–right difference, see `with_asymmetry`.

    Returns
    -------
    SimulatedScan

    Raises
    ------
    InputError
        If no usable scan comes about.
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng(np.random.SeedSequence([seed, number, attempt]))
        try:
            scan = _simulate(model, rng, asymmetry_mm, np.random.SeedSequence([seed, number, attempt, _ASYMMETRY]))
        except finishing.NothingCapturedError:
            continue
        if scan.visible.mean() >= _LEAST_VISIBLE and _FEWEST <= len(scan.vertices) <= _MOST:
            return scan
    raise InputError(
        f"No usable scan of subject {number} in {_ATTEMPTS} attempts.", "Check that the face model is a head in mm."
    )


def _simulate(
    model: FaceModel, rng: np.random.Generator, asymmetry_mm: float, asymmetry_seed: np.random.SeedSequence
) -> SimulatedScan:
    subject = draw_subject(model, rng)
    if asymmetry_mm:
        subject = with_asymmetry(model, subject, asymmetry_mm, np.random.default_rng(asymmetry_seed))
    head = dress(model, subject, rng)
    kind = draw_kind(rng)
    target = int(np.exp(rng.uniform(np.log(_FEWEST * 1.1), np.log(_MOST * 0.85))))
    if kind == "cleaned":
        vertices, triangles, how = _cleaned(model, subject, head, target, rng)
    else:
        vertices, triangles, how = _scanned(model, subject, head, kind, target, rng)
    skin_normals = vertex_normals(subject.vertices, model.fine_triangles)[: len(model.neutral)]
    normals = model.landmark_matrix @ skin_normals
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    visible, distance = _seen(subject, normals, head, kind, vertices, triangles)

    mean = mean_landmarks(model)
    stable = np.array([not label.startswith(_PERIPHERAL) for label in model.labels])
    to_reference = rigid_fit(subject.landmarks[stable], mean[stable])
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(rng.normal(size=4)).as_matrix()  # uniform over all rotations
    pose[:3, 3] = rng.uniform(-500.0, 500.0, 3)
    centre = vertices.mean(axis=0)
    turn = pose[:3, :3]
    record = {
        "capture": kind,
        **how,
        **head.record,
        "expression": {k: round(v, 4) for k, v in subject.expression.items()},
        "proportions": {k: round(float(v), 4) for k, v in subject.proportions.items()},
        "identity": [round(float(c), 4) for c in subject.coefficients],
        **({"asymmetry_mm": asymmetry_mm} if asymmetry_mm else {}),
    }
    back = np.eye(4)
    back[:3, :3], back[:3, 3] = turn.T, centre - turn.T @ pose[:3, 3]
    return SimulatedScan(
        vertices=((vertices - centre) @ turn.T + pose[:3, 3]).astype(np.float32),
        triangles=triangles.astype(np.int32),
        landmarks=(subject.landmarks - centre) @ turn.T + pose[:3, 3],
        visible=visible,
        distance_mm=distance,
        scan_to_reference=to_reference @ back,
        record=record,
    )
