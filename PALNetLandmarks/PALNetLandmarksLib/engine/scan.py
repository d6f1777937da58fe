"""A face scan in memory: what reading gives and everything after it takes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScanWarning:
    """Something about a scan that the user should know and that does not stop the work.

    Attributes
    ----------
    code : str
        Stable name for programs, for example ``"scan.units_converted"``.
    message : str
        One or two sentences for the user; never a path, a name or a comment found in the file.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Texture:
    """Picture of the face on the scan, for display only.

    Attributes
    ----------
    coordinates : (m, 3, 2) float32
        Texture coordinates (u, v) of the three corners of each triangle of the scan, per corner so that the seams of
        the picture leave the surface whole. (0, 0) is the lower left of the picture; NaN where a triangle has none.
    image : (h, w, 3) uint8
        Red, green, blue; the first row is the top of the picture.
    """

    coordinates: npt.NDArray[np.float32]
    image: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Cleaning:
    """What was removed or changed on the way from the file to the scan: plain counts.

    Attributes
    ----------
    not_finite_vertices : int
        Vertices with a coordinate that is no finite number, dropped with their faces.
    duplicate_vertices : int
        Vertices at exactly the place of another one, merged.
    unreferenced_vertices : int
        Vertices that belong to no face, dropped.
    degenerate_triangles : int
        Triangles without area (a vertex twice, or three in line), dropped.
    duplicate_triangles : int
        Triangles over the same three vertices as another one, dropped.
    reversed_triangles : int
        Triangles turned round so that the surface faces outwards.
    """

    not_finite_vertices: int = 0
    duplicate_vertices: int = 0
    unreferenced_vertices: int = 0
    degenerate_triangles: int = 0
    duplicate_triangles: int = 0
    reversed_triangles: int = 0


@dataclass(frozen=True)
class Scan:
    """A cleaned triangle mesh of a face in millimetres, in the file's own position.

    Attributes
    ----------
    vertices : (n, 3) float64
        Positions in mm; every vertex belongs to a triangle, no two are equal.
    triangles : (m, 3) int64
        Indices into `vertices`, counter-clockwise seen from outside.
    texture : Texture or None
        Picture of the face where the file brought one.
    unit : str
        Unit of the file: ``"mm"``, ``"cm"``, ``"m"`` or ``"in"``.
    scale_to_mm : float
        Factor from the file's coordinates to mm.
    warnings : tuple of ScanWarning
        What the user should know.
    sha256 : str
        SHA-256 of the file's bytes in hexadecimal digits, or ``""`` for arrays.
    cleaning : Cleaning
        What was removed or changed.
    cells : (m,) int64 or None
        Small cell of space that each triangle belongs to, the same wherever the scan lies; ascending. A change of the
        surface leaves the points drawn from other cells as they are.
    """

    vertices: FloatArray
    triangles: IntArray
    texture: Texture | None = None
    unit: str = "mm"
    scale_to_mm: float = 1.0
    warnings: tuple[ScanWarning, ...] = ()
    sha256: str = ""
    cleaning: Cleaning = field(default_factory=Cleaning)
    cells: IntArray | None = None

    @property
    def size_mm(self) -> tuple[float, float, float]:
        """Extent of the scan along its own axes, in mm."""
        extent = self.vertices.max(axis=0) - self.vertices.min(axis=0)
        return float(extent[0]), float(extent[1]), float(extent[2])
