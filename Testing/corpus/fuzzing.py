"""Fuzzing by mutation, with a seed and a budget, of everything that reads what comes from outside.

Inputs are whole files that the program itself accepts, changed in a few places: bits, cut and repeated pieces, numbers
and words that parsers trip over, and pieces of another input.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from PALNetLandmarksLib.engine.bundle import DESCRIPTION, REFERENCE, SHAPE, WEIGHTS, find_bundles, load_bundle
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.engine.worker import Worker
from PALNetLandmarksLib.engine.worker_channel import Channel, ProtocolError
from PALNetLandmarksLib.engine.worker_scan import FOLDER_PREFIX, take_mesh
from PALNetLandmarksLib.engine.worker_tasks import predict_mesh
from PALNetLandmarksLib.errors import LandmarkingError
from PALNetLandmarksLib.landmark_files import read_landmark_file, write_landmark_cases, write_landmarks
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.norms import read_norms
from PALNetLandmarksLib.protocol import Protocol, load_protocol
from PALNetLandmarksLib.resources import resources_dir
from Testing.corpus.meshes import BY_VTK, FORMATS, shell

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_NUMBERS = (
    b"0", b"-1", b"1", b"-0", b"255", b"65536", b"2147483647", b"2147483648", b"-2147483649", b"4294967295",
    b"9223372036854775807", b"9223372036854775808", b"1e308", b"1e309", b"-1e999", b"1e-400", b"nan", b"NaN",
    b"inf", b"-Infinity", b"0x10", b"1_000", b"1,5", b"\xd9\xa1\xd9\xa2", b"9" * 400, b"9" * 5000, b"", b"null",
    b"true", b'"1"', b"[]", b"{}", b"1.", b".", b"+-1", b"1e",
)  # fmt: skip
_WORDS = (
    b"\0", b"\n", b"\r", b"\r\n", b"\t", b" ", b'"', b"'", b",", b";", b"{", b"}", b"[", b"]", b"(", b")", b"=", b":",
    b"/", b"//", b"\\", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"null",
    b"=cmd()", b"../../", b"/etc/passwd", b"http://127.0.0.1/", b"[" * 100_000, b'{"a":' * 50_000, b"A" * 70_000,
    b"\xe2\x80\xa8", b"\x1b[2J", b"<!--", b"]]>", b"&a;", b"#",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A parser to fuzz.

    Attributes
    ----------
    name : str
    seeds : callable
        Gives the inputs that are mutated.
    parse : callable
        Given an input and an empty folder; returns None, or what is wrong with the result.
    cost : int
        How many times fewer inputs it gets than a quick parser.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    parse: Callable[[bytes, Path], str | None]
    cost: int = 1


def mutated(seeds: list[bytes], rng: np.random.Generator) -> bytes:
    """Return one of the seeds, changed in one to six places, mostly in one: the less is wrong, the deeper it goes."""
    data = bytearray(seeds[int(rng.integers(len(seeds)))])
    for _ in range(int(rng.choice([1, 1, 1, 1, 2, 3, 6]))):
        kind = int(rng.integers(9))
        place = int(rng.integers(len(data) + 1))
        # Half of the changes near the beginning, where headers are.
        if rng.random() < 0.5:
            place = min(place, int(rng.integers(1, 400)))
        length = int(rng.integers(1, 2 ** int(rng.integers(1, 11))))
        if kind == 0 and data:
            for spot in rng.integers(0, len(data), size=int(rng.integers(1, 9))):
                data[spot] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = data[place : place + length] * int(rng.integers(1, 5))
        elif kind in (3, 4):
            found = next(_NUMBER.finditer(data, place), None)
            if found is not None:
                data[found.start() : found.end()] = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
        elif kind == 5:
            data[place:place] = _WORDS[int(rng.integers(len(_WORDS)))]
        elif kind == 6:
            other = seeds[int(rng.integers(len(seeds)))]
            start = int(rng.integers(len(other) + 1))
            data[place : place + length] = other[start : start + length]
        elif kind == 7 and place + 8 <= len(data):
            value = int(rng.choice([0, 1, 255, 2**31 - 1, 2**32 - 1, 2**63 - 1]))
            data[place : place + 8] = value.to_bytes(8, "little")
        elif rng.random() < 0.3:
            del data[place:]
        else:
            lines = bytes(data).split(b"\n")
            a, b = (int(x) for x in rng.integers(len(lines), size=2))
            lines[a], lines[b] = lines[b], lines[a]
            data = bytearray(b"\n".join(lines))
    return bytes(data)


def attempts(target: Target, count: int, seed: int, base: Path) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """Yield (name, attempt) for a target's inputs; each is made from the seed and its number alone.

    Parameters
    ----------
    target : Target
    count : int
    seed : int
    base : Path
        Folder for the inputs' own folders.
    """
    seeds = target.seeds()
    for number in range(count):

        def attempt(number: int = number) -> str | None:
            rng = np.random.default_rng([seed, zlib.crc32(target.name.encode()), number])
            with tempfile.TemporaryDirectory(dir=base, ignore_cleanup_errors=True) as folder:
                return target.parse(mutated(seeds, rng), Path(folder))

        yield f"{target.name} #{number}", attempt


# --- scans


def _scan_target(name: str) -> Target:
    extension, write = FORMATS[name]

    def parse(data: bytes, folder: Path) -> str | None:
        (folder / f"scan{extension}").write_bytes(data)
        scan = read_scan(folder / f"scan{extension}")
        sound = np.isfinite(scan.vertices).all() and scan.triangles.min() >= 0
        return None if sound and scan.triangles.max() < len(scan.vertices) else "the arrays are not sound"

    return Target(f"scan {name}", lambda: [write(shell())], parse, 20 if name in BY_VTK else 4)


def _png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)).save(stream, "PNG")
    return stream.getvalue()


def _textured_obj() -> bytes:
    vertices, triangles = shell()
    lines = ["mtllib skin.mtl", "usemtl skin"]
    lines += [f"v {x:g} {y:g} {z:g}\nvt {x / 200 + 0.5:.3f} {y / 200 + 0.5:.3f}" for x, y, z in vertices]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in triangles + 1]
    return ("\n".join(lines) + "\n").encode()


_MTL = b"newmtl skin\nKd 1 1 1\nmap_Kd -s 1 1 1 -o 0 0 skin.png\nnewmtl other\nmap_Ka -clamp on skin.png\n"


def _beside(which: str) -> Callable[[bytes, Path], str | None]:
    """Give the parser of a textured scan of which one file is the input; the scan itself must still be read."""

    def parse(data: bytes, folder: Path) -> str | None:
        files = {"scan.obj": _textured_obj(), "skin.mtl": _MTL, "skin.png": _png(), which: data}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        try:
            scan = read_scan(folder / "scan.obj")
        except LandmarkingError as error:
            if which == "scan.obj":
                raise
            return f"a damaged {which} refuses the scan: {error.code}"
        texture = scan.texture
        if texture is not None and texture.coordinates.shape != (len(scan.triangles), 3, 2):
            return "texture coordinates do not fit the triangles"
        return None

    return parse


# --- tables and texts


@cache
def _protocol() -> Protocol:
    return load_protocol()


@cache
def _landmark_seeds(ending: str) -> tuple[bytes, ...]:
    rng = np.random.default_rng(0)
    protocol = _protocol()
    positions = rng.normal(size=(len(protocol), 3)) * 60
    positions[7] = np.nan
    placed = LandmarkSet.from_positions(protocol, positions)
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        write_landmarks(path, placed)
        seeds.append(path.read_bytes())
        if ending in (".csv", ".tps"):
            for layout in ("long", "wide") if ending == ".csv" else ("long",):
                write_landmark_cases(path, {"A": placed, "B": placed}, layout=layout)
                seeds.append(path.read_bytes())
        if ending == ".txt":
            seeds.append("\n".join(" ".join(f"{x:.3f}" for x in row) for row in positions).encode())
    return tuple(seeds)


def _landmark_target(ending: str) -> Target:
    def parse(data: bytes, folder: Path) -> str | None:
        (folder / f"a{ending}").write_bytes(data)
        for case in read_landmark_file(folder / f"a{ending}", _protocol()).cases.values():
            if np.isinf(case.positions).any() or len(case.status) != len(_protocol()):
                return "a landmark is infinite"
            write_landmarks(folder / "b.mrk.json", case)
        return None

    return Target(f"landmarks {ending}", lambda: list(_landmark_seeds(ending)), parse, 2)


def _record(data: bytes, folder: Path) -> str | None:
    """Read a landmarks.txt with a damaged record beside it: the landmarks must still be read."""
    placed = LandmarkSet.from_positions(_protocol(), np.ones((len(_protocol()), 3)))
    write_landmarks(folder / "a.txt", placed)
    (folder / "a.record.json").write_bytes(data)
    try:
        read_landmark_file(folder / "a.txt", _protocol())
    except LandmarkingError as error:
        return f"a damaged record refuses the landmarks: {error.code}"
    return None


def _record_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        write_landmarks(Path(folder) / "a.txt", LandmarkSet.from_positions(_protocol(), np.ones((len(_protocol()), 3))))
        return [path.read_bytes() for path in Path(folder).glob("*.json")]


def _protocol_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((resources_dir() / "Protocols" / "face50").iterdir())}


def _protocol_target(which: str) -> Target:
    def parse(data: bytes, folder: Path) -> str | None:
        for name, content in {**_protocol_files(), which: data}.items():
            (folder / name).write_bytes(content)
        Protocol.from_dict(json.loads(json.dumps(load_protocol(folder).to_dict())))
        return None

    return Target(f"protocol {which}", lambda: [_protocol_files()[which]], parse, 4)


def _norms(data: bytes, folder: Path) -> str | None:
    (folder / "norms.csv").write_bytes(data)
    read_norms(folder / "norms.csv", _protocol())
    return None


_NORMS = (
    "Measurement;Sex;Age min;Age max;Mean;SD;n;Source\nen-en;f;18;30;31,8;2,3;100;made by code\n"
    "ex-ex;male;18–30;;90.1;3.4;100;made by code\n"
)


def _norms_seeds() -> list[bytes]:
    example = Path(__file__).parents[2] / "docs" / "norms-example.csv"
    return [example.read_bytes(), _NORMS.encode()]


# --- bundles


def _bundle_target(which: str) -> Target:
    @cache
    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in find_bundles()[-1].iterdir() if path.is_file()}

    def parse(data: bytes, folder: Path) -> str | None:
        contents = {**files(), which: data}
        if which != DESCRIPTION:  # a wrong digest would end it at once: whoever builds a bundle can write the right one
            description = json.loads(contents[DESCRIPTION])
            description["files"][which] = hashlib.sha256(data).hexdigest()
            contents[DESCRIPTION] = json.dumps(description).encode()
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        bundle = load_bundle(folder)
        if which in (DESCRIPTION, WEIGHTS):
            bundle.network_with_weights()
        return None

    return Target(f"bundle {which}", lambda: [files()[which]], parse, 20 if which in (DESCRIPTION, WEIGHTS) else 8)


# --- the engine process

_REQUESTS = (
    b'{"id": 1, "command": "hello"}\n',
    b'{"id": "a", "command": "cancel", "target": 1}\n',
    b'{"id": 2, "command": "models", "model": "face50-simulated-1"}\n',
    b'{"id": 3, "command": "models"}\n',
    b'{"id": 4, "command": "check", "mesh": "/tmp/palnet-engine-x/a.npz", "model": "", "device": "cpu"}\n',
    b'{"id": 5, "command": "predict", "mesh": "/tmp/palnet-engine-x/a.npz", "model": "", "device": "auto", '
    b'"initial": {"labels": ["Prn", "Sn"], "positions": [[1, 2, 3], [4, null, 6]]}, "seed": 0}\n',
)


def _requests(data: bytes, folder: Path) -> str | None:
    """Answer requests with the worker's own parts, in one thread: every answer must be one line of JSON."""
    events = io.BytesIO()
    channel = Channel(io.BytesIO(data), events)
    worker = Worker(channel)
    for request in channel.requests():
        if isinstance(request, ProtocolError):
            channel.send_error(None, request)
            continue
        if request["command"] == "shutdown":
            continue
        try:
            worker._take(request)
        except LandmarkingError as error:
            channel.send_error(request.get("id"), error)
        while not worker._waiting.empty():
            task = worker._waiting.get()
            worker._open.pop(task.identifier, None)
            if task.command != "warm":
                worker._do(task)
                worker._answer()
    for line in events.getvalue().splitlines():
        event = json.loads(line)
        if event["event"] == "error" and event["code"] == "internal":
            return f"internal: {event['message']}"
    return None


