"""Rigid alignment of a face scan, in any pose, to the reference face.

Local shapes are matched between scan and reference to guess poses, the best guesses are fitted closely, and the winner
is verified by evidence of a face before anyone gets to see it. Nothing on the way looks at the scan's coordinate axes,
so that the result is the same for every initial pose but for rounding, and everything is computed in the same order
whatever the number of threads, so that it is the same each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine.registration_elastic import (
    CLOSE,
    FINAL,
    ROUGH,
    ElasticFit,
    FittedFace,
    Stage,
    fit_elastic,
    fitted_face,
)
from PALNetLandmarksLib.engine.registration_reference import CENTRAL_FACE, HALF_HEAD, HEAD, WHOLE_FACE, Reference
from PALNetLandmarksLib.engine.registration_search import Described, Sample, search
from PALNetLandmarksLib.engine.registration_verification import Evidence, gather_evidence
from PALNetLandmarksLib.engine.resampling import even_points
from PALNetLandmarksLib.engine.rigid import apply_transform, invert_rigid, rigid_fit, rotation_angle
from PALNetLandmarksLib.errors import RegistrationError

__all__ = [
    "CENTRAL_FACE", "HALF_HEAD", "HEAD", "WHOLE_FACE", "Reference", "Registration", "Surface",
    "refine_with_landmarks", "register", "register_from_landmarks",
]  # fmt: skip

Array = NDArray[np.float64]
Progress = Callable[[str, float], None]

SAMPLE_POINTS = 10_000
"""Even points that a scan is resampled to (arXiv 2510.00910, registration)."""
_HINT = "Check that the scan shows a face, or pick three points (Prn, Ex_R, Ex_L) and pass them with --init."
_THIN_MM = 4.0
_GOOD = 1.0
_BOTH_SIDES = 0.5
"""Share of each side of the central face that the scan must show: half a face fits well, but its answer does not."""
_NEAR_DEGREES, _NEAR_MM = 20.0, 20.0
"""How far the close alignment may move a face from where picked landmarks put it."""
_HOPELESS = -6.0
"""Evidence before the last stage of the fit below which it is not worth going on; right alignments had -2.3 or more."""
_ROUND_HEAD_MM = 20.0
"""What lies further outside the box of the reference's head belongs to something else: shoulders, or another head."""
_ANOTHER = 1000
"""Points of the sample elsewhere from which they may hold another face."""
_FACELIKE = 0.64
"""Disagreement of a guess from which it is not worth a fit when another face is looked for.

In 59 simulated scans of two heads the best guess at the second face had 0.33 to 0.57; in the 20 of 138 of one head
that reached far beyond it, the best guess at what lay there had 0.69 or more.
"""


class Surface(Protocol):
    """Anything with a triangle mesh in mm, for example a ``Scan``."""

    @property
    def vertices(self) -> Array:
        """Vertices (n, 3) float64, mm."""

    @property
    def triangles(self) -> NDArray[np.int64]:
        """Vertex indices of the triangles (m, 3)."""


@dataclass(frozen=True, eq=False)
class Registration:
    """A scan's place in the reference frame, and how sure it is.

    Parameters
    ----------
    scan_to_reference : (4, 4) float64
        Rigid transform from the scan's frame to the reference frame, mm.
    fitness : float
        Share of the reference face's points that the scan meets within 5 mm, facing the same way.
    inlier_rms_mm : float
        Root mean square distance between scan and fitted reference at these points, mm.
    score : float
        Evidence of a face in this place: 0 is the limit of refusal, 1 that of a good alignment, more is better.
    verdict : {'good', 'doubtful'}
        Whether a user should look at the alignment first.
    attempts : int
        Searches that were made; 0 if the user's landmarks were the start.
    stage_seconds : Mapping of str to float
        Time spent on ``sample``, ``search`` and ``align``.
    second_face : bool
        Whether the scan shows another face beside this one; not looked for if the user's landmarks were the start.
    """

    scan_to_reference: Array
    fitness: float
    inlier_rms_mm: float
    score: float
    verdict: Literal["good", "doubtful"]
    attempts: int
    stage_seconds: Mapping[str, float]
    second_face: bool = False


@dataclass(frozen=True)
class _Attempt:
    spacing: float
    radius: float
    extent: int
    guesses: int


_ATTEMPTS = (
    _Attempt(5.0, 30.0, HEAD, 5),
    _Attempt(5.0, 25.0, HALF_HEAD, 8),
    _Attempt(6.0, 36.0, HEAD, 8),
)


@dataclass(frozen=True, eq=False)
class _Target:
    """A scan's sample with a tree, and the reference to fit to it."""

    sample: Sample
    tree: cKDTree
    reference: Reference

    def fit(self, start: ElasticFit, stages: tuple[Stage, ...]) -> ElasticFit:
        points, normals = self.reference.face
        return fit_elastic(
            self.tree, self.sample.points, self.sample.normals, points, normals, self.reference.modes, start, stages
        )

    def evidence(self, fit: ElasticFit) -> tuple[Evidence, FittedFace]:
        face = fitted_face(*self.reference.face, self.reference.modes, fit)
        count = self.reference.central_count
        return gather_evidence(self.tree, self.sample.points, self.sample.normals, face, count), face


