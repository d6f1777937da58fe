"""Objects without a face, made by code: each call with a fresh generator gives another one of its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.rigid import apply_transform, random_rotation
from PALNetLandmarksLib.landmark_files import read_landmarks

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Generator = np.random.Generator


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh, mm."""

    vertices: Array
    triangles: Indices

    def moved(self, transform: Array) -> Mesh:
        """Return the mesh moved and rounded to single precision, as a file would hold it."""
        vertices = apply_transform(transform, self.vertices)
        return Mesh(vertices.astype(np.float32).astype(np.float64), self.triangles)

    def cut(self, kept: NDArray[np.bool_]) -> Mesh:
        """Return the triangles whose three vertices are kept."""
        triangles = self.triangles[kept[self.triangles].all(1)]
        used, index = np.unique(triangles, return_inverse=True)
        return Mesh(self.vertices[used], index.reshape(-1, 3))


@dataclass(frozen=True)
class Subject:
    """A scan whose pose is known: ``truth`` takes it to the reference frame; landmarks (L, 3), NaN where unknown."""

    name: str
    mesh: Mesh
    landmarks: Array
    truth: Array

    @property
    def aligned(self) -> Array:
        """Vertices in the reference frame: origin at the nose tip, +x subject's left, +y up, +z forward."""
        return apply_transform(self.truth, self.mesh.vertices)


def load_subject(folder: Path) -> Subject:
    """Read a subject of a folder in LAFAS layout."""
    mesh = next(path for path in sorted(folder.iterdir()) if path.name in ("mesh.ply", "mesh.obj"))
    scan = read_scan(mesh, unit="mm", texture=False)
    landmarks = np.asarray(read_landmarks(folder / "landmarks.txt").positions, dtype=np.float64)
    truth = np.load(folder / "transformation_matrix.npy", allow_pickle=False)
    return Subject(folder.name, Mesh(scan.vertices, scan.triangles), landmarks, truth)


