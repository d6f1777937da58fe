"""Meshes to damage, and writers for every format that the program reads."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Callable

import numpy as np

Mesh = tuple[np.ndarray, np.ndarray]
COLUMNS, ROWS = 24, 30


def shell(columns: int = COLUMNS, rows: int = ROWS) -> Mesh:
    """Return a shell the size of a face, (columns × rows, 3) float64 in mm and its triangles (m, 3) int64."""
    x, y = np.meshgrid(np.linspace(-75, 75, columns), np.linspace(-100, 100, rows))
    z = 90 * np.sqrt(1.0 - (x / 90) ** 2 * 0.7 - (y / 120) ** 2 * 0.4) + 4 * np.sin(x / 9)
    corner = np.arange(columns * rows).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    return np.round(np.stack([x, y, z], axis=-1).reshape(-1, 3) * 64) / 64, triangles


def _rows(table: np.ndarray, form: str, prefix: str = "") -> bytes:
    stream = io.BytesIO()
    np.savetxt(stream, table, fmt=prefix + " ".join([form] * table.shape[1]))
    return stream.getvalue()


def _with_three(triangles: np.ndarray) -> np.ndarray:
    return np.column_stack([np.full(len(triangles), 3, dtype=np.int64), triangles])


def obj(mesh: Mesh) -> bytes:
    """OBJ."""
    return b"# made by code\n" + _rows(mesh[0], "%.7g", "v ") + _rows(mesh[1] + 1, "%d", "f ")


def _ply_header(kind: str, mesh: Mesh) -> bytes:
    return (
        f"ply\nformat {kind} 1.0\ncomment made by code\nelement vertex {len(mesh[0])}\nproperty float x\n"
        f"property float y\nproperty float z\nelement face {len(mesh[1])}\n"
        "property list uchar int vertex_indices\nend_header\n"
    ).encode()


def ply(mesh: Mesh) -> bytes:
    """Binary PLY."""
    rows = np.zeros(len(mesh[1]), [("n", "u1"), ("c", "<i4", 3)])
    rows["n"], rows["c"] = 3, mesh[1]
    return _ply_header("binary_little_endian", mesh) + mesh[0].astype("<f4").tobytes() + rows.tobytes()


def ply_ascii(mesh: Mesh) -> bytes:
    """Ascii PLY."""
    return _ply_header("ascii", mesh) + _rows(mesh[0], "%.7g") + _rows(_with_three(mesh[1]), "%d")


def _soup(mesh: Mesh) -> np.ndarray:
    """Return the corners' coordinates; a corner that is no vertex becomes one that is not a number."""
    vertices = np.concatenate([mesh[0], np.full((1, 3), np.nan)])
    index = np.where((mesh[1] < 0) | (mesh[1] >= len(mesh[0])), len(mesh[0]), mesh[1])
    return np.asarray(vertices[index]).reshape(-1, 3, 3)


