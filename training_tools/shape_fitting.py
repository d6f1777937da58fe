"""Fit the shape regression of a model: ridge regression on scans that its network was not trained on.

The network's landmarks on the scans that it learnt from are better than on others, and a correction learnt there would
be too small. So other scans are needed, or at least many more than the network could remember. All of them go through
the program from the mesh on; those whose registration fails are left out and counted.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import nnls
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.bundle import Bundle, load_bundle
from PALNetLandmarksLib.engine.patches import point_tree
from PALNetLandmarksLib.engine.processes import as_completed
from PALNetLandmarksLib.engine.registration import Reference
from PALNetLandmarksLib.engine.shape_regression import (
    LinearStage,
    ShapeRegression,
    Template,
    first_features,
    second_features,
)
from PALNetLandmarksLib.errors import InputError, LandmarkingError
from PALNetLandmarksLib.files import atomic_write
from training_tools.datasets import Reader
from training_tools.scan_sources import Scans

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
logger = logging.getLogger(__name__)

TEMPLATE_POINTS = 1000
NEAR_LANDMARKS_MM = 30.0
LEAST_SCANS = 50
FOLDS = 4
PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
TOLERATED = 1.01
"""The largest penalty is taken whose error is within one per cent of the least: other faces and scanners differ more
from those it is fitted to than these from each other."""

NORMAL_WEIGHT = 3.0
"""Of a normal's component against a distance in mm, in the ridge's penalty."""

DISTANCE_WEIGHT, LEAST_SPREAD_MM = 0.4, 0.4
"""Of a distance against a landmark's coordinate, for places that differ by 1 mm between scans; falls with the square of
this spread, down to the second: hair and ears differ most and tell least."""

_MIRROR = np.array([-1.0, 1.0, 1.0])
_ROUNDS = 3


@dataclass(frozen=True)
class Case:
    """One scan as the network left it, in the reference frame.

    ``cloud`` (n, 6) float32; ``before``, ``truth`` (l, 3) mm; ``raw`` (l,) the network's own estimate of its error;
    ``visible`` (l,) bool.
    """

    cloud: NDArray[np.float32]
    before: FloatArray
    raw: FloatArray
    truth: FloatArray
    visible: BoolArray


def read_case(path: Path) -> Case:
    """Read a case that was prepared."""
    with np.load(path, allow_pickle=False) as stored:
        before, raw, truth = (stored[name].astype(np.float64) for name in ("before", "raw", "truth"))
        return Case(stored["cloud"], before, raw, truth, stored["visible"] & np.isfinite(truth).all(axis=1))


_worker: Any = None


class _Worker:
    """A model in a process of its own."""

    def __init__(self, bundle: str, cache: str) -> None:
        from PALNetLandmarksLib.engine.predictor import Predictor

        self.predictor = Predictor(load_bundle(bundle), "cpu", threads=1)
        self.cache = Path(cache)

    def prepare(self, folder: Path, reader: Reader | None) -> tuple[str, Path | None, str]:
        from PALNetLandmarksLib.engine.reading import read_scan
        from PALNetLandmarksLib.engine.registration import register
        from PALNetLandmarksLib.engine.rigid import apply_transform
        from training_tools.dataset import SAMPLING, read_subject

        bundle = self.predictor.bundle
        try:
            subject = read_subject(folder, bundle.protocol, reader)
            digest = hashlib.sha256(subject.mesh.read_bytes())
            digest.update(subject.landmarks.tobytes() + subject.visible.tobytes())
            digest.update(bundle.weights_sha256.encode() + SAMPLING)
            stored = self.cache / f"{digest.hexdigest()[:32]}.npz"
            if stored.exists():
                return folder.name, stored, ""
            scan = read_scan(subject.mesh, unit=subject.unit)
            first = register(scan, bundle.reference).scan_to_reference
            cloud = self.predictor.cloud(scan, first)
            located = self.predictor.locate(cloud, first)
        except LandmarkingError as error:
            return folder.name, None, error.code
        aligned = located.scan_to_reference
        points = np.hstack([apply_transform(aligned, cloud.points), cloud.normals @ aligned[:3, :3].T])
        with atomic_write(stored, "wb") as file:
            np.savez(
                file,
                cloud=points.astype(np.float32),
                before=apply_transform(aligned, located.landmarks),
                raw=located.raw_error,
                truth=apply_transform(aligned, subject.landmarks),
                visible=subject.visible,
            )
        return folder.name, stored, ""

    def look_again(self, path: Path, landmarks: FloatArray) -> FloatArray | None:
        from PALNetLandmarksLib.engine.cloud import SurfaceCloud
        from PALNetLandmarksLib.engine.rigid import apply_transform, invert_rigid

        points = read_case(path).cloud.astype(np.float64)
        cloud = SurfaceCloud(points[:, :3], points[:, 3:])
        located = self.predictor.locate(cloud, np.eye(4))
        if located.look_again is None:
            return None
        # It is aligned already; the network's own alignment changes that by a trifle.
        again = located.look_again(apply_transform(located.scan_to_reference, landmarks))
        return apply_transform(invert_rigid(located.scan_to_reference), again)


def _start(bundle: str, cache: str) -> None:
    global _worker
    _worker = _Worker(bundle, cache)


def _prepare(place: tuple[Path, Reader | None]) -> tuple[str, Path | None, str]:
    found: tuple[str, Path | None, str] = _worker.prepare(*place)
    return found


def _look_again(item: tuple[int, Path, FloatArray]) -> tuple[int, FloatArray | None]:
    return item[0], _worker.look_again(item[1], item[2])


def make_template(reference: Reference, mean_landmarks: FloatArray, count: int = TEMPLATE_POINTS) -> Template:
    """Choose points of the reference near the landmarks, far from each other and the same on both sides."""
    points, normals = (np.asarray(array, np.float64) for array in (reference.points, reference.normals))
    near = (cKDTree(mean_landmarks).query(points)[0] < NEAR_LANDMARKS_MM) & (points[:, 0] > 0.5)
    points, normals = points[near], normals[near]
    chosen = [0]
    apart = ((points - points[0]) ** 2).sum(axis=1)
    for _ in range(min(count // 2, len(points)) - 1):
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    one_side, facing = points[chosen], normals[chosen]
    return Template(np.vstack([one_side, one_side * _MIRROR]), np.vstack([facing, facing * _MIRROR]), mean_landmarks)


@dataclass(frozen=True)
class _Table:
    """Features (n, f) and targets (n, 3l) of faces and then of their mirror images; ``marked`` (n, 3l)."""

    features: FloatArray
    targets: FloatArray
    marked: BoolArray

    def rows(self, cases: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate([cases, cases + len(self.features) // 2])


def _surfaces(template: Template, cases: Sequence[Path], landmarks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the surface features (n, m, 4) of all cases and the spread (m,) of the residual distances."""
    features, squares, counts = [], np.zeros(len(template.points)), np.zeros(len(template.points))
    for path, places in zip(cases, landmarks, strict=True):
        cloud = read_case(path).cloud.astype(np.float64)
        surface, shown = template.surface(point_tree(cloud[:, :3]), cloud, places)
        moved = ((template.warp @ (places - template.mean_landmarks)) * template.normals).sum(axis=1)
        squares += shown * (surface[:, 0] - moved) ** 2
        counts += shown
        features.append(surface.astype(np.float32))
    half = len(squares) // 2
    both = (squares[:half] + squares[half:]) / np.maximum(counts[:half] + counts[half:], 1.0)
    return np.stack(features), np.tile(np.sqrt(both), 2)