def random_pose(generator: Generator) -> Array:
    """Return any rotation and a shift of up to 500 mm along each axis, (4, 4)."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = random_rotation(generator), generator.uniform(-500, 500, 3)
    return pose


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Put meshes side by side into one."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    triangles = [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(triangles))


def _grid(rows: int, columns: int, closed: bool) -> Indices:
    """Triangles of a grid of vertices; ``closed`` joins the last column to the first."""
    across = columns if closed else columns - 1
    row, column = np.meshgrid(np.arange(rows - 1) * columns, np.arange(across), indexing="ij")
    a, b = (row + column).ravel(), (row + (column + 1) % columns).ravel()
    return np.concatenate([np.stack([a, b, b + columns], 1), np.stack([a, b + columns, a + columns], 1)])


def ball(rings: int = 90, sectors: int = 150) -> Mesh:
    """Unit sphere, open by one degree at the poles."""
    latitude = np.linspace(-0.99 * np.pi / 2, 0.99 * np.pi / 2, rings)[:, None]
    longitude = np.linspace(0.0, 2.0 * np.pi, sectors, endpoint=False)[None]
    shape = np.broadcast_arrays(
        np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)
    )
    return Mesh(np.stack([part.ravel() for part in shape], axis=1), _grid(rings, sectors, closed=True))


def waves(points: Array, generator: Generator, wavelength: float) -> Array:
    """Random smooth values of unit variance at points (n, 3)."""
    directions = generator.normal(size=(30, 3)) * (2.0 * np.pi / wavelength / np.sqrt(3.0))
    return np.asarray(np.sin(points @ directions.T + generator.uniform(0, 2 * np.pi, 30)).sum(1) / np.sqrt(15.0))


def _sphere(generator: Generator) -> Mesh:
    return Mesh(ball().vertices * generator.uniform(60, 140), ball().triangles)


def _ellipsoid(generator: Generator) -> Mesh:
    return Mesh(ball().vertices * generator.uniform(50, 130, 3), ball().triangles)


def _box(generator: Generator) -> Mesh:
    unit = ball().vertices
    return Mesh(unit / np.abs(unit).max(1, keepdims=True) * generator.uniform(50, 110, 3), ball().triangles)


def _rough_sphere(generator: Generator) -> Mesh:
    unit = ball().vertices
    return Mesh(unit * (90.0 + 4.0 * waves(unit * 90.0, generator, 40.0)[:, None]), ball().triangles)


def _lump(generator: Generator) -> Mesh:
    unit = ball().vertices
    return Mesh(unit * (90.0 + 14.0 * waves(unit * 90.0, generator, 120.0)[:, None]), ball().triangles)


def _vase(generator: Generator) -> Mesh:
    """Solid of revolution."""
    unit = ball().vertices
    height = unit[:, 2]
    turns, phase = generator.uniform(2, 5), generator.uniform(0, 6)
    radius = 60.0 + 20.0 * np.sin(height * turns + phase) + 5.0 * np.sin(12.0 * height)
    around = unit[:, :2] / np.linalg.norm(unit[:, :2], axis=1, keepdims=True)
    return Mesh(np.c_[around * radius[:, None], height * 130.0], ball().triangles)


def _hand(generator: Generator) -> Mesh:
    unit = ball().vertices
    sharpness, length = generator.uniform(2.5, 3.5), generator.uniform(0.9, 1.4)
    fingers = np.exp(sharpness * (np.cos(5.0 * np.arctan2(unit[:, 1], unit[:, 0])) - 1.0)) * (unit[:, 1] > -0.5)
    size = np.array([45.0, 50.0, 18.0]) * generator.uniform(0.85, 1.3)
    return Mesh(unit * size * (1.0 + length * fingers * np.hypot(unit[:, 0], unit[:, 1]))[:, None], ball().triangles)


def _torus(generator: Generator) -> Mesh:
    large, small = generator.uniform(60, 110), generator.uniform(20, 50)
    around, about = np.meshgrid(np.linspace(0, 2 * np.pi, 150), np.linspace(0, 2 * np.pi, 90), indexing="ij")
    reach = large + small * np.cos(about)
    points = np.stack([reach * np.cos(around), reach * np.sin(around), small * np.sin(about)], axis=-1)
    return Mesh(points.reshape(-1, 3), _grid(150, 90, closed=False))


def _terrain(generator: Generator) -> Mesh:
    """A sheet of the size of a face, bent and with hills."""
    x, y = np.meshgrid(np.linspace(-90, 90, 130), np.linspace(-120, 120, 150), indexing="ij")
    flat = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    height = generator.uniform(5, 15) * waves(flat, generator, generator.uniform(50, 110))
    bent = generator.uniform(0, 60) * ((flat[:, 0] / 90) ** 2 + 0.5 * (flat[:, 1] / 120) ** 2)
    return Mesh(flat + np.c_[np.zeros((len(flat), 2)), height - bent], _grid(130, 150, closed=False))


def _block(low: Array, high: Array) -> Mesh:
    unit = ball(30, 50).vertices
    cube = unit / np.abs(unit).max(1, keepdims=True)
    return Mesh(low + (cube + 1.0) * 0.5 * (high - low), ball(30, 50).triangles)


def _chair(generator: Generator) -> Mesh:
    """A seat, a back and four legs, as small as a toy or as large as half a metre."""
    wide, deep, tall = generator.uniform(0.8, 1.2, 3) * generator.uniform(120, 400)
    thick = 0.08 * wide
    parts = [
        ((0, 0, 0), (wide, deep, thick)),
        ((0, 0, 0), (wide, thick, tall)),
        *(((x, y, -tall), (x + thick, y + thick, 0)) for x in (0, wide - thick) for y in (0, deep - thick)),
    ]
    return joined([_block(np.array(low, dtype=float), np.array(high, dtype=float)) for low, high in parts])


def _reach(directions: Array, centre: Array, radii: Array) -> Array:
    """How far an ellipsoid reaches from the origin along unit directions; 0 where it is not met."""
    along, start = directions / radii, -centre / radii
    a, b, c = (along**2).sum(1), (along * start).sum(1), (start**2).sum() - 1.0
    inside = np.maximum(b * b - a * c, 0.0)
    return np.where(b * b > a * c, np.maximum((-b + np.sqrt(inside)) / a, 0.0), 0.0)


def _animal(generator: Generator) -> Mesh:
    """A head of blobs with a muzzle, ears on top and eyes at its sides, from dog to bear; seen from +z."""
    unit = ball(160, 260).vertices
    grow = generator.uniform(0.8, 1.2)
    skull = grow * generator.uniform([60, 55, 65], [80, 75, 90])
    long = grow * generator.uniform(50, 90)
    width = grow * generator.uniform(22, 38)
    blobs = [
        _reach(unit, np.zeros(3), skull),
        _reach(unit, np.array([0.0, -0.25 * skull[1], 0.6 * skull[2]]), np.array([width, 0.8 * width, long])),
        _reach(unit, np.array([0.0, -0.15 * skull[1], 0.6 * skull[2] + 0.92 * long]), np.full(3, 0.4 * width)),
    ]
    for side in (-1.0, 1.0):
        place = np.array([side * generator.uniform(0.5, 0.8), 1.0, -0.1]) * skull
        blobs.append(_reach(unit, place, grow * np.array([14.0, generator.uniform(20, 45), 8.0])))
    sharp = 0.2
    radius = np.log(np.exp(sharp * np.stack(blobs)).sum(0)) / sharp
    for side in (-1.0, 1.0):
        eye = np.array([side * generator.uniform(0.5, 0.9), generator.uniform(0.1, 0.4), 1.0])
        radius -= 7.0 * np.exp(-(1.0 - unit @ (eye / np.linalg.norm(eye))) / 0.012)
    return Mesh(unit * radius[:, None], ball(160, 260).triangles)


OBJECTS: dict[str, Callable[[Generator], Mesh]] = {
    "sphere": _sphere,
    "ellipsoid": _ellipsoid,
    "box": _box,
    "rough sphere": _rough_sphere,
    "lump": _lump,
    "vase": _vase,
    "torus": _torus,
    "terrain": _terrain,
    "chair": _chair,
    "hand": _hand,
    "animal": _animal,
}
"""Kinds of objects; each is made of random numbers alone."""


def _back(subject: Subject) -> Mesh:
    place = subject.aligned
    known = subject.landmarks[np.isfinite(subject.landmarks).all(1)]
    behind = apply_transform(subject.truth, known)[:, 2].min()
    return subject.mesh.cut(place[:, 2] < max(behind + 15.0, place[:, 2].min() + 40.0))


HEAD_PARTS: dict[str, Callable[[Subject], Mesh]] = {
    "back of a head": _back,
    "side of a head": lambda subject: subject.mesh.cut((subject.aligned[:, 0] > 40.0) & (subject.aligned[:, 2] < -40)),
    "below the chin": lambda subject: subject.mesh.cut(subject.aligned[:, 1] < -85.0),
    "above the brows": lambda subject: subject.mesh.cut(subject.aligned[:, 1] > 65.0),
}
"""Parts of a head that show none of the face between brows and chin; empty where the scan ends before."""

NO_FACES = (*OBJECTS, *HEAD_PARTS)
_LEAST_TRIANGLES = 500


def no_face(kind: str, generator: Generator, subjects: Sequence[Subject | Path]) -> Mesh:
    """Make one thing without a face, in a random pose.

    Parameters
    ----------
    kind : str
        One of ``NO_FACES``.
    generator : numpy.random.Generator
    subjects : sequence
        Heads, or their folders, to cut parts from; one is drawn, again if it does not show the part.

    Returns
    -------
    Mesh
    """
    if kind in OBJECTS:
        return OBJECTS[kind](generator).moved(random_pose(generator))
    for _ in range(50):
        chosen = subjects[int(generator.integers(len(subjects)))]
        part = HEAD_PARTS[kind](load_subject(chosen) if isinstance(chosen, Path) else chosen)
        if len(part.triangles) >= _LEAST_TRIANGLES:
            return part.moved(random_pose(generator))
    raise ValueError(f"none of the scans shows the {kind}")
