"""Write triangle meshes: binary PLY and OBJ. A file appears whole or not at all."""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from PALNetLandmarksLib.errors import UsageError
from PALNetLandmarksLib.files import atomic_write


def write_mesh(path: str | PathLike[str], vertices: npt.ArrayLike, triangles: npt.ArrayLike) -> None:
    """Write a mesh as binary PLY (single precision) or OBJ, by the name's extension.

    Parameters
    ----------
    path : path
        Ends in ``.ply`` or ``.obj``.
    vertices : (n, 3) float
        mm.
    triangles : (m, 3) int

    Raises
    ------
    UsageError
        If the extension is another.
    InputError
        If the file cannot be written.
    """
    path = Path(path)
    points = np.asarray(vertices, dtype=np.float64).reshape(-1, 3)
    faces = np.asarray(triangles, dtype=np.int64).reshape(-1, 3)
    suffix = path.suffix.lower()
    if suffix == ".ply":
        content = _ply(points, faces)
    elif suffix == ".obj":
        content = _obj(points, faces)
    else:
        raise UsageError(
            "Meshes are written as .ply or .obj only.", "Give the file one of these extensions.", code="mesh.extension"
        )
    with atomic_write(path, "wb") as stream:
        stream.write(content)


def _ply(vertices: npt.NDArray[np.float64], triangles: npt.NDArray[np.int64]) -> bytes:
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment unit mm\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(triangles), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"] = 3
    faces["corners"] = triangles
    return header.encode("ascii") + vertices.astype("<f4").tobytes() + faces.tobytes()


def _obj(vertices: npt.NDArray[np.float64], triangles: npt.NDArray[np.int64]) -> bytes:
    stream = io.StringIO()
    stream.write("# unit mm\n")
    np.savetxt(stream, vertices, fmt="v %.6f %.6f %.6f")
    np.savetxt(stream, triangles + 1, fmt="f %d %d %d")
    return stream.getvalue().encode("ascii")
