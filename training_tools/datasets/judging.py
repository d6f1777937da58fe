"""Look at all subjects of a data set together: order of landmarks, outliers, subjects that are there twice."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from PALNetLandmarksLib.asymmetry import asymmetry
from PALNetLandmarksLib.engine.rigid import apply_transform
from PALNetLandmarksLib.protocol import Protocol
from training_tools.datasets.examining import DOUBT, NOTE, PROBLEM, Examined, Finding
from training_tools.datasets.shape import ORDERS, align, common_shape, exchanged, wrong_orders

FloatArray = NDArray[np.float64]

ORDER_MM = 6.0
"""Median distance from the common shape below which the order of the landmarks is right beyond doubt."""
OUTLIER_MM = 10.0
OUTLIER_SIGMAS = 6.0
"""A landmark is an outlier beyond both: the distance, and so many robust standard deviations of that landmark."""
EXCHANGED_MM = 6.0
SAME_MM = 0.02
"""Two annotations closer than this (root mean square, after alignment) are one and the same."""
MATRIX_OFF_MM = 25.0
_FEW = 5  # subjects; fewer have no common shape of their own


@dataclass(frozen=True, eq=False)
class Judgement:
    """What is known of a data set as a whole.

    Parameters
    ----------
    findings : tuple of Finding
        Those of the single subjects and of all together, by subject.
    shape : (L, 3) float64, optional
        The common shape, mm, +x the subject's left, +y up, +z forward where that can be told.
    transforms : tuple of ((4, 4) float64 or None)
        For each subject from its scan to the frame of the shape, scaled; None where it has too few landmarks.
    distance : (N, L) float64
        Of each landmark from the common shape, in mm of the common shape.
    """

    findings: tuple[Finding, ...]
    shape: FloatArray | None
    transforms: tuple[FloatArray | None, ...]
    distance: FloatArray


def judge(subjects: Sequence[Examined], protocol: Protocol, mean: FloatArray | None = None) -> Judgement:
    """Compare the subjects with one another.

    Parameters
    ----------
    subjects : sequence of Examined
        N of them.
    protocol : Protocol
        The landmarks, L of them.
    mean : (L, 3) float, optional
        Mean landmarks of a model with the same protocol, mm, in the reference frame: tells right from left, and serves
        as the common shape where there are few subjects.

    Returns
    -------
    Judgement
    """
    findings = [finding for subject in subjects for finding in subject.findings]
    findings += _same_names(subjects) + _same_scans(subjects)
    sets = np.stack([subject.landmarks for subject in subjects])
    usable = np.isfinite(align(sets, mean if mean is not None else _fullest(sets)).scale)
    if not usable.any():
        return Judgement(
            tuple(_sorted(findings, subjects)), None, (None,) * len(subjects), np.full(sets.shape[:2], np.nan)
        )
    few = int(usable.sum()) < _FEW
    if mean is not None:
        # Only sets that fit a known face make the common shape: a majority in a wrong order must not.
        usable &= np.array([not order for order, _, _ in wrong_orders(sets, mean, protocol, ORDER_MM)])
    shape = mean if mean is not None and int(usable.sum()) < _FEW else common_shape(sets[usable], mean)
    if mean is None:
        shape, finding = _upright(shape, subjects, protocol)
        findings += finding
    orders = wrong_orders(sets, shape, protocol, ORDER_MM)
    for subject, (order, own, other) in zip(subjects, orders, strict=True):
        if order:
            findings.append(Finding(subject.subject, PROBLEM, f"order.{order.replace(', ', '-')}",
                f"{ORDERS[order][0].upper()}{ORDERS[order][1:]}: as they are they lie {own:.0f} mm from the common "
                f"shape, in the other order {other:.0f} mm. Correct the file."))  # fmt: skip
    found = align(sets, shape)
    right_order = np.array([not order for order, _, _ in orders])
    findings += _outliers(subjects, found.aligned, found.distance, shape, right_order, protocol, mean is None and few)
    findings += _same_landmarks(subjects, found.aligned)
    findings += _matrices([subject for subject, (order, _, _) in zip(subjects, orders, strict=True) if not order], mean)
    transforms = tuple(
        _matrix(scale, rotation, translation) if np.isfinite(scale) else None
        for scale, rotation, translation in zip(found.scale, found.rotation, found.translation, strict=True)
    )
    return Judgement(tuple(_sorted(findings, subjects)), shape, transforms, found.distance)


def _fullest(sets: FloatArray) -> FloatArray:
    fullest: FloatArray = sets[int(np.argmax(np.isfinite(sets).all(axis=2).sum(axis=1)))]
    return fullest


def _matrix(scale: float, rotation: FloatArray, translation: FloatArray) -> FloatArray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = scale * rotation, translation
    return matrix


def _upright(shape: FloatArray, subjects: Sequence[Examined], protocol: Protocol) -> tuple[FloatArray, list[Finding]]:
    """Turn the common shape into the reference's directions, and check right and left by the scans themselves.

    The surface faces forward at the landmarks and the eyes are above the mouth, so the scans say which side is left;
    nothing of it depends on the names of right and left.
    """
    result = asymmetry(shape, protocol)
    if not np.isnan(result.axes).any():
        centre = np.nanmean(shape, axis=0)
        shape = (shape - centre) @ result.axes.T
    above, below = (_of_regions(protocol, names) for names in (("eye", "brow", "forehead"), ("mouth", "chin")))
    if not above or not below or not protocol.pairs:
        return shape, []
    right, left = (list(places) for places in zip(*protocol.pairs, strict=True))
    signs = []
    for subject in subjects:
        points = subject.landmarks
        with np.errstate(all="ignore"):
            up = _mean(points[above]) - _mean(points[below])
            across = _mean(points[left] - points[right])
        sign = float(np.linalg.det(np.stack([across, up, subject.front])))
        if np.isfinite(sign):
            signs.append(np.sign(sign))
    if len(signs) > 0 and np.median(signs) < 0:
        said = (
            "In most scans right and left are swapped: the landmarks named right lie on the subject's left, or the "
            "scans are mirrored. Correct the files."
        )
        return shape, [Finding("", PROBLEM, "order.sides", said)]
    return shape, []


def _of_regions(protocol: Protocol, regions: tuple[str, ...]) -> list[int]:
    return [place for place, landmark in enumerate(protocol.landmarks) if landmark.region in regions]


def _mean(points: FloatArray) -> FloatArray:
    known = points[np.isfinite(points).all(axis=1)]
    return known.mean(axis=0) if len(known) else np.full(3, np.nan)


def _same_names(subjects: Sequence[Examined]) -> list[Finding]:
    places: dict[str, int] = defaultdict(int)
    for subject in subjects:
        places[subject.subject] += 1
    return [Finding(name, PROBLEM, "duplicate.name", f"{count} subjects have this id. Rename all but one.")
            for name, count in places.items() if count > 1]  # fmt: skip


def _same_scans(subjects: Sequence[Examined]) -> list[Finding]:
    first: dict[str, str] = {}
    findings = []
    for subject in subjects:
        if subject.scan_sha256 in first:
            findings.append(Finding(subject.subject, PROBLEM, "duplicate.mesh",
                f"Its mesh is the same file as that of {first[subject.scan_sha256]}. Remove one of them."))  # fmt: skip
        elif subject.scan_sha256:
            first[subject.scan_sha256] = subject.subject
    return findings


def _same_landmarks(subjects: Sequence[Examined], aligned: FloatArray) -> list[Finding]:
    """Find annotations that are the same but for a rigid motion; copies of a face model's shape are not meant."""
    by_pattern: dict[bytes, list[int]] = defaultdict(list)
    for place, points in enumerate(aligned):
        known = np.isfinite(points).all(axis=1)
        if known.any():
            by_pattern[known.tobytes()].append(place)
    findings = []
    for places in by_pattern.values():
        rows = aligned[places]
        known = np.isfinite(rows[0]).all(axis=1)
        size = np.sqrt(known.sum())
        for one, other in sorted(cKDTree(rows[:, known].reshape(len(places), -1)).query_pairs(SAME_MM * size)):
            earlier, later = subjects[places[one]].subject, subjects[places[other]].subject
            said = f"Its landmarks are the same as those of {earlier}. Annotate it itself, or remove one of them."
            findings.append(Finding(later, PROBLEM, "duplicate.landmarks", said))
    return findings


