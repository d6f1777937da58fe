"""Meshes of one topology (FaceScape, FLAME, registered Headspace): landmarks are the same vertices in all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.reading_obj import read_obj
from PALNetLandmarksLib.engine.reading_ply import read_ply
from PALNetLandmarksLib.engine.reading_raw import RawMesh
from PALNetLandmarksLib.engine.reading_simple import read_off
from PALNetLandmarksLib.errors import InputError, LandmarkingError
from PALNetLandmarksLib.files import read_text
from PALNetLandmarksLib.label_matching import LabelMatcher
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol
from training_tools.datasets.reader import Annotation, Layout, folders_in, scans_in, the_scan

IndexArray = NDArray[np.int64]

STEM = "landmark_indices"
ENDINGS = (".npz", ".npy", ".json", ".txt", ".csv")
#: Formats whose vertices have an order; STL has none, as each triangle brings its own corners.
_READERS: Mapping[str, Callable[[bytes, Path], RawMesh]] = {
    ".obj": lambda data, folder: read_obj(data, folder, False),
    ".ply": lambda data, folder: read_ply(data, folder, False),
    ".off": lambda data, folder: read_off(data),
}
_UP = 3  # folders between a subject's files and the data set's


@dataclass(frozen=True)
class VertexIndices(Layout):
    """Meshes of one topology and a file that names the landmarks' vertices, counted from 0.

    The file is ``landmark_indices`` with one of the endings ``.npz``, ``.npy``, ``.json``, ``.txt``, ``.csv`` in the
    data set's folder, or any other. It holds as many numbers as the protocol has landmarks, in the protocol's order, or
    labels with numbers (JSON object, or rows ``label index``). Meshes lie in the folder, or each in one of its own.

    Parameters
    ----------
    indices : Path, optional
        The file with the indices.
    key : str
        Which of several arrays in it.
    """

    indices: Path | None = None
    key: str = ""

    format: ClassVar[str] = "vertex-indices"

    def recognises(self, folder: Path) -> bool:
        """Say whether there is a file with indices in the folder."""
        return _index_file(folder) is not None

    def places(self, folder: Path) -> list[Path]:
        """List the meshes by name, and sub-folders with one mesh by the folder's name."""
        found = [path.with_name(path.stem) for path in _meshes(folder)]
        for sub in folders_in(folder):
            meshes = _meshes(sub)
            found += [sub] if len(meshes) == 1 else [path.with_name(path.stem) for path in meshes]
        return sorted(found)

    def scan(self, place: Path) -> Path:
        """Give the mesh."""
        if place.is_dir():
            return the_scan(_meshes(place), place)
        return the_scan([path for path in _meshes(place.parent) if path.stem == place.name], place)

    def landmarks(self, place: Path, protocol: Protocol) -> Annotation:
        """Take the vertices with the given indices."""
        file = self.indices or _index_file_above(place)
        if file is None:
            raise InputError(
                f"There is no file with the landmarks' vertices for '{place.name}'.",
                f"Put {STEM}.npz, .json or .txt into the data set's folder, or name it with --indices.",
                code="dataset.indices",
            )
        chosen = read_indices(file, protocol, self.key)
        vertices = mesh_vertices(self.scan(place))
        if chosen.max() >= len(vertices):
            raise InputError(
                f"The mesh of '{place.name}' has {len(vertices)} vertices, and {file.name} asks for number "
                f"{chosen.max()}.",
                "The mesh is of another topology, or was changed since: use the original one.",
                code="dataset.topology",
            )
        positions = np.where(chosen[:, None] >= 0, vertices[chosen], np.nan)
        return Annotation(LandmarkSet.from_positions(protocol, positions))


@dataclass(frozen=True)
class FaceScape(VertexIndices):
    """FaceScape's neutral faces: ``*_neutral.obj``, 68 landmarks from ``landmark_indices.npz['v10']``.

    As downloaded (``1/models_reg/1_neutral.obj``) or all in one folder; the file with the indices comes with
    FaceScape's toolkit and is looked for beside the faces and above.
    """

    key: str = "v10"

    format: ClassVar[str] = "facescape"

    def recognises(self, folder: Path) -> bool:
        """Say whether there is any neutral face."""
        return next(_neutral(folder), None) is not None

    def places(self, folder: Path) -> list[Path]:
        """List the neutral faces."""
        return sorted(path.with_name(path.stem) for path in _neutral(folder))


