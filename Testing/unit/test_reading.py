"""Reading scans: every format, every way a file can be wrong. All files are made here, by code."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from PALNetLandmarksLib.engine import reading
from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan, scan_from_arrays
from PALNetLandmarksLib.errors import InputError, UsageError

COLUMNS, ROWS = 14, 16


def shell() -> tuple[np.ndarray, np.ndarray]:
    """Return a shell the size of a face, open at the back, as quads in whole quarter millimetres."""
    x, y = np.meshgrid(np.linspace(-75, 75, COLUMNS), np.linspace(-100, 100, ROWS))
    z = 90 * np.sqrt(np.maximum(1.0 - (x / 90) ** 2 * 0.8 - (y / 120) ** 2 * 0.8, 0.0)) + 4 * np.sin(x / 9)
    vertices = np.round(np.stack([x, y, z], axis=-1).reshape(-1, 3) * 4) / 4
    corner = np.arange(COLUMNS * ROWS).reshape(ROWS, COLUMNS)
    quads = np.stack([corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]], axis=-1).reshape(-1, 4)
    return vertices, quads


def in_order_of_reading() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the shell in the order that reading gives every surface, so that arrays can be compared as they are."""
    vertices, quads = shell()
    scan = scan_from_arrays(vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))
    return scan.vertices, cKDTree(scan.vertices).query(vertices)[1][quads], scan.triangles


VERTICES, QUADS, TRIANGLES = in_order_of_reading()
UV = (VERTICES[:, :2] + 100) / 200


def numbers(rows: np.ndarray, prefix: str = "") -> str:
    return "".join(prefix + " ".join(f"{value:.6g}" for value in row) + "\n" for row in np.atleast_2d(rows))


def obj(faces: np.ndarray = TRIANGLES) -> str:
    return numbers(VERTICES, "v ") + numbers(faces + 1, "f ")


def ply_header(kind: str, faces: int, vertex: str = "", face: str = "", count: int = len(VERTICES)) -> bytes:
    return (
        f"ply\nformat {kind} 1.0\ncomment TextureFile skin.png\nelement vertex {count}\nproperty float x\n"
        f"property float y\nproperty float z\n{vertex}element face {faces}\n"
        f"property list uchar int vertex_indices\n{face}end_header\n"
    ).encode()


def ply_ascii() -> str:
    rows = np.column_stack([np.full(len(TRIANGLES), 3), TRIANGLES])
    return ply_header("ascii", len(TRIANGLES)).decode() + numbers(VERTICES) + numbers(rows)


def ply_binary(order: str = "<") -> bytes:
    kind = "binary_little_endian" if order == "<" else "binary_big_endian"
    rows = np.zeros(len(TRIANGLES), [("n", "u1"), ("c", order + "i4", 3)])
    rows["n"], rows["c"] = 3, TRIANGLES
    return ply_header(kind, len(TRIANGLES)) + VERTICES.astype(order + "f4").tobytes() + rows.tobytes()


def ply_mixed() -> bytes:
    """Quads and triangles, with double coordinates, a colour and a number after the list."""
    header = ply_header("binary_little_endian", len(QUADS) + 1, "property uchar red\n", "property short part\n")
    header = header.replace(b"property float", b"property double")
    rows = np.zeros(len(VERTICES), [("p", "<f8", 3), ("red", "u1")])
    rows["p"] = VERTICES
    body = b"".join(b"\x04" + quad.astype("<i4").tobytes() + b"\0\0" for quad in QUADS[1:])
    last = b"".join(b"\x03" + QUADS[0][list(c)].astype("<i4").tobytes() + b"\0\0" for c in ((0, 1, 2), (0, 2, 3)))
    return header + rows.tobytes() + body + last


def stl_binary() -> bytes:
    rows = np.zeros(len(TRIANGLES), [("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")])
    rows["c"] = VERTICES[TRIANGLES]
    return b"solid but binary".ljust(80) + struct.pack("<I", len(rows)) + rows.tobytes()


