"""Landmarks whose region the scan does not show: said to be missing instead of glued to the nearest edge.

A scan ends somewhere: behind the cheeks, under the hairline, at the ears. A network still names a place for every
landmark. It is taken for missing where no surface is near, or where the closest surface is the outer border of the
scan and the place lies beyond it. A short rim is a hole (nostril, gap of the capture): its edge is good enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from PALNetLandmarksLib.engine.projection import (
    BoolArray,
    FloatArray,
    IndexArray,
    Projection,
    Surface,
    edge_keys,
    project_to_surface,
)

MAXIMUM_DISTANCE_MM = 8.0
BORDER_MARGIN_MM = 3.0
HOLE_PERIMETER_MM = 60.0
# The direction of the surface at its border is averaged over this radius: single triangles there are ragged.
NORMAL_RADIUS_MM = 5.0


@dataclass(frozen=True)
class RegionCheck:
    """Which landmarks the scan shows.

    Attributes
    ----------
    missing : (L,) bool
    reasons : tuple of str
        A sentence for each missing landmark, '' for the others.
    warnings : tuple of str
        A sentence for each landmark that was taken to the rim of a hole, '' for the others.
    distance_mm : (L,) float64
        To the surface.
    beyond_border_mm : (L,) float64
        How far a landmark lies beyond an open edge, along the surface; 0 where it does not.
    rim_length_mm : (L,) float64
        Length of that edge's rim; NaN where there is none.
    """

    missing: BoolArray
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    distance_mm: FloatArray
    beyond_border_mm: FloatArray
    rim_length_mm: FloatArray


def missing_regions(
    surface: Surface,
    points: FloatArray,
    names: Sequence[str],
    *,
    structures: Sequence[str] | None = None,
    projection: Projection | None = None,
    maximum_distance_mm: float = MAXIMUM_DISTANCE_MM,
    border_margin_mm: float = BORDER_MARGIN_MM,
    hole_perimeter_mm: float = HOLE_PERIMETER_MM,
) -> RegionCheck:
    """Tell which predicted landmarks have no surface of the scan where they are expected.

    Parameters
    ----------
    surface : Surface
    points : (L, 3) float
        What the network says, before projection, in the frame of the surface, mm.
    names : sequence of str
        What to call each landmark in a sentence, for example "right tragion".
    structures : sequence of str, optional
        What the scan lacks if the landmark is missing, for example "right ear"; '' where that cannot be said.
    projection : Projection, optional
        `project_to_surface` of the same points, if the caller has it already.
    maximum_distance_mm : float
        Further from the surface than this: missing.
    border_margin_mm : float
        Further beyond the scan's border than this, along the surface: missing.
    hole_perimeter_mm : float
        A rim shorter than this is a hole inside the surface and no border: a warning only.
    """
    points = np.asarray(points, dtype=np.float64)
    if projection is None or projection.barycentric is None:
        projection = project_to_surface(surface, points)
    beyond, rim_length = _beyond_border(surface, points, projection, border_margin_mm)
    far = projection.moved_mm > maximum_distance_mm
    over_edge = beyond > border_margin_mm
    hole = over_edge & (rim_length < hole_perimeter_mm)
    off_border = over_edge & ~hole
    lacking = [""] * len(names) if structures is None else list(structures)
    reasons, warnings = [], []
    for i, (name, structure) in enumerate(zip(names, lacking, strict=True)):
        reason = warning = ""
        if far[i]:
            reason = f"No surface within {maximum_distance_mm:g} mm of where the {name} is expected: "
            reason += f"the scan has no {structure} here." if structure else "the scan does not show it."
        elif off_border[i]:
            reason = f"The scan ends {beyond[i]:.0f} mm short of where the {name} is expected"
            reason += f": it does not show the whole {structure}." if structure else "."
        elif hole[i]:
            warning = (
                f"The {name} lies over a small hole of the scan: the hole's rim, {beyond[i]:.0f} mm away, is taken."
            )
        reasons.append(reason)
        warnings.append(warning)
    return RegionCheck(
        far | off_border, tuple(reasons), tuple(warnings), projection.moved_mm.copy(), beyond, rim_length
    )


def _beyond_border(
    surface: Surface, points: FloatArray, projection: Projection, margin: float
) -> tuple[FloatArray, FloatArray]:
    """Return how far points lie beyond open edges, along the surface, and the length of the edge's rim."""
    assert projection.barycentric is not None
    beyond = np.zeros(len(points))
    rim_length = np.full(len(points), np.nan)
    # The border is only looked for if a point came to an edge or corner from further away than the margin.
    suspects = np.flatnonzero((projection.barycentric == 0.0).any(axis=1) & (projection.moved_mm > margin))
    if not len(suspects):
        return beyond, rim_length
    rims = _rim_of(surface, projection, suspects)
    suspects, rims = suspects[rims >= 0], rims[rims >= 0]
    if not len(suspects):
        return beyond, rim_length
    closest = projection.points[suspects]
    normals = _mean_normals(surface, closest, projection.index[suspects])
    step = points[suspects] - closest
    along = step - np.einsum("ij,ij->i", step, normals)[:, None] * normals
    beyond[suspects] = np.linalg.norm(along, axis=1)
    rim_length[suspects] = surface.border.rim_length_mm[rims]
    return beyond, rim_length


def _rim_of(surface: Surface, projection: Projection, rows: IndexArray) -> IndexArray:
    """Return the rim on which each projected point lies, -1 where it lies on no open edge."""
    assert projection.barycentric is not None
    corners = np.stack([corner[projection.index[rows]] for corner in surface.corners], axis=1)
    shares = projection.barycentric[rows]
    # The two corners with the largest shares, the largest last; on a corner itself only that one counts.
    order = np.argsort(shares, axis=1, kind="stable")
    ordered = np.take_along_axis(corners, order, axis=1)
    on_corner = (shares > 0.0).sum(axis=1) == 1
    border = surface.border
    keys = edge_keys(ordered[:, 1], ordered[:, 2], len(surface.vertices))
    open_edge = np.isin(keys, border.edge_keys)
    return np.where(on_corner | open_edge, border.rim_of_vertex[ordered[:, 2]], -1)


def _mean_normals(surface: Surface, places: FloatArray, own: IndexArray) -> FloatArray:
    """Return the area-weighted mean normal of the triangles round each place, its `own` triangle always, (p, 3)."""
    near = surface.tree.query_ball_point(places, NORMAL_RADIUS_MM)
    reached = np.zeros(len(surface.vertices), dtype=bool)
    reached[np.concatenate([*map(np.asarray, near), np.empty(0)]).astype(np.int64)] = True
    first, second, third = surface.corners
    candidates = reached[first] | reached[second] | reached[third]
    candidates[own] = True
    triangles = np.flatnonzero(candidates)
    a, b, c = (surface.vertices[corner[triangles]] for corner in surface.corners)
    vectors = np.cross(b - a, c - a)
    centres = (a + b + c) / 3.0
    distances = np.linalg.norm(centres[None] - places[:, None], axis=2)
    counts = (distances <= NORMAL_RADIUS_MM) | (triangles == own[:, None])
    normals = counts.astype(np.float64) @ vectors
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    unit: FloatArray = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0.0)
    return unit