def mesh_vertices(path: Path) -> NDArray[np.float64]:
    """Read the vertices of a mesh in the file's own order, nothing merged or dropped.

    Parameters
    ----------
    path : Path
        OBJ, PLY or OFF file.

    Returns
    -------
    (n, 3) float64
        In the file's unit.

    Raises
    ------
    InputError
        When the file cannot be read, or is of a format without an order.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise InputError(
            f"{path.suffix} files do not keep the order of vertices.",
            "Use the original OBJ, PLY or OFF meshes.",
            code="dataset.topology",
        )
    try:
        return read(path.read_bytes(), path.parent).vertices
    except LandmarkingError:
        raise
    except OSError as error:
        raise InputError(
            f"{path.name} could not be read ({error.strerror}).", "Check the file.", code="scan.unreadable"
        ) from error
    except Exception as error:  # the readers name the damage they know; the rest is damage too
        raise InputError(f"{path.name} is damaged.", "Copy or export it again.", code="scan.damaged") from error


def read_indices(file: Path, protocol: Protocol, key: str = "") -> IndexArray:
    """Read which vertex each landmark is.

    Parameters
    ----------
    file : Path
        NumPy archive or array, JSON or text.
    protocol : Protocol
        The landmarks, L of them.
    key : str
        Which of several arrays in the file.

    Returns
    -------
    (L,) int64
        Vertex of each landmark, from 0; -1 for landmarks that a file with labels does not name.

    Raises
    ------
    InputError
        When the file cannot be used or has another number of landmarks.
    """
    content = _indices_content(file, key)
    if isinstance(content, Mapping):
        return _by_label(content, file, protocol)
    try:
        numbers = np.asarray(content)
        if numbers.dtype.kind == "f" and np.array_equal(numbers, np.floor(numbers)):
            numbers = numbers.astype(np.int64)
        fits = numbers.dtype.kind in "iu" and numbers.size > 0 and int(numbers.min()) >= 0
    except (ValueError, TypeError):
        fits = False
    if not fits:
        raise _unusable(file, "it is no list of whole numbers from 0")
    if numbers.size != len(protocol):
        raise InputError(
            f"{file.name} names {numbers.size} landmarks, and the protocol {protocol.id} has {len(protocol)}.",
            "Name the protocol that belongs to it with --protocol, for example --protocol face68.",
            code="dataset.indices",
        )
    return numbers.astype(np.int64).ravel()


def _indices_content(file: Path, key: str) -> Any:
    ending = file.suffix.lower()
    try:
        if ending in (".npz", ".npy"):
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            with loaded as archive:
                return archive[_chosen(list(archive.files), key, file)]
        text = read_text(file, what="file of vertex indices")
        if ending != ".json":
            return _text_content(text)
        content = json.loads(text)
    except InputError:
        raise
    except Exception as error:  # damaged archives raise what they like
        raise _unusable(file, "it is damaged or not of the format that its name says") from error
    if isinstance(content, Mapping) and (key or any(isinstance(value, list) for value in content.values())):
        return content[_chosen(list(content), key, file)]
    return content


def _chosen(names: list[str], key: str, file: Path) -> str:
    if key in names:
        return key
    if not key and len(names) == 1:
        return names[0]
    raise _unusable(
        file, f"it has no array '{key}'" if key else "it holds several arrays",
        f"Choose one with --indices-key: {', '.join(names[:6])}.",
    )  # fmt: skip


def _text_content(text: str) -> Any:
    lines = [line.partition("#")[0].replace(",", " ").replace(";", " ").split() for line in text.split("\n")]
    rows = [words for words in lines if words]
    if rows and all(len(words) == 2 and not words[0].isdigit() for words in rows):
        return {words[0]: int(words[1]) for words in rows}
    return [int(word) for words in rows for word in words]


def _by_label(content: Mapping[str, Any], file: Path, protocol: Protocol) -> IndexArray:
    matcher = LabelMatcher(protocol)
    chosen = np.full(len(protocol), -1, dtype=np.int64)
    for name, number in content.items():
        label = matcher.find(str(name))
        if label is None or isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise _unusable(file, f"'{str(name)[:40]}' is no landmark of {protocol.id} with a whole number from 0")
        chosen[protocol.index(label)] = number
    if (chosen < 0).all():
        raise _unusable(file, "it is empty")
    return chosen


def _unusable(file: Path, reason: str, hint: str = "Give one whole number for each landmark.") -> InputError:
    return InputError(f"{file.name} cannot be used as vertex indices: {reason}.", hint, code="dataset.indices")


def _meshes(folder: Path) -> list[Path]:
    return [path for path in scans_in(folder) if path.suffix.lower() in _READERS]


def _neutral(folder: Path) -> Iterator[Path]:
    # A fixed depth: a search without one could walk a whole disk.
    for pattern in ("*_neutral.obj", "*/*_neutral.obj", "*/*/*_neutral.obj"):
        yield from (path for path in folder.glob(pattern) if not path.name.startswith("."))


def _index_file(folder: Path) -> Path | None:
    return next((folder / (STEM + end) for end in ENDINGS if (folder / (STEM + end)).is_file()), None)


def _index_file_above(place: Path) -> Path | None:
    folders = [place, *list(place.parents)[:_UP]] if place.is_dir() else list(place.parents)[: _UP + 1]
    return next((found for folder in folders if (found := _index_file(folder)) is not None), None)