def _start(pose: Array, reference: Reference) -> ElasticFit:
    return ElasticFit(pose, np.zeros(reference.modes.count))


def _sample(scan: Surface, seed: int, sample: tuple[ArrayLike, ArrayLike] | None) -> Sample:
    if sample is None:
        points, normals = even_points(scan.vertices, scan.triangles, SAMPLE_POINTS, seed)
        return Sample(points, normals)
    points, normals = (np.ascontiguousarray(values, dtype=np.float64) for values in sample)
    if points.shape != normals.shape or points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"a sample needs (n, 3) points and normals, got {points.shape} and {normals.shape}")
    return Sample(points, normals)


def register(
    scan: Surface, reference: Reference, *, seed: int = 0, progress: Progress | None = None,
    sample: tuple[ArrayLike, ArrayLike] | None = None,
) -> Registration:  # fmt: skip
    """Find the pose of the face in a scan, whatever its pose, and verify it.

    Parameters
    ----------
    scan : Surface
        The scan: ``vertices`` (n, 3) in mm and ``triangles`` (m, 3), outer side counter-clockwise.
    reference : Reference
        The common face.
    seed : int
        Seed of the sample and of the search; the same seed gives the same result to the last bit.
    progress : callable, optional
        Called with the name of the stage and the fraction done, 0 to 1; what it raises ends the work.
    sample : ((n, 3), (n, 3)) float, optional
        Even points of the scan (about 10,000) and their normals, if the caller has them already.

    Returns
    -------
    Registration
        The transform and its quality.

    Raises
    ------
    RegistrationError
        If no pose is found in which the scan is evidently a face.

    Notes
    -----
    A mirrored face is a face and is aligned as one.
    """
    tell = progress or (lambda stage, fraction: None)
    seconds = {"sample": 0.0, "search": 0.0, "align": 0.0}
    clock = time.perf_counter
    began = clock()
    tell("sample", 0.0)
    cloud = _sample(scan, seed, sample)
    if len(cloud.points) < 100:
        raise RegistrationError("The scan has too few points to recognise a face.", _HINT, code="registration.few")
    thin = cloud.thinned(_THIN_MM)
    rough = _Target(thin, thin.tree(), reference)
    fine = _Target(cloud, cloud.tree(), reference)
    seconds["sample"] += clock() - began
    described: list[Described] = []
    best: tuple[Evidence, FittedFace] | None = None
    for number, attempt in enumerate(_ATTEMPTS, start=1):
        tell("search", number / (len(_ATTEMPTS) + 1))
        began = clock()
        described.append(cloud.described(attempt.spacing, attempt.radius))
        generator = np.random.default_rng([seed, number])
        guesses = search(described[-1], reference, generator, extent=attempt.extent, guesses=attempt.guesses)
        seconds["search"] += clock() - began
        began = clock()
        for found in _candidates([guess.pose for guess in guesses], rough, fine):
            if best is None or found[0].score > best[0].score:
                best = found
            if best[0].score >= _GOOD:
                break
        seconds["align"] += clock() - began
        if best is not None and best[0].score >= _GOOD:
            break
    tell("align", 1.0)
    if best is None or best[0].score < 0.0:
        raise RegistrationError("No face was recognised in the scan.", _HINT, code="registration.no_face")
    began = clock()
    second = _second_face(cloud, described[0], reference, invert_rigid(best[1].rigid_pose), seed)
    seconds["search"] += clock() - began
    return replace(_result(*best, number, seconds), second_face=second)


def _second_face(
    cloud: Sample, described: Described, reference: Reference, scan_to_reference: Array, seed: int
) -> bool:
    """Tell whether there is a face in what lies elsewhere than the head that was found.

    ``described`` is what the first search saw of the scan: describing its rest anew would find no more.
    """
    low, high = reference.points.min(0) - _ROUND_HEAD_MM, reference.points.max(0) + _ROUND_HEAD_MM

    def elsewhere(points: Array) -> NDArray[np.bool_]:
        place = apply_transform(scan_to_reference, points)
        return np.asarray(((place < low) | (place > high)).any(1))

    others = elsewhere(cloud.points)
    if np.count_nonzero(others) < _ANOTHER:
        return False
    first = _ATTEMPTS[0]
    guesses = search(
        described.part(elsewhere(described.scan.points)), reference, np.random.default_rng([seed, 0]),
        extent=first.extent, guesses=first.guesses,
    )  # fmt: skip
    poses = [guess.pose for guess in guesses if guess.disagreement < _FACELIKE]
    if not poses:
        return False
    rest = Sample(cloud.points[others], cloud.normals[others])
    thin = rest.thinned(_THIN_MM)
    found = _candidates(poses, _Target(thin, thin.tree(), reference), _Target(rest, rest.tree(), reference))
    return any(evidence.score >= 0.0 for evidence, _ in found)


