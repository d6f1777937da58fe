"""STL (ascii and binary) and OFF, read with numpy."""

from __future__ import annotations

import numpy as np

from PALNetLandmarksLib.engine.reading_raw import (
    RawMesh,
    check_size,
    damaged,
    fans,
    number_table,
    polygon_rows,
    text_lines,
    truncated,
    unsupported,
)

_STL_HEADER = 84
_STL_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def announced_stl_size(data: bytes) -> int:
    """Return the size in bytes that a binary STL file's count of triangles asks for."""
    return _STL_HEADER + int.from_bytes(data[80:84], "little") * _STL_TRIANGLE.itemsize


def read_stl(data: bytes) -> RawMesh:
    """Read an STL file; its triangles do not share vertices yet.

    Raises
    ------
    InputError
        ``scan.damaged`` or ``scan.truncated``.
    """
    # Some programs begin the free header of a binary file with "solid": the size decides.
    if data[:5].lower() == b"solid" and announced_stl_size(data) != len(data):
        return _read_ascii_stl(data)
    if len(data) < _STL_HEADER or announced_stl_size(data) > len(data):
        count = int.from_bytes(data[80:84], "little")
        raise truncated(f"its header announces {count:,} triangles, more than the file can hold")
    check_size(0, int.from_bytes(data[80:84], "little"))
    table = np.frombuffer(data, _STL_TRIANGLE, int.from_bytes(data[80:84], "little"), _STL_HEADER)
    return _soup(table["corners"].reshape(-1, 3).astype(np.float64))


def _soup(corners: np.ndarray) -> RawMesh:
    return RawMesh(corners, np.arange(len(corners), dtype=np.int64).reshape(-1, 3))


def _read_ascii_stl(data: bytes) -> RawMesh:
    if b"endsolid" not in data[-512:].lower():
        raise truncated("its last line is missing")
    lower = data if b"vertex" in data else data.lower()
    if b"\n" not in lower:
        lower = lower.replace(b"\r", b"\n")
    rows = [line.replace(b"vertex", b" ") for line in text_lines(lower) if b"vertex" in line]
    facets = lower.count(b"endfacet")
    check_size(0, facets)
    if len(rows) != 3 * facets:
        raise damaged("a triangle has not three corners")
    try:
        table = number_table(rows, np.float64)
    except ValueError as error:
        raise damaged("a corner has not three numbers") from error
    if rows and table.shape[1] != 3:
        raise damaged("a corner has not three numbers")
    return _soup(table.reshape(-1, 3))


def read_off(data: bytes) -> RawMesh:
    """Read an ascii OFF file, also with colours, normals or texture coordinates, which are ignored.

    Raises
    ------
    InputError
        ``scan.damaged``, ``scan.truncated`` or ``scan.unsupported``.
    """
    if b"BINARY" in data[:64]:
        raise unsupported("it is a binary OFF file")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    lines = [line for line in (whole.split(b"#", 1)[0].strip() for whole in text_lines(data)) if line]
    first = lines[0].split()
    keyword = first[0].upper()
    if b"4" in keyword or b"N" in keyword.replace(b"NOFF", b""):
        raise unsupported("it is an OFF file of four or more dimensions")
    counts, start = (first[1:], 1) if len(first) > 1 else (lines[1].split() if len(lines) > 1 else [], 2)
    if len(counts) < 2 or not all(word.isdigit() for word in counts):
        raise damaged("it does not say how many vertices and faces it has")
    vertex_count, face_count = int(counts[0]), int(counts[1])
    if start + vertex_count + face_count > len(lines):
        raise truncated(f"its header announces {vertex_count:,} vertices and {face_count:,} faces, fewer are there")
    check_size(vertex_count, face_count)
    try:
        vertices = number_table(lines[start : start + vertex_count], np.float64)
        polygons = polygon_rows(lines[start + vertex_count : start + vertex_count + face_count])
    except (ValueError, IndexError) as error:
        raise damaged("a row does not hold the numbers it should") from error
    if vertex_count and vertices.shape[1] < 3:
        raise damaged("a vertex has fewer than three numbers")
    vertices = vertices[:, :3] if vertex_count else np.empty((0, 3))
    return RawMesh(np.ascontiguousarray(vertices), fans([(r, i) for r, i, _ in polygons]).reshape(-1, 3))