def _feature_weights(spread: FloatArray, sets: int, landmarks: int) -> FloatArray:
    distance = DISTANCE_WEIGHT / np.maximum(spread, LEAST_SPREAD_MM) ** 2
    surface = distance[:, None] * np.array([1.0, NORMAL_WEIGHT, NORMAL_WEIGHT, NORMAL_WEIGHT])
    return np.concatenate([np.ones(sets * 3 * landmarks), surface.ravel()])


def _swapped(surface: FloatArray) -> FloatArray:
    """Return the surface features (n, m, 4) of the mirror images."""
    half = surface.shape[1] // 2
    return np.concatenate([surface[:, half:], surface[:, :half]], axis=1) * np.array([1.0, -1.0, 1.0, 1.0])


class _Ridge:
    """Ridge regression on some rows of a table, for one penalty after another."""

    def __init__(self, table: _Table, rows: NDArray[np.int64], weights: FloatArray) -> None:
        self.weights, self.targets, self.marked = weights, table.targets[rows], table.marked[rows]
        self.features = table.features[rows] * weights
        self.middle = self.features.mean(axis=0)
        self.features -= self.middle
        self.products = self.features.T @ self.features

    def fit(self, penalty: float) -> LinearStage:
        """Fit; what was not marked takes the value that the regression itself gives (EM of missing answers)."""
        system = self.products.copy()
        system[np.diag_indices_from(system)] += penalty
        factor = cho_factor(system, overwrite_a=True)
        counts = np.maximum(self.marked.sum(axis=0), 1)
        filled = np.where(self.marked, self.targets, self.targets.sum(axis=0) / counts)
        for _ in range(_ROUNDS):
            mean = filled.mean(axis=0)
            solved = cho_solve(factor, self.features.T @ (filled - mean))
            filled = np.where(self.marked, self.targets, self.features @ solved + mean)
        return LinearStage((solved * self.weights[:, None]).astype(np.float32), mean - (self.middle @ solved))


