"""What a reader of a data set is: which subjects there are, and for each its scan, its landmarks and its matrix.

A subject is known by its *place*: a path whose last part is the subject's id. It is the subject's folder where each has
one (``data/S001``), otherwise its files' common name without the ending (``data/S001`` for ``data/S001.ply``), which
need not exist.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol as Interface, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.reading import EXTENSIONS
from PALNetLandmarksLib.engine.units import MILLIMETRES
from PALNetLandmarksLib.errors import InputError, LandmarkingError
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol

FloatArray = NDArray[np.float64]

MATRIX = "transformation_matrix.npy"
#: How far the product of a rotation with its transpose may be from the identity; files hold single precision at worst.
_RIGID_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Annotation:
    """The landmarks of one subject as a file gives them.

    Parameters
    ----------
    landmarks : LandmarkSet
        In the frame of the scan's file.
    warnings : tuple of str
        What the file's reader doubted, for example an order of rows that was guessed.
    visible : (L,) bool, optional
        Which landmarks lie on captured surface, where the data set says; all that are annotated otherwise.
    unit : str
        Unit of the positions: ``mm``, ``cm``, ``m`` or ``in``; empty for that of the data set.
    """

    landmarks: LandmarkSet
    warnings: tuple[str, ...] = ()
    visible: NDArray[np.bool_] | None = None
    unit: str = ""


@runtime_checkable
class Reader(Interface):
    """Reads one layout of data sets; :class:`Layout` has everything but what differs between layouts."""

    format: ClassVar[str]

    @property
    def unit(self) -> str:
        """Unit of scans and landmarks."""

    @property
    def predicted(self) -> bool:
        """Whether landmarks that a model predicted and nobody touched count as annotated."""

    def recognises(self, folder: Path) -> bool:
        """Say whether a folder looks like this layout."""

    def places(self, folder: Path) -> list[Path]:
        """List all subjects, also incomplete ones: what is left out here is never seen again."""

    def has_landmarks(self, place: Path) -> bool:
        """Say whether there is an annotation, readable or not."""

    def scan(self, place: Path) -> Path:
        """Give the scan's file; InputError when there is none or more than one."""

    def scan_unit(self, place: Path, protocol: Protocol) -> str:
        """Give the unit of the scan's file: ``mm``, ``cm``, ``m`` or ``in``."""

    def landmarks(self, place: Path, protocol: Protocol) -> Annotation:
        """Read the annotation; InputError when there is none or it cannot be used."""

    def matrix_file(self, place: Path) -> Path:
        """Say where the transform from the scan to the reference is or will be."""


@dataclass(frozen=True)
class Layout:
    """What readers share: a base for own ones, which add ``recognises``, ``places``, ``scan`` and ``landmarks``.

    Parameters
    ----------
    unit : str
        Unit of scans and landmarks.
    predicted : bool
        Whether landmarks that a model predicted and nobody touched count as annotated.
    matrices : Path, optional
        Folder of the matrices, where the data set itself is not to be written to.
    """

    unit: str = "mm"
    predicted: bool = True
    matrices: Path | None = None

    format: ClassVar[str] = ""

    def has_landmarks(self, place: Path) -> bool:
        """Say whether there is an annotation; true unless the layout knows better."""
        return True

    def scan_unit(self, place: Path, protocol: Protocol) -> str:
        """Give the unit of the scan's file: that of the data set."""
        return self.unit

    def matrix_file(self, place: Path) -> Path:
        """Say where the matrix is: in the subject's folder, or beside the scan under the subject's id."""
        if self.matrices is not None:
            return self.matrices / place.name / MATRIX
        return place / MATRIX if place.is_dir() else place.with_name(f"{place.name}_{MATRIX}")


