"""Points moved with the mouse stay on the scan: in Slicer's own 3D view, with its own interaction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from slicer_scene import Scene, on_face, some_landmarks
from slicer_view import View

from PALNetLandmarksLib.gui.case import Case
from PALNetLandmarksLib.gui.scene.snapping import snap

TURNED = np.array([[0.96, -0.28, 0, 20], [0.28, 0.96, 0, -7], [0, 0, 1, 3], [0, 0, 0, 1]])
SCALED = np.array([[1.4, 0, 0, 20], [0, 1.4, 0, -7], [0, 0, 0.7, 3], [0, 0, 0, 1]])


@pytest.fixture
def shown(case: Case, view: View) -> Case:
    """Landmarks on the face, one well apart from the others: Prn at the nose."""
    landmarks = some_landmarks(case.protocol, case.surface().polydata).in_coordinate_system("RAS")
    place = on_face(case.surface().polydata, 0, 0)
    apart = np.linalg.norm(landmarks.positions - place, axis=1) < 25
    for label in np.array(case.protocol.labels)[apart]:
        landmarks = landmarks.with_point(str(label), None, "missing")
    case.show_prediction(landmarks.with_point("Prn", place, "predicted", expected_error_mm=3.0))
    view.look_from_front()
    return case


def off_surface(case: Case, label: str) -> float:
    return float(case.surface().project(case.landmarks().position(label)[None])[1][0])


def hold(case: Case, matrix: Any, scene: Scene, view: View) -> None:
    if matrix is not None:
        case.scan.SetAndObserveTransformNodeID(scene.add_transform(matrix).GetID())
        view.look_from_front()


@pytest.mark.parametrize("matrix", [None, TURNED, SCALED], ids=["plain", "turned", "scaled"])
def test_drag_on_the_face(shown: Case, scene: Scene, view: View, matrix: Any) -> None:
    hold(shown, matrix, scene, view)
    start = shown.landmarks().position("Prn")
    end = shown.surface().project((start + (18, 0, 12))[None])[0][0]
    off: list[float] = []
    shown.points_changed.connect(lambda labels: off.append(off_surface(shown, "Prn")))
    held: list[bool] = []
    shown.points_changed.connect(lambda labels: held.append(shown.dragging))
    view.drag(view.at(start), view.at(end))
    now = shown.landmarks()
    assert now.status[3] == "corrected" and np.isnan(now.expected_error_mm[3])
    assert np.linalg.norm(view.at(now.position("Prn")) - view.at(end)) < 1.5, "within a pixel of the pointer"
    assert len(off) >= 10 and max(off) < 1e-3, "on the surface at every step"
    assert held == [True] * (len(held) - 1) + [False]
    assert now.count("corrected") == 1
    np.testing.assert_allclose(shown.landmarks_node.GetNthControlPointPositionWorld(3), now.position("Prn"), atol=1e-9)
    assert shown.selected == "Prn"
    shown.undo()
    np.testing.assert_allclose(shown.landmarks().position("Prn"), start, atol=1e-6)
    assert not shown.can_undo, "one drag is one step"


@pytest.mark.parametrize("matrix", [None, TURNED, SCALED], ids=["plain", "turned", "scaled"])
def test_drag_past_the_silhouette(shown: Case, scene: Scene, view: View, matrix: Any) -> None:
    hold(shown, matrix, scene, view)
    start = view.at(shown.landmarks().position("Prn"))
    off: list[float] = []
    shown.points_changed.connect(lambda labels: off.append(off_surface(shown, "Prn")))
    view.drag(start, (10, start[1] + 20), steps=20)
    assert len(off) >= 12 and max(off) < 1e-3
    assert off_surface(shown, "Prn") < 1e-3
    moved = np.abs(np.diff(np.array([shown.landmarks().position("Prn"), shown.predicted().position("Prn")]), axis=0))
    assert moved.max() > 20, "the point went along to the edge"


def test_point_at_rest_does_not_creep(shown: Case, view: View) -> None:
    start = view.at(shown.landmarks().position("Prn"))
    view.drag(start, start + (15, 10))
    rested = shown.landmarks().position("Prn")
    where = view.at(rested)
    for _round in range(5):
        view.drag(where, where, steps=6)
    assert np.linalg.norm(shown.landmarks().position("Prn") - rested) < 0.5  # within a pixel
    once = shown.landmarks().position("Prn")
    where = view.at(once)
    for _round in range(5):
        view.drag(where, where, steps=6)
    np.testing.assert_allclose(shown.landmarks().position("Prn"), once, atol=0.5)


def test_click_without_moving_is_no_edit(shown: Case, view: View) -> None:
    where = view.at(shown.landmarks().position("Prn"))
    view.move(where)
    view.press(where)
    view.release(where)
    assert shown.landmarks().status[3] == "predicted"
    assert not shown.can_undo
    assert shown.selected == "Prn"


@pytest.mark.parametrize("whole", [True, False], ids=["list", "point"])
def test_locked_point_stays(shown: Case, view: View, whole: bool) -> None:
    before = shown.landmarks()
    if whole:
        shown.landmarks_node.SetLocked(True)
    else:
        shown.landmarks_node.SetNthControlPointLocked(3, True)
    start = view.at(before.position("Prn"))
    view.drag(start, start + (60, 10))
    np.testing.assert_array_equal(shown.landmarks().positions, before.positions)
    assert shown.landmarks().status == before.status and not shown.can_undo


def test_locked_point_off_the_surface_is_not_snapped(shown: Case, view: View) -> None:
    node = shown.landmarks_node
    node.SetNthControlPointPosition(0, 0.0, 140.0, 60.0)  # in mid-air, by a script
    node.SetNthControlPointLocked(0, True)
    start = view.at(shown.landmarks().position("Prn"))
    view.drag(start, start + (20, 10))
    np.testing.assert_array_equal(node.GetNthControlPointPosition(0), (0, 140, 60))
    snap(node, range(50), shown.surface())
    np.testing.assert_array_equal(node.GetNthControlPointPosition(0), (0, 140, 60))
    node.SetNthControlPointLocked(0, False)
    node.SetLocked(True)
    snap(node, [0], shown.surface())
    np.testing.assert_array_equal(node.GetNthControlPointPosition(0), (0, 140, 60))
    node.SetLocked(False)
    snap(node, [0], shown.surface())
    assert shown.surface().project(np.array([node.GetNthControlPointPositionWorld(0)]))[1][0] < 1e-3


def test_without_a_scan_points_move_freely(shown: Case, view: View) -> None:
    shown.set_scan(None)
    start = view.at(shown.landmarks().position("Prn"))
    view.drag(start, (10, 300))
    assert shown.landmarks().status[3] == "corrected"
