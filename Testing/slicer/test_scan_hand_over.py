"""A scan on its way from the file by Slicer to the engine: the same numbers, and so the same landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slicer_scene import Scene, face_like

from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan, scan_from_arrays
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.resources import sample_scans


def _textured_obj(path: Path) -> None:
    """Write the sample as an OBJ with a texture seam: Slicer's reader splits vertices and changes their order."""
    scan = read_scan(sample_scans()[0])
    lines = [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in scan.vertices]
    lines += ["vt 0.1 0.1", "vt 0.9 0.9"]
    sides = (scan.vertices[scan.triangles].mean(axis=1)[:, 0] > 0).astype(int) + 1
    lines += [f"f {a}/{t} {b}/{t} {c}/{t}" for (a, b, c), t in zip(scan.triangles + 1, sides, strict=True)]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("kind", ["plain.obj", "textured.obj", "binary.ply"])
def test_engine_gets_what_the_file_holds(scene: Scene, tmp_path: Path, kind: str) -> None:
    from PALNetLandmarksLib.gui.scene.mesh import mesh_of

    path = tmp_path / kind
    if kind == "textured.obj":
        _textured_obj(path)
    else:
        sample = read_scan(sample_scans()[0])
        write_mesh(path, sample.vertices, sample.triangles)
    model = scene.models.AddModel(str(path))
    mesh = mesh_of(model)
    handed, read = scan_from_arrays(mesh.vertices, mesh.triangles), read_scan(path)
    if kind == "textured.obj":
        assert model.GetPolyData().GetNumberOfPoints() > len(read.vertices)  # or this test tests nothing
    np.testing.assert_array_equal(handed.vertices, read.vertices)
    np.testing.assert_array_equal(handed.triangles, read.triangles)


def test_landmarks_agree_with_the_command_line(scene: Scene, tmp_path: Path, protocol: Any) -> None:
    from PALNetLandmarksLib.engine.bundle import load_bundle
    from PALNetLandmarksLib.engine.predictor import Predictor
    from PALNetLandmarksLib.gui.case import Case
    from PALNetLandmarksLib.gui.scene.mesh import mesh_of

    path = tmp_path / "textured.obj"
    _textured_obj(path)
    predictor = Predictor(load_bundle(), "cpu")
    by_file = predictor.predict(read_scan(path)).landmarks
    case = Case(scene.mrml, protocol)
    case.set_scan(scene.models.AddModel(str(path)))
    mesh = mesh_of(case.scan)
    case.show_prediction(predictor.predict(scan_from_arrays(mesh.vertices, mesh.triangles)).landmarks)
    shown = case.landmarks()
    assert shown is not None and shown.coordinate_system == "RAS"
    difference = np.abs(shown.in_coordinate_system("LPS").positions - by_file.positions)
    assert np.nanmax(difference) < 1e-3 and shown.status == by_file.status
    # Slicer shows the file's x and y with the other sign.
    place = protocol.index("Prn")
    in_scene = case.landmarks_node.GetNthControlPointPositionWorld(place)
    np.testing.assert_allclose(in_scene, by_file.positions[place] * (-1, -1, 1), atol=1e-3)
    case.cleanup()


def test_parent_transform_is_applied(scene: Scene) -> None:
    from PALNetLandmarksLib.gui.scene.mesh import mesh_of

    model = scene.add_scan()
    before = mesh_of(model)
    matrix = np.array([[0, -2, 0, 10], [2, 0, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1.0]])
    model.SetAndObserveTransformNodeID(scene.add_transform(matrix).GetID())
    ras = before.vertices * (-1, -1, 1) @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(mesh_of(model).vertices, ras * (-1, -1, 1), atol=1e-3)
    np.testing.assert_array_equal(mesh_of(model).triangles, before.triangles)


def test_quads_and_strips_become_triangles(scene: Scene) -> None:
    import vtk

    from PALNetLandmarksLib.gui.scene.mesh import mesh_of

    plane = vtk.vtkPlaneSource()
    plane.SetResolution(4, 5)
    plane.Update()
    assert mesh_of(scene.add_scan(plane.GetOutput())).triangles.shape == (40, 3)
    stripper = vtk.vtkStripper()
    stripper.SetInputData(face_like())
    stripper.Update()
    assert stripper.GetOutput().GetNumberOfStrips() > 0
    assert len(mesh_of(scene.add_scan(stripper.GetOutput())).triangles) == face_like().GetNumberOfPolys()


def test_points_without_a_surface_are_refused(scene: Scene) -> None:
    import vtk

    from PALNetLandmarksLib.gui.scene.mesh import mesh_of

    for polydata in (vtk.vtkPolyData(), None):
        model = scene.add_scan()
        model.SetAndObservePolyData(polydata)
        with pytest.raises(InputError) as caught:
            mesh_of(model)
        assert caught.value.code == "scan.no_surface" and caught.value.hint


def test_units(scene: Scene) -> None:
    from PALNetLandmarksLib.gui.scene.scan_loading import SCALE_ATTRIBUTE, extent, possible_units, scale_scan

    model = scene.add_scan()
    size = extent(model)
    normals = model.GetPolyData().GetPointData().GetNormals()
    scale_scan(model, 0.001)
    assert possible_units(float(extent(model).max())) == {"m": 1000.0}
    scale_scan(model, 1000.0)
    np.testing.assert_allclose(extent(model), size, atol=1e-3)
    assert model.GetAttribute(SCALE_ATTRIBUTE) == "1" and model.GetPolyData().GetPointData().GetNormals() is normals
    assert possible_units(18.0) == {"cm": 10.0, "in": 25.4} and possible_units(5e6) == {"mm": 1.0}


def test_vertex_colours_are_shown(scene: Scene) -> None:
    import vtk

    from PALNetLandmarksLib.gui.scene.scan_loading import show_surface

    model = scene.add_scan()
    show_surface(model)
    assert not model.GetDisplayNode().GetScalarVisibility()
    colours = vtk.vtkUnsignedCharArray()
    colours.SetName("RGB")
    colours.SetNumberOfComponents(3)
    colours.SetNumberOfTuples(model.GetPolyData().GetNumberOfPoints())
    model.GetPolyData().GetPointData().AddArray(colours)
    show_surface(model)
    display = model.GetDisplayNode()
    assert display.GetScalarVisibility() and display.GetActiveScalarName() == "RGB"
    assert display.GetScalarRangeFlag() == display.UseDirectMapping


def test_three_points_to_start_from(scene: Scene, view: Any, protocol: Any) -> None:
    from PALNetLandmarksLib.gui.scene.start_points import StartPoints

    scene.add_scan()
    view.look_from_front()
    view.render()
    told: list[str] = []
    points = StartPoints(scene.mrml, protocol, lambda: told.append(points.next_label))
    assert not points.active
    points.begin()
    interaction = scene.mrml.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert points.next_label == "Prn" and interaction.GetCurrentInteractionMode() == interaction.Place
    middle = np.array([300.0, 300.0])
    for offset in ((0, -10), (-60, 40), (60, 40)):
        view.click(middle + offset)
    assert told == ["Ex_R", "Ex_L", ""] and interaction.GetCurrentInteractionMode() != interaction.Place
    chosen = points.landmarks()
    assert chosen.coordinate_system == "LPS"
    assert set(np.array(protocol.labels)[~chosen.missing]) == {"Prn", "Ex_R", "Ex_L"}
    count = scene.mrml.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode")
    points.end()
    assert not points.active and scene.mrml.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == count - 1
