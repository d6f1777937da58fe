"""Reading and writing of files, by Slicer's real storage nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk


class IOManager:
    """``slicer.app.coreIOManager()``."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def fileType(self, filename: Any) -> str:  # noqa: N802
        name = str(filename).lower()
        if name.endswith((".mrk.json", ".fcsv")):
            return "MarkupsFile"
        if name.endswith((".mrb", ".mrml")):
            return "SceneFile"
        if name.endswith((".csv", ".tsv")):
            return "TableFile"
        if name.endswith((".obj", ".ply", ".stl", ".vtk", ".vtp")):
            return "ModelFile"
        raise NotImplementedError(f"The host does not read {filename}")

    def loadNodes(self, file_type: str, properties: dict, nodes: Any = None, messages: Any = None) -> bool:  # noqa: N802
        path = properties["fileName"]
        scene = slicer.mrmlScene
        logic = self._application.logics
        node: Any = None
        if not Path(path).is_file():
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"No file {path}")
            return False
        if file_type == "ModelFile":
            system = properties.get("coordinateSystem")
            node = logic["models"].AddModel(path) if system is None else logic["models"].AddModel(path, int(system))
        elif file_type == "MarkupsFile":
            node = scene.GetNodeByID((logic["markups"].LoadMarkups(path) or "").split(",")[0])
        elif file_type == "TableFile":
            node = scene.AddNewNodeByClass("vtkMRMLTableNode", Path(path).stem)
            storage = slicer.vtkMRMLTableStorageNode()
            storage.SetFileName(path)
            if not storage.ReadData(node):
                scene.RemoveNode(node)
                return False
        elif file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)))
        else:
            raise NotImplementedError(f"The host does not load a {file_type}")
        if node is None:
            return False
        if properties.get("name"):
            node.SetName(properties["name"])
        if nodes is not None:
            nodes.AddItem(node)
        return True

    def _load_scene(self, path: str, clear: bool) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def saveNodes(self, file_type: str, properties: dict, messages: Any = None) -> bool:  # noqa: N802
        path = str(properties["fileName"])
        scene = slicer.mrmlScene
        if file_type == "SceneFile":
            scene.SetURL(path)
            scene.SetRootDirectory(str(Path(path).parent))
            return bool(scene.WriteToMRB(path)) if path.endswith(".mrb") else bool(scene.Commit(path))
        node = scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        return bool(storage.WriteData(node))

    def fileWriterFileType(self, node: Any) -> str:  # noqa: N802
        kinds = {"vtkMRMLModelNode": "ModelFile", "vtkMRMLTableNode": "TableFile"}
        return kinds.get(node.GetClassName(), "MarkupsFile")

    def addDefaultStorageNodes(self) -> None:  # noqa: N802
        for i in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
            node = slicer.mrmlScene.GetNthNodeByClass(i, "vtkMRMLStorableNode")
            if node.GetSaveWithScene() and node.GetStorageNode() is None:
                node.AddDefaultStorageNode()
