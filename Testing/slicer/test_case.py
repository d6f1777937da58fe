"""The case: what the scene holds and what is held in memory agree, whoever changes it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slicer_scene import Scene, new_scene, some_landmarks

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.gui.case import Case
from PALNetLandmarksLib.gui.scene import landmarks_node as nodes
from PALNetLandmarksLib.landmark_files import read_landmarks, write_landmarks
from PALNetLandmarksLib.protocol import Protocol

SCALED = np.array([[0.0, -1.5, 0, 20], [1.5, 0, 0, -7], [0, 0, 1.5, 3], [0, 0, 0, 1]])


@pytest.fixture
def shown(case: Case) -> Case:
    case.show_prediction(some_landmarks(case.protocol, case.surface().polydata))
    return case


def equal(first: Any, second: Any, atol: float = 1e-9) -> bool:
    return (
        first.status == second.status
        and first.notes == second.notes
        and dict(first.provenance) == dict(second.provenance)
        and np.allclose(first.expected_error_mm, second.expected_error_mm, atol=0.0001, equal_nan=True)
        and np.allclose(first.positions, second.positions, atol=atol, equal_nan=True)
    )


def test_prediction_becomes_a_node_of_named_points(shown: Case) -> None:
    node = shown.landmarks_node
    assert node.GetName() == "Scan landmarks"
    assert [node.GetNthControlPointLabel(i) for i in range(50)] == list(shown.protocol.labels)
    assert node.GetFixedNumberOfControlPoints()
    assert node.GetNumberOfDefinedControlPoints() == 47
    assert node.GetNthControlPointPositionStatus(3) == node.PositionUndefined
    assert node.GetNthControlPointDescription(3) == "missing: no surface within 8 mm"
    assert node.GetNthControlPointDescription(0).startswith("predicted; expected error ")
    assert node.GetNodeReferenceID("PALNet.scan") == shown.scan.GetID()
    prediction = some_landmarks(shown.protocol, shown.surface().polydata)
    # The prediction came in LPS: the node is RAS.
    np.testing.assert_allclose(node.GetNthControlPointPosition(0), prediction.positions[0] * (-1, -1, 1))
    assert equal(shown.landmarks(), prediction.in_coordinate_system("RAS"))
    assert equal(shown.predicted(), shown.landmarks(), atol=1e-5)
    assert shown.landmarks().coordinate_system == "RAS"


@pytest.mark.parametrize("suffix", [".mrb", ".mrml"])
def test_nothing_is_lost_when_the_scene_is_saved_and_loaded(
    shown: Case, scene: Scene, tmp_path: Path, suffix: str
) -> None:
    transform = scene.add_transform(SCALED)
    shown.scan.SetAndObserveTransformNodeID(transform.GetID())
    node = shown.landmarks_node
    assert node.GetTransformNodeID() == transform.GetID()
    moved = shown.landmarks()
    shown.change(moved.with_point("Prn", None, "missing", note="marked by hand"), "mark")
    node.SetNthControlPointPosition(0, 1.25, 2.5, 3.75)
    before, predicted = shown.landmarks(), shown.predicted()
    assert before.status[0] == "corrected"
    scene.save(tmp_path / f"scene{suffix}")

    other = new_scene(tmp_path / "cache")
    other.load(tmp_path / f"scene{suffix}")
    again = Case(other.mrml, shown.protocol)
    again.set_scan(other.mrml.GetFirstNodeByClass("vtkMRMLModelNode"))
    again.set_landmarks_node(again.find_landmarks_node())
    assert equal(again.landmarks(), before, atol=1e-4)
    assert equal(again.predicted(), predicted, atol=1e-4)
    assert again.landmarks_node.GetFixedNumberOfControlPoints()
    assert not again.can_undo
    again.cleanup()


def test_file_of_the_command_line_opened_by_slicer(shown: Case, scene: Scene, tmp_path: Path) -> None:
    wanted = shown.landmarks()
    path = tmp_path / "face.mrk.json"
    write_landmarks(path, wanted.in_coordinate_system("LPS"))
    node = scene.mrml.GetNodeByID(scene.markups.LoadMarkups(str(path)))
    shown.set_landmarks_node(node)
    assert equal(shown.landmarks(), wanted, atol=1e-6) is False  # errors to 0.1 mm: Slicer drops the exact ones
    np.testing.assert_allclose(shown.landmarks().positions, wanted.positions, atol=1e-6)
    np.testing.assert_allclose(shown.landmarks().expected_error_mm, wanted.expected_error_mm, atol=0.0501)
    assert shown.landmarks().status == wanted.status
    assert shown.landmarks().provenance["model_training_data"] == wanted.provenance["model_training_data"]


def test_list_in_another_order_with_points_absent_gets_the_protocols_order(
    case: Case, scene: Scene, protocol: Protocol
) -> None:
    node = scene.mrml.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    for place in reversed(range(1, 50)):
        mark = protocol.landmarks[place]
        full_name = mark.name if mark.side == "midline" else f"{mark.name} {mark.side}"
        node.AddControlPoint(place, 2.0 * place, -place, full_name if place % 2 else mark.label.lower())
    case.set_landmarks_node(node)
    assert nodes.is_ours(node, protocol)
    np.testing.assert_array_equal(case.landmarks().positions[7], [7, 14, -7])
    assert case.landmarks().status[0] == "missing"
    assert case.landmarks().count("placed") == 49
    assert case.predicted() is None


@pytest.mark.parametrize("labels", [[], ["F-1", "F-2"], ["Prn", "something else"], ["Prn", "pronasale"]])
def test_foreign_list_is_refused_and_left_alone(case: Case, scene: Scene, labels: list[str]) -> None:
    node = scene.mrml.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "foreign")
    for label in labels:
        node.AddControlPoint(1, 2, 3, label)
    with pytest.raises(InputError) as failure:
        case.set_landmarks_node(node)
    assert failure.value.hint
    assert case.landmarks_node is None and case.landmarks() is None
    assert [node.GetNthControlPointLabel(i) for i in range(node.GetNumberOfControlPoints())] == labels


def test_moves_by_another_module_are_taken_over_and_can_be_undone(shown: Case) -> None:
    node, before = shown.landmarks_node, shown.landmarks()
    heard: list[tuple[str, ...]] = []
    shown.points_changed.connect(heard.append)
    node.SetNthControlPointPosition(7, 1.0, 2.0, 3.0)  # predicted
    node.SetNthControlPointPosition(17, 4.0, 5.0, 6.0)  # missing
    assert heard == [(shown.protocol.labels[7],), (shown.protocol.labels[17],)]
    now = shown.landmarks()
    assert (now.status[7], now.status[17]) == ("corrected", "placed")
    assert np.isnan(now.expected_error_mm[7])
    assert node.GetNthControlPointDescription(7) == "corrected"
    node.SetNthControlPointPosition(17, 7.0, 8.0, 9.0)
    assert shown.landmarks().status[17] == "placed"
    assert shown.undo_text == f"Move {shown.protocol.labels[17]}"
    for _step in range(3):
        shown.undo()
    assert equal(shown.landmarks(), before)
    assert node.GetNthControlPointPositionStatus(17) == node.PositionUndefined
    assert node.GetNthControlPointDescription(7) == before.description(shown.protocol.labels[7])
    assert not shown.can_undo
    for _step in range(3):
        shown.redo()
    assert not shown.can_redo
    np.testing.assert_array_equal(shown.landmarks().positions[17], [7, 8, 9])
    np.testing.assert_array_equal(node.GetNthControlPointPosition(17), [7, 8, 9])


def test_points_set_together_are_one_step(shown: Case) -> None:
    node = shown.landmarks_node
    with nodes.one_event(node):
        for place in range(5, 10):
            node.SetNthControlPointPosition(place, place, 0.0, 0.0)
    assert shown.undo_text == "Move 5 landmarks"
    shown.undo()
    assert not shown.can_undo
    assert shown.landmarks().count("corrected") == 0


def test_point_deleted_in_slicer_is_missing(shown: Case) -> None:
    shown.landmarks_node.UnsetNthControlPointPosition(7)
    assert shown.landmarks().status[7] == "missing"
    shown.undo()
    assert shown.landmarks().status[7] == "predicted"


def test_names_and_number_of_points_are_mended(shown: Case) -> None:
    node, before = shown.landmarks_node, shown.landmarks()
    node.SetNthControlPointLabel(7, "my point")
    assert nodes.is_ours(node, shown.protocol)
    assert equal(shown.landmarks(), before)
    node.SetFixedNumberOfControlPoints(False)
    node.RemoveNthControlPoint(20)
    assert nodes.is_ours(node, shown.protocol)
    assert node.GetFixedNumberOfControlPoints()
    expected = list(before.status)
    expected[20] = "missing"
    assert list(shown.landmarks().status) == expected
    np.testing.assert_allclose(shown.landmarks().positions[30], before.positions[30])
    node.SetFixedNumberOfControlPoints(False)
    node.AddControlPoint(1, 2, 3, "extra")
    assert node.GetNumberOfControlPoints() == 50
    node.SetFixedNumberOfControlPoints(False)
    node.RemoveAllControlPoints()
    assert node.GetNumberOfControlPoints() == 50
    assert shown.landmarks().missing.all()
    for _step in range(2):
        shown.undo()
    assert equal(shown.landmarks(), before)


def test_change_writes_only_what_differs(shown: Case) -> None:
    node = shown.landmarks_node
    seen: list[int] = []
    node.AddObserver(node.PointModifiedEvent, lambda *_: seen.append(1))
    now = shown.landmarks()
    for label in ("Prn", "Ex_R", "Ch_L"):
        now = now.with_point(label, (1.0, 2.0, 3.0), "corrected")
    shown.change(now, "three")
    assert len(seen) == 1
    assert shown.undo_text == "three"
    np.testing.assert_array_equal(node.GetNthControlPointPosition(3), (1, 2, 3))
    shown.change(shown.landmarks(), "nothing")
    assert shown.undo_text == "three" and len(seen) == 1


def test_change_is_fast_enough(shown: Case) -> None:
    rng = np.random.default_rng(1)
    times = []
    for _round in range(5):
        now = shown.landmarks()
        for label in shown.protocol.labels:
            now = now.with_point(label, rng.uniform(-50, 50, 3), "corrected")
        start = time.thread_time()
        shown.change(now, "all")
        times.append(time.thread_time() - start)
    assert min(times) < 0.05


def test_transform_moves_scan_and_landmarks_together(shown: Case, scene: Scene) -> None:
    local = shown.landmarks().positions
    shown.landmarks_node.SetNthControlPointPosition(0, 1, 2, 3)
    local = shown.landmarks().positions
    told: list[int] = []
    shown.surface_changed.connect(lambda: told.append(1))
    transform = scene.add_transform(SCALED)
    shown.scan.SetAndObserveTransformNodeID(transform.GetID())
    assert shown.landmarks_node.GetTransformNodeID() == transform.GetID()
    np.testing.assert_allclose(shown.landmarks().positions, local @ SCALED[:3, :3].T + SCALED[:3, 3])
    assert told
    first = shown.surface()
    assert shown.surface() is first
    transform.SetMatrixTransformToParent(scene.add_transform(np.eye(4)).GetMatrixTransformToParent())
    assert shown.surface() is not first
    np.testing.assert_allclose(shown.landmarks().positions, local)
    shown.undo()
    assert shown.landmarks().status[0] == "predicted"


def test_hardening_keeps_landmarks_predictions_and_history_in_place(shown: Case, scene: Scene) -> None:
    shown.landmarks_node.SetNthControlPointPosition(0, 1, 2, 3)
    transform = scene.add_transform(SCALED)
    shown.scan.SetAndObserveTransformNodeID(transform.GetID())
    before, predicted = shown.landmarks(), shown.predicted()
    shown.scan.HardenTransform()
    assert shown.landmarks_node.GetTransformNodeID() is None
    assert equal(shown.landmarks(), before, atol=1e-4)
    assert equal(shown.predicted(), predicted, atol=1e-4)
    np.testing.assert_allclose(shown.landmarks_node.GetNthControlPointPosition(5), before.positions[5], atol=1e-4)
    assert shown.landmarks().status == before.status
    shown.undo()
    np.testing.assert_allclose(shown.landmarks().positions[0], predicted.positions[0], atol=1e-4)


def test_change_under_a_transform_goes_to_the_place_wanted(shown: Case, scene: Scene) -> None:
    shown.scan.SetAndObserveTransformNodeID(scene.add_transform(SCALED).GetID())
    shown.change(shown.landmarks().with_point("Prn", (10.0, 20.0, 30.0), "placed"), "place")
    np.testing.assert_allclose(shown.landmarks().position("Prn"), (10, 20, 30))
    np.testing.assert_allclose(shown.landmarks_node.GetNthControlPointPositionWorld(3), (10, 20, 30))
    assert shown.landmarks().count("placed") == 1


def test_start_empty_leaves_a_filled_list_alone(shown: Case) -> None:
    filled, before = shown.landmarks_node, shown.landmarks()
    shown.start_empty()
    assert shown.landmarks_node is not filled
    assert shown.landmarks().missing.all()
    assert filled.GetNumberOfDefinedControlPoints() == 47
    assert shown.predicted() is None and not shown.can_undo
    empty = shown.landmarks_node
    shown.start_empty()
    assert shown.landmarks_node is empty
    shown.set_landmarks_node(filled)
    assert equal(shown.landmarks(), before)


def test_prediction_for_another_scan_gets_its_own_node(shown: Case, scene: Scene) -> None:
    first = shown.landmarks_node
    second_scan = scene.add_scan(name="Second")
    shown.set_scan(second_scan)
    shown.show_prediction(some_landmarks(shown.protocol, shown.surface().polydata, seed=8))
    assert shown.landmarks_node is not first
    assert shown.find_landmarks_node() is shown.landmarks_node
    shown.set_scan(scene.mrml.GetFirstNodeByName("Scan"))
    assert shown.find_landmarks_node() is first


def test_selection(shown: Case) -> None:
    heard: list[Any] = []
    shown.selection_changed.connect(heard.append)
    shown.select("Prn")
    shown.select("Prn")
    with pytest.raises(ValueError, match="no landmark"):
        shown.select("elbow")
    shown.set_landmarks_node(None)
    assert heard == ["Prn", None]


def test_node_removed_and_scene_closed(shown: Case, scene: Scene) -> None:
    heard: list[str] = []
    shown.landmarks_changed.connect(lambda: heard.append("landmarks"))
    shown.scan_changed.connect(lambda: heard.append("scan"))
    scene.mrml.RemoveNode(shown.landmarks_node)
    assert shown.landmarks_node is None and shown.landmarks() is None
    assert heard == ["landmarks"]
    shown.show_prediction(some_landmarks(shown.protocol, shown.surface().polydata))
    scene.mrml.Clear(False)
    assert shown.landmarks_node is None and shown.scan is None and shown.surface() is None
    assert sorted(heard) == ["landmarks", "landmarks", "landmarks", "scan"]


def test_no_observer_is_left_behind(scene: Scene, protocol: Protocol) -> None:
    import gc
    import weakref

    case = Case(scene.mrml, protocol)
    case.set_scan(scene.add_scan())
    case.show_prediction(some_landmarks(case.protocol, case.surface().polydata))
    scan, node = case.scan, case.landmarks_node
    before = sum(sender.HasObserver(event) for sender, event in _observed(scene, scan, node))
    node.SetNthControlPointPosition(0, 1, 2, 3)
    case.cleanup()
    assert len(case._observers) == 0
    gone = weakref.ref(case)
    del case
    gc.collect()
    assert gone() is None, "something still holds the case"
    assert before > sum(sender.HasObserver(event) for sender, event in _observed(scene, scan, node))
    node.SetNthControlPointPosition(0, 1, 2, 3)  # nobody listens: nothing fails
    scene.mrml.RemoveNode(node)


def _observed(scene: Scene, scan: Any, node: Any) -> list[tuple[Any, int]]:
    return [
        (node, node.PointStartInteractionEvent),
        (node, node.PointEndInteractionEvent),
        (scan, scan.MeshModifiedEvent),
        (scene.mrml, scene.mrml.NodeRemovedEvent),
    ]


def test_points_under_a_transform_that_is_not_linear(shown: Case, scene: Scene) -> None:
    import vtk

    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for x, y, z in np.ndindex(2, 2, 2):
        place = (np.array([x, y, z]) - 0.5) * 300
        source.InsertNextPoint(place)
        target.InsertNextPoint(place + (6.0 * x * z, 3.0, -4.0 * y))
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    transform = scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(spline)
    flat = shown.landmarks()
    shown.scan.SetAndObserveTransformNodeID(transform.GetID())
    node, before = shown.landmarks_node, shown.landmarks()
    assert 2 < np.nanmax(np.abs(before.positions - flat.positions)) < 20
    np.testing.assert_allclose(before.positions[5], node.GetNthControlPointPositionWorld(5), atol=1e-6)
    shown.change(before.with_point("Prn", (10.0, 90.0, 5.0), "placed"), "place")
    np.testing.assert_allclose(shown.landmarks().position("Prn"), (10, 90, 5), atol=0.01)
    node.SetNthControlPointPosition(7, 1.0, 80.0, 3.0)
    assert shown.landmarks().status[7] == "corrected" and shown.undo_text == f"Move {shown.protocol.labels[7]}"
    shown.undo()
    shown.undo()
    assert shown.landmarks().status == before.status and not shown.can_undo


def test_record_is_in_the_file_that_slicer_saves(shown: Case, tmp_path: Path) -> None:
    import slicer

    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    storage.SetFileName(str(tmp_path / "saved.mrk.json"))
    shown.change(shown.landmarks().with_point("Prn", (1.0, 2.0, 3.0), "corrected"), "move")
    assert storage.WriteData(shown.landmarks_node)
    again = read_landmarks(tmp_path / "saved.mrk.json").in_coordinate_system("RAS")
    assert dict(again.provenance) == dict(shown.landmarks().provenance)
    assert again.status == shown.landmarks().status and again.notes == shown.landmarks().notes
    np.testing.assert_allclose(again.positions, shown.landmarks().positions, atol=1e-6)
    assert shown.landmarks_node.GetNumberOfMeasurements() == 1, "one record, however often it is written"


def test_landmarks_of_another_scan_stay_when_the_scan_is_moved(shown: Case, scene: Scene) -> None:
    before = shown.landmarks()
    shown.set_scan(scene.add_scan(name="Second"))
    shown.scan.SetAndObserveTransformNodeID(scene.add_transform(SCALED).GetID())
    assert equal(shown.landmarks(), before)


def test_list_from_a_file_looks_like_ours_and_belongs_to_the_scan(shown: Case, scene: Scene, tmp_path: Path) -> None:
    write_landmarks(tmp_path / "face.mrk.json", shown.landmarks())
    shown.set_landmarks_node(None)
    node = scene.mrml.GetNodeByID(scene.markups.LoadMarkups(str(tmp_path / "face.mrk.json")))
    shown.set_landmarks_node(node)
    assert not node.GetDisplayNode().GetUseGlyphScale()
    assert shown.find_landmarks_node() is node
    node.GetDisplayNode().SetGlyphSize(1.0)
    shown.set_landmarks_node(None)
    shown.set_landmarks_node(node)
    assert node.GetDisplayNode().GetGlyphSize() == 1.0, "what the user set afterwards stays"


def test_only_the_list_at_work_is_shown(case: Any, scene: Scene, protocol: Protocol) -> None:
    case.show_prediction(some_landmarks(protocol, case.surface().polydata))
    first = case.landmarks_node
    case.start_empty()
    second = case.landmarks_node
    assert second is not first and second.GetDisplayVisibility() and not first.GetDisplayVisibility()
    case.set_landmarks_node(first)
    assert first.GetDisplayVisibility() and not second.GetDisplayVisibility()
    other = scene.mrml.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "of somebody else")
    other.CreateDefaultDisplayNodes()
    case.set_landmarks_node(second)
    assert other.GetDisplayVisibility()
