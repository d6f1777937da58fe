"""Facts about a scan."""

from __future__ import annotations

import numpy as np
import pytest

from PALNetLandmarksLib.engine.reading import scan_from_arrays
from PALNetLandmarksLib.engine.scan_check import check_scan


def grid(rows: int = 21, columns: int = 17, spacing: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a sheet of rows x columns vertices that bulges a little."""
    x, y = np.meshgrid(np.arange(columns) * spacing, np.arange(rows) * spacing)
    z = -0.002 * ((x - x.mean()) ** 2 + (y - y.mean()) ** 2)
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (q.ravel() for q in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    triangles = np.stack([a, b, c, a, c, d], axis=1).reshape(-1, 3)
    return np.stack([x, y, z], axis=-1).reshape(-1, 3), triangles


def test_facts_of_a_sheet_with_a_hole_and_a_speck() -> None:
    vertices, triangles = grid()
    middle = (10 * 16 + 8) * 2
    triangles = np.delete(triangles, [middle, middle + 1], axis=0)  # one quad: a hole of four edges
    speck = np.array([[300.0, 0, 0], [310, 0, 0], [300, 10, 0]])
    scan = scan_from_arrays(np.vstack([vertices, speck]), np.vstack([triangles, [[357, 358, 359]]]))
    facts = check_scan(scan)
    assert (facts.vertices, facts.triangles) == (360, len(triangles) + 1)
    assert facts.parts == 2 and facts.largest_part == pytest.approx(1 - 50 / facts.area_mm2)
    assert facts.holes == 2  # the quad, and the speck's border
    assert facts.longest_hole_mm == pytest.approx(40.0, abs=0.5)
    assert facts.longest_border_mm == pytest.approx(2 * (160 + 200), rel=0.05)
    assert facts.area_mm2 == pytest.approx(160 * 200 - 100 + 50, rel=0.05)
    assert facts.median_edge_mm == pytest.approx(10.0, abs=1.0)
    assert facts.extent_mm[0] == 310.0 and facts.unit == "mm" and not facts.texture and not facts.inside_out
    assert facts.non_manifold_edges == 0
    text = " ".join(facts.sentences)
    assert "2 separate parts" in text and "2 holes" in text and "coarse" in text


def test_inside_out_branches_and_units_are_said() -> None:
    vertices, triangles = grid()
    vertices = np.vstack([vertices, vertices[18] + [0, 5, 40]])
    triangles = np.vstack([triangles, [[18, 19, 357]]])  # a fin: three triangles at one edge
    facts = check_scan(scan_from_arrays(vertices / 1000, triangles[:, ::-1], unit="auto"))
    assert facts.inside_out and facts.reversed_triangles > 0.9 * len(triangles)
    assert facts.unit == "m" and facts.scale_to_mm == 1000.0 and facts.non_manifold_edges == 1
    text = " ".join(facts.sentences)
    assert "converted" in text and "turned round" in text and "1 edge;" in text


def test_closed_surface_has_no_holes() -> None:
    vertices, triangles = grid()
    count = len(vertices)
    both = np.vstack([vertices, vertices + [0, 0, -60]])
    rim_ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    seen = {tuple(edge) for edge in rim_ends.tolist()}
    rim = np.array([edge for edge in sorted(seen) if edge[::-1] not in seen])
    wall = np.concatenate([
        np.stack([rim[:, 0], rim[:, 0] + count, rim[:, 1]], axis=1),
        np.stack([rim[:, 1], rim[:, 0] + count, rim[:, 1] + count], axis=1),
    ])  # fmt: skip
    facts = check_scan(scan_from_arrays(both, np.vstack([triangles, triangles[:, ::-1] + count, wall])))
    assert facts.holes == 0 and facts.longest_border_mm == 0.0 and facts.parts == 1
    assert facts.reversed_triangles == 0 and "It is closed." in facts.sentences
