"""Ways a scan file can be damaged: its surface, its bytes, its place in the file system."""

from __future__ import annotations

import gzip
import json
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.errors import LandmarkingError
from Testing.corpus.meshes import BY_VTK, FORMATS, Mesh, glb_file

#: What may become of an input: refused; read; read as the undamaged surface or with a warning, or refused; anything.
REFUSED, READ, WHOLE, EITHER = "refused", "read", "whole", "either"


@dataclass(frozen=True)
class Case:
    """One bad scan.

    Attributes
    ----------
    name : str
        Format and damage.
    damage : str
        The class of damage.
    make : callable
        Writes the file into a folder and returns its path.
    expected : str
        `REFUSED`, `READ`, `WHOLE` or `EITHER`.
    """

    name: str
    damage: str
    make: Callable[[Path], Path]
    expected: str = EITHER


def attempt(case: Case, path: Path, folder: Path, undamaged: Mesh) -> str | None:
    """Read a bad scan that lies in a folder; return what is wrong with the result, None if nothing."""
    made = set(folder.iterdir())
    try:
        scan = read_scan(path)
    except LandmarkingError as error:
        if case.expected == READ:
            return f"refused although it can be read: {error.code}"
        raise
    finally:
        if set(folder.iterdir()) != made:
            raise AssertionError("reading left files behind")
    if case.expected == REFUSED:
        return f"read as {len(scan.vertices)} vertices"
    if not np.isfinite(scan.vertices).all() or scan.triangles.max() >= len(scan.vertices) or scan.triangles.min() < 0:
        return "the arrays are not sound"
    if case.expected == WHOLE and not scan.warnings and len(scan.triangles) != len(undamaged[1]):
        return f"{len(scan.triangles)} of {len(undamaged[1])} triangles, without a word"
    return None


# --- the surface


def _changed(vertices: np.ndarray, rows: slice | np.ndarray, value: float) -> np.ndarray:
    result = vertices.copy()
    result[rows, 1] = value
    return result


def _components(mesh: Mesh) -> Mesh:
    """Sixty loose pieces: the surface and 59 copies of a small one."""
    vertices, triangles = mesh
    corners = vertices[triangles[0]]
    extra = np.concatenate([corners + [0.0, 0.0, 3.0 + k] for k in range(59)])
    return (
        np.concatenate([vertices, extra]),
        np.concatenate([triangles, len(vertices) + np.arange(len(extra)).reshape(-1, 3)]),
    )


def surfaces(mesh: Mesh) -> dict[str, tuple[Mesh, str]]:
    """Return damaged surfaces and what may become of them, by name."""
    v, t = mesh
    count = len(v)
    few, none = np.arange(0, count, 97), np.empty((0, 3), dtype=np.int64)
    fins = np.concatenate([t, np.column_stack([t[:200, :2], (t[:200, 2] + 7) % count])])
    outside = t.copy()
    outside[5, 1] = count + 3
    far = t.copy()
    far[5, 1] = 2**31 - 5
    fan = np.column_stack([np.zeros(count - 2, dtype=np.int64), np.arange(1, count - 1), np.arange(2, count)])
    return {
        "nan": ((_changed(v, few, np.nan), t), EITHER),
        "all nan": ((np.full_like(v, np.nan), t), REFUSED),
        "infinite": ((_changed(v, few, np.inf), t), EITHER),
        "minus infinite": ((_changed(v, few, -np.inf), t), EITHER),
        "one huge coordinate": ((_changed(v, np.array([3]), 1e30), t), REFUSED),
        "far vertex": ((_changed(v, np.array([3]), 1e7), t), EITHER),
        "all huge": ((v * 1e30, t), REFUSED),
        "all tiny": ((v * 1e-30, t), REFUSED),
        "far from the origin": ((v + 1e6, t), EITHER),
        "0 vertices": ((v[:0], none), REFUSED),
        "0 vertices with faces": ((v[:0], t), REFUSED),
        "1 vertex": ((v[:1], np.zeros((1, 3), dtype=np.int64)), REFUSED),
        "2 vertices": ((v[:2], np.array([[0, 1, 1]])), REFUSED),
        "3 vertices": ((v[:3], np.array([[0, 1, 2]])), REFUSED),
        "point cloud": ((v, none), REFUSED),
        "face out of range": ((v, outside), EITHER),
        "face far out of range": ((v, far), EITHER),
        "negative index": ((v, np.where(t == 7, -9999, t)), EITHER),
        "non-manifold": ((v, fins), READ),
        "60 components": (_components(mesh), READ),
        "duplicated": ((np.concatenate([v, v]), np.concatenate([t, t + count])), READ),
        "soup": ((v[t].reshape(-1, 3), np.arange(3 * len(t)).reshape(-1, 3)), READ),
        "zero-area": ((np.repeat(v[:1], count, axis=0), t), REFUSED),
        "all on a line": ((np.outer(np.arange(count), [1.0, 2.0, 3.0]), fan), REFUSED),
        "some zero-area": ((v, np.concatenate([t, t[:100, [0, 0, 1]]])), READ),
        "inside-out": ((v, t[:, ::-1]), READ),
        "mixed orientation": ((v, np.where((np.arange(len(t)) % 2 == 0)[:, None], t, t[:, ::-1])), READ),
        "flat": ((v * [1.0, 1.0, 0.0], t), EITHER),
        "metres": ((v / 1000.0, t), READ),
        "one large fan": ((v, fan), EITHER),
    }


