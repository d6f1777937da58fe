"""One trial: make a thing, show it to the whole engine, judge the answer."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.engine.bundle import load_bundle
from PALNetLandmarksLib.engine.predictor import Prediction, Predictor
from PALNetLandmarksLib.engine.reading import scan_from_arrays
from PALNetLandmarksLib.errors import LandmarkingError
from Testing.robustness.faces import CHANGED, MOUTHS, ChangedFace, changed_face, posed, whole
from Testing.robustness.objects import NO_FACES, Array, Mesh, load_subject, no_face

FACE = "face"
FLAGS = ("registration.doubtful", "registration.second_face", "face.open_mouth", "scan.inside_out", "scan.unusual_size")
"""Warnings that tell a user to distrust the whole answer."""
RIGHT_MEAN_MM, BLUNDER_MM = 5.0, 15.0
FEW_BLUNDERS = 0.1
_predictor: Predictor | None = None


@dataclass(frozen=True)
class Task:
    """What to try: kind, number among its kind, seed, and where scans and the face model are."""

    kind: str
    number: int
    seed: int
    folders: Sequence[Path]
    face_model: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What the engine said.

    Parameters
    ----------
    kind : str
    number : int
    refused : str
        Code of the error, '' if landmarks were placed.
    flags : tuple of str
        Warnings that tell to distrust the whole answer.
    score : float
        Of the registration; NaN if refused.
    reported : int
        Landmarks not said to be missing.
    mean_mm, worst_mm : float
        Distance of the reported landmarks from the true ones; NaN where there is none.
    blunders : int
        Reported landmarks more than 15 mm off.
    """

    kind: str
    number: int
    refused: str
    flags: tuple[str, ...]
    score: float = np.nan
    reported: int = 0
    mean_mm: float = np.nan
    worst_mm: float = np.nan
    blunders: int = 0

    @property
    def silent(self) -> bool:
        """Whether landmarks were placed without a word of doubt."""
        return not self.refused and not self.flags

    @property
    def close(self) -> bool:
        """Whether the reported landmarks are where they belong."""
        return self.mean_mm <= RIGHT_MEAN_MM and self.blunders <= FEW_BLUNDERS * self.reported

    @property
    def right(self) -> bool:
        """Whether the answer is right for the kind, as docs/robustness.md defines it."""
        if self.kind in NO_FACES:
            return not self.silent
        if self.kind == FACE:
            return not self.refused
        return not self.silent or self.close


def prepare(model: str | None = None, threads: int = 1) -> None:
    """Load the model into this process."""
    global _predictor
    _predictor = Predictor(load_bundle(model) if model else load_bundle(), "cpu", threads=threads)


def made(task: Task) -> tuple[Mesh, tuple[Array, ...]]:
    """Make the task's thing, and the true landmarks of each face in it."""
    generator = np.random.default_rng([task.seed, task.number, zlib.crc32(task.kind.encode())])
    if task.kind in NO_FACES:
        return no_face(task.kind, generator, task.folders), ()
    if task.kind == FACE:
        face = posed(whole(load_subject(task.folders[task.number % len(task.folders)]), generator), generator)
    else:
        face = changed_face(task.kind, generator, task.folders, task.face_model, task.seed, task.number)
    return face.mesh, face.answers


def judged(task: Task, prediction: Prediction, answers: Sequence[Array]) -> Outcome:
    """Compare an answer with the truth; of two faces the one that was taken counts."""
    flags = tuple(warning.code for warning in prediction.warnings if warning.code in FLAGS)
    score, found = prediction.registration.score, np.asarray(prediction.landmarks.positions)
    reported = int(np.isfinite(found[:, 0]).sum())
    best = (np.nan, np.nan, 0)
    for answer in answers:
        apart = np.linalg.norm(found - answer, axis=1)
        apart = apart[np.isfinite(apart)]
        if len(apart) and not apart.mean() >= best[0]:
            best = (float(apart.mean()), float(apart.max()), int(np.count_nonzero(apart > BLUNDER_MM)))
    return Outcome(task.kind, task.number, "", flags, score, reported, *best)


def attempt(task: Task) -> Outcome:
    """Run one task with the model of `prepare`."""
    assert _predictor is not None, "prepare() first"
    mesh, answers = made(task)
    try:
        prediction = _predictor.predict(scan_from_arrays(mesh.vertices, mesh.triangles, unit="auto"))
    except LandmarkingError as error:
        return Outcome(task.kind, task.number, error.code, ())
    return judged(task, prediction, answers)


def tasks(
    seed: int, folders: Sequence[Path], face_model: Path | None, objects: int, faces: int, changed: int
) -> list[Task]:
    """List so many trials: objects over all kinds, faces, and changed faces of each kind, in turns."""
    kinds = [kind for kind in CHANGED if face_model or kind not in MOUTHS]
    groups = (
        [(NO_FACES[i % len(NO_FACES)], i // len(NO_FACES)) for i in range(objects)],
        [(FACE, i) for i in range(faces)],
        [(kind, i) for i in range(changed) for kind in kinds],
    )
    in_turns = sorted((i / len(group), *item) for group in groups for i, item in enumerate(group))
    return [Task(kind, number, seed, folders, face_model) for _, kind, number in in_turns]


__all__ = ["FACE", "ChangedFace", "Outcome", "Task", "attempt", "made", "prepare", "tasks"]
