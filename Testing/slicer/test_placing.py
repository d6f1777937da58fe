"""Guided placement with clicks in Slicer's own 3D view, in its own place mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from slicer_scene import Scene, on_face, some_landmarks
from slicer_view import View

from PALNetLandmarksLib.gui.case import Case
from PALNetLandmarksLib.gui.placement import Placement
from PALNetLandmarksLib.landmark_files import read_landmarks, write_landmarks

TURNED = np.array([[0.96, -0.28, 0, 20], [0.28, 0.96, 0, -7], [0, 0, 1.3, 3], [0, 0, 0, 1]])


@pytest.fixture
def placement(case: Case, view: View) -> Any:
    view.look_from_front()
    made = Placement(case)
    yield made
    made.cleanup()


@pytest.fixture
def mouse(scene: Scene) -> Any:
    return scene.mrml.GetFirstNodeByClass("vtkMRMLInteractionNode")


def spot(case: Case, number: int) -> np.ndarray:
    """A place on the face, apart from the others."""
    return on_face(case.surface().polydata, -40 + 16.0 * (number % 6), -50 + 16.0 * (number // 6))


@pytest.mark.parametrize("matrix", [None, TURNED], ids=["plain", "turned"])
def test_clicks_place_one_landmark_after_the_other(
    case: Case, scene: Scene, placement: Placement, view: View, mouse: Any, matrix: Any
) -> None:
    if matrix is not None:
        case.scan.SetAndObserveTransformNodeID(scene.add_transform(matrix).GetID())
        view.look_from_front()
    asked: list[Any] = []
    placement.changed.connect(lambda: asked.append(placement.current))
    placement.start()
    assert case.landmarks().missing.all() and placement.current == "Tr"
    labels = case.protocol.labels
    places = [case.surface().project(spot(case, number)[None])[0][0] for number in range(4)]
    for place in places:
        view.click(view.at(place))
    now = case.landmarks()
    assert [now.status[number] for number in range(5)] == ["placed"] * 4 + ["missing"]
    assert now.count("placed") == 4 and placement.done() == 4
    assert case.surface().project(now.positions[:4])[1].max() < 1e-3
    for number, place in enumerate(places):
        assert np.linalg.norm(view.at(now.positions[number]) - view.at(place)) < 1.5
    assert asked == list(labels[:5])
    assert case.landmarks_node.GetNumberOfControlPoints() == 50
    assert [case.landmarks_node.GetNthControlPointLabel(number) for number in range(50)] == list(labels)
    assert case.undo_text == "Place Prn"
    placement.stop()
    assert mouse.GetCurrentInteractionMode() == mouse.ViewTransform
    assert placement.current is None and asked[-1] is None


def test_preview_under_the_mouse_is_no_landmark(case: Case, placement: Placement, view: View) -> None:
    placement.start()
    for x in range(250, 350, 10):
        view.move((x, 300))
    assert case.landmarks_node.GetNthControlPointPositionStatus(0) == case.landmarks_node.PositionPreview
    assert case.landmarks().missing.all() and not case.can_undo


def test_skip_back_and_missing(case: Case, placement: Placement, view: View) -> None:
    placement.start()
    view.click(view.at(spot(case, 0)))  # Tr
    view.move((300, 300))  # a preview of the point that is about to be skipped
    placement.skip()  # G
    assert placement.current == "N"
    view.click(view.at(spot(case, 1)))
    assert case.landmarks().status[:3] == ("placed", "missing", "placed")
    placement.mark_missing()  # Prn
    assert case.landmarks().notes[3] == "marked by hand" and placement.current == "C"
    assert placement.done() == 3
    placement.back()
    assert placement.current == "Prn" and case.landmarks().notes[3] == ""
    placement.back()
    assert placement.current == "N" and case.landmarks().status[2] == "missing"
    view.click(view.at(spot(case, 2)))
    assert case.landmarks().status[2] == "placed" and placement.current == "Prn"
    for _step in range(3):
        placement.back()
    assert placement.current == "Tr"
    placement.back()
    assert placement.current == "Tr"


def test_skipped_landmarks_come_again_after_the_last(case: Case, placement: Placement, view: View) -> None:
    placement.start()
    placement.skip()
    for _number in range(49):
        placement.mark_missing()
    assert placement.current == "Tr"
    view.click(view.at(spot(case, 0)))
    assert placement.current is None and placement.done() == 50
    placement.start()
    assert placement.current is None


def test_undo_asks_again(case: Case, placement: Placement, view: View) -> None:
    placement.start()
    view.click(view.at(spot(case, 0)))
    view.click(view.at(spot(case, 1)))
    case.undo()
    assert placement.current == "G"
    view.click(view.at(spot(case, 2)))
    assert case.landmarks().status[:3] == ("placed", "placed", "missing")
    assert placement.current == "N"


def test_click_beside_the_face_places_nothing(case: Case, placement: Placement, view: View) -> None:
    placement.start()
    view.click((8, 8))
    assert case.landmarks().missing.all() and placement.current == "Tr" and not case.can_undo
    view.click(view.at(spot(case, 0)))
    assert case.landmarks().count("placed") == 1


def test_only_absent_landmarks_are_asked_for_after_a_prediction(case: Case, placement: Placement, view: View) -> None:
    case.show_prediction(some_landmarks(case.protocol, case.surface().polydata))
    placement.start()
    assert placement.current == case.protocol.labels[3]
    view.click(view.at(spot(case, 0)))
    assert placement.current == case.protocol.labels[17]
    assert case.landmarks().status[3] == "placed"


@pytest.mark.parametrize("how", ["right click", "other mode", "other list", "scene closed", "node removed"])
def test_ends_when_the_user_turns_to_something_else(
    case: Case, scene: Scene, placement: Placement, view: View, mouse: Any, how: str
) -> None:
    placement.start()
    view.move((300, 300))
    node = case.landmarks_node
    if how == "right click":
        view.event("RightButtonPressEvent", (300, 300))
        view.event("RightButtonReleaseEvent", (300, 300))
    elif how == "other mode":
        mouse.SetCurrentInteractionMode(mouse.ViewTransform)
    elif how == "other list":
        other = scene.mrml.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "other")
        scene.markups.SetActiveList(other)
    elif how == "scene closed":
        scene.mrml.Clear(False)
    else:
        scene.mrml.RemoveNode(node)
    assert placement.current is None
    assert len(placement._mode._observers) == 0, "nothing observed any more"
    if how in ("right click", "other mode"):
        assert case.landmarks().missing.all()
        placement.start()
        view.click(view.at(spot(case, 0)))
        assert case.landmarks().status[0] == "placed"
    if how == "other list":
        mouse.SetCurrentInteractionMode(mouse.Place)
        view.click((300, 320))
        assert other.GetNumberOfDefinedControlPoints() == 1 and case.landmarks().missing.all()


def test_placed_landmarks_reach_a_file(case: Case, placement: Placement, view: View, tmp_path: Any) -> None:
    placement.start()
    view.click(view.at(spot(case, 0)))
    write_landmarks(tmp_path / "x.mrk.json", case.landmarks().in_coordinate_system("LPS"))
    again = read_landmarks(tmp_path / "x.mrk.json").in_coordinate_system("RAS")
    np.testing.assert_allclose(again.positions[0], case.landmarks().positions[0])
    assert again.count("placed") == 1