# --- the bytes

_TWISTS = (0, 1, 2**31 - 1, 2**32 - 1, 5 * 10**8, 10**18)


def lies(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield files whose header lies about counts, among them one that claims more than 5 GB."""
    if name == "stl":
        for value in _TWISTS[:5]:
            yield f"count {value}", data[:80] + struct.pack("<I", value) + data[84:]
        return
    if name == "glb":
        for place in (8, 12):
            for value in _TWISTS[:4]:
                yield f"length at {place} {value}", data[:place] + struct.pack("<I", value) + data[place + 4 :]
    patterns: dict[str, tuple[bytes, ...]] = {
        "ply": (rb"(element vertex )(\d+)", rb"(element face )(\d+)"),
        "ply-ascii": (rb"(element vertex )(\d+)", rb"(element face )(\d+)"),
        "off": (rb"(OFF\n)(\d+)", rb"(OFF\n\d+ )(\d+)"),
        "vtk": (rb"(POINTS )(\d+)", rb"(POLYGONS )(\d+)", rb"(POLYGONS \d+ )(\d+)"),
        "vtk-ascii": (rb"(POINTS )(\d+)", rb"(POLYGONS )(\d+)", rb"(POLYGONS \d+ )(\d+)"),
        "vtp": (rb"(NumberOfPoints=\")(\d+)", rb"(NumberOfPolys=\")(\d+)", rb"(NumberOfComponents=\")(\d+)"),
        "glb": (rb"(\"count\": )(\d+)", rb"(\"byteLength\": )(\d+)", rb"(\"byteOffset\": )(\d+)"),
        "gltf": (rb"(\"count\": )(\d+)", rb"(\"byteLength\": )(\d+)", rb"(\"byteOffset\": )(\d+)"),
    }
    for number, pattern in enumerate(patterns.get(name, ())):
        for value in (*_TWISTS, -1):
            lie, places = re.subn(pattern, lambda found, said=value: found[1] + str(said).encode(), data, count=1)
            if places and lie != data:
                yield f"count {number} {value}", lie


def byte_damage(name: str, data: bytes, flips: int, seed: int) -> Iterator[tuple[str, str, bytes, str]]:
    """Yield (damage, detail, bytes, what may become of it)."""
    for tenth in range(1, 10):
        part = data[: len(data) * tenth // 10]
        # An OBJ file says nowhere how long it is: cut off at the end of a line it is a shorter, whole file.
        whole = name == "obj" and part.endswith(b"\n")
        yield "truncated", f"{tenth}/10", part, EITHER if whole else WHOLE
    yield "truncated", "last byte", data[:-1], WHOLE
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    for k in range(flips):
        flipped = bytearray(data)
        for place in rng.integers(0, min(len(data), 600) if k % 2 else len(data), size=1 + k % 5):
            flipped[place] ^= 1 << int(rng.integers(8))
        yield "bytes flipped", str(k), bytes(flipped), EITHER
    for detail, lie in lies(name, data):
        yield "header lies", detail, lie, WHOLE
    yield "empty", "", b"", REFUSED
    yield "binary junk", "", rng.integers(0, 256, 50_000, dtype=np.uint8).tobytes(), REFUSED
    yield "binary junk", "after the header", data[:300] + rng.integers(0, 256, 50_000, dtype=np.uint8).tobytes(), EITHER
    yield "binary junk", "zeros", bytes(50_000), REFUSED
    yield "binary junk", "at the end", data + rng.integers(0, 256, 5000, dtype=np.uint8).tobytes(), EITHER
    yield "gzip", "", gzip.compress(data, mtime=0), REFUSED
    yield "twice in one file", "", data + data, EITHER
    yield "byte order mark", "", b"\xef\xbb\xbf" + data, EITHER
    if name in ("obj", "ply-ascii", "stl-ascii", "off", "vtk-ascii", "gltf", "vtp"):
        yield "CRLF", "", data.replace(b"\n", b"\r\n"), READ
        yield "UTF-16", "", data.decode("latin1").encode("utf-16"), REFUSED
    if b"made by code" in data:
        yield "non-ASCII comment", "UTF-8", _said(data, name, "Käse 面 Ωμέγα".encode()), READ
        yield "non-ASCII comment", "Latin-1", _said(data, name, b"\xe4\xf6\xfc\xdf"), EITHER


def _said(data: bytes, name: str, comment: bytes) -> bytes:
    if name == "stl":
        return comment.ljust(80)[:80] + data[80:]
    if name == "glb":
        length = struct.unpack_from("<I", data, 12)[0]
        document = json.loads(data[20 : 20 + length])
        document["asset"]["generator"] = comment.decode("latin1")
        return glb_file(document, data[28 + length :])
    return data.replace(b"made by code", comment)


# --- the file system


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _linked(folder: Path, name: str, data: bytes) -> Path:
    _written(folder / f"target{name}", data)
    (folder / f"link{name}").symlink_to(folder / f"target{name}")
    return folder / f"link{name}"


def _dangling(folder: Path, name: str) -> Path:
    (folder / f"link{name}").symlink_to(folder / "nowhere")
    return folder / f"link{name}"


def _loop(folder: Path, name: str) -> Path:
    (folder / f"link{name}").symlink_to(folder / f"link{name}")
    return folder / f"link{name}"


def _folder(folder: Path, name: str) -> Path:
    (folder / f"scan{name}").mkdir()
    return folder / f"scan{name}"


def _pipe(folder: Path, name: str) -> Path:
    os.mkfifo(folder / f"scan{name}")
    return folder / f"scan{name}"


def _forbidden(folder: Path, name: str, data: bytes) -> Path:
    path = _written(folder / f"scan{name}", data)
    path.chmod(0)
    return path


def _sparse(folder: Path, name: str, data: bytes) -> Path:
    path = _written(folder / f"scan{name}", data)
    os.truncate(path, 5 * 1024**3)
    return path


def file_system(name: str, extension: str, data: bytes) -> Iterator[Case]:
    """Yield what is wrong with where and how the file lies."""
    places: list[tuple[str, Callable[[Path], Path], str]] = [
        ("symbolic link", lambda folder: _linked(folder, extension, data), READ),
        ("dangling link", lambda folder: _dangling(folder, extension), REFUSED),
        ("link to itself", lambda folder: _loop(folder, extension), REFUSED),
        ("folder instead of file", lambda folder: _folder(folder, extension), REFUSED),
        ("no file", lambda folder: folder / f"nowhere{extension}", REFUSED),
        ("5 GB", lambda folder: _sparse(folder, extension, data), REFUSED),
        ("odd name", lambda folder: _written(folder / f"Käse  面 #1%20{extension}", data), READ),
        ("name with a line break", lambda folder: _written(folder / f"a\nb{extension}", data), READ),
        ("name too long", lambda folder: folder / f"{'a' * 300}{extension}", REFUSED),
        ("name with NUL", lambda folder: folder / f"a\0{extension}", REFUSED),
    ]
    if hasattr(os, "mkfifo"):
        places.append(("pipe", lambda folder: _pipe(folder, extension), REFUSED))
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        places.append(("no permission", lambda folder: _forbidden(folder, extension, data), REFUSED))
    for damage, make, expected in places:
        yield Case(f"{name}: {damage}", damage, make, expected)


def cases(mesh: Mesh, *, flips: int = 20, seed: int = 0, formats: tuple[str, ...] = tuple(FORMATS)) -> Iterator[Case]:
    """Yield every reader × damage.

    Parameters
    ----------
    mesh : Mesh
        The undamaged surface.
    flips : int
        Files with flipped bytes of each format.
    seed : int
    formats : tuple of str
        Of `FORMATS`.
    """
    for name in formats:
        extension, write = FORMATS[name]
        data = write(mesh)

        def file(content: bytes, extension: str = extension) -> Callable[[Path], Path]:
            return lambda folder: _written(folder / f"scan{extension}", content)

        yield Case(f"{name}: undamaged", "undamaged", file(data), READ)
        for damage, (surface, expected) in surfaces(mesh).items():
            if name in BY_VTK and damage == "negative index":
                continue
            yield Case(f"{name}: {damage}", damage, file(write(surface)), expected)
        for damage, detail, content, expected in byte_damage(name, data, flips, seed):
            yield Case(f"{name}: {damage} {detail}".rstrip(), damage, file(content), expected)
        for wrong in (".obj", ".ply", ".stl", ".off", ".vtp", ".vtk", ".glb", ".gltf", ".txt", ""):
            if wrong != extension:
                yield Case(f"{name}: named {wrong or 'nothing'}", "wrong extension", file(data, wrong), READ)
        yield from file_system(name, extension, data)
