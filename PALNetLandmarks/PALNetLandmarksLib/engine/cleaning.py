"""From a mesh as a file gives it to one that every later step can rely on.

What is harmless is mended and counted; what may matter is mended with a warning; what makes the surface unreliable is
an error. Nothing here moves a vertex by more than the seventh digit of its coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from PALNetLandmarksLib.engine.orientation import Orientation, outward
from PALNetLandmarksLib.engine.reading_raw import RawMesh, damaged
from PALNetLandmarksLib.engine.resampling import triangle_normals
from PALNetLandmarksLib.engine.scan import Cleaning, FloatArray, IntArray, ScanWarning
from PALNetLandmarksLib.errors import InputError

# A face in 100 triangles can still be told from a cube; nothing below can hold 50 landmarks.
FEWEST_VERTICES = 50
FEWEST_TRIANGLES = 50
MOST_NOT_FINITE = 0.05  # share of vertices
# Area over the square of the longest edge below which a triangle is taken to have no area.
_FLAT = 1e-10
# A loose part with a smaller share of the triangles is a speck, unless specks have more than the second share of them:
# then the surface itself is in pieces.
_SPECK, _MOST_SPECKS = 0.001, 0.02
# The Z-shaped curve that orders a mesh: bits along each axis, cells to the mean radius of the mesh (0.2 mm on a head),
# and how many bits of them are left out to make the wide cells (6 mm on a head).
_BITS, _CELLS_PER_RADIUS, _CELL_BITS = 12, 512, 5


@dataclass(frozen=True)
class CleanMesh:
    """A cleaned mesh, still in the file's unit.

    Attributes
    ----------
    vertices : (n, 3) float64
    triangles : (m, 3) int64
    coordinates : (m, 3, 2) float32 or None
        Texture coordinates of the triangles' corners.
    cells : (m,) int64
        Cell of space in which each triangle begins, ascending; about a sixteenth of the mesh's mean radius wide.
    cleaning : Cleaning
    warnings : tuple of ScanWarning
    """

    vertices: FloatArray
    triangles: IntArray
    coordinates: npt.NDArray[np.float32] | None
    cells: IntArray
    cleaning: Cleaning
    warnings: tuple[ScanWarning, ...]


def clean(raw: RawMesh) -> CleanMesh:
    """Clean a mesh.

    Coordinates are rounded to single precision, which is what programs that show scans hold in memory. Vertices that
    are no finite numbers are dropped with their triangles; exactly equal vertices are merged; triangles without area
    and second copies of a triangle are dropped, and so are vertices without a triangle; triangles that face inwards
    are turned round. Small loose parts and edges of more than two triangles are kept. The rest is put into an order
    that depends on the surface alone: however a program wrote the scan, later steps see the same bits. Specks come
    last in it, so that points drawn from the rest are the same with and without them.

    Parameters
    ----------
    raw : RawMesh

    Returns
    -------
    CleanMesh

    Raises
    ------
    InputError
        ``scan.empty``, ``scan.point_cloud``, ``scan.damaged``, ``scan.not_finite``, ``scan.flat`` or
        ``scan.too_few_triangles``.
    """
    vertices, triangles, coordinates = single_precision(raw.vertices), raw.triangles, raw.coordinates
    _check_content(vertices, triangles)
    warnings: list[ScanWarning] = []

    finite = np.isfinite(vertices[:, 0]) & np.isfinite(vertices[:, 1]) & np.isfinite(vertices[:, 2])
    not_finite = int(len(vertices) - np.count_nonzero(finite))
    if not_finite:
        if not_finite > MOST_NOT_FINITE * len(vertices):
            raise InputError(
                f"{not_finite:,} of {len(vertices):,} vertices of the scan have no valid coordinates.",
                "Export the scan again; if this persists, export it in another format.",
                code="scan.not_finite",
            )
        warnings.append(
            ScanWarning("scan.not_finite", f"{not_finite:,} vertices without valid coordinates were left out.")
        )
        whole = finite[triangles[:, 0]] & finite[triangles[:, 1]] & finite[triangles[:, 2]]
        triangles, coordinates = _kept(triangles, coordinates, whole)
        vertices = np.where(finite[:, None], vertices, 0.0)

    representative = duplicate_map(vertices)
    if representative is not None:
        triangles = representative[triangles]
    triangles, coordinates, degenerate = _without_degenerate(vertices, triangles, coordinates)
    keep = _first_copies(triangles, len(vertices))
    duplicate_triangles = int(len(keep) - np.count_nonzero(keep))
    if duplicate_triangles:
        triangles, coordinates = _kept(triangles, coordinates, keep)
    _check_enough(vertices, triangles)

    used = np.zeros(len(vertices), dtype=bool)
    used[triangles] = True
    if representative is None:
        duplicates = 0
    else:  # duplicates of used vertices are merged, not unreferenced
        duplicates = int(np.count_nonzero((representative != np.arange(len(vertices))) & finite))
    unreferenced = int(len(vertices) - np.count_nonzero(used) - duplicates - not_finite)
    if not used.all():
        number = np.cumsum(used) - 1
        vertices, triangles = np.ascontiguousarray(vertices[used]), number[triangles]
    _check_enough(vertices, triangles)

    orientation = outward(vertices, triangles)
    triangles, coordinates = _turned(triangles, coordinates, orientation)
    warnings += _orientation_warnings(orientation, len(triangles))
    specks = _specks(orientation.part)
    vertices, triangles, coordinates, cells = _in_canonical_order(vertices, triangles, coordinates, specks)
    cleaning = Cleaning(
        not_finite_vertices=not_finite,
        duplicate_vertices=duplicates,
        unreferenced_vertices=unreferenced,
        degenerate_triangles=degenerate,
        duplicate_triangles=duplicate_triangles,
        reversed_triangles=int(np.count_nonzero(orientation.reversed)),
    )
    return CleanMesh(vertices, np.ascontiguousarray(triangles), coordinates, cells, cleaning, tuple(warnings))


def single_precision(vertices: FloatArray) -> FloatArray:
    """Round coordinates to the nearest number of single precision.

    Parameters
    ----------
    vertices : (n, 3) float64

    Returns
    -------
    (n, 3) float64
        Off by less than 1e-7 of the coordinate: 0.02 µm at 200 mm. What single precision cannot hold stays as it is.
    """
    with np.errstate(over="ignore"):
        rounded = vertices.astype(np.float32).astype(np.float64)
    return np.where(np.isfinite(rounded), rounded, vertices)


def _specks(part: IntArray) -> npt.NDArray[np.bool_]:
    """Return which triangles, (m,), belong to specks: loose parts too small to be any part of the face."""
    sizes = np.bincount(part)
    small = sizes < _SPECK * len(part)
    if sizes[small].sum() > _MOST_SPECKS * len(part):
        small[:] = False
    return np.asarray(small[part])


def _in_canonical_order(
    vertices: FloatArray,
    triangles: IntArray,
    coordinates: npt.NDArray[np.float32] | None,
    specks: npt.NDArray[np.bool_],
) -> tuple[FloatArray, IntArray, npt.NDArray[np.float32] | None, IntArray]:
    """Sort vertices by place, and triangles by their vertices, each beginning with its first one.

    Along a Z-shaped curve through space, on which neighbours stay together: the even sampling of surfaces draws a point
    from each of equal strips of them, and is evener the more compact the strips are. The curve follows the surface's
    own axes, so that a scan in another pose has nearly the same points drawn from it. Specks, (m,) bool, have no say
    in the axes, and come after everything else. Also returns the cell of each triangle: a wide piece of the curve.
    """
    loose = np.zeros(len(vertices), dtype=bool)
    loose[triangles[specks]] = True
    codes = _morton_codes(_in_own_axes(vertices, ~loose)) | (loose.astype(np.int64) << 3 * _BITS)
    order = np.lexsort((vertices[:, 0], vertices[:, 1], vertices[:, 2], codes))
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order))
    triangles = number[triangles]
    corners = (np.argmin(triangles, axis=1)[:, None] + np.arange(3)) % 3
    triangles = np.take_along_axis(triangles, corners, axis=1)
    if len(vertices) < 2**21:
        places = np.argsort((triangles[:, 0] << 42) | (triangles[:, 1] << 21) | triangles[:, 2], kind="stable")
    else:
        places = np.lexsort(triangles.T[::-1])
    if coordinates is not None:
        coordinates = np.take_along_axis(coordinates, corners[:, :, None], axis=1)[places]
    vertices, triangles = vertices[order], triangles[places]
    return vertices, triangles, coordinates, codes[order][triangles[:, 0]] >> 3 * _CELL_BITS


def _in_own_axes(vertices: FloatArray, counted: npt.NDArray[np.bool_]) -> FloatArray:
    """Return vertices, (n, 3), from the centre of those counted and along their principal axes, in their mean radius.

    Two axes point where the vertices reach out farther, the third makes them right-handed. A vertex more or less
    changes hardly anything, and sums are of whole numbers, so that no bit depends on the order of the vertices.
    """
    deciding = vertices[counted]
    low = deciding.min(axis=0)
    step = max(float((deciding.max(axis=0) - low).max()), 1e-30) / 8191.0
    cells = np.rint((deciding - low) / step)
    total, count = cells.sum(axis=0), len(cells)
    spread, axes = np.linalg.eigh(cells.T @ cells - np.outer(total, total) / count)
    along = np.rint((cells - np.rint(total / count)) @ axes)
    skewness = (along**3).sum(axis=0) / np.maximum(spread, 1e-30) ** 1.5
    axes = axes * np.where(skewness < 0.0, -1.0, 1.0)
    # A face is nearly as wide on one side as on the other: which is the wider must not decide.
    evenest = np.argmin(np.abs(skewness))
    axes[:, evenest] *= np.sign(np.linalg.det(axes))
    radius = step * np.sqrt(max(float(spread.sum()), 1e-30) / count)
    return np.asarray(((vertices - low) - total / count * step) @ axes / radius)


def _morton_codes(places: FloatArray) -> IntArray:
    """Return how far along a Z-shaped curve through cells of space each place, (n, 3), lies; (n,) int64."""
    middle = 2 ** (_BITS - 1)
    cells = np.clip(np.floor(places * _CELLS_PER_RADIUS) + middle, 0, 2 * middle - 1).astype(np.int64)
    spread = ((32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F), (4, 0x10C30C30C30C30C3),
              (2, 0x1249249249249249))  # fmt: skip
    for shift, mask in spread:  # two zeros between the bits
        cells = (cells | (cells << shift)) & mask
    return np.asarray(cells[:, 0] | (cells[:, 1] << 1) | (cells[:, 2] << 2))


def duplicate_map(vertices: FloatArray) -> IntArray | None:
    """Return for each vertex the first vertex at exactly the same place, (n,) int64; None if all places differ."""
    # 64-bit hashes of the coordinates' bits: sorting numbers is ten times as fast as sorting rows.
    words = (vertices + 0.0).view(np.uint64)  # + 0.0: minus zero and zero are one place
    with np.errstate(over="ignore"):
        hashes = words[:, 0] * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= (hashes >> np.uint64(29)) + words[:, 1] * np.uint64(0xBF58476D1CE4E5B9)
        hashes ^= (hashes >> np.uint64(32)) + words[:, 2] * np.uint64(0x94D049BB133111EB)
        hashes ^= hashes >> np.uint64(31)
    order = np.argsort(hashes)
    ordered = hashes[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    if new.all():
        return None
    first = np.minimum.reduceat(order, np.flatnonzero(new))  # of each place, the first in the file
    result = np.empty(len(order), dtype=np.int64)
    result[order] = first[np.cumsum(new) - 1]
    if not np.array_equal(vertices[result], vertices):  # two places with one hash: all but impossible
        _, first, inverse = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
        result = first[inverse.ravel()].astype(np.int64)
    return result


def _check_content(vertices: FloatArray, triangles: IntArray) -> None:
    if not len(vertices):
        raise InputError(
            "The scan file holds no vertices.",
            "Check that the export from the capture software finished, and export the scan again.",
            code="scan.no_vertices",
        )
    if not len(triangles):
        raise InputError(
            f"The scan is a point cloud: {len(vertices):,} points without a surface.",
            "Export it with its surface (a mesh), or build one, for example in MeshLab: Filters > Remeshing > "
            "Surface Reconstruction: Screened Poisson. If the file should hold a mesh, it was cut off while copying.",
            code="scan.point_cloud",
        )
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise damaged("a face names a vertex that is not in the file")


def _check_enough(vertices: FloatArray, triangles: IntArray) -> None:
    if len(triangles) and len(triangles) >= FEWEST_TRIANGLES and len(vertices) >= FEWEST_VERTICES:
        return
    if not len(triangles):
        raise InputError(
            "The surface of the scan has no area: all its triangles are points or lines.",
            "Export the scan again; check in a viewer that it shows a face.",
            code="scan.flat",
        )
    raise InputError(
        f"The scan has only {len(triangles):,} triangles; that is not enough for a face.",
        "Check that the file is a face scan, and export it at a higher resolution.",
        code="scan.too_few_triangles",
    )


def _kept(
    triangles: IntArray, coordinates: npt.NDArray[np.float32] | None, keep: npt.NDArray[np.bool_]
) -> tuple[IntArray, npt.NDArray[np.float32] | None]:
    return triangles[keep], None if coordinates is None else coordinates[keep]


def _without_degenerate(
    vertices: FloatArray, triangles: IntArray, coordinates: npt.NDArray[np.float32] | None
) -> tuple[IntArray, npt.NDArray[np.float32] | None, int]:
    if not len(triangles):
        return triangles, coordinates, 0
    # Relative to the scan's own size, so that neither metres nor huge coordinates under- or overflow.
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        extent = float((high - low).max())
    if not np.isfinite(extent) or extent > 1e15:
        raise damaged("some of its coordinates are impossibly large")
    if extent == 0.0:
        return triangles[:0], None, len(triangles)
    scaled = (vertices - low) / extent
    normals = triangle_normals(scaled, triangles)
    doubled = np.einsum("md,md->m", normals, normals)
    longest = np.zeros(len(triangles))
    for axis in range(3):
        column = np.ascontiguousarray(scaled[:, axis])
        corner = [column[np.ascontiguousarray(triangles[:, k])] for k in range(3)]
        span = np.maximum(np.maximum(corner[0], corner[1]), corner[2])
        span -= np.minimum(np.minimum(corner[0], corner[1]), corner[2])
        longest += span * span
    keep = doubled > (2.0 * _FLAT * longest) ** 2
    count = int(len(keep) - np.count_nonzero(keep))
    if count:
        triangles, coordinates = _kept(triangles, coordinates, keep)
    return triangles, coordinates, count


def _first_copies(triangles: IntArray, count: int) -> npt.NDArray[np.bool_]:
    """Return which triangles are the first over their three vertices, whichever way round."""
    first = np.ones(len(triangles), dtype=bool)
    a, b, c = (np.ascontiguousarray(triangles[:, corner]) for corner in range(3))
    low = np.minimum(np.minimum(a, b), c)
    high = np.maximum(np.maximum(a, b), c)
    middle = a + b + c - low - high
    if count < 2**21:
        keys = (low << 42) | (middle << 21) | high
        ordered = np.sort(keys)
        if (ordered[1:] != ordered[:-1]).all():
            return first
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        first[order[1:]] = ordered[1:] != ordered[:-1]
        return first
    order = np.lexsort((high, middle, low))
    same = np.ones(len(order) - 1, dtype=bool)
    for column in (low, middle, high):
        same &= column[order[1:]] == column[order[:-1]]
    first[order[1:]] = ~same
    return first


def _turned(
    triangles: IntArray, coordinates: npt.NDArray[np.float32] | None, orientation: Orientation
) -> tuple[IntArray, npt.NDArray[np.float32] | None]:
    turned = orientation.reversed
    if turned.any():
        triangles = triangles.copy()
        triangles[turned] = triangles[turned][:, [0, 2, 1]]
        if coordinates is not None:
            coordinates = coordinates.copy()
            coordinates[turned] = coordinates[turned][:, [0, 2, 1]]
    return triangles, coordinates


def _orientation_warnings(orientation: Orientation, count: int) -> list[ScanWarning]:
    warnings = []
    if orientation.inside_out:
        warnings.append(
            ScanWarning(
                "scan.inside_out",
                "The surface faced inwards and was turned round. If right and left look swapped, the file holds a "
                "mirrored face.",
            )
        )
    elif np.count_nonzero(orientation.reversed) > 0.001 * count:
        turned = int(np.count_nonzero(orientation.reversed))
        warnings.append(
            ScanWarning("scan.mixed_orientation", f"{turned:,} triangles faced the wrong way and were turned round.")
        )
    return warnings
