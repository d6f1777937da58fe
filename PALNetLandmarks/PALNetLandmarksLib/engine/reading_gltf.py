"""GLB and glTF, read with trimesh; positions of all nodes applied."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from PALNetLandmarksLib.engine.reading_raw import (
    MOST_TRIANGLES,
    MOST_VERTICES,
    RawMesh,
    check_size,
    damaged,
    too_large,
    truncated,
)
from PALNetLandmarksLib.engine.reading_texture import MISSING, file_beside, read_image

_MOST_PARTS = 10_000  # nodes, pieces and the like; a face scan has a handful
_MOST_COMMAS = 2_000_000  # of the description; coordinates and pictures have none


class _FilesBeside:
    """Gives trimesh the files that a glTF file refers to, only from its own folder and never over a network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.missing_picture = False

    def get(self, name: str) -> bytes:
        """Return the content of a file beside the scan."""
        path = file_beside(self._folder, name)
        if path is not None:
            return path.read_bytes()
        if name.lower().endswith((".png", ".jpg", ".jpeg", ".webp")):
            self.missing_picture = True
            return b""
        raise FileNotFoundError("a part of the scan is missing")

    __getitem__ = get  # trimesh 5 asks this way, earlier ones by get


def read_gltf(data: bytes, folder: Path, binary: bool, texture: bool) -> RawMesh:
    """Read a GLB (`binary`) or glTF file.

    Raises
    ------
    InputError
        ``scan.damaged`` or ``scan.truncated``.
    """
    import trimesh

    if binary and int.from_bytes(data[8:12], "little") > len(data):
        raise truncated("its header announces more bytes than the file holds")
    _check_description(data, binary)
    resolver: Any = _FilesBeside(folder)
    try:
        with _quiet_trimesh():
            scene = trimesh.load_scene(
                io.BytesIO(data), file_type="glb" if binary else "gltf", resolver=resolver, process=False
            )
    except FileNotFoundError as error:
        raise damaged("a file that it refers to is not beside it") from error
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  whatever a damaged file makes the library raise
        raise damaged("it is not a whole GLB or glTF file") from error

    vertices, triangles, pieces, count, face_count = [], [], [], 0, 0
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not isinstance(mesh, trimesh.Trimesh):
            vertices.append(np.asarray(getattr(mesh, "vertices", np.empty((0, 3))), dtype=np.float64).reshape(-1, 3))
            count += len(vertices[-1])
            continue
        face_count += len(mesh.faces)
        check_size(count + len(mesh.vertices), face_count)  # many nodes may show one piece
        with np.errstate(all="ignore"):  # cleaning looks for what is no finite number
            points = np.asarray(mesh.vertices, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        faces = np.asarray(mesh.faces, dtype=np.int64)
        if len(faces) and (faces.min() < 0 or faces.max() >= len(points)):
            raise damaged("a face names a vertex that is not in the file")
        if np.linalg.det(matrix[:3, :3]) < 0:  # a mirroring node turns the faces round
            faces = faces[:, ::-1]
        vertices.append(points)
        triangles.append(faces + count)
        pieces.append((mesh, faces))
        count += len(points)
    raw = RawMesh(
        np.concatenate(vertices) if vertices else np.empty((0, 3)),
        np.concatenate(triangles) if triangles else np.empty((0, 3), dtype=np.int64),
    )
    if not texture:
        return raw
    try:
        coordinates, image = _texture(pieces)
    except (OSError, ValueError, SyntaxError):  # the picture is decoded only now; a damaged one costs the colours alone
        return RawMesh(raw.vertices, raw.triangles, warnings=(MISSING,))
    said = (MISSING,) if resolver.missing_picture and image is None else ()
    return RawMesh(raw.vertices, raw.triangles, coordinates, image, said)


def _check_description(data: bytes, binary: bool) -> None:
    """Hold the description against what a scan needs, before the library takes memory for what it announces."""
    if binary:
        data = data[20 : 20 + int.from_bytes(data[12:16], "little")]
    if data.count(b",") > _MOST_COMMAS or data.count(b"[") > _MOST_COMMAS:
        raise too_large("its description is longer than that of any scan")
    try:
        document = json.loads(data)
        parts = {key: document.get(key, []) for key in ("nodes", "meshes", "accessors", "images", "materials")}
        pieces = sum(len(mesh["primitives"]) for mesh in parts["meshes"])
        counts = [item["count"] for item in parts["accessors"]]
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise damaged("its description cannot be read") from error
    if pieces > _MOST_PARTS or any(len(part) > _MOST_PARTS for part in parts.values()):
        raise too_large(f"it has more than {_MOST_PARTS:,} parts")
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise damaged("a part of it has no whole number of values")
    if any(count > 3 * max(MOST_VERTICES, MOST_TRIANGLES) for count in counts):
        check_size(max(counts), 0)


def _texture(pieces: list) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.uint8] | None]:
    """Return the picture of the piece with most triangles and its coordinates, NaN on pieces with other pictures."""
    pictures = [_picture(mesh) for mesh, _ in pieces]
    textured = [(len(faces), place) for place, (_, faces) in enumerate(pieces) if pictures[place] is not None]
    if not textured:
        return None, None
    chosen = pictures[max(textured, key=lambda item: (item[0], -item[1]))[1]]
    coordinates = []
    for (mesh, faces), picture in zip(pieces, pictures, strict=True):
        uv = getattr(mesh.visual, "uv", None)
        if picture is chosen and uv is not None and len(uv) == len(mesh.vertices):
            coordinates.append(np.asarray(uv, dtype=np.float32)[faces])
        else:
            coordinates.append(np.full((len(faces), 3, 2), np.nan, dtype=np.float32))
    buffer = io.BytesIO()
    chosen.convert("RGB").save(buffer, "PNG", compress_level=0)  # through the same bounds as every other picture
    return np.concatenate(coordinates), read_image(buffer.getvalue())


def _picture(mesh: Any) -> Any:
    material = getattr(getattr(mesh, "visual", None), "material", None)
    picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    return picture if hasattr(picture, "convert") else None


@contextmanager
def _quiet_trimesh() -> Iterator[None]:
    """Keep trimesh's log of a damaged file, which may hold names from the file, out of ours."""
    logger = logging.getLogger("trimesh")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # they would name a place on this computer
            yield
    finally:
        logger.setLevel(level)
