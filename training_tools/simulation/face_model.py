"""Read the parametric face model that the simulated heads are drawn from."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from PALNetLandmarksLib.errors import InputError
from training_tools.simulation.scene import vertex_normals
from training_tools.simulation.subdivision import border_loops, loop_subdivision

LANDMARKS_FILE = Path(__file__).with_name("landmarks50.json")
REGIONS = ("face", "head_neck", "eye_socket_left", "eye_socket_right", "sclera_left", "sclera_right", "mouth_closure")
MOUTH_CLOSURE = REGIONS.index("mouth_closure")
SKIN = (0, 1)
SOCKETS = (2, 3)
SCLERAS = (4, 5)
LICENCE_NOTICE = (
    "Derived from ICT-FaceKit Face Model Light, copyright (c) 2020 USC Institute for Creative Technologies, "
    "MIT licence."
)
# Vertex ranges of the source meshes (first, last) for the first six regions: see the model's own documentation.
_SOURCE_RANGES = ((0, 9408), (9409, 11247), (13294, 13677), (13678, 14061), (21451, 22220), (23021, 23790))
_SOURCE_VERTICES = 26719
_SOURCE_UNIT_MM = 10.0


@dataclass(frozen=True)
class ModelLandmark:
    """A landmark as a weighted mean of model vertices."""

    label: str
    vertices: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class FaceModel:
    """Linear face model with landmarks: neutral + identity modes + expression shapes, mm.

    Axes: +x to the subject's left, +y up, +z forward; the origin is the nose tip (Prn) of the neutral face.

    Attributes
    ----------
    neutral : (n, 3) float32
    triangles : (m, 3) int32
        Counter-clockwise seen from outside; the last ones close the mouth.
    vertex_region, triangle_region : (n,), (m,) uint8
        Index into ``REGIONS``.
    identity : (modes, n, 3) float32
    expression : (shapes, n, 3) float32
    expression_names : tuple of str
    landmarks : tuple of ModelLandmark
    """

    name: str
    neutral: np.ndarray
    triangles: np.ndarray
    vertex_region: np.ndarray
    triangle_region: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    expression_names: tuple[str, ...]
    landmarks: tuple[ModelLandmark, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the landmarks, in order."""
        return tuple(landmark.label for landmark in self.landmarks)

    @cached_property
    def landmark_matrix(self) -> sp.csr_matrix:
        """(landmarks, n) sparse matrix: multiply by vertex positions to get the landmarks."""
        rows = np.concatenate([np.full(len(k.vertices), i) for i, k in enumerate(self.landmarks)])
        columns = np.concatenate([k.vertices for k in self.landmarks])
        values = np.concatenate([k.weights for k in self.landmarks])
        return sp.csr_matrix((values, (rows, columns)), shape=(len(self.landmarks), len(self.neutral)))

    @cached_property
    def _refined(self) -> tuple[sp.csr_matrix, np.ndarray]:
        return loop_subdivision(self.triangles, len(self.neutral))

    @property
    def refinement(self) -> sp.csr_matrix:
        """(fine vertices, n) sparse matrix of one Loop subdivision; coarse vertices keep their ids."""
        return self._refined[0]

    @property
    def fine_triangles(self) -> np.ndarray:
        """(4 m, 3) int32 triangles of the subdivided mesh."""
        return self._refined[1]

    @cached_property
    def fine_region(self) -> np.ndarray:
        """(4 m,) uint8 region of each fine triangle."""
        return np.repeat(self.triangle_region, 4)

    @cached_property
    def fine_neutral(self) -> np.ndarray:
        """(fine vertices, 3) float32 neutral face, subdivided; masks are functions of these positions."""
        return (self.refinement @ self.neutral).astype(np.float32)

    @cached_property
    def fine_vertex_region(self) -> np.ndarray:
        """(fine vertices,) uint8 region; a new vertex takes the region of one of its triangles."""
        region = np.zeros(len(self.fine_neutral), np.uint8)
        region[self.fine_triangles.ravel()] = np.repeat(self.fine_region, 3)
        region[: len(self.vertex_region)] = self.vertex_region
        return region

    @cached_property
    def neck_border(self) -> np.ndarray:
        """Vertex ids of the neck's open border on the coarse mesh, in order; empty if the mesh is closed."""
        skin = self.triangles[np.isin(self.triangle_region, (*SKIN, *SOCKETS, MOUTH_CLOSURE))]
        loops = [loop for loop in border_loops(skin) if self.neutral[loop, 1].mean() < -100.0]
        return loops[0] if loops else np.empty(0, np.int64)

    @cached_property
    def lip_seal(self) -> np.ndarray:
        """(k, 3) int32 triangles between the lips where they meet, on coarse vertices; none if they do not.

        The model's closed lips are a fraction of a millimetre apart; a camera would look through the gap.
        """
        if "Sto" not in self.labels or not (self.triangle_region == MOUTH_CLOSURE).any():
            return np.empty((0, 3), np.int32)
        neutral = self.neutral.astype(np.float64)
        stomion = (self.landmark_matrix @ neutral)[self.labels.index("Sto")]
        normals = vertex_normals(neutral, self.triangles)
        near = (np.linalg.norm(neutral - stomion, axis=1) < 27.0) & (self.vertex_region == 0)
        upper = np.flatnonzero(near & (normals[:, 1] < -0.15))
        lower = np.flatnonzero(near & (normals[:, 1] > 0.15))
        if not len(upper) or not len(lower):
            return np.empty((0, 3), np.int32)
        distance, nearest = cKDTree(neutral[lower]).query(neutral[upper])
        touching = distance < 1.25
        upper, lower = upper[touching], lower[nearest[touching]]
        column = np.round(neutral[upper, 0] / 1.8).astype(int)
        chain = [np.flatnonzero(column == c) for c in np.unique(column)]
        front = np.array([group[np.argmax(neutral[upper[group], 2])] for group in chain], int)
        return _zip_strip(upper[front], lower[front], neutral)

    def shape(self, coefficients: np.ndarray, weights: dict[str, float]) -> np.ndarray:
        """Vertices of one face.

        Parameters
        ----------
        coefficients : (modes,) float
            In standard deviations.
        weights : dict
            Expression name to weight, 0 to 1.

        Returns
        -------
        (n, 3) float64
        """
        moved = np.asarray(coefficients, np.float32) @ self.identity.reshape(len(self.identity), -1)
        vertices = self.neutral.astype(np.float64) + moved.reshape(-1, 3)
        for name, weight in weights.items():
            vertices += weight * self.expression[self.expression_names.index(name)]
        return vertices


