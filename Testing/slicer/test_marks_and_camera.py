"""Coloured marks that follow the landmarks, and the view that turns to the chosen one."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slicer_scene import Scene, new_scene, on_face, some_landmarks
from slicer_view import View
from vtk.util.numpy_support import vtk_to_numpy

from PALNetLandmarksLib.gui.case import Case
from PALNetLandmarksLib.gui.confidence import COLOURS, confidence_kinds
from PALNetLandmarksLib.gui.scene.camera import view_direction
from PALNetLandmarksLib.gui.scene.confidence_marks import NAME, RADIUS_MM, ConfidenceMarks
from PALNetLandmarksLib.gui.scene.frames import apply_matrix
from PALNetLandmarksLib.gui.scene.view_follower import ViewFollower
from PALNetLandmarksLib.landmark_files import read_landmarks

SAMPLE = Path(__file__).resolve().parents[2] / "Resources" / "SampleData" / "face01"
ON_THE_SIDE = np.array([[0.0, 0, 1, 30], [-1, 0, 0, 5], [0, -1, 0, -60], [0, 0, 0, 1]])


@pytest.fixture
def shown(case: Case, view: View) -> Case:
    landmarks = some_landmarks(case.protocol, case.surface().polydata).in_coordinate_system("RAS")
    place = on_face(case.surface().polydata, 0, 0)
    for label in np.array(case.protocol.labels)[np.linalg.norm(landmarks.positions - place, axis=1) < 25]:
        landmarks = landmarks.with_point(str(label), None, "missing")
    case.show_prediction(landmarks.with_point("Prn", place, "predicted", expected_error_mm=3.0))
    view.look_from_front()
    return case


@pytest.fixture
def marks(shown: Case) -> Any:
    made = ConfidenceMarks(shown)
    yield made
    made.cleanup()


def spheres(marks: ConfidenceMarks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, largest radius and colour of each landmark's sphere."""
    polydata = marks.node.GetPolyData()
    each = len(marks._sphere)
    points = vtk_to_numpy(polydata.GetPoints().GetData())[: 50 * each].reshape(50, each, 3)
    colours = vtk_to_numpy(polydata.GetPointData().GetScalars())[: 50 * each : each]
    centres = (points.min(axis=1) + points.max(axis=1)) / 2
    return centres, np.linalg.norm(points - centres[:, None], axis=2).max(axis=1), colours


def test_one_coloured_sphere_for_each_landmark(shown: Case, marks: ConfidenceMarks) -> None:
    landmarks = shown.landmarks()
    centres, radii, colours = spheres(marks)
    present = ~landmarks.missing
    np.testing.assert_allclose(centres[present], landmarks.positions[present], atol=0.02)
    np.testing.assert_allclose(radii[present], RADIUS_MM, atol=0.05)
    np.testing.assert_allclose(radii[~present], 0, atol=1e-4)
    np.testing.assert_array_equal(colours, COLOURS[confidence_kinds(landmarks)])
    good = landmarks.expected_error_mm <= 2
    assert good.any() and (colours[good] == COLOURS[0]).all()
    shown.landmarks_node.SetNthControlPointPosition(7, 1.0, 2.0, 3.0)
    centres, _radii, colours = spheres(marks)
    np.testing.assert_allclose(centres[7], (1, 2, 3), atol=0.02)
    np.testing.assert_array_equal(colours[7], (45, 110, 230))


def test_marks_are_seen_and_follow_a_drag_on_the_surface(shown: Case, marks: ConfidenceMarks, view: View) -> None:
    start = shown.landmarks().position("Prn")
    where = np.round(view.at(start)).astype(int)
    rows, columns = slice(596 - where[1], 604 - where[1]), slice(where[0] - 4, where[0] + 4)
    near = view.picture()[rows, columns].reshape(-1, 3).astype(int)
    assert ((near[:, 0] > 1.25 * near[:, 1]) & (near[:, 1] > 2 * near[:, 2])).any(), "amber for 3 mm"
    target = view.at(start) + (35, 20)
    at_each_step: list[float] = []

    def step(_labels: Any) -> None:
        centres, _radii, _colours = spheres(marks)
        at_each_step.append(float(np.linalg.norm(centres[3] - shown.landmarks().position("Prn"))))

    shown.points_changed.connect(step)
    view.drag(view.at(start), target)
    assert shown.landmarks().status[3] == "corrected"
    assert len(at_each_step) >= 10 and max(at_each_step) < 0.02
    assert shown.surface().project(shown.landmarks().position("Prn")[None])[1][0] < 1e-3
    # Not on top of its own sphere: where it is seen is where the pointer is.
    assert np.linalg.norm(view.at(shown.landmarks().position("Prn")) - target) < 1.5


def test_chosen_landmark_and_partner_get_rings(shown: Case, marks: ConfidenceMarks, view: View) -> None:
    def yellow() -> int:
        picture = view.picture().astype(int)
        return int(((picture[..., 0] > 200) & (picture[..., 1] > 180) & (picture[..., 2] < 120)).sum())

    before = yellow()
    shown.select("Prn")
    assert yellow() > before + 40
    view.drag(view.at(shown.landmarks().position("Prn")), (300, 340))
    assert shown.landmarks().status[3] == "corrected", "still moved by mouse, with a ring round it"