def _npz() -> bytes:
    vertices, triangles = shell()
    stream = io.BytesIO()
    np.savez(stream, vertices=vertices, triangles=triangles.astype(np.int32))
    return stream.getvalue()


def _transfer(data: bytes, folder: Path) -> str | None:
    inside = folder / f"{FOLDER_PREFIX}x"
    inside.mkdir()
    (inside / "mesh.npz").write_bytes(data)
    try:
        vertices, triangles = take_mesh(str(inside / "mesh.npz"))
    finally:
        if any(inside.iterdir()):
            raise AssertionError("the mesh is not deleted")
    sound = vertices.ndim == 2 and triangles.ndim == 2 and vertices.shape[1] == triangles.shape[1] == 3
    return None if sound else "the arrays are not sound"


def _initial(data: bytes, folder: Path) -> str | None:
    """Points to start from, as in a request; the mesh that follows is too small, so nothing is predicted."""
    try:
        initial: Any = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(initial, dict):
        predictor: Any = SimpleNamespace(bundle=SimpleNamespace(protocol=_protocol()))
        predict_mesh(np.eye(3), np.array([[0, 1, 2]]), predictor, lambda stage, share: None, initial=initial)
    return None


_INITIAL = b'{"labels": ["Prn", "Sn", "Ex_R", "Ex_L"], "positions": [[0, 1, 2], [3.5, null, 4], [5, 6, 7], [8, 9, 1]]}'


def targets() -> list[Target]:
    """Return all parsers."""
    return [
        *(_scan_target(name) for name in FORMATS),
        Target("textured scan", lambda: [_textured_obj()], _beside("scan.obj"), 4),
        Target("material library", lambda: [_MTL], _beside("skin.mtl"), 4),
        Target("picture", lambda: [_png()], _beside("skin.png"), 4),
        *(_landmark_target(ending) for ending in (".mrk.json", ".txt", ".csv", ".tps")),
        Target("record", _record_seeds, _record, 2),
        *(_protocol_target(name) for name in ("protocol.json", "landmarks.csv", "measurements.csv")),
        Target("norms", _norms_seeds, _norms),
        *(_bundle_target(name) for name in (DESCRIPTION, REFERENCE, WEIGHTS, *_shape())),
        Target("worker requests", lambda: list(_REQUESTS) + [b"".join(_REQUESTS)], _requests, 2),
        Target("worker mesh", lambda: [_npz()], _transfer),
        Target("worker initial points", lambda: [_INITIAL], _initial),
    ]


def _shape() -> tuple[str, ...]:
    return (SHAPE,) if (find_bundles()[-1] / SHAPE).is_file() else ()