def read_annotation(reader: Reader, place: Path, protocol: Protocol) -> Annotation:
    """Read the landmarks of a subject as training takes them.

    Parameters
    ----------
    reader : Reader
    place : Path
        The subject.
    protocol : Protocol
        The landmarks, L of them.

    Returns
    -------
    Annotation
        In millimetres and the frame of the scan's file (LPS); ``visible`` (L,) is always given and never true where a
        landmark is missing.

    Raises
    ------
    InputError
        When there is no annotation or it cannot be used.
    """
    with guarded(place, "landmarks"):
        found = reader.landmarks(place, protocol)
    landmarks = found.landmarks.in_coordinate_system("LPS")
    if not reader.predicted:
        landmarks = _without_predicted(landmarks)
    scale = MILLIMETRES[found.unit or reader.unit]
    if scale != 1.0:
        landmarks = replace(landmarks, positions=landmarks.positions * scale)
    there = ~landmarks.missing
    visible = there if found.visible is None else there & found.visible
    return Annotation(landmarks, found.warnings, visible, "mm")


@contextlib.contextmanager
def guarded(place: Path, what: str) -> Iterator[None]:
    """Turn what a reader of one's own did not expect into an error that names the subject.

    Parameters
    ----------
    place : Path
    what : str
        What was to be read, in words.

    Raises
    ------
    InputError
    """
    try:
        yield
    except LandmarkingError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        # The text of a system's error would bring the path into tables and pages.
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise InputError(
            f"The {what} of '{place.name}' could not be read ({reason}).", "Correct its files.", code="dataset.reader"
        ) from error


def _without_predicted(landmarks: LandmarkSet) -> LandmarkSet:
    for label, status in zip(landmarks.protocol.labels, landmarks.status, strict=True):
        if status == "predicted":
            landmarks = landmarks.with_point(label, None, "missing", note="predicted, not annotated")
    return landmarks


def read_matrix(path: Path) -> FloatArray | None:
    """Read the transform from a scan to the reference.

    Parameters
    ----------
    path : Path
        ``transformation_matrix.npy``; pickled content is refused.

    Returns
    -------
    (4, 4) float64 or None
        None when there is no file.

    Raises
    ------
    InputError
        When it cannot be read or is no rotation with a translation.
    """
    if not path.exists():
        return None
    hint = "Remove it and run 'register' again, or put the right one there."
    try:
        matrix = np.load(path, allow_pickle=False)
        numbers = np.asarray(matrix, dtype=np.float64)
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise InputError(f"{path.name} cannot be read as an array of numbers.", hint, code="dataset.matrix") from error
    if not is_rigid(numbers):
        raise InputError(
            f"{path.name} is no 4 × 4 matrix of a rotation and a translation.", hint, code="dataset.matrix"
        )
    return numbers


def is_rigid(matrix: FloatArray) -> bool:
    """Say whether a matrix is a rotation with a translation, (4, 4), to single precision."""
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        return False
    rotation = matrix[:3, :3]
    orthogonal = np.abs(rotation @ rotation.T - np.eye(3)).max() < _RIGID_TOLERANCE
    return bool(orthogonal and np.linalg.det(rotation) > 0.0 and np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0)))


def recorded_unit(landmarks: LandmarkSet) -> str:
    """Give the unit of the scan that a file of this program records of its landmarks; empty when it records none."""
    unit = landmarks.provenance.get("scan_unit", "")
    return unit if unit in MILLIMETRES else ""


def scans_in(folder: Path) -> list[Path]:
    """List the scan files of a folder by name; hidden ones are left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )


def folders_in(folder: Path) -> list[Path]:
    """List the sub-folders of a folder by name; hidden ones are left out."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())


def the_scan(scans: list[Path], place: Path, preferred: str = "") -> Path:
    """Choose a subject's scan among files.

    Parameters
    ----------
    scans : list of Path
    place : Path
        The subject, for the message.
    preferred : str
        Name without ending that is taken where there are several.

    Raises
    ------
    InputError
        When there is none, or several and none has the preferred name.
    """
    named = [path for path in scans if path.stem.lower() == preferred] or scans
    if len(named) == 1 or (named and preferred and named[0].stem.lower() == preferred):
        return named[0]
    if not scans:
        raise InputError(f"'{place.name}' holds no mesh.", "Put mesh.ply or mesh.obj into it.", code="dataset.mesh")
    raise InputError(
        f"'{place.name}' holds {len(named)} meshes.",
        f"Keep one of {', '.join(path.name for path in named[:4])}"
        + (f", or call it {preferred}{named[0].suffix}." if preferred else "."),
        code="dataset.meshes",
    )
