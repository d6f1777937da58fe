"""Read a face scan from a file: the one way in for scans.

A file's content decides what it is, not its name: a readable file with the wrong extension is read, with a warning.
Nothing is written, no network is used, and nothing that a file says about people, places or dates reaches a message.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from PALNetLandmarksLib.engine.cleaning import clean, single_precision
from PALNetLandmarksLib.engine.personal_data import personal_data_warning
from PALNetLandmarksLib.engine.reading_gltf import read_gltf
from PALNetLandmarksLib.engine.reading_obj import read_obj
from PALNetLandmarksLib.engine.reading_ply import read_ply
from PALNetLandmarksLib.engine.reading_raw import RawMesh, check_size, damaged, too_large, unsupported
from PALNetLandmarksLib.engine.reading_simple import announced_stl_size, read_off, read_stl
from PALNetLandmarksLib.engine.reading_vtk import read_vtk
from PALNetLandmarksLib.engine.scan import Scan, ScanWarning, Texture
from PALNetLandmarksLib.engine.units import choose_unit, surface_size
from PALNetLandmarksLib.errors import InputError, LandmarkingError

LARGEST_FILE = 1024**3  # bytes; ten times a textured scan of a million vertices
_FORMATS_HINT = "Scans are read as OBJ, PLY, STL, VTP, VTK, OFF, GLB and glTF."


@dataclass(frozen=True)
class _Format:
    name: str
    extensions: tuple[str, ...]
    read: Callable[[bytes, Path, bool], RawMesh]


_FORMATS = {
    item.name: item
    for item in (
        _Format("OBJ", (".obj",), read_obj),
        _Format("PLY", (".ply",), read_ply),
        _Format("STL", (".stl",), lambda data, folder, texture: read_stl(data)),
        _Format("OFF", (".off",), lambda data, folder, texture: read_off(data)),
        _Format("VTP", (".vtp",), lambda data, folder, texture: read_vtk(data, xml=True)),
        _Format("VTK", (".vtk",), lambda data, folder, texture: read_vtk(data, xml=False)),
        _Format("GLB", (".glb",), lambda data, folder, texture: read_gltf(data, folder, True, texture)),
        _Format("glTF", (".gltf",), lambda data, folder, texture: read_gltf(data, folder, False, texture)),
    )
}
EXTENSIONS = tuple(extension for item in _FORMATS.values() for extension in item.extensions)

# Beginnings of files that are no meshes, to say what they are.
_OTHERS = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"Kaydara FBX", "an FBX file"),
    (b"BLENDER", "a Blender file"),
    (b"\x93NUMPY", "a numpy array"),
    (b"NRRD", "an NRRD volume"),
)
_OBJ_LINE = re.compile(rb"^[ \t]*(v|vn|vt|f)[ \t]+-?[\d.]", re.MULTILINE)
_OFF_START = re.compile(rb"^(ST)?C?N?4?n?OFF\s")


def read_scan(path: str | PathLike[str], unit: str = "auto", *, texture: bool = True) -> Scan:
    """Read a face scan.

    Parameters
    ----------
    path : path
        OBJ, PLY, STL, VTP, legacy VTK, OFF, GLB or glTF file.
    unit : str
        ``"auto"`` to recognise the unit from the size of the face, or ``"mm"``, ``"cm"``, ``"m"``, ``"in"``.
    texture : bool
        Whether to read the picture of the face, if there is one; only display needs it.

    Returns
    -------
    Scan
        In mm, cleaned; see `PALNetLandmarksLib.engine.cleaning.clean`.

    Raises
    ------
    InputError
        With a code ``scan.*`` and a hint, if the file is no usable scan.
    UsageError
        If `unit` is unknown.
    """
    path = Path(path)
    try:
        data = _read_bytes(path)
        digest = hashlib.sha256(data).hexdigest()
        chosen = _recognise(data, path.suffix.lower())
        raw = _parse(chosen, data, path.parent, texture)
        personal = personal_data_warning(chosen.name, data, path.parent)
        del data
        warnings: tuple[ScanWarning, ...] = (personal,) if personal is not None else ()
        if path.suffix.lower() not in chosen.extensions:
            warnings += (
                ScanWarning(
                    "scan.extension",
                    f"The file is in {chosen.name} format, which its name does not say; it was read as {chosen.name}.",
                ),
            )
        scan = _scan(raw, unit)
    except MemoryError as error:
        raise InputError(
            "The scan is too large for the memory of this computer.",
            "Reduce it to fewer than a million vertices and try again.",
            code="scan.too_large",
        ) from error
    return replace(scan, sha256=digest, warnings=warnings + scan.warnings)


def scan_from_arrays(vertices: npt.ArrayLike, triangles: npt.ArrayLike, unit: str = "mm") -> Scan:
    """Make a scan of a mesh in memory, cleaned the same way as one from a file.

    Parameters
    ----------
    vertices : (n, 3) float
    triangles : (m, 3) int
    unit : str
        ``"mm"``, ``"cm"``, ``"m"``, ``"in"``, or ``"auto"``.

    Returns
    -------
    Scan
        With `sha256` ``""``.

    Raises
    ------
    InputError
        If the arrays are no usable scan.
    UsageError
        If `unit` is unknown.
    """
    points = np.asarray(vertices, dtype=np.float64)
    faces = np.asarray(triangles)
    if points.size == 0:
        points = points.reshape(0, 3)
    if faces.size == 0:
        faces = np.empty((0, 3), dtype=np.int64)
    shaped = points.ndim == 2 and points.shape[1] == 3 and faces.ndim == 2 and faces.shape[1] == 3
    if not shaped or faces.dtype.kind not in "iu":
        raise InputError(
            "The mesh is not made of vertices (n, 3) and triangles (m, 3).",
            "Give coordinates as numbers and triangles as whole numbers, three in each row.",
            code="scan.shape",
        )
    return _scan(RawMesh(np.ascontiguousarray(points), faces.astype(np.int64)), unit)


def _scan(raw: RawMesh, unit: str) -> Scan:
    # Once more for all formats: polygons have become triangles. Corners of an STL file are not merged yet.
    check_size(len(raw.vertices) // 3, len(raw.triangles))
    cleaned = clean(raw)
    choice = choose_unit(surface_size(cleaned.vertices, cleaned.triangles), unit)
    # Rounded again after scaling, as it is when another program scales the scan.
    vertices = cleaned.vertices
    if choice.scale_to_mm != 1.0:
        vertices = single_precision(vertices * choice.scale_to_mm)
    texture = None
    if raw.image is not None and cleaned.coordinates is not None:
        texture = Texture(cleaned.coordinates, raw.image)
    return Scan(
        vertices=vertices,
        triangles=cleaned.triangles,
        texture=texture,
        unit=choice.unit,
        scale_to_mm=choice.scale_to_mm,
        warnings=raw.warnings + cleaned.warnings + choice.warnings,
        cleaning=cleaned.cleaning,
        cells=cleaned.cells,
    )


def _read_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError("This is a folder, not a scan file.", "Give the file itself.", code="scan.folder")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(
                "This is not an ordinary file.", "Give a scan file on a disk.", code="scan.not_a_file"
            )
        if status.st_size > LARGEST_FILE:
            raise too_large(f"its file is larger than {LARGEST_FILE / 1024**3:.0f} GB")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            "There is no scan file of this name.", "Check the name and the folder.", code="scan.not_found"
        ) from error
    except PermissionError as error:
        raise InputError(
            "The scan file may not be read by this user.",
            "Ask for permission to read it, or copy it to a folder of your own.",
            code="scan.no_permission",
        ) from error
    except (OSError, ValueError) as error:  # a loop of links, a name with a NUL, a disk error
        raise InputError(
            "The scan file could not be read from the disk.",
            "Check the disk or network drive, or copy the file to another folder.",
            code="scan.unreadable",
        ) from error
    if not data:
        raise InputError("The scan file is empty.", "Export or copy the scan again.", code="scan.empty")
    return data


def _recognise(data: bytes, extension: str) -> _Format:
    """Return the format of a file's content."""
    head = data[:4096]
    for start, name in (
        (b"ply", "PLY"), (b"glTF", "GLB"), (b"# vtk DataFile", "VTK"), (b"<?xml", "VTP"), (b"<VTKFile", "VTP"),
    ):  # fmt: skip
        if head.startswith(start):
            if name == "VTP" and b"<VTKFile" not in head:
                raise _not_a_mesh("an XML document")
            return _FORMATS[name]
    if _OFF_START.match(head):
        return _FORMATS["OFF"]
    if len(data) > 84 and announced_stl_size(data) == len(data):
        return _FORMATS["STL"]
    if head[:5].lower() == b"solid" and b"facet" in head:
        return _FORMATS["STL"]
    for start, what in _OTHERS:
        if head.startswith(start):
            raise _not_a_mesh(what)
    if head[128:132] == b"DICM":
        raise _not_a_mesh("a DICOM file")
    if head.lstrip().startswith(b"{") and (b'"asset"' in data or extension == ".gltf"):
        return _FORMATS["glTF"]
    binary = b"\0" in head
    if not binary and (_OBJ_LINE.search(data, 0, 1024 * 1024) or b"mtllib " in head):
        return _FORMATS["OBJ"]
    if binary and extension == ".stl":  # its count does not fit its size: the reader says how
        return _FORMATS["STL"]
    raise _not_a_mesh("binary data that is no mesh of a known format" if binary else "text that describes no mesh")


def _not_a_mesh(what: str) -> InputError:
    if "archive" in what:
        return InputError(
            f"The file is {what}, not a scan.", "Unpack it and give the scan inside.", code="scan.compressed"
        )
    return InputError(f"The file is {what}, not a scan.", _FORMATS_HINT, code="scan.not_a_mesh")


def _parse(chosen: _Format, data: bytes, folder: Path, texture: bool) -> RawMesh:
    try:
        return chosen.read(data, folder, texture)
    except (LandmarkingError, MemoryError):
        raise
    except RecursionError as error:
        raise unsupported("it is nested too deeply") from error
    except Exception as error:  # noqa: BLE001  our readers name the damage they know; the rest is damage too
        raise damaged(f"it is not a whole {chosen.name} file") from error