def stl_ascii() -> str:
    facets = "".join(
        f"facet normal 0 0 0\n outer loop\n{numbers(corners, '  vertex ')} endloop\nendfacet\n"
        for corners in VERTICES[TRIANGLES]
    )
    return f"solid scan\n{facets}endsolid scan\n"


def off() -> str:
    rows = np.column_stack([np.full(len(QUADS), 4), QUADS])
    return f"OFF\n# a comment\n{len(VERTICES)} {len(QUADS)} 0\n" + numbers(VERTICES) + "\n" + numbers(rows)


def vtk_legacy() -> str:
    rows = np.column_stack([np.full(len(QUADS), 4), QUADS])
    return (
        f"# vtk DataFile Version 3.0\ntitle\nASCII\nDATASET POLYDATA\nPOINTS {len(VERTICES)} float\n{numbers(VERTICES)}"
        f"POLYGONS {len(rows)} {rows.size}\n{numbers(rows)}"
    )


def vtp() -> str:
    def array(name: str, kind: str, values: np.ndarray, components: int = 1) -> str:
        text = " ".join(f"{value:.6g}" for value in values.ravel())
        attributes = f'type="{kind}" Name="{name}" NumberOfComponents="{components}" format="ascii"'
        return f"<DataArray {attributes}>{text}</DataArray>"

    offsets = np.arange(3, 3 * len(TRIANGLES) + 1, 3)
    return (
        '<?xml version="1.0"?><VTKFile type="PolyData" version="0.1" byte_order="LittleEndian"><PolyData>'
        f'<Piece NumberOfPoints="{len(VERTICES)}" NumberOfPolys="{len(TRIANGLES)}">'
        f"<Points>{array('Points', 'Float64', VERTICES, 3)}</Points><Polys>"
        f"{array('connectivity', 'Int64', TRIANGLES)}{array('offsets', 'Int64', offsets)}"
        "</Polys></Piece></PolyData></VTKFile>"
    )


def png(folder: Path, name: str = "skin.png") -> Path:
    image = pytest.importorskip("PIL.Image")
    path = folder / name
    image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)).save(path)
    return path


def gltf(picture: bytes | None = None) -> tuple[dict, bytes]:
    """Return the JSON and the buffer of a glTF scan in metres whose node is turned by 180 degrees."""
    parts = [(VERTICES / 1000).astype("<f4"), TRIANGLES.astype("<u4"), UV.astype("<f4")]
    views, buffer = [], b""
    for part in [part.tobytes() for part in parts] + ([picture] if picture else []):
        views.append({"buffer": 0, "byteOffset": len(buffer), "byteLength": len(part)})
        buffer += part + b"\0" * (-len(part) % 4)
    low, high = parts[0].min(axis=0).tolist(), parts[0].max(axis=0).tolist()
    count = len(VERTICES)
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "rotation": [0, 0, 1, 0]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 2}, "indices": 1, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}} if picture else {}}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3", "min": low, "max": high},
            {"bufferView": 1, "componentType": 5125, "count": TRIANGLES.size, "type": "SCALAR"},
            {"bufferView": 2, "componentType": 5126, "count": count, "type": "VEC2"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(buffer)}],
    }
    if picture:
        document["textures"] = [{"source": 0}]
        document["images"] = [{"bufferView": 3, "mimeType": "image/png"}]
    return document, buffer


def glb(picture: bytes | None = None) -> bytes:
    document, buffer = gltf(picture)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    length = 12 + 8 + len(text) + 8 + len(buffer)
    return (
        struct.pack("<4sII", b"glTF", 2, length)
        + struct.pack("<I4s", len(text), b"JSON") + text
        + struct.pack("<I4s", len(buffer), b"BIN\0") + buffer
    )  # fmt: skip


CONTENTS = {
    "obj": obj(), "ply": ply_ascii(), "little.ply": ply_binary("<"), "big.ply": ply_binary(">"),
    "mixed.ply": ply_mixed(), "stl": stl_binary(), "ascii.stl": stl_ascii(), "off": off(), "vtk": vtk_legacy(),
    "vtp": vtp(), "glb": glb(),
}  # fmt: skip