def _read_landmarks(path: Path, vertex_count: int) -> tuple[ModelLandmark, ...]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["landmarks"]
        landmarks = tuple(
            ModelLandmark(row["key"], np.asarray(row["vertices"], np.int64), np.asarray(row["weights"], float))
            for row in rows
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The face model's landmarks cannot be read from {path.name} ({error}).",
            "Restore the file from the project's sources.",
        ) from error
    highest = max(int(landmark.vertices.max()) for landmark in landmarks)
    if highest >= vertex_count:
        raise InputError(
            f"The landmarks name vertex {highest}, but the face model has {vertex_count} vertices.",
            "Use the face model that the landmarks were defined on (ICT-FaceKit Face Model Light).",
        )
    return landmarks


def _zip_strip(upper: np.ndarray, lower: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Triangles between two chains of vertices that both run from right (-x) to left (+x), facing +z."""
    i = j = 0
    triangles = []
    while i + 1 < len(upper) or j + 1 < len(lower):
        step_upper = j + 1 >= len(lower) or (
            i + 1 < len(upper) and positions[upper[i + 1], 0] <= positions[lower[j + 1], 0]
        )
        if step_upper:
            triangles.append((upper[i], lower[j], upper[i + 1]))
            i += 1
        else:
            triangles.append((upper[i], lower[j], lower[j + 1]))
            j += 1
    corners = np.asarray([t for t in triangles if len(set(t)) == 3], np.int32).reshape(-1, 3)
    return corners


def _mouth_closure(neutral: np.ndarray, triangles: np.ndarray, stomion: np.ndarray) -> np.ndarray:
    """Triangles that close the border of the inner lips; none if there is no such border."""
    for loop in border_loops(triangles):
        if np.linalg.norm(neutral[loop].mean(axis=0) - stomion) > 40.0 or np.ptp(neutral[loop, 0]) > 120.0:
            continue
        start, end = np.argmin(neutral[loop, 0]), np.argmax(neutral[loop, 0])
        ring = np.roll(loop, -start)
        turn = (end - start) % len(loop)
        one, other = ring[: turn + 1], np.concatenate([ring[:1], ring[turn:][::-1]])
        if neutral[one, 1].mean() < neutral[other, 1].mean():
            one, other = other, one
        return _zip_strip(one, other, neutral)
    return np.empty((0, 3), np.int32)


def _build(name: str, arrays: dict[str, np.ndarray], landmarks_file: Path) -> FaceModel:
    neutral = arrays["neutral"].astype(np.float64)
    landmarks = _read_landmarks(landmarks_file, len(neutral))
    points = {k.label: k.weights @ neutral[k.vertices] for k in landmarks}
    if "Prn" not in points:
        raise InputError(
            f"The landmarks in {landmarks_file.name} have no Prn.", "Prn is the origin; add it to the landmarks."
        )
    neutral = neutral - points["Prn"]
    triangles, region = arrays["faces"].astype(np.int32), arrays["face_region"].astype(np.uint8)
    skin = triangles[np.isin(region, (*SKIN, *SOCKETS))]
    if "Sto" in points:
        closure = _mouth_closure(neutral, skin, points["Sto"] - points["Prn"])
        triangles = np.concatenate([triangles, closure])
        region = np.concatenate([region, np.full(len(closure), MOUTH_CLOSURE, np.uint8)])
    return FaceModel(
        name=name,
        neutral=neutral.astype(np.float32),
        triangles=triangles,
        vertex_region=arrays["vertex_region"].astype(np.uint8),
        triangle_region=region,
        identity=arrays["identity"],
        expression=arrays["expression"],
        expression_names=tuple(str(n) for n in arrays["expression_names"]),
        landmarks=landmarks,
    )


def _obj_vertices(path: Path) -> np.ndarray:
    with path.open(encoding="utf-8", errors="replace") as lines:
        rows = [line[2:] for line in lines if line.startswith("v ")]
    values = np.array(" ".join(rows).split(), dtype=np.float64)
    if len(rows) == 0 or values.size % len(rows):
        raise InputError(f"{path.name} is not a mesh of the face model.", "Check out ICT-FaceKit again.")
    return values.reshape(len(rows), -1)[:, :3]


def _obj_polygons(path: Path) -> list[list[int]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        return [
            [int(corner.split("/")[0]) - 1 for corner in line.split()[1:]] for line in lines if line.startswith("f ")
        ]


def _split_polygon(polygon: list[int], vertices: np.ndarray) -> list[tuple[int, int, int]]:
    """Triangles of one polygon; a quad is split along its shorter diagonal."""
    if len(polygon) == 4:
        a, b, c, d = polygon
        if np.linalg.norm(vertices[a] - vertices[c]) <= np.linalg.norm(vertices[b] - vertices[d]):
            return [(a, b, c), (a, c, d)]
        return [(a, b, d), (b, c, d)]
    return [(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, len(polygon) - 1)]


def _read_checkout(folder: Path) -> dict[str, np.ndarray]:
    neutral_file = folder / "generic_neutral_mesh.obj"
    source = _obj_vertices(neutral_file)
    if len(source) != _SOURCE_VERTICES:
        raise InputError(
            f"{neutral_file.name} has {len(source)} vertices, not {_SOURCE_VERTICES}.",
            "Use the FaceXModel folder of ICT-FaceKit (Face Model Light).",
        )
    kept = np.concatenate([np.arange(first, last + 1) for first, last in _SOURCE_RANGES])
    vertex_region = np.concatenate(
        [np.full(last - first + 1, i, np.uint8) for i, (first, last) in enumerate(_SOURCE_RANGES)]
    )
    compact = np.full(len(source), -1, np.int64)
    compact[kept] = np.arange(len(kept))
    triangles: list[tuple[int, int, int]] = []
    for polygon in _obj_polygons(neutral_file):
        if min(compact[polygon]) >= 0:
            triangles += _split_polygon(polygon, source)
    faces = compact[np.asarray(triangles)]

    def displacement(path: Path) -> np.ndarray:
        vertices = _obj_vertices(path)
        if vertices.shape != source.shape:
            raise InputError(f"{path.name} has another number of vertices than the neutral mesh.", "Check out again.")
        return ((vertices - source)[kept] * _SOURCE_UNIT_MM).astype(np.float32)

    identities = sorted(folder.glob("identity[0-9][0-9][0-9].obj"))
    expressions = sorted(
        path for path in folder.glob("*.obj") if path not in identities and not path.name.startswith("generic_")
    )
    if not identities or not expressions:
        raise InputError(
            f"No identity or no expression meshes beside {neutral_file.name}.",
            "Use the whole FaceXModel folder of ICT-FaceKit.",
        )
    return {
        "neutral": source[kept] * _SOURCE_UNIT_MM,
        "faces": faces,
        "vertex_region": vertex_region,
        "face_region": vertex_region[faces].max(axis=1),
        "identity": np.stack([displacement(path) for path in identities]),
        "expression": np.stack([displacement(path) for path in expressions]),
        "expression_names": np.array([path.stem for path in expressions]),
    }


def load_face_model(path: str | Path, landmarks_file: str | Path = LANDMARKS_FILE) -> FaceModel:
    """Read the face model.

    Parameters
    ----------
    path : path
        ``ict_face_model.npz`` (mm), or the folder of an ICT-FaceKit checkout with ``generic_neutral_mesh.obj``,
        ``identity000.obj`` ... and the expression meshes (cm, converted to mm), or its parent.
    landmarks_file : path
        Landmarks as weighted vertices.

    Returns
    -------
    FaceModel

    Raises
    ------
    InputError
        If the model or the landmarks cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            folder = next((f for f in (path, path / "FaceXModel") if (f / "generic_neutral_mesh.obj").is_file()), None)
            if folder is None:
                raise InputError(
                    f"There is no generic_neutral_mesh.obj in {path.name}.",
                    "Give the FaceXModel folder of an ICT-FaceKit checkout, or ict_face_model.npz.",
                )
            return _build("ICT-FaceKit Face Model Light", _read_checkout(folder), Path(landmarks_file))
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        return _build("ICT-FaceKit Face Model Light", arrays, Path(landmarks_file))
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"The face model {path.name} cannot be read ({error}).",
            "Give ict_face_model.npz or the FaceXModel folder of an ICT-FaceKit checkout.",
        ) from error
