"""Scans that are large, or small files that ask for much time or memory."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from Testing.corpus.damage import EITHER, READ, REFUSED, Case
from Testing.corpus.meshes import FORMATS, _gltf_parts, glb_file, ply, ply_ascii, shell


def _file(name: str, content: Callable[[], bytes], **beside: Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for other, data in beside.items():
            (folder / other.replace("_", ".")).write_bytes(data())
        (folder / name).write_bytes(content())
        return folder / name

    return make


def _large(side: int, name: str) -> Callable[[], bytes]:
    return lambda: FORMATS[name][1](shell(side, side))


def _glb(change: Callable[[dict], None]) -> Callable[[], bytes]:
    def content() -> bytes:
        document, buffer = _gltf_parts(shell())
        change(document)
        return glb_file(document, buffer)

    return content


def _nodes(document: dict, count: int) -> None:
    document["nodes"] = [{"mesh": 0} for _ in range(count)]
    document["scenes"] = [{"nodes": list(range(count))}]


def _no_view(document: dict) -> None:
    document["accessors"][0] = {"componentType": 5126, "count": 10**9, "type": "VEC3"}


def _chain(document: dict) -> None:
    document["nodes"] = [{"children": [k + 1]} for k in range(9000)] + [{"mesh": 0}]


def _circle(document: dict) -> None:
    document["nodes"] = [{"mesh": 0, "children": [1]}, {"children": [0]}]


def _picture_bomb() -> bytes:
    """A PNG of 19,000 × 19,000 grey pixels in 350 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = 19_000
    packed, row = zlib.compressobj(9), bytes(side + 1)
    data = b"".join(packed.compress(row) for _ in range(side)) + packed.flush()
    header = side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _textured() -> bytes:
    from Testing.corpus.fuzzing import _textured_obj

    return _textured_obj()


def _long_face(count: int) -> bytes:
    vertices, _ = shell()
    stream = io.BytesIO()
    np.savetxt(stream, vertices, fmt="v %.7g %.7g %.7g")
    return stream.getvalue() + b"f " + b" ".join(b"%d" % (1 + k % 700) for k in range(count)) + b"\n"


def _long_list(count: int) -> bytes:
    header, _, rest = ply((shell()[0], shell()[1][:1])).partition(b"end_header\n")
    header = header.replace(b"list uchar", b"list uint")
    points = rest[: 12 * len(shell()[0])]
    corners = np.arange(count, dtype="<i4") % 700
    return header + b"end_header\n" + points + np.uint32(count).tobytes() + corners.tobytes()


def heavy_cases() -> Iterator[Case]:
    """Yield the heavy cases."""
    for name, (extension, _) in FORMATS.items():
        content = _large(1000, name)
        yield Case(f"{name}: million vertices", "million vertices", _file(f"scan{extension}", content), READ)
    for name in ("ply", "stl"):
        content = _large(2100, name)
        yield Case(f"{name}: too many vertices", "too large", _file(f"scan{FORMATS[name][0]}", content), REFUSED)
    small: list[tuple[str, Callable[[Path], Path], str]] = [
        ("obj: face of 2 million corners", _file("a.obj", lambda: _long_face(2_000_000)), EITHER),
        ("ply: list of 6 million numbers", _file("a.ply", lambda: _long_list(6_000_000)), REFUSED),
        ("ply-ascii: 100 million empty lines", _file("a.ply", lambda: ply_ascii(shell()) + b"\n" * 10**8), REFUSED),
        ("obj: 100 million empty lines", _file("a.obj", lambda: b"v 0 0 0\n" + b"\n" * 10**8), REFUSED),
        ("obj: line of 40 MB", _file("a.obj", lambda: b"v 0 0 0\n# " + b"a" * 40_000_000), REFUSED),
        ("glb: 12 GB without a view", _file("a.glb", _glb(_no_view)), REFUSED),
        ("glb: 9,000 nodes show one piece", _file("a.glb", _glb(lambda d: _nodes(d, 9000))), REFUSED),
        ("glb: 200,000 nodes", _file("a.glb", _glb(lambda d: _nodes(d, 200_000))), REFUSED),
        ("glb: nodes in a chain", _file("a.glb", _glb(_chain)), EITHER),
        ("glb: nodes in a circle", _file("a.glb", _glb(_circle)), EITHER),
        ("gltf: nested 100,000 deep", _file("a.gltf", lambda: b'{"asset": ' + b"[" * 100_000), REFUSED),
        (
            "gltf: 10 million numbers",
            _file("a.gltf", lambda: json.dumps({"asset": {"version": "2.0"}, "extras": [1] * 10**7}).encode()),
            REFUSED,
        ),
        (
            "obj: picture of 361 million pixels",
            _file("a.obj", _textured, skin_mtl=lambda: b"newmtl skin\nmap_Kd skin.png\n", skin_png=_picture_bomb),
            READ,
        ),
        (
            "obj: material library of 40 MB",
            _file("a.obj", _textured, skin_mtl=lambda: b"newmtl skin\nmap_Kd skin.png\n" * 1_400_000),
            READ,
        ),
        ("obj: is its own material library", _file("skin.mtl", _textured), READ),
    ]
    for name, make, expected in small:
        yield Case(name, "asks for much", make, expected)
