"""Faces that are not as the engine expects them: in part, two at once, of another size, mirrored, mouth wide open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.rigid import apply_transform, invert_rigid, rotation_from_vector
from PALNetLandmarksLib.protocol import load_protocol
from Testing.robustness.objects import Array, Generator, Mesh, Subject, joined, load_subject, random_pose


@dataclass(frozen=True)
class ChangedFace:
    """A scan that is not as usual.

    Parameters
    ----------
    mesh : Mesh
    answers : tuple of (L, 3) float64
        True landmarks of each face in it: an answer may be any one of them.
    """

    mesh: Mesh
    answers: tuple[Array, ...]


def posed(face: ChangedFace, generator: Generator) -> ChangedFace:
    """Return the face in a random pose."""
    pose = random_pose(generator)
    return ChangedFace(face.mesh.moved(pose), tuple(apply_transform(pose, answer) for answer in face.answers))


def whole(subject: Subject, generator: Generator) -> ChangedFace:
    """Return the scan as it is."""
    return ChangedFace(subject.mesh, (subject.landmarks,))


def _part(subject: Subject, kept: NDArray[np.bool_]) -> ChangedFace:
    return ChangedFace(subject.mesh.cut(kept), (subject.landmarks,))


def _half(subject: Subject, generator: Generator) -> ChangedFace:
    side = generator.choice([-1.0, 1.0])
    return _part(subject, subject.aligned[:, 0] * side > generator.uniform(-8.0, 8.0))


def _nose(subject: Subject, generator: Generator) -> ChangedFace:
    x, y, z = subject.aligned.T
    beside, up = generator.uniform(20, 30), generator.uniform(35, 50)
    return _part(subject, (np.abs(x) < beside) & (y > -15.0) & (y < up) & (z > -60.0))


def _scaled(factor: float) -> Callable[[Subject, Generator], ChangedFace]:
    def change(subject: Subject, generator: Generator) -> ChangedFace:
        return ChangedFace(
            replace(subject.mesh, vertices=subject.mesh.vertices * factor), (subject.landmarks * factor,)
        )

    return change


def _mirrored(turned: bool) -> Callable[[Subject, Generator], ChangedFace]:
    """Mirror the coordinates; ``turned``: and the triangles, so that they still face outwards."""
    flip = np.array([-1.0, 1.0, 1.0])

    def change(subject: Subject, generator: Generator) -> ChangedFace:
        triangles = subject.mesh.triangles[:, ::-1].copy() if turned else subject.mesh.triangles
        # What was the right eye is now, to anyone who looks, a left eye.
        swapped = (subject.landmarks * flip)[load_protocol().mirror]
        return ChangedFace(Mesh(subject.mesh.vertices * flip, triangles), (swapped,))

    return change


CHANGES: dict[str, Callable[[Subject, Generator], ChangedFace]] = {
    "half a face": _half,
    "only a nose": _nose,
    "scaled by 0.5": _scaled(0.5),
    "scaled by 2": _scaled(2.0),
    "mirrored": _mirrored(turned=True),
    "mirrored, inside out": _mirrored(turned=False),
}
TWO_FACES, OPEN_MOUTH, FILLED_MOUTH = "two faces", "mouth wide open", "mouth wide open, filled"
MOUTHS = (OPEN_MOUTH, FILLED_MOUTH)
CHANGED = (*CHANGES, TWO_FACES, *MOUTHS)


def two_faces(first: Subject, second: Subject, generator: Generator) -> ChangedFace:
    """Put two heads side by side, 25 to 45 cm apart, the second turned and tilted a little."""
    aside = np.eye(4)
    aside[:3, :3] = rotation_from_vector(generator.normal(0.0, 0.25, 3))
    aside[:3, 3] = generator.uniform([250, -60, -60], [450, 60, 60])
    back = invert_rigid(first.truth) @ aside @ second.truth
    other = Mesh(apply_transform(back, second.mesh.vertices), second.mesh.triangles)
    return ChangedFace(joined([first.mesh, other]), (first.landmarks, apply_transform(back, second.landmarks)))


def open_mouth(face_model: Path, seed: int, number: int, generator: Generator, filled: bool) -> ChangedFace:
    """Simulate a scan of a head whose jaw hangs at 60 to 100 % of the model's widest.

    The jaw is let down in the model's neutral face, from which every head is drawn. Either cameras see what is behind
    the teeth, or the gap is filled with a flat surface, as programs do that close all holes.
    """
    from training_tools.simulation.face_model import LANDMARKS_FILE, MOUTH_CLOSURE, load_face_model
    from training_tools.simulation.scan import simulate_scan

    model = load_face_model(face_model, LANDMARKS_FILE)
    jaw = model.expression[model.expression_names.index("jawOpen")]
    opened = replace(model, neutral=(model.neutral + generator.uniform(0.6, 1.0) * jaw).astype(np.float32))
    if not filled:
        kept = model.triangle_region != MOUTH_CLOSURE
        opened = replace(opened, triangles=model.triangles[kept], triangle_region=model.triangle_region[kept])
    scan = simulate_scan(opened, seed, number)
    return ChangedFace(Mesh(scan.vertices.astype(np.float64), scan.triangles.astype(np.int64)), (scan.landmarks,))


def changed_face(
    kind: str, generator: Generator, folders: Sequence[Path], face_model: Path | None, seed: int, number: int
) -> ChangedFace:
    """Make one face of a kind of ``CHANGED``, in a random pose.

    Parameters
    ----------
    kind : str
    generator : numpy.random.Generator
    folders : sequence of path
        Subjects to choose from.
    face_model : path or None
        Needed for the open mouth.
    seed, number : int
        Of the simulated scan with the open mouth.

    Returns
    -------
    ChangedFace
    """
    if kind in MOUTHS:
        assert face_model is not None
        return posed(open_mouth(face_model, seed, number, generator, filled=kind == FILLED_MOUTH), generator)
    subject = load_subject(folders[int(generator.integers(len(folders)))])
    if kind == TWO_FACES:
        other = load_subject(folders[int(generator.integers(len(folders)))])
        return posed(two_faces(subject, other, generator), generator)
    return posed(CHANGES[kind](subject, generator), generator)
