"""What the tests with Slicer's libraries share: a scene with its logics, a face-like surface, some landmarks on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol

# Python may destroy scenes and logics in an order in which they crash: they live until the process ends.
_KEPT: list[Any] = []


@dataclass
class Scene:
    """A vtkMRMLScene with what the application would have set up round it."""

    mrml: Any
    application: Any
    markups: Any
    models: Any
    keep: tuple[Any, ...] = ()

    def add_scan(self, polydata: Any = None, name: str = "Scan") -> Any:
        """Add a model node with a face-like surface, looking to the front (RAS +y)."""
        import slicer

        model = self.mrml.AddNewNodeByClass("vtkMRMLModelNode", name)
        model.SetAndObservePolyData(face_like() if polydata is None else polydata)
        model.CreateDefaultDisplayNodes()
        assert isinstance(model, slicer.vtkMRMLModelNode)
        return model

    def add_transform(self, matrix: Any) -> Any:
        """Add a linear transform node of a matrix (4, 4)."""
        import slicer

        node = self.mrml.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, dtype=float)))
        return node

    def save(self, path: Path) -> None:
        """Save the scene, as .mrb or as .mrml with the nodes' files beside it."""
        self.mrml.SetRootDirectory(str(path.parent))
        self.mrml.SetURL(str(path))
        if path.suffix == ".mrb":
            assert self.mrml.WriteToMRB(str(path))
            return
        for index in range(self.mrml.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
            node = self.mrml.GetNthNodeByClass(index, "vtkMRMLStorableNode")
            if node.GetSaveWithScene() and (node.GetStorageNode() or node.AddDefaultStorageNode()):
                storage = node.GetStorageNode()
                extension = storage.GetDefaultWriteFileExtension()
                storage.SetFileName(str(path.parent / f"{node.GetID()}.{extension}"))
                assert storage.WriteData(node), node.GetName()
        assert self.mrml.Commit(str(path))

    def load(self, path: Path) -> None:
        """Load a scene in place of this one."""
        if path.suffix == ".mrb":
            assert self.mrml.ReadFromMRB(str(path), True)
        else:
            self.mrml.SetURL(str(path))
            assert self.mrml.Connect()


def new_scene(cache: Path) -> Scene:
    """Make a scene with the logics that the application has."""
    import slicer
    import vtk

    mrml = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    mrml.AddNode(crosshair)
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(mrml)
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    application.GetColorLogic().SetMRMLScene(mrml)
    application.GetColorLogic().AddDefaultColorNodes()
    logics = {}
    for name in ("Markups", "Models", "Tables", "SubjectHierarchyModule"):
        logic = getattr(slicer, f"vtkSlicer{name}Logic")()
        logic.SetMRMLScene(mrml)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        logics[name] = logic
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(mrml)
    remote.SetMRMLApplicationLogic(application)
    remote.GetCacheManager().SetRemoteCacheDirectory(str(cache))
    files = slicer.vtkDataIOManagerLogic()
    files.SetMRMLScene(mrml)
    files.SetMRMLApplicationLogic(application)
    files.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    made = Scene(mrml, application, logics["Markups"], logics["Models"], (*logics.values(), remote, files))
    _KEPT.append(made)
    return made


def face_like(resolution: int = 120) -> Any:
    """Make a head of 150 x 180 x 220 mm with a nose, eye sockets and a chin; it looks to RAS +y. vtkPolyData."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    sphere = vtk.vtkSphereSource()
    sphere.SetThetaResolution(resolution)
    sphere.SetPhiResolution(resolution)
    sphere.Update()
    polydata = sphere.GetOutput()
    points = vtk_to_numpy(polydata.GetPoints().GetData()).astype(float) * 2 * (75.0, 90.0, 110.0)
    for (x, z), radius, height in (((0, -5), 14, 28), ((30, 30), 12, -12), ((-30, 30), 12, -12), ((0, -45), 15, 7)):
        distance = np.hypot(points[:, 0] - x, points[:, 2] - z)
        points[:, 1] += height * np.exp(-((distance / radius) ** 2)) * (points[:, 1] > 0)
    polydata.GetPoints().SetData(numpy_to_vtk(points.astype(np.float32), deep=1))
    polydata.GetPointData().Initialize()
    return polydata


_TREES: dict[Any, Any] = {}


def on_face(surface: Any, x: float, z: float) -> np.ndarray:
    """Give the place (3,) on a surface in front at (x, z), RAS."""
    import vtk

    where, hit, at, piece = vtk.mutable(0.0), [0.0] * 3, [0.0] * 3, vtk.mutable(0)
    key = surface.GetAddressAsString("")
    if _TREES.get(key, (None,))[0] is not surface:
        tree = vtk.vtkOBBTree()
        tree.SetDataSet(surface)
        tree.BuildLocator()
        _TREES.clear()
        _TREES[key] = (surface, tree)
    tree = _TREES[key][1]
    assert tree.IntersectWithLine((x, 300.0, z), (x, 0.0, z), 1e-6, where, hit, at, piece)
    return np.array(hit)


def some_landmarks(protocol: Protocol, surface: Any, *, seed: int = 5) -> LandmarkSet:
    """Give a prediction on the face-like surface, world LPS: landmarks 3, 17 and 40 (from 0) are missing."""
    rng = np.random.default_rng(seed)
    places = np.stack([rng.uniform(-55, 55, len(protocol)), rng.uniform(-70, 80, len(protocol))], axis=1)
    positions = np.array([on_face(surface, x, z) for x, z in places]) * (-1, -1, 1)
    positions[[3, 17, 40]] = np.nan
    errors = rng.uniform(0.6, 6.0, len(protocol))
    errors[[3, 17, 40]] = np.nan
    notes = ["" if place != 3 else "no surface within 8 mm" for place in range(len(protocol))]
    notes[5] = 'beard; "thick" <50 %> & ü: x=1'
    return LandmarkSet.from_positions(
        protocol,
        positions,
        "predicted",
        expected_error_mm=errors,
        notes=notes,
        provenance={
            "model_id": "test-1",
            "model_training_data": 'simulated; "no" real faces: 100 % <made> & öther',
            "registration_rms_mm": "0.51",
            "created_utc": "2026-11-21T09:00:00Z",
        },
    )
