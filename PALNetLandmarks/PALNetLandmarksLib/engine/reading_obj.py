"""Wavefront OBJ, read with numpy.

Of the libraries at hand one is too slow for a textured scan of 100,000 vertices (0.5-0.65 s) and one crashes the
process on damaged files (about 1 in 100 mutated files), so the format, which is lines of numbers, is read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from PALNetLandmarksLib.engine.reading_raw import (
    RawMesh,
    check_lines,
    check_size,
    damaged,
    fans,
    number_table,
    truncated,
)
from PALNetLandmarksLib.engine.reading_texture import MISSING, file_beside, read_image
from PALNetLandmarksLib.engine.scan import FloatArray, IntArray, ScanWarning
from PALNetLandmarksLib.errors import InputError

_LONGEST_LIBRARY = 4 * 1024 * 1024  # bytes; material libraries have a few lines
_BLOCK = 16 * 1024 * 1024  # bytes parsed at a time: bounds the memory for the list of lines
# Statements of the format that carry no surface, or none that a face scan uses.
_IGNORED = frozenset(
    b"# o g s l p vn vp mg lod usemap maplib bevel c_interp d_interp shadow_obj trace_obj ctech stech cstype deg bmat "
    b"step curv curv2 surf parm trim hole scrv sp end con call csh mtllib usemtl".split()
)
_CUT = ScanWarning(
    "scan.maybe_truncated",
    "The file does not end with a line break: if the scan looks incomplete, the file was cut off while copying.",
)


@dataclass
class _Parsed:
    """What has been read so far."""

    vertices: list[FloatArray] = field(default_factory=list)
    coordinates: list[FloatArray] = field(default_factory=list)
    groups: list[tuple[IntArray, IntArray]] = field(default_factory=list)  # (rows, (k, c, 2) vertex and texture index)
    vertex_count: int = 0
    coordinate_count: int = 0
    face_count: int = 0
    libraries: list[str] = field(default_factory=list)
    materials: list[tuple[int, str]] = field(default_factory=list)  # (first face, name)


def read_obj(data: bytes, folder: Path, texture: bool) -> RawMesh:
    """Read an OBJ file.

    Parameters
    ----------
    data : bytes
        The file's content.
    folder : Path
        Where the file lies, for its material library and texture.
    texture : bool
        Whether to read the texture.

    Returns
    -------
    RawMesh

    Raises
    ------
    InputError
        ``scan.damaged``, ``scan.truncated`` or ``scan.too_large``.
    """
    data = _plain_lines(data)
    check_lines(data)
    complete = data.endswith(b"\n")
    parsed = _Parsed()
    try:
        for block in _blocks(data):
            _read_block(block, parsed)
            check_size(parsed.vertex_count, parsed.face_count)
    except InputError as error:
        raise error if complete or error.code != "scan.damaged" else truncated("its last line is incomplete") from error
    del data

    vertices = np.concatenate(parsed.vertices) if parsed.vertices else np.empty((0, 3))
    corners = fans(parsed.groups).reshape(-1, 3, 2)
    triangles = np.ascontiguousarray(corners[:, :, 0])
    warnings = () if complete else (_CUT,)
    if not texture or not parsed.coordinates or not parsed.libraries or not (corners[:, :, 1] >= 0).any():
        return RawMesh(vertices, triangles, warnings=warnings)

    image, names = _texture(parsed, folder)
    if image is None:
        return RawMesh(vertices, triangles, warnings=(*warnings, MISSING) if names is not None else warnings)
    table = np.concatenate(parsed.coordinates)
    index = corners[:, :, 1]
    if index.max() >= len(table):
        raise damaged("a face names a texture coordinate that is not in the file")
    coordinates = np.where((index >= 0)[:, :, None], table[index], np.nan).astype(np.float32)
    if names and parsed.materials:
        coordinates[~_has_material(parsed, names)] = np.nan
    return RawMesh(vertices, triangles, coordinates, image, warnings)


def _plain_lines(data: bytes) -> bytes:
    """Return the data with ordinary line ends and continued lines joined."""
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    if b"\\" in data:
        data = re.sub(rb"\\[ \t]*\r?\n", b" ", data)
    return data


def _blocks(data: bytes) -> Iterator[list[bytes]]:
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + _BLOCK) + 1 if start + _BLOCK < len(data) else len(data)
        if end <= start:
            raise damaged("a line of more than 16 million characters")
        yield data[start:end].split(b"\n")
        start = end


def _read_block(lines: list[bytes], parsed: _Parsed) -> None:
    keys = np.array(lines, dtype="S3")  # the first three characters
    kinds = keys.astype("S2")
    is_vertex, is_face, is_coordinate = kinds == b"v ", kinds == b"f ", keys == b"vt "
    others = list(compress(lines, ~(is_vertex | is_face | is_coordinate | (keys == b"vn "))))
    if any(line.split(None, 1)[:1] in ([b"v"], [b"f"], [b"vt"], [b"vn"]) for line in others):
        # Blanks before the keyword or a tab after it: tidy, and once more.
        _read_block([b" ".join(line.split()) + b" " for line in lines], parsed)
        return
    for line in others:
        words = line.split(None, 1)
        if words and words[0] not in _IGNORED and not words[0].startswith(b"#"):
            raise damaged("it holds a line that belongs to no OBJ file")
        if words and words[0] == b"mtllib" and len(words) > 1:
            parsed.libraries.append(words[1].strip().decode("utf-8", "replace"))

    faces_before = parsed.face_count + np.cumsum(is_face)
    for place in np.flatnonzero(kinds == b"us"):
        name = lines[place].partition(b" ")[2].strip()
        if lines[place].startswith(b"usemtl"):
            parsed.materials.append((int(faces_before[place]), name.decode("utf-8", "replace")))
    if is_face.any():
        before = np.stack(
            [
                parsed.vertex_count + np.cumsum(is_vertex)[is_face],
                parsed.coordinate_count + np.cumsum(is_coordinate)[is_face],
            ],
            axis=1,
        )
        _read_faces(list(compress(lines, is_face)), before, parsed)
    if is_vertex.any():
        parsed.vertices.append(_rows(list(compress(lines, is_vertex)), 3, "vertex"))
        parsed.vertex_count += len(parsed.vertices[-1])
    if is_coordinate.any():
        parsed.coordinates.append(_rows(list(compress(lines, is_coordinate)), 2, "texture coordinate"))
        parsed.coordinate_count += len(parsed.coordinates[-1])


def _rows(lines: list[bytes], columns: int, what: str) -> FloatArray:
    """Parse the first numbers after the keyword; a vertex may go on with a weight or a colour."""
    try:
        return number_table(lines, np.float64, range(1, columns + 1))
    except ValueError as error:
        if columns == 2 and all(len(line.split()) == 2 for line in lines):
            return np.zeros((len(lines), 2))  # one-dimensional textures exist; no face scan has one
        raise damaged(f"a {what} is incomplete or is no number") from error


def _read_faces(faces: list[bytes], before: IntArray, parsed: _Parsed) -> None:
    """Read faces; `before` (k, 2) says how many vertices and texture coordinates precede each."""
    try:
        groups = [_same_faces(np.arange(len(faces)), faces)]
    except ValueError:
        by_form: dict[tuple[int, int, int], list[int]] = {}
        for row, line in enumerate(faces):
            by_form.setdefault((len(line.split()), line.count(b"/"), line.count(b"//")), []).append(row)
        try:
            groups = [
                _same_faces(np.asarray(rows), [faces[row] for row in rows]) for _, rows in sorted(by_form.items())
            ]
        except ValueError as error:
            raise damaged("a face is incomplete or is not made of whole numbers") from error
    for rows, corners in groups:
        if (corners[:, :, 0] == 0).any():
            raise damaged("a face names the vertex number 0, but OBJ files count from 1")
        negative = corners < 0  # counted back from the last one before the face
        if negative.any():
            corners += np.where(negative, before[rows][:, None, :] + 1, 0)
            if (corners[negative] <= 0).any():
                raise damaged("a face counts back to before the first vertex")
        parsed.groups.append((rows + parsed.face_count, corners - 1))  # no texture coordinate: -1
    parsed.face_count += len(faces)


def _same_faces(rows: IntArray, lines: list[bytes]) -> tuple[IntArray, IntArray]:
    """Parse faces of one form, (k, c, 2) vertex and texture index as in the file, 0 where there is no texture index.

    Raises
    ------
    ValueError
        If the lines are not of one form or too short.
    """
    words = lines[0].split()[1:]
    if len(words) < 3:
        raise ValueError("a face of fewer than three corners")
    slashes, doubled = words[0].count(b"/"), words[0].count(b"//")
    joined = b"\n".join(lines).replace(b"\nf ", b"\n")[2:]
    corners = len(words) * len(lines)
    if slashes > 2 or joined.count(b"/") != corners * slashes or joined.count(b"//") != corners * doubled:
        raise ValueError("faces of different forms")
    parts = 1 + slashes - doubled
    table = number_table(joined.replace(b"/", b" ").split(b"\n"), np.int64)
    if table.shape[1] != len(words) * parts:
        raise ValueError("faces of different forms")
    table = table.reshape(len(lines), len(words), parts)
    result = np.zeros((len(lines), len(words), 2), dtype=np.int64)
    result[:, :, 0] = table[:, :, 0]
    if slashes and not doubled:
        result[:, :, 1] = table[:, :, 1]
    return rows, result


def _has_material(parsed: _Parsed, names: set[str]) -> npt.NDArray[np.bool_]:
    """Return which triangles carry one of the materials."""
    starts = np.array([start for start, _ in parsed.materials])
    wanted = np.array([False] + [name in names for _, name in parsed.materials])
    of_face = wanted[np.searchsorted(starts, np.arange(parsed.face_count), side="right")]
    return fans([(rows, np.repeat(of_face[rows][:, None], c.shape[1], axis=1)) for rows, c in parsed.groups])[:, 0]


def _texture(parsed: _Parsed, folder: Path) -> tuple[npt.NDArray[np.uint8] | None, set[str] | None]:
    """Return the picture that most faces use and the materials with it; None, None if no material names a picture."""
    pictures: dict[str, str] = {}
    unreadable = False
    for library in dict.fromkeys(parsed.libraries):
        path = file_beside(folder, library)
        if path is None:
            unreadable = True
            continue
        try:
            if path.stat().st_size > _LONGEST_LIBRARY:
                unreadable = True
                continue
            pictures.update(_material_pictures(path.read_bytes()))
        except OSError:
            unreadable = True
    if not pictures:
        return None, set() if unreadable else None
    if not parsed.materials:  # coordinates, but no face says what picture they are of
        return None, None
    faces: dict[str, int] = dict.fromkeys(pictures.values(), 0)
    ends = [start for start, _ in parsed.materials[1:]] + [parsed.face_count]
    for (start, name), end in zip(parsed.materials, ends, strict=True):
        if name in pictures:
            faces[pictures[name]] += end - start
    best = max(faces, key=lambda picture: faces[picture])
    names = {name for name, picture in pictures.items() if picture == best}
    path = file_beside(folder, best)
    return (read_image(path) if path is not None else None), names


def _material_pictures(data: bytes) -> dict[str, str]:
    """Return the diffuse texture's file name of each material of an MTL library."""
    pictures: dict[str, str] = {}
    current = ""
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.split(None, 1)
        if len(words) < 2:
            continue
        if words[0] == "newmtl":
            current = words[1].strip()
        elif words[0].lower() == "map_kd" or (words[0].lower() == "map_ka" and current not in pictures):
            # Options such as "-s 1 1 1" precede the name; a name may hold blanks.
            pictures[current] = re.sub(r"^(-\w+(\s+-?[\d.]+|\s+(on|off))+\s+)+", "", words[1].strip())
    return pictures
