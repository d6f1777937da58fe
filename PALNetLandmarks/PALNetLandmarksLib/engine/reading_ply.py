"""Stanford PLY, ascii and binary, read with numpy.

The libraries at hand return a shorter mesh for a cut-off ascii file without a word, refuse binary files that mix
triangles and quads, or crash the process on damaged ones. Every count in the header is held against the size of the
file before anything is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from PALNetLandmarksLib.engine.reading_raw import (
    RawMesh,
    check_size,
    damaged,
    fans,
    no_names,
    number_table,
    polygon_rows,
    text_lines,
    truncated,
    unsupported,
)
from PALNetLandmarksLib.engine.reading_texture import MISSING, file_beside, read_image
from PALNetLandmarksLib.engine.scan import IntArray

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_LONGEST_HEADER = 1024 * 1024
_INDEX_NAMES = ("vertex_indices", "vertex_index")
_PER_VERTEX = (("texture_u", "texture_v"), ("s", "t"), ("u", "v"), ("texture_s", "texture_t"))


@dataclass(frozen=True)
class _Property:
    name: str
    type: str  # numpy type without byte order
    count_type: str = ""  # of a list; "" for a single number


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: tuple[_Property, ...]

    @property
    def smallest(self) -> int:
        """Fewest bytes that one binary row can take."""
        return sum(np.dtype(p.count_type or p.type).itemsize for p in self.properties)


@dataclass(frozen=True)
class _Header:
    order: str  # "<", ">", or "" for ascii
    elements: tuple[_Element, ...]
    textures: tuple[str, ...]
    length: int


Column = dict[str, npt.NDArray]
# Rows of an element that have the same list lengths: places in the file, and each property's values (k,) or (k, c).
Groups = list[tuple[IntArray, Column]]


def read_ply(data: bytes, folder: Path, texture: bool) -> RawMesh:
    """Read a PLY file.

    Parameters
    ----------
    data : bytes
        The file's content.
    folder : Path
        Where the file lies, for its texture.
    texture : bool
        Whether to read the texture.

    Returns
    -------
    RawMesh

    Raises
    ------
    InputError
        ``scan.damaged``, ``scan.truncated`` or ``scan.unsupported``.
    """
    header = _read_header(data)
    contents: dict[str, Groups] = {}
    place = header.length
    lines = [] if header.order else [line for line in text_lines(data[place:]) if line.strip()]
    row = 0
    for element in header.elements:
        if header.order:
            contents[element.name], place = _binary(data, place, element, header.order)
        else:
            if row + element.count > len(lines):
                raise truncated(f"{element.count:,} rows of a part are announced and {len(lines) - row:,} are there")
            contents[element.name] = _ascii(lines[row : row + element.count], element)
            row += element.count

    vertices = _vertices(contents.get("vertex", []))
    faces = [(rows, columns) for rows, columns in contents.get("face", []) if _indices(columns).shape[1] >= 3]
    if "tristrips" in contents and not faces:
        raise unsupported("its surface is stored as triangle strips")
    triangles = fans([(rows, _indices(columns)) for rows, columns in faces]).reshape(-1, 3)
    if not texture or not header.textures:
        return RawMesh(vertices, triangles)
    path = file_beside(folder, header.textures[0])
    image = read_image(path) if path is not None else None
    if image is None:
        return RawMesh(vertices, triangles, warnings=(MISSING,))
    coordinates = _coordinates(contents["vertex"], faces, triangles)
    return RawMesh(vertices, triangles, coordinates, image if coordinates is not None else None)


def _read_header(data: bytes) -> _Header:
    end = data.find(b"end_header", 0, _LONGEST_HEADER)
    if end < 0:
        raise truncated("its header has no end")
    newline = data.find(b"\n", end, end + 16)
    text = data[:end].decode("latin1")
    if newline < 0:  # old Macintosh line ends
        newline = end + len(b"end_header")
    order = None
    elements: list[tuple[str, int, list[_Property]]] = []
    textures = []
    for line in text.replace("\r", "\n").split("\n"):
        words = line.split()
        if not words:
            continue
        if words[0] == "format":
            order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}.get(" ".join(words[1:2]))
        elif words[0] == "element" and len(words) == 3 and words[2].isdecimal():
            elements.append((words[1], int(words[2]), []))
        elif words[0] == "property" and elements:
            elements[-1][2].append(_property(words))
        elif words[0] == "comment" and len(words) > 2 and words[1].lower() == "texturefile":
            textures.append(line.split(None, 2)[2].encode("latin1").decode("utf-8", "replace"))
        elif words[0] not in ("ply", "comment", "obj_info"):
            raise damaged("its header holds a line that belongs to no PLY file")
    if order is None:
        raise damaged("its header does not say whether it is ascii or binary")
    header = _Header(order, tuple(_Element(n, c, tuple(p)) for n, c, p in elements), tuple(textures), newline + 1)
    _check_counts(header, len(data) - header.length)
    counts = {element.name: element.count for element in header.elements}
    check_size(counts.get("vertex", 0), counts.get("face", 0))
    return header


def _property(words: list[str]) -> _Property:
    try:
        if words[1] == "list":
            return _Property(words[4], _TYPES[words[3]], _TYPES[words[2]])
        return _Property(words[2], _TYPES[words[1]])
    except (IndexError, KeyError) as error:
        raise damaged("its header describes a property that PLY does not know") from error


def _check_counts(header: _Header, available: int) -> None:
    """Hold the announced counts against the bytes that are there, before anything is allocated."""
    if len({element.name for element in header.elements}) != len(header.elements):
        raise damaged("its header announces the same part twice")
    needed = 0
    for element in header.elements:
        if not element.properties and element.count:
            raise damaged("its header announces a part without properties")
        # An ascii number takes at least a digit and a blank.
        smallest = element.smallest if header.order else 2 * len(element.properties)
        needed += element.count * smallest
    if needed > available + 1:  # the last line may lack its end
        counts = ", ".join(f"{element.count:,} {no_names(element.name)}" for element in header.elements[:3])
        raise truncated(f"its header announces {counts}, more than the file can hold")


def _binary(data: bytes, place: int, element: _Element, order: str) -> tuple[Groups, int]:
    if not element.count:
        return [], place
    lengths = _list_lengths(data, place, element, order)
    row_type = _row_type(element, lengths, order)
    end = place + element.count * row_type.itemsize
    if end <= len(data):
        table = np.frombuffer(data, row_type, element.count, place)
        if all((table[f"count {name}"] == length).all() for name, length in lengths.items()):
            return [(np.arange(element.count), _columns(table, element))], end
    elif not lengths:
        raise truncated(f"{element.count:,} rows of a part are announced, fewer are there")
    return _binary_of_mixed_lengths(data, place, element, order)


def _list_lengths(data: bytes, place: int, element: _Element, order: str) -> dict[str, int]:
    """Return the lengths of the lists of the row at a place in the file."""
    lengths = {}
    for item in element.properties:
        if item.count_type:
            count_type = np.dtype(order + item.count_type)
            if place + count_type.itemsize > len(data):
                raise truncated("its last face is incomplete")
            lengths[item.name] = int(np.frombuffer(data, count_type, 1, place)[0])
            if lengths[item.name] < 0:
                raise damaged("a list has a negative length")
            place += count_type.itemsize + lengths[item.name] * np.dtype(item.type).itemsize
        else:
            place += np.dtype(item.type).itemsize
    if place > len(data):
        raise truncated("its last face is incomplete")
    return lengths


def _row_type(element: _Element, lengths: dict[str, int], order: str) -> np.dtype:
    fields: list[tuple] = []
    for item in element.properties:
        if item.count_type:
            fields.append((f"count {item.name}", order + item.count_type))
            fields.append((item.name, order + item.type, (lengths[item.name],)))
        else:
            fields.append((item.name, order + item.type))
    try:
        return np.dtype(fields)
    except ValueError as error:
        raise damaged("its header names a property twice") from error


def _columns(table: npt.NDArray, element: _Element) -> Column:
    return {item.name: table[item.name] for item in element.properties}


def _binary_of_mixed_lengths(data: bytes, place: int, element: _Element, order: str) -> tuple[Groups, int]:
    """Find where each row begins one after the other, then read rows of the same list lengths together."""
    # Runs of single numbers between the lists, as (bytes before the count, count's format, its size, item size).
    steps: list[tuple[int, struct.Struct, int, int]] = []
    before = 0
    for item in element.properties:
        if item.count_type:
            count_type = np.dtype(item.count_type)
            steps.append((before, struct.Struct((order or "<") + count_type.char), count_type.itemsize,
                          np.dtype(item.type).itemsize))  # fmt: skip
            before = 0
        else:
            before += np.dtype(item.type).itemsize
    rows: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}
    size = len(data)
    try:
        for row in range(element.count):
            start = place
            lengths = []
            for skipped, count, count_size, item_size in steps:
                place += skipped
                length = count.unpack_from(data, place)[0]
                if length < 0:
                    raise damaged("a list has a negative length")
                place += count_size + length * item_size
                lengths.append(length)
            place += before
            if place > size:
                raise struct.error
            numbers, starts = rows.setdefault(tuple(lengths), ([], []))
            numbers.append(row)
            starts.append(start)
    except struct.error as error:
        raise truncated(f"{element.count:,} faces are announced, fewer are there") from error
    names = [item.name for item in element.properties if item.count_type]
    octets = np.frombuffer(data, np.uint8)
    groups: Groups = []
    for lengths_key, (numbers, starts) in sorted(rows.items()):
        row_type = _row_type(element, dict(zip(names, lengths_key, strict=True)), order)
        block = octets[np.asarray(starts)[:, None] + np.arange(row_type.itemsize)]
        table = np.ascontiguousarray(block).view(row_type)[:, 0]
        groups.append((np.asarray(numbers, dtype=np.int64), _columns(table, element)))
    return groups, place


def _ascii(lines: list[bytes], element: _Element) -> Groups:
    if not lines:
        return []
    try:
        if any(item.count_type for item in element.properties):
            return _ascii_lists(lines, element)
        table = number_table(lines, np.float64)
    except (ValueError, IndexError) as error:
        raise damaged(f"a row of its part '{no_names(element.name)}' does not hold the numbers it should") from error
    if table.shape[1] < len(element.properties):
        raise damaged(f"the rows of its part '{no_names(element.name)}' are too short")
    return [(np.arange(len(lines)), {item.name: table[:, i] for i, item in enumerate(element.properties)})]


def _ascii_lists(lines: list[bytes], element: _Element) -> Groups:
    if len(element.properties) == 1:
        name = element.properties[0].name
        return [(rows, {name: indices}) for rows, indices, _ in polygon_rows(lines)]
    by_lengths: dict[tuple[int, ...], list[int]] = {}
    for row, line in enumerate(lines):
        words = line.split()
        place, lengths = 0, []
        for item in element.properties:
            if item.count_type:
                lengths.append(int(words[place]))
                place += lengths[-1]
            place += 1
        by_lengths.setdefault((len(words), *lengths), []).append(row)
    groups: Groups = []
    for (words_in_row, *lengths), rows in sorted(by_lengths.items()):
        table = number_table([lines[row] for row in rows], np.float64)
        columns, place, remaining = {}, 0, list(lengths)
        for item in element.properties:
            if item.count_type:
                length = remaining.pop(0)
                columns[item.name] = table[:, place + 1 : place + 1 + length]
                place += 1 + length
            else:
                columns[item.name] = table[:, place]
                place += 1
        if place > words_in_row or min(lengths) < 0:
            raise ValueError("a row shorter than its lists")
        groups.append((np.asarray(rows, dtype=np.int64), columns))
    return groups


def _vertices(groups: Groups) -> npt.NDArray[np.float64]:
    if not groups:
        return np.empty((0, 3))
    if len(groups) > 1 or not all(axis in groups[0][1] for axis in "xyz"):
        raise damaged("its vertices have no x, y and z")
    columns = groups[0][1]
    return np.stack([columns[axis].astype(np.float64) for axis in "xyz"], axis=1)


def _indices(columns: Column) -> IntArray:
    """Return the vertex indices of faces, (k, c)."""
    for name in _INDEX_NAMES:
        if name in columns and columns[name].ndim == 2:
            return np.asarray(columns[name], dtype=np.int64)
    raise damaged("its faces name no vertices")


def _coordinates(
    vertex_groups: Groups, faces: Sequence[tuple[IntArray, Column]], triangles: IntArray
) -> npt.NDArray[np.float32] | None:
    """Return texture coordinates of the triangles' corners, from the faces' corners or from the vertices."""
    if any("texcoord" in columns for _, columns in faces):
        groups = []
        for rows, columns in faces:
            corners = columns[next(name for name in _INDEX_NAMES if name in columns)].shape[1]
            given = columns.get("texcoord", np.empty((len(rows), 0)))
            values = np.full((len(rows), corners, 2), np.nan, dtype=np.float32)
            if given.shape[1] == 2 * corners:
                values = given.astype(np.float32).reshape(len(rows), corners, 2)
            if "texnumber" in columns:
                values[columns["texnumber"] != 0] = np.nan  # of another picture than the first
            groups.append((rows, values))
        return fans(groups)
    columns = vertex_groups[0][1] if vertex_groups else {}
    for u, v in _PER_VERTEX:
        if u in columns and v in columns:
            table = np.stack([columns[u], columns[v]], axis=1).astype(np.float32)
            if len(triangles) and (triangles.min() < 0 or triangles.max() >= len(table)):
                raise damaged("a face names a vertex that is not in the file")
            return table[triangles]
    return None