def _candidates(poses: list[Array], rough: _Target, fine: _Target) -> Iterator[tuple[Evidence, FittedFace]]:
    """Fit guesses closely: the most promising one, then the two of the others that look best after a quick fit."""
    reference = fine.reference

    def closely(fit: ElasticFit) -> tuple[Evidence, FittedFace]:
        fit = fine.fit(fit, (*ROUGH, *CLOSE))
        found = fine.evidence(fit)
        return found if found[0].score < _HOPELESS else fine.evidence(fine.fit(fit, FINAL))

    for pose in poses[:1]:
        yield closely(_start(pose, reference))
    others = [rough.fit(_start(pose, reference), ROUGH) for pose in poses[1:]]
    others.sort(key=lambda fit: -rough.evidence(fit)[0].score)
    for fit in others[:2]:
        yield closely(fit)


def _result(evidence: Evidence, face: FittedFace, attempts: int, seconds: Mapping[str, float]) -> Registration:
    return Registration(
        scan_to_reference=invert_rigid(face.rigid_pose),
        fitness=evidence.fitness,
        inlier_rms_mm=evidence.inlier_rms_mm,
        score=evidence.score,
        verdict="good" if evidence.score >= _GOOD and evidence.side_share >= _BOTH_SIDES else "doubtful",
        attempts=attempts,
        stage_seconds=dict(seconds),
    )


def register_from_landmarks(
    scan: Surface, reference: Reference, picked: ArrayLike, mean: ArrayLike, *, seed: int = 0,
    sample: tuple[ArrayLike, ArrayLike] | None = None,
) -> Registration:  # fmt: skip
    """Align a scan from at least three landmarks that the user picked.

    The picked landmarks decide where the face is; the closer alignment is taken over only if it stays near them.

    Parameters
    ----------
    scan : Surface
        The scan, see ``register``.
    reference : Reference
        The common face.
    picked : (k, 3) float
        Landmarks in the scan's frame, mm; NaN rows are left out.
    mean : (k, 3) float
        The same landmarks of the mean face in the reference frame, mm.
    seed : int
        Seed of the sample.
    sample : ((n, 3), (n, 3)) float, optional
        Even points of the scan and their normals, if the caller has them already.

    Returns
    -------
    Registration
        The transform and its quality; never refused, but 'doubtful' where there is little evidence of a face.

    Raises
    ------
    RegistrationError
        If fewer than three landmarks are given or they lie on one line.
    """
    clock = time.perf_counter
    began = clock()
    try:
        pose = invert_rigid(rigid_fit(picked, mean))
    except ValueError as error:
        raise RegistrationError(
            "The picked landmarks do not fix the pose of the face: it takes three or more that do not lie on one line.",
            "Pick for example Prn, Ex_R and Ex_L.",
            code="registration.init",
        ) from error
    cloud = _sample(scan, seed, sample)
    target = _Target(cloud, cloud.tree(), reference)
    sampled = clock()
    start = _start(pose, reference)
    fit = target.fit(start, (*ROUGH, *CLOSE, *FINAL))
    evidence, face = target.evidence(fit)
    there = face.rigid_pose
    centre = np.asarray(reference.face[0].mean(0))
    moved = float(np.linalg.norm(apply_transform(there, centre) - apply_transform(pose, centre)))
    strayed = rotation_angle(there, pose) > _NEAR_DEGREES or moved > _NEAR_MM
    if strayed:
        evidence, face = target.evidence(start)
    seconds = {"sample": sampled - began, "search": 0.0, "align": clock() - sampled}
    found = _result(evidence, face, 0, seconds)
    # The user's word stands, but it and the surface contradict each other.
    return replace(found, score=min(found.score, 0.0), verdict="doubtful") if strayed else found


def refine_with_landmarks(
    scan_to_reference: ArrayLike, predicted: ArrayLike, mean: ArrayLike, weights: ArrayLike | None = None
) -> Array:
    """Re-align rigidly so that predicted landmarks come to lie on the mean ones.

    Hair and beard drag an alignment of surfaces; landmarks that a network found there are dragged less.

    Parameters
    ----------
    scan_to_reference : (4, 4) float
        The present transform.
    predicted : (k, 3) float
        Landmarks predicted with it, in the reference frame, mm; NaN rows are left out.
    mean : (k, 3) float
        Mean landmarks in the reference frame, mm.
    weights : (k,) float, optional
        Trust in each landmark, for example 1 / expected error²; equal if not given.

    Returns
    -------
    (4, 4) float64
        The new transform, scan to reference; the present one if fewer than three landmarks are known.
    """
    present = np.asarray(scan_to_reference, dtype=np.float64)
    try:
        return rigid_fit(predicted, mean, weights) @ present
    except ValueError:
        return present