def save(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def surface(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the triangles' centroids in a fixed order: equal for equal surfaces, however they are numbered."""
    centres = vertices[triangles].mean(axis=1)
    return centres[np.lexsort(np.round(centres, 3).T)]


def refused(path: Path, code: str, **options: str) -> InputError:
    with pytest.raises(InputError) as caught:
        read_scan(path, **options)
    assert caught.value.code == code
    assert caught.value.exit_code == 3
    assert caught.value.message.endswith(".") and caught.value.hint
    assert str(path.parent) not in str(caught.value)
    return caught.value


def codes(scan: reading.Scan) -> list[str]:
    return [warning.code for warning in scan.warnings]


@pytest.mark.parametrize("kind", CONTENTS)
def test_every_format_gives_the_same_surface(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, f"scan.{kind}", CONTENTS[kind])
    scan = read_scan(path, texture=False)
    assert scan.triangles.shape == TRIANGLES.shape and scan.vertices.shape == VERTICES.shape
    assert scan.vertices.dtype == np.float64 and scan.triangles.dtype == np.int64
    expected = VERTICES * (-1, -1, 1) if kind == "glb" else VERTICES  # its node is turned by 180 degrees
    if kind in ("obj", "ply", "little.ply", "vtp", "stl"):
        np.testing.assert_allclose(surface(scan.vertices, scan.triangles), surface(expected, TRIANGLES), atol=1e-3)
    # Quads may be cut along either diagonal: the area tells.
    low, high = scan.vertices.min(axis=0), scan.vertices.max(axis=0)
    np.testing.assert_allclose(low, expected.min(axis=0), atol=1e-3)
    np.testing.assert_allclose(high, expected.max(axis=0), atol=1e-3)
    assert scan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert scan.unit == ("m" if kind == "glb" else "mm")
    assert codes(scan) == (["scan.unit_converted"] if kind == "glb" else [])
    first = scan.vertices[scan.triangles]
    assert (np.cross(first[:, 1] - first[:, 0], first[:, 2] - first[:, 0])[:, 2] > 0).mean() > 0.95  # outwards


@pytest.mark.parametrize(
    "content",
    [
        obj().replace("\n", "\r\n"),
        obj().replace("\n", "\r"),
        "# caf\u00e9 \u4eba\no head\ng skin\ns off\n" + obj(),
        numbers(np.column_stack([VERTICES, np.full((len(VERTICES), 3), 0.5)]), "v ") + numbers(TRIANGLES + 1, "f "),
        numbers(VERTICES, "v ") + numbers(TRIANGLES - len(VERTICES), "f "),
        obj().replace("v ", "v\t").replace("f ", "  f  "),
        obj(QUADS),
        numbers(VERTICES, "v ") + numbers(QUADS[:50] + 1, "f ")
        + numbers(np.concatenate([QUADS[50:, [0, 1, 2]], QUADS[50:, [0, 2, 3]]]) + 1, "f "),
        obj().replace("f 1 2", "f 1 \\\n 2"),
        numbers(VERTICES, "v ") + "".join("vn 0 0 1\n" for _ in VERTICES)
        + "".join("f " + " ".join(f"{c + 1}//{c + 1}" for c in t) + "\n" for t in TRIANGLES),
    ],
    ids=["crlf", "cr", "comments", "colours", "negative", "tabs", "quads", "mixed", "continued", "normals"],
)  # fmt: skip
def test_obj_dialects(tmp_path: Path, content: str) -> None:
    scan = read_scan(save(tmp_path, "scan.obj", content))
    assert scan.triangles.shape == TRIANGLES.shape and codes(scan) == []
    np.testing.assert_array_equal(scan.vertices, VERTICES)
    np.testing.assert_allclose(surface(scan.vertices, scan.triangles), surface(VERTICES, TRIANGLES), atol=1e-9)


def test_obj_of_several_objects_counts_back_from_each_face(tmp_path: Path) -> None:
    first, second = TRIANGLES - len(VERTICES), TRIANGLES - len(VERTICES)
    content = (
        "o a\n" + numbers(VERTICES, "v ") + numbers(first, "f ")
        + "o b\n" + numbers(VERTICES + (0, 0, -40), "v ") + numbers(second, "f ")
    )  # fmt: skip
    scan = read_scan(save(tmp_path, "scan.obj", content))
    assert len(scan.vertices) == 2 * len(VERTICES) and len(scan.triangles) == 2 * len(TRIANGLES)
    both = np.vstack([VERTICES, VERTICES + (0, 0, -40)])
    expected = surface(both, np.vstack([TRIANGLES, TRIANGLES + len(VERTICES)]))
    np.testing.assert_allclose(surface(scan.vertices, scan.triangles), expected, atol=1e-9)


def test_large_obj_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PALNetLandmarksLib.engine import reading_obj

    content = textured_obj()
    png(tmp_path)
    save(tmp_path, "scan.mtl", "newmtl skin\nmap_Kd skin.png\n")
    path = save(tmp_path, "scan.obj", content)
    whole = read_scan(path)
    monkeypatch.setattr(reading_obj, "_BLOCK", 1000)
    pieces = read_scan(path)
    np.testing.assert_array_equal(whole.vertices, pieces.vertices)
    np.testing.assert_array_equal(whole.triangles, pieces.triangles)
    np.testing.assert_array_equal(whole.texture.coordinates, pieces.texture.coordinates)


def textured_obj() -> str:
    """Return an OBJ whose texture has a seam: one more coordinate than vertices, and a part without a picture."""
    faces = "".join("f " + " ".join(f"{c + 1}/{c + 2}" for c in t) + "\n" for t in TRIANGLES)
    lines = faces.splitlines(keepends=True)
    half = len(lines) // 2 + 10
    faces = "usemtl skin\n" + "".join(lines[:half]) + "usemtl plain\n" + "".join(lines[half:])
    return "mtllib scan.mtl\n" + numbers(VERTICES, "v ") + "vt 0 0\n" + numbers(UV, "vt ") + faces


def test_obj_texture_is_kept_per_corner(tmp_path: Path) -> None:
    png(tmp_path)
    save(tmp_path, "scan.mtl", "# by somebody\nnewmtl skin\nKd 1 1 1\nmap_Kd -s 1 1 1 skin.png\nnewmtl plain\n")
    scan = read_scan(save(tmp_path, "scan.obj", textured_obj()))
    assert scan.texture is not None and scan.texture.image.shape == (4, 6, 3)
    assert scan.texture.coordinates.shape == (len(TRIANGLES), 3, 2)
    half = len(TRIANGLES) // 2 + 10
    np.testing.assert_allclose(scan.texture.coordinates[:half], UV[scan.triangles[:half]], atol=1e-5)
    assert np.isnan(scan.texture.coordinates[half:]).all()
    assert len(scan.vertices) == len(VERTICES) and codes(scan) == []


@pytest.mark.parametrize("missing", ["library", "picture", "damaged picture", "outside"])
def test_missing_texture_is_a_warning(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    picture = "skin.png"
    if missing == "damaged picture":
        save(folder, "skin.png", b"\x89PNG\r\n\x1a\n damaged")
    if missing == "outside":  # only files in the scan's folder are opened
        png(tmp_path, "secret.png")
        picture = "../secret.png"
    if missing != "library":
        save(folder, "scan.mtl", f"newmtl skin\nmap_Kd {picture}\n")
    scan = read_scan(save(folder, "scan.obj", textured_obj()))
    assert scan.texture is None and codes(scan) == ["scan.texture_missing"]


def test_ply_texture_per_vertex_and_per_corner(tmp_path: Path) -> None:
    png(tmp_path)
    vertex_rows = np.hstack([VERTICES, UV]).astype("<f4")
    face = np.zeros(len(TRIANGLES), [("n", "u1"), ("c", "<i4", 3), ("k", "u1"), ("t", "<f4", 6)])
    face["n"], face["c"], face["k"], face["t"] = 3, TRIANGLES, 6, UV[TRIANGLES].reshape(-1, 6)
    per_vertex = (
        ply_header("binary_little_endian", len(TRIANGLES), "property float s\nproperty float t\n")
        + vertex_rows.tobytes() + face[["n", "c"]].astype([("n", "u1"), ("c", "<i4", 3)]).tobytes()
    )  # fmt: skip
    per_corner = (
        ply_header("binary_little_endian", len(TRIANGLES), face="property list uchar float texcoord\n")
        + VERTICES.astype("<f4").tobytes() + face.tobytes()
    )  # fmt: skip
    text = ply_header("ascii", len(TRIANGLES), face="property list uchar float texcoord\n").decode()
    rows = np.hstack([np.full((len(face), 1), 3), TRIANGLES, np.full((len(face), 1), 6), face["t"]])
    for content in (per_vertex, per_corner, text + numbers(VERTICES) + numbers(rows)):
        scan = read_scan(save(tmp_path, "scan.ply", content))
        assert scan.texture is not None
        np.testing.assert_allclose(scan.texture.coordinates, UV[TRIANGLES], atol=1e-5)
        np.testing.assert_array_equal(scan.triangles, TRIANGLES)


def test_glb_and_gltf_texture(tmp_path: Path) -> None:
    picture = png(tmp_path)
    scan = read_scan(save(tmp_path, "scan.glb", glb(picture.read_bytes())))
    assert scan.texture is not None and scan.texture.image.shape == (4, 6, 3)
    corners = scan.vertices[scan.triangles]  # u was made of x before the node's half turn
    np.testing.assert_allclose(scan.texture.coordinates[:, :, 0], (100 - corners[:, :, 0]) / 200, atol=1e-5)
    document, buffer = gltf()
    document["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(buffer).decode()
    assert read_scan(save(tmp_path, "scan.gltf", json.dumps(document))).triangles.shape == TRIANGLES.shape
    document["buffers"][0]["uri"] = "scan.bin"
    save(tmp_path, "scan.bin", buffer)
    assert read_scan(save(tmp_path, "scan.gltf", json.dumps(document))).triangles.shape == TRIANGLES.shape


@pytest.mark.parametrize("address", ["http://example.org/scan.bin", "../scan.bin", "/etc/hostname", "absent.bin"])
def test_gltf_reads_nothing_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("a network connection was tried")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    (tmp_path / "scans").mkdir()
    document, buffer = gltf()
    save(tmp_path, "scan.bin", buffer)
    document["buffers"][0]["uri"] = address
    refused(save(tmp_path / "scans", "scan.gltf", json.dumps(document)), "scan.damaged")


@pytest.mark.parametrize("kind", CONTENTS)
def test_non_ascii_path_with_blanks(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "M\u00fcller \u4eba \u0416"
    folder.mkdir()
    path = save(folder, f"Gesicht \u00e9 1.{kind}", CONTENTS[kind])
    assert len(read_scan(path, texture=False).triangles) == len(TRIANGLES)


def test_symbolic_link(tmp_path: Path) -> None:
    target = save(tmp_path, "scan.obj", obj())
    link = tmp_path / "link.obj"
    link.symlink_to(target)
    assert read_scan(link).sha256 == read_scan(target).sha256
    loop = tmp_path / "loop.obj"
    loop.symlink_to(loop)
    refused(loop, "scan.unreadable")


@pytest.mark.parametrize("kind", ["obj", "ply", "little.ply", "stl", "ascii.stl", "off", "vtk", "glb"])
@pytest.mark.parametrize("tenth", [1, 5, 9])
def test_cut_off_file_is_never_silently_shorter(tmp_path: Path, kind: str, tenth: int) -> None:
    content = CONTENTS[kind]
    data = content.encode() if isinstance(content, str) else content
    cut = data[: len(data) * tenth // 10]
    # An OBJ file that ends where a line ends says nothing of what is lost.
    path = save(tmp_path, f"scan.{kind}", cut.rstrip(b"\n") if kind == "obj" else cut)
    try:
        scan = read_scan(path, texture=False)
    except InputError as error:
        assert error.code in {"scan.truncated", "scan.damaged", "scan.point_cloud"} and error.hint
    else:  # an OBJ file has no count: only its last line can tell
        assert kind == "obj" and "scan.maybe_truncated" in codes(scan)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.obj", b"", "scan.empty"),
        ("a.obj", b"Dear colleague,\nplease find attached the scan.\n", "scan.not_a_mesh"),
        ("a.obj", b"\x8f\x00\x01junk\xff" * 400, "scan.not_a_mesh"),
        ("a.obj", gzip.compress(obj().encode()), "scan.compressed"),
        ("a.zip", b"PK\x03\x04" + b"\0" * 99, "scan.compressed"),
        ("a.obj", b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "scan.not_a_mesh"),
        ("a.dcm", b"\0" * 128 + b"DICM" + b"\0" * 99, "scan.not_a_mesh"),
        ("a.xml", b"<?xml version='1.0'?><html/>", "scan.not_a_mesh"),
        ("a.obj", numbers(VERTICES, "v "), "scan.point_cloud"),
        ("a.ply", ply_header("ascii", 0) + numbers(VERTICES).encode(), "scan.point_cloud"),
        ("a.obj", "v 0 0 0\nv 100 0 0\nv 0 100 0\nv 9 9 9\nf 1 2 3\nf 1 2 4\nf 2 3 4\n", "scan.too_few_triangles"),
        ("a.obj", numbers(VERTICES * 0 + 5, "v ") + numbers(TRIANGLES + 1, "f "), "scan.flat"),
        ("a.obj", obj() + "f 1 2 9999\n", "scan.damaged"),
        ("a.obj", obj() + "f 1 2 0\n", "scan.damaged"),
        ("a.obj", obj() + "f 1 2 -9999\n", "scan.damaged"),
        ("a.obj", obj() + "f 1 2\n", "scan.damaged"),
        ("a.obj", obj() + "f 1 2 x\n", "scan.damaged"),
        ("a.obj", "v 1 2\n" + obj(), "scan.damaged"),
        ("a.obj", "v 1 2 0,5\n" + obj(), "scan.damaged"),
        ("a.obj", obj() + "@@ junk\n", "scan.damaged"),
        ("a.obj", obj() + "f 1 2", "scan.truncated"),
        ("a.ply", ply_binary().replace(b"element vertex 224", b"element vertex 400000000"), "scan.truncated"),
        ("a.ply", ply_binary().replace(b"element face 390", b"element face 5000000000"), "scan.truncated"),
        ("a.ply", ply_ascii().replace("element face 390", "element face 391"), "scan.truncated"),
        ("a.ply", ply_ascii().replace("element vertex 224", "element vertex -4"), "scan.damaged"),
        ("a.ply", ply_ascii().replace("\n3 0 1", "\n99999999999 0 1"), "scan.damaged"),
        ("a.ply", ply_ascii().rstrip() + "15", "scan.damaged"),
        ("a.ply", ply_ascii().replace("uchar int", "uchar word"), "scan.damaged"),
        ("a.ply", ply_ascii().replace("end_header", "end"), "scan.truncated"),
        ("a.stl", b"scan".ljust(80) + struct.pack("<I", 10**8) + b"\0" * 500, "scan.truncated"),
        ("a.off", off().replace("224 195", "9000000000 195"), "scan.truncated"),
        ("a.off", off().replace("224 195", "many 195"), "scan.damaged"),
        ("a.glb", glb()[:400], "scan.truncated"),
        ("a.vtk", "# vtk DataFile Version 3.0\nt\nASCII\nDATASET POLYDATA\nPOINTS 9 float\n0 0\n", "scan.damaged"),
        ("a.vtp", vtp()[:2000], "scan.damaged"),
    ],
)  # fmt: skip
def test_bad_file_has_its_own_error(tmp_path: Path, name: str, content: str | bytes, code: str) -> None:
    refused(save(tmp_path, name, content), code)


def test_ply_counts_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    content = ply_binary().replace(b"element face 390", b"element face 5000000000")
    assert "its header announces" in refused(save(tmp_path, "a.ply", content), "scan.truncated").message


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path / "absent.obj", "scan.not_found")
    refused(tmp_path, "scan.folder")
    if hasattr(os, "mkfifo"):  # must not hang
        os.mkfifo(tmp_path / "pipe.obj")
        refused(tmp_path / "pipe.obj", "scan.not_a_file")
    path = save(tmp_path, "scan.obj", obj())
    monkeypatch.setattr(reading, "LARGEST_FILE", 100)
    refused(path, "scan.too_large")
    monkeypatch.undo()

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(Path, "read_bytes", denied)  # file modes do not stop an administrator
    refused(path, "scan.no_permission")


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    for name, kind in (("scan.stl", "obj"), ("scan.obj", "little.ply"), ("scan", "off")):
        scan = read_scan(save(tmp_path, name, CONTENTS[kind]), texture=False)
        assert codes(scan) == ["scan.extension"] and len(scan.triangles) == len(TRIANGLES)


def test_no_comment_reaches_a_message(tmp_path: Path) -> None:
    secret = "# Jane Doe 1970-01-01\nmtllib JaneDoe.mtl\n"
    scan = read_scan(save(tmp_path, "JaneDoe.obj", secret + textured_obj().rstrip()))
    assert scan.warnings
    assert not any("Jane" in warning.message or "Doe" in warning.message for warning in scan.warnings)


@pytest.mark.parametrize(("unit", "factor"), [("m", 1000.0), ("cm", 10.0), ("in", 25.4)])
def test_units(tmp_path: Path, unit: str, factor: float) -> None:
    big = VERTICES * (1.5 if unit == "cm" else 1.0)  # a face alone in cm is ambiguous
    path = save(tmp_path, "scan.obj", numbers(big / factor, "v ") + numbers(TRIANGLES + 1, "f "))
    scan = read_scan(path)
    assert scan.unit == unit and scan.scale_to_mm == factor and codes(scan) == ["scan.unit_converted"]
    assert cKDTree(scan.vertices).query(big)[0].max() < 2e-3
    forced = read_scan(path, unit=unit)
    assert codes(forced) == [] and forced.unit == unit


def test_ambiguous_unit_names_the_option(tmp_path: Path) -> None:
    path = save(tmp_path, "scan.obj", numbers(VERTICES * 0.08, "v ") + numbers(TRIANGLES + 1, "f "))
    assert "--unit" in refused(path, "scan.unit_ambiguous").hint
    assert read_scan(path, unit="cm").size_mm == pytest.approx(0.8 * np.ptp(VERTICES, axis=0))
    with pytest.raises(UsageError):
        read_scan(path, unit="furlong")


def test_same_file_gives_the_same_arrays(tmp_path: Path) -> None:
    path = save(tmp_path, "scan.ply", ply_mixed())
    first, second = read_scan(path), read_scan(path)
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(first.triangles, second.triangles)


def test_arrays() -> None:
    scan = scan_from_arrays(VERTICES.astype(np.float32), TRIANGLES.astype(np.int32))
    assert scan.vertices.dtype == np.float64 and scan.triangles.dtype == np.int64 and scan.sha256 == ""
    for vertices, triangles, code in (
        (VERTICES[:, :2], TRIANGLES, "scan.shape"),
        (VERTICES, TRIANGLES.astype(float), "scan.shape"),
        (VERTICES, TRIANGLES[:0], "scan.point_cloud"),
        (VERTICES, TRIANGLES + 1, "scan.damaged"),
        ([], [], "scan.no_vertices"),
    ):
        with pytest.raises(InputError) as caught:
            scan_from_arrays(vertices, triangles)
        assert caught.value.code == code and caught.value.hint


@pytest.mark.parametrize("extension", [".ply", ".obj"])
def test_written_mesh_is_read_back(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"out{extension}"
    write_mesh(path, VERTICES, TRIANGLES)
    scan = read_scan(path)
    np.testing.assert_allclose(scan.vertices, VERTICES, atol=1e-5)
    np.testing.assert_array_equal(scan.triangles, TRIANGLES)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with pytest.raises(UsageError):
        write_mesh(tmp_path / "out.xyz", VERTICES, TRIANGLES)
    with pytest.raises(InputError):
        write_mesh(tmp_path / "absent" / "out.ply", VERTICES, TRIANGLES)