def test_marks_are_hidden_unlisted_unsaved_and_made_anew(
    shown: Case, marks: ConfidenceMarks, scene: Scene, tmp_path: Path
) -> None:
    assert marks.node.GetHideFromEditors() and not marks.node.GetSaveWithScene() and not marks.node.GetSelectable()
    shown.landmarks_node.GetDisplayNode().SetVisibility(False)
    assert not marks.node.GetDisplayNode().GetVisibility()
    shown.landmarks_node.GetDisplayNode().SetVisibility(True)
    assert marks.node.GetDisplayNode().GetVisibility()
    scene.save(tmp_path / "scene.mrb")
    other = new_scene(tmp_path / "cache")
    other.load(tmp_path / "scene.mrb")
    assert other.mrml.GetFirstNodeByName(NAME) is None
    assert other.mrml.GetNumberOfNodesByClass("vtkMRMLModelNode") == 1
    again = Case(other.mrml, shown.protocol)
    others = ConfidenceMarks(again)
    assert others.node is None
    again.set_landmarks_node(other.mrml.GetFirstNodeByClass("vtkMRMLMarkupsFiducialNode"))
    assert others.node.GetScene() is other.mrml
    np.testing.assert_allclose(spheres(others)[0][3], shown.landmarks().position("Prn"), atol=0.02)
    others.cleanup()
    again.cleanup()


def test_no_helper_is_left(shown: Case, scene: Scene) -> None:
    def count() -> tuple[int, int]:
        return (scene.mrml.GetNumberOfNodes(), scene.mrml.GetNumberOfNodesByClass("vtkMRMLModelDisplayNode"))

    before = count()
    marks = ConfidenceMarks(shown)
    assert count() == (before[0] + 2, before[1] + 1)
    shown.set_landmarks_node(None)
    assert count() == before and marks.node is None
    shown.show_prediction(some_landmarks(shown.protocol, shown.surface().polydata))
    marks.cleanup()
    assert scene.mrml.GetFirstNodeByName(NAME) is None
    shown.select("Prn")
    marks = ConfidenceMarks(shown)
    scene.mrml.Clear(False)
    assert marks.node is None
    marks.cleanup()


def test_marks_follow_quickly(shown: Case, marks: ConfidenceMarks) -> None:
    shown.select("Prn")
    times = []
    for _round in range(20):
        start = time.thread_time()
        marks.update()
        times.append(time.thread_time() - start)
    assert np.median(times) < 0.01


@pytest.mark.parametrize("turned", [False, True], ids=["as it is", "lying on the side"])
def test_view_turns_to_the_chosen_landmark(case: Case, scene: Scene, view: View, turned: bool) -> None:
    """On the sample scan, a whole face in its own pose, and in one that no one expects."""
    case.set_scan(scene.models.AddModel(str(SAMPLE / "mesh.ply")))
    if turned:
        case.scan.SetAndObserveTransformNodeID(scene.add_transform(ON_THE_SIDE).GetID())
    landmarks = read_landmarks(SAMPLE / "landmarks.txt").in_coordinate_system("RAS")
    if turned:
        landmarks = replace(landmarks, positions=apply_matrix(ON_THE_SIDE, landmarks.positions))
    case.show_prediction(landmarks)
    follower = ViewFollower(case, view.camera_node)
    chin_to_nasion = landmarks.position("N") - landmarks.position("Pg")
    outwards = landmarks.position("Prn") - (landmarks.position("T_R") + landmarks.position("T_L")) / 2
    for label in case.protocol.labels:
        if np.isnan(landmarks.position(label)).any():
            continue
        case.select(label)
        view.render()
        assert np.linalg.norm(view.at(landmarks.position(label)) - 300) < 1.0, "in the middle of the view"
        camera = view.camera_node()
        direction = np.array(camera.GetPosition()) - camera.GetFocalPoint()
        assert np.array(camera.GetViewUp()) @ chin_to_nasion > 0.6 * np.linalg.norm(chin_to_nasion), label
        assert direction @ outwards > 0.3 * np.linalg.norm(direction) * np.linalg.norm(outwards), label
    case.select("Prn")
    view.render()
    seen = view.at(landmarks.position("N"))
    assert abs(seen[0] - 300) < 40 and 430 < seen[1] < 600, "near enough to see details, up is up"
    follower.cleanup()
    position = view.camera_node().GetPosition()
    case.select(None)
    case.select("Ex_R")
    assert view.camera_node().GetPosition() == position


def test_view_stays_while_a_point_is_taken_hold_of(shown: Case, view: View) -> None:
    follower = ViewFollower(shown, view.camera_node)
    position = view.camera_node().GetPosition()
    view.drag(view.at(shown.landmarks().position("Prn")), (330, 320))
    assert shown.selected == "Prn" and shown.landmarks().status[3] == "corrected"
    assert view.camera_node().GetPosition() == position
    follower.cleanup()


@pytest.mark.parametrize("normal", [(0, 1, 0), (1, 0, 0), (0, -1, 0), (0.6, -0.8, 0), (0, 0, -1), (np.nan,) * 3])
def test_view_never_comes_from_inside(normal: tuple[float, ...]) -> None:
    direction = view_direction(np.array(normal), np.array([0.0, 1.0, 0.0]))
    assert abs(np.linalg.norm(direction) - 1) < 1e-9
    assert direction[1] > 0.3
