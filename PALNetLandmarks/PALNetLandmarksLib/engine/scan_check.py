"""Plain facts about a scan for someone who wants to know whether it is fit for landmarking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from PALNetLandmarksLib.engine.orientation import edges_of, parts_of
from PALNetLandmarksLib.engine.resampling import triangle_areas
from PALNetLandmarksLib.engine.scan import FloatArray, IntArray, Scan
from PALNetLandmarksLib.engine.units import surface_size

_COARSE_MM = 4.0  # median edge above which fine landmarks (eye corners, lip points) lie between vertices


@dataclass(frozen=True)
class ScanFacts:
    """What a scan is like after cleaning; lengths in mm.

    Attributes
    ----------
    vertices, triangles : int
    extent_mm : tuple of three floats
        Along the file's own axes.
    size_mm : float
        Twice the radius round the centroid that holds 95 % of the area, however the scan lies.
    unit : str
        Unit of the file.
    scale_to_mm : float
    area_mm2 : float
    median_edge_mm : float
    parts : int
        Connected parts of the surface.
    largest_part : float
        Share of the area in the largest part.
    holes : int
        Borders of the surface besides the longest one of the largest part, which is its rim.
    longest_border_mm, longest_hole_mm : float
        0 where there is none.
    non_manifold_edges : int
        Edges of more than two triangles.
    inside_out : bool
        Whether the surface faced inwards and was turned round.
    duplicate_vertices, unreferenced_vertices, not_finite_vertices, degenerate_triangles, duplicate_triangles : int
        Removed while reading.
    reversed_triangles : int
        Turned round while reading.
    texture : bool
    sentences : tuple of str
        The facts in words, warnings last.
    """

    vertices: int
    triangles: int
    extent_mm: tuple[float, float, float]
    size_mm: float
    unit: str
    scale_to_mm: float
    area_mm2: float
    median_edge_mm: float
    parts: int
    largest_part: float
    holes: int
    longest_border_mm: float
    longest_hole_mm: float
    non_manifold_edges: int
    inside_out: bool
    duplicate_vertices: int
    unreferenced_vertices: int
    not_finite_vertices: int
    degenerate_triangles: int
    duplicate_triangles: int
    reversed_triangles: int
    texture: bool
    sentences: tuple[str, ...]


def check_scan(scan: Scan) -> ScanFacts:
    """Look at a scan and say what it is like.

    Parameters
    ----------
    scan : Scan

    Returns
    -------
    ScanFacts
    """
    edges = edges_of(scan.triangles, len(scan.vertices))
    lengths = np.linalg.norm(scan.vertices[edges.ends[:, 0]] - scan.vertices[edges.ends[:, 1]], axis=1)
    areas = triangle_areas(scan.vertices, scan.triangles)
    parts, part = parts_of(scan.triangles, len(scan.vertices))
    part_areas = np.bincount(part, areas, parts)
    borders, of_largest = _borders(
        edges.ends[edges.count == 1], lengths[edges.count == 1], scan, part, int(np.argmax(part_areas))
    )
    rim = float(borders[of_largest].max()) if of_largest.any() else 0.0
    others = np.delete(borders, int(np.flatnonzero(of_largest & (borders == rim))[0])) if rim > 0.0 else borders
    cleaning = scan.cleaning
    facts = ScanFacts(
        vertices=len(scan.vertices),
        triangles=len(scan.triangles),
        extent_mm=scan.size_mm,
        size_mm=surface_size(scan.vertices, scan.triangles),
        unit=scan.unit,
        scale_to_mm=scan.scale_to_mm,
        area_mm2=float(areas.sum()),
        median_edge_mm=float(np.median(lengths)),
        parts=parts,
        largest_part=float(part_areas.max() / part_areas.sum()),
        holes=len(others),
        longest_border_mm=float(borders.max()) if len(borders) else 0.0,
        longest_hole_mm=float(others.max()) if len(others) else 0.0,
        non_manifold_edges=int(np.count_nonzero(edges.count > 2)),
        inside_out=any(warning.code == "scan.inside_out" for warning in scan.warnings),
        duplicate_vertices=cleaning.duplicate_vertices,
        unreferenced_vertices=cleaning.unreferenced_vertices,
        not_finite_vertices=cleaning.not_finite_vertices,
        degenerate_triangles=cleaning.degenerate_triangles,
        duplicate_triangles=cleaning.duplicate_triangles,
        reversed_triangles=cleaning.reversed_triangles,
        texture=scan.texture is not None,
        sentences=(),
    )
    return _with_sentences(facts, scan)


def _borders(
    ends: IntArray, lengths: FloatArray, scan: Scan, part: IntArray, largest: int
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return the length of each border loop in mm and whether it lies on the largest part.

    Loops that touch in a vertex count as one.
    """
    if not len(ends):
        return np.empty(0), np.empty(0, dtype=bool)
    count = len(scan.vertices)
    graph = coo_matrix((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    _, label = connected_components(graph.tocsr(), directed=False)
    used, loop = np.unique(label[ends[:, 0]], return_inverse=True)
    part_of_vertex = np.empty(count, dtype=np.int64)
    part_of_vertex[scan.triangles] = part[:, None]
    of_largest = np.zeros(len(used), dtype=bool)
    of_largest[loop] = part_of_vertex[ends[:, 0]] == largest
    return np.asarray(np.bincount(loop, lengths, len(used)), dtype=np.float64), of_largest


def _with_sentences(facts: ScanFacts, scan: Scan) -> ScanFacts:
    x, y, z = facts.extent_mm
    sentences = [
        f"{facts.vertices:,} vertices and {facts.triangles:,} triangles; {x:.0f} × {y:.0f} × {z:.0f} mm; "
        f"median edge {facts.median_edge_mm:.2f} mm.",
        f"The file is in {'millimetres' if facts.unit == 'mm' else facts.unit + ', converted to millimetres'}.",
    ]
    if facts.parts > 1:
        sentences.append(
            f"The surface has {facts.parts:,} separate parts; the largest holds {100 * facts.largest_part:.1f} % of "
            "the area."
        )
    if facts.holes:
        sentences.append(
            f"It has {_several(facts.holes, 'hole')} besides its rim, the longest {facts.longest_hole_mm:.0f} mm round."
        )
    elif facts.longest_border_mm == 0.0:
        sentences.append("It is closed.")
    if facts.non_manifold_edges:
        sentences.append(f"It branches at {_several(facts.non_manifold_edges, 'edge')}; this is harmless.")
    removed = [
        _several(count, what)
        for count, what in (
            (facts.duplicate_vertices, "duplicate vertex"),
            (facts.unreferenced_vertices, "unused vertex"),
            (facts.degenerate_triangles, "triangle without area"),
            (facts.duplicate_triangles, "duplicate triangle"),
        )
        if count
    ]
    if removed:
        sentences.append(f"Removed while reading: {', '.join(removed)}.")
    if facts.median_edge_mm > _COARSE_MM:
        sentences.append("The mesh is coarse: landmarks at the eyes and lips will be less exact.")
    sentences.append("It has a texture." if facts.texture else "It has no texture.")
    sentences += [warning.message for warning in scan.warnings]
    values = {name: getattr(facts, name) for name in facts.__dataclass_fields__}
    return ScanFacts(**{**values, "sentences": tuple(sentences)})


def _several(count: int, what: str) -> str:
    if count == 1:
        return f"1 {what}"
    if what.startswith("triangle "):
        return f"{count:,} triangles{what[len('triangle'):]}"
    return f"{count:,} {what[:-2] + 'ices' if what.endswith('ex') else what + 's'}"