def stl(mesh: Mesh) -> bytes:
    """Binary STL."""
    rows = np.zeros(len(mesh[1]), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    rows["corners"] = _soup(mesh)
    return b"made by code".ljust(80) + struct.pack("<I", len(rows)) + rows.tobytes()


def stl_ascii(mesh: Mesh) -> bytes:
    """Ascii STL."""
    facets = [
        "facet normal 0 0 1\nouter loop\n"
        + "".join(f"vertex {x:.7g} {y:.7g} {z:.7g}\n" for x, y, z in corners)
        + "endloop\nendfacet\n"
        for corners in _soup(mesh)
    ]
    return ("solid made by code\n" + "".join(facets) + "endsolid made by code\n").encode()


def off(mesh: Mesh) -> bytes:
    """OFF."""
    counts = f"OFF\n{len(mesh[0])} {len(mesh[1])} 0\n".encode()
    return counts + _rows(mesh[0], "%.7g") + _rows(_with_three(mesh[1]), "%d")


def vtk(mesh: Mesh) -> bytes:
    """Legacy VTK, binary."""
    head = f"# vtk DataFile Version 3.0\nmade by code\nBINARY\nDATASET POLYDATA\nPOINTS {len(mesh[0])} float\n"
    cells = f"\nPOLYGONS {len(mesh[1])} {4 * len(mesh[1])}\n"
    rows = _with_three(mesh[1]).astype(">i4").tobytes()
    return head.encode() + mesh[0].astype(">f4").tobytes() + cells.encode() + rows + b"\n"


def vtk_ascii(mesh: Mesh) -> bytes:
    """Legacy VTK, ascii."""
    head = f"# vtk DataFile Version 3.0\nmade by code\nASCII\nDATASET POLYDATA\nPOINTS {len(mesh[0])} float\n"
    cells = f"POLYGONS {len(mesh[1])} {4 * len(mesh[1])}\n"
    return head.encode() + _rows(mesh[0], "%.7g") + cells.encode() + _rows(_with_three(mesh[1]), "%d")


def vtp(mesh: Mesh) -> bytes:
    """VTP with its arrays in base 64."""

    def array(values: np.ndarray, kind: str, name: str, components: int = 1) -> str:
        block = values.tobytes()
        text = base64.b64encode(struct.pack("<I", len(block)) + block).decode()
        return (
            f'<DataArray type="{kind}" Name="{name}" NumberOfComponents="{components}" format="binary">'
            f"{text}</DataArray>"
        )

    points = array(mesh[0].astype("<f4"), "Float32", "Points", 3)
    polys = array(mesh[1].astype("<i4"), "Int32", "connectivity")
    polys += array(3 * np.arange(1, len(mesh[1]) + 1, dtype="<i4"), "Int32", "offsets")
    return (
        '<?xml version="1.0"?>\n<VTKFile type="PolyData" version="0.1" byte_order="LittleEndian">\n<PolyData>\n'
        f'<Piece NumberOfPoints="{len(mesh[0])}" NumberOfVerts="0" NumberOfLines="0" NumberOfStrips="0" '
        f'NumberOfPolys="{len(mesh[1])}">\n<Points>{points}</Points>\n<Polys>{polys}</Polys>\n'
        "</Piece>\n</PolyData>\n</VTKFile>\n"
    ).encode()


def _gltf_parts(mesh: Mesh) -> tuple[dict, bytes]:
    points, index = mesh[0].astype("<f4").tobytes(), mesh[1].astype("<u4").tobytes()
    finite = mesh[0][np.isfinite(mesh[0]).all(axis=1)] if len(mesh[0]) else mesh[0]
    bounds = {"min": finite.min(axis=0).tolist(), "max": finite.max(axis=0).tolist()} if len(finite) else {}
    document = {
        "asset": {"version": "2.0", "generator": "made by code"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 4}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(mesh[0]), "type": "VEC3", **bounds},
            {"bufferView": 1, "componentType": 5125, "count": mesh[1].size, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(points)},
            {"buffer": 0, "byteOffset": len(points), "byteLength": len(index)},
        ],
        "buffers": [{"byteLength": len(points) + len(index)}],
    }
    return document, points + index


def glb_file(document: dict, content: bytes) -> bytes:
    """Wrap a glTF document and its buffer as GLB."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    content += b"\0" * (-len(content) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(content), 0x004E4942) + content
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def glb(mesh: Mesh) -> bytes:
    """GLB."""
    return glb_file(*_gltf_parts(mesh))


def gltf(mesh: Mesh) -> bytes:
    """GlTF with its buffer inside."""
    document, content = _gltf_parts(mesh)
    document["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(content).decode()
    return json.dumps(document).encode()


#: Extension and writer of each form that a scan may have.
FORMATS: dict[str, tuple[str, Callable[[Mesh], bytes]]] = {
    "obj": (".obj", obj),
    "ply": (".ply", ply),
    "ply-ascii": (".ply", ply_ascii),
    "stl": (".stl", stl),
    "stl-ascii": (".stl", stl_ascii),
    "off": (".off", off),
    "vtk": (".vtk", vtk),
    "vtk-ascii": (".vtk", vtk_ascii),
    "vtp": (".vtp", vtp),
    "glb": (".glb", glb),
    "gltf": (".gltf", gltf),
}
BY_VTK = ("vtk", "vtk-ascii", "vtp")  # read in a process of their own, about 0.5 s each