def _outliers(
    subjects: Sequence[Examined],
    aligned: FloatArray,
    distance: FloatArray,
    shape: FloatArray,
    right_order: NDArray[np.bool_],
    protocol: Protocol,
    no_shape: bool,
) -> list[Finding]:
    if no_shape:
        return [Finding("", NOTE, "shape.few", f"Fewer than {_FEW} subjects: outliers cannot be told.")]
    good = distance[right_order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # landmarks that nobody has
        middle = np.nan_to_num(np.nanmedian(good, axis=0))
        spread = np.nan_to_num(1.4826 * np.nanmedian(np.abs(good - middle), axis=0))
    limit = np.maximum(middle + OUTLIER_SIGMAS * spread, OUTLIER_MM)
    findings = []
    for row, subject in enumerate(subjects):
        if not right_order[row]:
            continue
        pairs = exchanged(aligned[row], shape, protocol, EXCHANGED_MM)
        for one, other in pairs:
            findings.append(Finding(subject.subject, PROBLEM, "order.exchanged",
                f"{one} and {other} look exchanged. Correct their names.", (one, other)))  # fmt: skip
        named = {label for pair in pairs for label in pair}
        with np.errstate(invalid="ignore"):
            far = [place for place in np.flatnonzero(distance[row] > limit) if protocol.labels[place] not in named]
        if far:
            far.sort(key=lambda place: -distance[row, place])
            each = ", ".join(f"{protocol.labels[place]} {distance[row, place]:.0f} mm" for place in far[:8])
            more = f" and {len(far) - 8} more" if len(far) > 8 else ""
            findings.append(Finding(subject.subject, DOUBT, "outlier",
                f"Far from where these landmarks are in the other subjects: {each}{more}. Look at them.",
                tuple(protocol.labels[place] for place in far)))  # fmt: skip
    return findings


def _matrices(subjects: Sequence[Examined], mean: FloatArray | None) -> list[Finding]:
    if mean is None:
        return []
    findings = []
    for subject in subjects:
        if subject.matrix is None:
            continue
        apart = np.linalg.norm(apply_transform(subject.matrix, subject.landmarks) - mean, axis=1)
        known = apart[np.isfinite(apart)]
        if len(known) and np.median(known) > MATRIX_OFF_MM:
            findings.append(Finding(subject.subject, DOUBT, "matrix.off",
                f"Its matrix brings the landmarks {np.median(known):.0f} mm from those of the reference. It may be for "
                "another reference; 'register --overwrite' makes a new one."))  # fmt: skip
    return findings


def _sorted(findings: Sequence[Finding], subjects: Sequence[Examined]) -> list[Finding]:
    """Put what concerns all first, then by subject in their order."""
    order = {subject.subject: place for place, subject in enumerate(subjects, start=1)}
    return sorted(findings, key=lambda finding: order.get(finding.subject, 0))