def _out_of_fold(table: _Table, weights: FloatArray) -> tuple[float, FloatArray]:
    """Return the largest penalty that does well on scans left out, and the corrections (n/2, l, 3) of those."""
    count = len(table.features) // 2
    fold = np.arange(count) % FOLDS
    found: dict[float, FloatArray] = {penalty: np.empty((count, table.targets.shape[1])) for penalty in PENALTIES}
    for number in range(FOLDS):
        rows, tested = table.rows(np.flatnonzero(fold != number)), np.flatnonzero(fold == number)
        ridge = _Ridge(table, rows, weights)
        for penalty, corrections in found.items():
            stage = ridge.fit(penalty)
            corrections[tested] = table.features[tested] @ stage.weights.astype(np.float64) + stage.offset
    marked = table.marked[:count].reshape(count, -1, 3)[..., 0]
    targets = table.targets[:count].reshape(count, -1, 3)

    def error(corrections: FloatArray) -> float:
        return float(np.linalg.norm(corrections.reshape(targets.shape) - targets, axis=2)[marked].mean())

    errors = {penalty: error(corrections) for penalty, corrections in found.items()}
    best = max(penalty for penalty, one in errors.items() if one <= TOLERATED * min(errors.values()))
    logger.info("error on scans left out: %s", ", ".join(f"{e:.3f} mm ({p:g})" for p, e in errors.items()))
    return best, found[best].reshape(targets.shape)


def _table(
    template: Template,
    surface: FloatArray,
    sets: Sequence[FloatArray],
    start: FloatArray,
    truth: FloatArray,
    visible: BoolArray,
    mirror: NDArray[np.int64],
) -> _Table:
    """Features from landmarks (one array (n, l, 3) for each set) and surface; targets from ``start`` to ``truth``."""
    features, targets, marked = [], [], []
    for mirrored in (False, True):

        def turned(landmarks: FloatArray, mirrored: bool = mirrored) -> FloatArray:
            return landmarks[:, mirror] * _MIRROR if mirrored else landmarks

        seen = visible[:, mirror] if mirrored else visible
        places = [turned(one) for one in sets]
        shown = _swapped(surface) if mirrored else surface
        if len(places) == 1:
            features += [first_features(template, s, a) for s, a in zip(shown, places[0], strict=True)]
        else:
            rows = zip(shown, *places, strict=True)
            features += [second_features(template, s, before, one, two) for s, before, one, two in rows]
        targets.append((turned(truth) - turned(start)).reshape(len(truth), -1))
        marked.append(np.repeat(seen, 3, axis=1))
    wanted = np.where(np.concatenate(marked), np.concatenate(targets), 0.0)
    return _Table(np.stack(features), wanted, np.concatenate(marked))


