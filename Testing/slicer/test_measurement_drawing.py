"""The selected measurement in the 3D view: seen, right, in nobody's way, and not saved."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from slicer_scene import on_face, some_landmarks  # noqa: E402

from PALNetLandmarksLib.gui.scene.measurement_drawing import ATTRIBUTE, MeasurementDrawing  # noqa: E402
from PALNetLandmarksLib.protocol import Measurement  # noqa: E402


def item(protocol, kind):
    return next(measurement for measurement in protocol.measurements if measurement.kind == kind)


def nodes(scene, shown=True):
    found = [scene.mrml.GetNthNode(k) for k in range(scene.mrml.GetNumberOfNodes())]
    return [n for n in found if n.GetAttribute(ATTRIBUTE) and (n.GetDisplayVisibility() or not shown)]


def ends(node):
    return [np.array(node.GetNthControlPointPositionWorld(k)) for k in range(node.GetNumberOfControlPoints())]


@pytest.fixture
def landmarks(scene, protocol, case):
    points = some_landmarks(protocol, case.scan.GetPolyData()).in_coordinate_system("RAS")
    for label in ("Prn", "Ft_R", "Ex_L"):  # those that are missing
        points = points.with_point(label, on_face(case.scan.GetPolyData(), 10.0, 10.0), "placed")
    return points


@pytest.fixture
def drawing(scene):
    made = MeasurementDrawing(scene.mrml)
    yield made
    made.cleanup()
    assert not nodes(scene, shown=False)


def test_each_kind(scene, protocol, drawing, landmarks):
    distance = item(protocol, "distance")
    drawing.show(distance, landmarks, "Tr-N  60.0 mm")
    (line,) = nodes(scene)
    assert np.allclose(ends(line), [landmarks.position(label) for label in distance.points])
    assert line.GetName() == "Tr-N  60.0 mm"
    angle = item(protocol, "angle")
    drawing.show(angle, landmarks, "angle")
    (arc,) = nodes(scene)
    assert arc.GetClassName() == "vtkMRMLMarkupsAngleNode"
    assert np.allclose(ends(arc)[1], landmarks.position(angle.points[1]))
    ratio = item(protocol, "ratio_percent")
    drawing.show(ratio, landmarks, "index")
    first, second = nodes(scene)
    assert (first.GetName(), second.GetName()) == ("index", "")
    assert np.allclose(ends(second), [landmarks.position(label) for label in ratio.points[2:]])


def test_a_perpendicular_stands_on_its_line(scene, protocol, drawing, landmarks):
    perpendicular = Measurement("p", "point_to_line", ("Prn", "Ex_R", "Ex_L"))
    drawing.show(perpendicular, landmarks, "p")
    short, base = nodes(scene)
    point, foot = ends(short)
    start, end = ends(base)
    assert np.allclose(point, landmarks.position("Prn"))
    assert abs((point - foot) @ (end - start)) < 1e-6 * np.linalg.norm(end - start) ** 2
    # The line is long enough to hold the foot, also beyond its ends.
    share = (foot - start) @ (end - start) / ((end - start) @ (end - start))
    assert -1e-9 <= share <= 1 + 1e-9


def test_a_missing_landmark_hides_it(scene, protocol, drawing, landmarks):
    distance = item(protocol, "distance")
    drawing.show(distance, landmarks, "d")
    drawing.show(distance, landmarks.with_point(distance.points[0], None, "missing"), "d")
    assert not nodes(scene)


def test_it_is_not_saved_not_listed_and_cannot_be_taken_hold_of(scene, protocol, drawing, landmarks, tmp_path):
    drawing.show(item(protocol, "ratio_percent"), landmarks, "index")
    for node in nodes(scene):
        assert (
            node.GetHideFromEditors() and not node.GetSaveWithScene() and node.GetLocked() and not node.GetUndoEnabled()
        )
    scene.save(tmp_path / "s.mrml")
    assert ATTRIBUTE not in (tmp_path / "s.mrml").read_text()


def test_it_survives_the_closing_of_the_scene(scene, protocol, drawing, landmarks):
    drawing.show(item(protocol, "distance"), landmarks, "d")
    scene.mrml.Clear(False)
    drawing.show(item(protocol, "distance"), landmarks, "d")
    assert len(nodes(scene)) == 1
    scene.mrml.Clear(False)
    drawing.hide()
    assert not nodes(scene)


def test_it_does_not_touch_what_the_user_places(scene, protocol, drawing, landmarks):
    selection = scene.mrml.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    theirs = scene.mrml.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    scene.markups.SetActiveList(theirs)
    drawing.show(item(protocol, "ratio_percent"), landmarks, "index")
    drawing.show(item(protocol, "angle"), landmarks, "angle")
    assert selection.GetActivePlaceNodeID() == theirs.GetID()
    assert selection.GetActivePlaceNodeClassName() == "vtkMRMLMarkupsFiducialNode"


def coloured(view):
    """Count the pixels that are blue as the drawing is, and not as the background."""
    red, green, blue = (view.picture()[..., k].astype(int) for k in range(3))
    return int(((blue > 110) & (red < 0.45 * blue) & (green < 0.75 * blue)).sum())


def test_what_was_drawn_before_does_not_stay(scene, view, protocol, drawing, landmarks):
    view.look_from_front()
    empty = coloured(view)
    long = Measurement("long", "distance", ("Ex_R", "Ch_L"))
    positions = landmarks.with_point("Ex_R", on_face(view_surface(scene), -50, 60), "placed")
    positions = positions.with_point("Ch_L", on_face(view_surface(scene), 50, -40), "placed")
    drawing.show(long, positions, "")
    drawn = coloured(view)
    assert drawn > empty + 150
    drawing.show(item(protocol, "angle"), positions, "")
    drawing.hide()
    short = positions.with_point("Ch_L", positions.position("Ex_R") + (2.0, 0.0, 0.0), "placed")
    drawing.show(long, short, "")
    # Hidden and shown again elsewhere: nothing of the long line is left.
    assert coloured(view) < empty + 0.4 * (drawn - empty)


def view_surface(scene):
    return scene.mrml.GetFirstNodeByClass("vtkMRMLModelNode").GetPolyData()


def test_a_landmark_under_its_end_can_be_dragged(scene, view, protocol, case, drawing):
    case.show_prediction(some_landmarks(protocol, case.scan.GetPolyData()))
    case.change(case.landmarks().with_point("Ex_R", on_face(case.scan.GetPolyData(), -30, 10), "placed"), "x")
    case.change(case.landmarks().with_point("Ch_L", on_face(case.scan.GetPolyData(), 40, 60), "placed"), "x")
    view.look_from_front()
    drawing.show(Measurement("long", "distance", ("Ex_R", "Ch_L")), case.landmarks(), "x")
    view.render()
    (line,) = nodes(scene)
    before, place = ends(line), case.landmarks().position("Ex_R")
    target = on_face(case.scan.GetPolyData(), -35, 25)
    view.drag(view.at(place), view.at(target))
    assert np.linalg.norm(case.landmarks().position("Ex_R") - target) < 2.0
    assert np.allclose(ends(line), before)  # it follows when it is told to, not by the mouse