def fit_shape(bundle: Bundle, scans: Sequence[Scans], cache: Path, jobs: int = 2) -> tuple[ShapeRegression, int]:
    """Fit the shape regression of a model.

    Parameters
    ----------
    bundle : Bundle
        Its own shape regression, if any, is not used.
    scans : sequence of Scans
        Annotated scans that the network was not trained on, or, where these are few, those that it was trained on; each
        part may have a layout of its own.
    cache : Path
        Folder for the prepared scans; the same scans of the same model are not done again.
    jobs : int
        Processes.

    Returns
    -------
    shape : ShapeRegression
    scans : int
        Those that it rests on: without the ones that could not be registered.

    Raises
    ------
    InputError
        If there are fewer than 50 scans that the program can register.
    """
    cache.mkdir(parents=True, exist_ok=True)
    spread: dict[str, Any] = {"initializer": _start, "initargs": (str(bundle.path), str(cache))}
    hint = "Start the command again with a smaller --jobs."
    paths: list[Path] = []
    failures: list[str] = []
    places = [(folder, part.reader) for part in scans for folder in part.folders]
    for name, path, code in as_completed(_prepare, places, jobs, **spread, hint=hint, code="shape.process"):
        if path is None:
            failures.append(f"{name} ({code})")
        else:
            paths.append(path)
    if failures:
        logger.warning("%d of %d scans left out: %s", len(failures), len(places), ", ".join(sorted(failures)))
    if len(paths) < LEAST_SCANS:
        raise InputError(
            f"The shape regression needs {LEAST_SCANS} scans; only {len(paths)} could be used.",
            "Give more annotated scans that the network was not trained on, or leave --shape-data out.",
            code="shape.few",
        )
    paths.sort()  # by content: whatever order they came in, the result is the same
    cases = [read_case(path) for path in paths]
    before, truth = (np.stack([getattr(case, name) for case in cases]) for name in ("before", "truth"))
    raw, visible = np.stack([case.raw for case in cases]), np.stack([case.visible for case in cases])
    del cases
    template = make_template(bundle.reference, bundle.mean_landmarks)
    mirror, landmarks = bundle.protocol.mirror, len(bundle.protocol)

    surface, distances = _surfaces(template, paths, before)
    weights = _feature_weights(distances, 1, landmarks)
    table = _table(template, surface, [before], before, truth, visible, mirror)
    penalty, correction = _out_of_fold(table, weights)
    everything = np.arange(len(table.features))
    stages = [_Ridge(table, everything, weights).fit(penalty)]
    corrected = before + correction

    seen = np.full_like(before, np.nan)
    items = [(number, path, corrected[number]) for number, path in enumerate(paths)]
    for number, again in as_completed(_look_again, items, jobs, **spread, hint=hint, code="shape.process"):
        if again is not None:
            seen[number] = again
    if np.isfinite(seen).all():
        middle = 0.5 * (corrected + seen)
        surface, distances = _surfaces(template, paths, middle)
        weights = _feature_weights(distances, 3, landmarks)
        table = _table(template, surface, [before, corrected, seen], middle, truth, visible, mirror)
        penalty, correction = _out_of_fold(table, weights)
        stages.append(_Ridge(table, everything, weights).fit(penalty))
        corrected = middle + correction
    share = error_shares(raw, corrected - before, np.linalg.norm(corrected - truth, axis=2), visible, mirror)
    return ShapeRegression(template, tuple(stages), share), len(paths)


def error_shares(
    raw: FloatArray, correction: FloatArray, error: FloatArray, visible: BoolArray, mirror: NDArray[np.int64]
) -> FloatArray:
    """Tell the expected error from the network's own estimate and the length of the correction.

    Parameters
    ----------
    raw, error : (n, l) float64
        Of scans that the regression was not fitted to, mm.
    correction : (n, l, 3) float64
    visible : (n, l) bool
    mirror : (l,) int64

    Returns
    -------
    (l, 2) float64
        Least-squares shares, none negative, the same for both sides.
    """
    length = np.linalg.norm(correction, axis=2)
    share = np.empty((raw.shape[1], 2))
    for landmark in range(raw.shape[1]):
        both = [landmark, int(mirror[landmark])]
        use = visible[:, both]
        columns = np.column_stack([raw[:, both][use], length[:, both][use]])
        share[landmark] = nnls(columns, error[:, both][use])[0] if use.any() else (1.0, 0.0)
    return share
