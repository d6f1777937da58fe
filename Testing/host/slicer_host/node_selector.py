"""The selector of nodes, ``qMRMLNodeComboBox``."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtGui, QtWidgets

from .properties import stored
from .scene_widget import SceneMixin, parent_of
from .signals import emit


class qMRMLNodeComboBox(SceneMixin, QtWidgets.QWidget):  # noqa: N801
    """A choice among the scene's nodes of some classes, with entries to add, rename and delete."""

    host_class = True
    host_signals = (
        *SceneMixin.host_signals,
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeChanged(bool)",
        "currentNodeIDChanged(QString)",
        "currentNodeRenamed(QString)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)",
        "nodeAboutToBeEdited(vtkMRMLNode*)",
        "nodeActivated(vtkMRMLNode*)",
    )

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._current: slicer.vtkMRMLNode | None = None
        self._tags: list[tuple[Any, int]] = []
        self._name_tag: tuple[Any, int] | None = None
        self._attributes: dict[str, tuple[str, Any]] = {}
        self._labels: dict[str, str] = {}
        self._actions: list[str] = []
        self._user_actions: list[QtGui.QAction] = []
        self._items: list[Any] = []
        self._adding = False
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._box.setMinimumContentsLength(8)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._box.activated.connect(self._activated)
        self.destroyed.connect(self._let_go_of(self._tags))

    @staticmethod
    def _let_go_of(tags: list[tuple[Any, int]]) -> Any:
        def let_go() -> None:
            for scene, tag in tags:
                scene.RemoveObserver(tag)
            tags.clear()

        return let_go

    def _scene_set(self) -> None:
        self._let_go_of(self._tags)()
        scene = self._scene
        if scene is None:
            self._refill()
            self._set(None)
            return
        node_events = (scene.NodeAddedEvent, scene.NodeAboutToBeRemovedEvent, scene.NodeRemovedEvent)
        for event in node_events:
            handler = vtk.calldata_type(vtk.VTK_OBJECT)(
                lambda _caller, _event, node, event=event: self._node_event(event, node)
            )
            self._tags.append((scene, scene.AddObserver(event, handler)))
        for event in (scene.EndCloseEvent, scene.EndImportEvent, scene.EndBatchProcessEvent):
            self._tags.append((scene, scene.AddObserver(event, lambda *_a: self._follow())))
        self._follow()

    # ---- which nodes

    def _fits(self, node: Any) -> bool:
        types = self.__dict__.get("_nodeTypes", ())
        child_types = self._get("showChildNodeTypes", True)
        if not any(node.IsA(t) if child_types else node.GetClassName() == t for t in types):
            return False
        if any(node.IsA(t) for t in self._get("hideChildNodeTypes", ())):
            return False
        if node.GetHideFromEditors() and not self._get("showHidden", False):
            return False
        for name, (class_name, value) in self._attributes.items():
            if node.IsA(class_name):
                found = node.GetAttribute(name)
                if found is None or value is not None and found != str(value):
                    return False
        return True

    def _get(self, name: str, default: Any) -> Any:
        return self.__dict__.get("_" + name, default)

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes: dict[str, Any] = {}
        for kind in self.__dict__.get("_nodeTypes", ()):
            found = self._scene.GetNodesByClass(kind)
            found.UnRegister(None)
            for i in range(found.GetNumberOfItems()):
                node = found.GetItemAsObject(i)
                nodes[node.GetID()] = node
        return [node for node in nodes.values() if self._fits(node)]

    def nodeCount(self) -> int:  # noqa: N802
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:  # noqa: N802
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, class_name: str, name: str, value: Any = None) -> None:  # noqa: N802
        self._attributes[name] = (class_name, value)
        self._follow()

    def removeAttribute(self, _class_name: str, name: str) -> None:  # noqa: N802
        self._attributes.pop(name, None)
        self._follow()

    def nodeTypeLabel(self, class_name: str) -> str:  # noqa: N802
        return self._labels.get(class_name, class_name.removeprefix("vtkMRML").removesuffix("Node"))

    def setNodeTypeLabel(self, label: str, class_name: str) -> None:  # noqa: N802
        self._labels[class_name] = label
        self._refill()

    def addMenuAction(self, action: QtGui.QAction) -> None:  # noqa: N802
        self._user_actions.append(action)
        self._refill()

    # ---- following the scene

    def _node_event(self, event: int, node: Any) -> None:
        if self._scene is None or node is None:
            return
        if event == self._scene.NodeAboutToBeRemovedEvent:
            if self._fits(node):
                emit(self, "nodeAboutToBeRemoved(vtkMRMLNode*)", node)
            return
        if self._scene.IsBatchProcessing() or not (self._fits(node) or node in self._items):
            return
        self._follow()
        if event == self._scene.NodeAddedEvent and self._fits(node):
            emit(self, "nodeAdded(vtkMRMLNode*)", node)

    def _follow(self) -> None:
        """Bring the entries up to date; a chosen node that is gone makes room for its neighbour."""
        before = [item for item in self._items if item is not None]
        self._refill()
        nodes = self._nodes()
        if self._current is not None and self._current not in nodes:
            row = before.index(self._current) if self._current in before else 0
            self._set(nodes[min(row, len(nodes) - 1)] if nodes else None)
        elif self._current is None and nodes and not self._get("noneEnabled", False):
            self._set(nodes[0])

    def _refill(self) -> None:
        self._box.blockSignals(True)
        self._box.clear()
        none = self._get("noneEnabled", False)
        nodes = self._nodes()
        self._items = ([None] if none else []) + nodes
        for node in self._items:
            self._box.addItem(self._get("noneDisplay", "None") if node is None else node.GetName() or node.GetID())
        if not self._items:
            self._items = [None]
            kinds = self._get("nodeTypes", ())
            self._box.addItem(f"Select a {self.nodeTypeLabel(kinds[0])}" if kinds else "")
        self._actions = []
        if self._get("renameEnabled", False) and self._current is not None:
            self._actions.append("Rename current node")
        if self._get("editEnabled", False) and self._current is not None:
            self._actions.append("Edit current node")
        if self._get("addEnabled", True):
            self._actions += [f"Create new {self.nodeTypeLabel(t)}" for t in self._get("nodeTypes", ())]
        if self._get("removeEnabled", True) and self._current is not None:
            self._actions.append("Delete current node")
        actions = [*self._actions, *(action.text() for action in self._user_actions)]
        if actions:
            self._box.insertSeparator(self._box.count())
            self._box.addItems(actions)
        self._box.setCurrentIndex(self._items.index(self._current) if self._current in self._items else 0)
        self._box.blockSignals(False)

    def _activated(self, row: int) -> None:
        if row < len(self._items):
            self._set(self._items[row])
            emit(self, "nodeActivated(vtkMRMLNode*)", self._current)
            return
        index = row - len(self._items) - 1
        self._box.setCurrentIndex(self._items.index(self._current) if self._current in self._items else 0)
        if index >= len(self._actions):
            self._user_actions[index - len(self._actions)].trigger()
            return
        action = self._actions[index]
        if action.startswith("Create new"):
            kinds = self._get("nodeTypes", ())
            self.addNode(next(t for t in kinds if action == f"Create new {self.nodeTypeLabel(t)}"))
        elif action.startswith("Delete"):
            self.removeCurrentNode()
        elif action.startswith("Edit"):
            self.editCurrentNode()

    # ---- the current node

    def currentNode(self) -> Any:  # noqa: N802
        return self._current

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802
        if isinstance(node, str):
            node = self._scene.GetNodeByID(node) if self._scene and node else None
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            raise TypeError(f"setCurrentNode() takes a node, not {node!r}")
        if node is not None and node not in self._nodes():
            node = None
        if node is None and not self._get("noneEnabled", False):
            nodes = self._nodes()
            node = nodes[0] if nodes and self._current is None else self._current if self._current in nodes else None
        self._set(node)

    def _set(self, node: Any) -> None:
        if node is self._current:
            return
        if self._name_tag:
            self._name_tag[0].RemoveObserver(self._name_tag[1])
            self._name_tag = None
        self._current = node
        if node is not None:
            self._name_tag = (node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_a: self._renamed()))
        self._refill()
        emit(self, "currentNodeChanged(vtkMRMLNode*)", node)
        emit(self, "currentNodeChanged(bool)", node is not None)
        emit(self, "currentNodeIDChanged(QString)", node.GetID() if node is not None else "")

    def _renamed(self) -> None:
        if self._current in self._items:
            row = self._items.index(self._current)
            if self._box.itemText(row) != self._current.GetName():
                self._box.setItemText(row, self._current.GetName())
                emit(self, "currentNodeRenamed(QString)", self._current.GetName())

    def _id(self) -> str:
        return self._current.GetID() if self._current is not None else ""

    def setCurrentNodeID(self, node_id: str) -> None:  # noqa: N802
        self.setCurrentNode(str(node_id) if node_id else None)

    def setCurrentNodeIndex(self, index: int) -> None:  # noqa: N802
        self.setCurrentNode(self.nodeFromIndex(index))

    def addNode(self, class_name: str | None = None) -> Any:  # noqa: N802
        class_name = class_name or self._get("nodeTypes", ())[0]
        base = self._get("baseName", "") or self.nodeTypeLabel(class_name)
        node = self._scene.CreateNodeByClass(class_name)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(base))
        for name, (_class_name, value) in self._attributes.items():
            node.SetAttribute(name, "" if value is None else str(value))
        self._scene.AddNode(node)
        if self._get("selectNodeUponCreation", True):
            self._set(node)
        emit(self, "nodeAddedByUser(vtkMRMLNode*)", node)
        return node

    def removeCurrentNode(self) -> None:  # noqa: N802
        if self._current is not None:
            self._scene.RemoveNode(self._current)

    def editCurrentNode(self) -> None:  # noqa: N802
        emit(self, "nodeAboutToBeEdited(vtkMRMLNode*)", self._current)

    def renameCurrentNode(self) -> None:  # noqa: N802
        raise NotImplementedError("The host does not rename nodes")

    host_properties = {
        "nodeTypes": stored("nodeTypes", (), then="_follow"),
        "showChildNodeTypes": stored("showChildNodeTypes", True, then="_follow"),
        "hideChildNodeTypes": stored("hideChildNodeTypes", (), then="_follow"),
        "showHidden": stored("showHidden", False, then="_follow"),
        "addEnabled": stored("addEnabled", True, then="_refill"),
        "removeEnabled": stored("removeEnabled", True, then="_refill"),
        "renameEnabled": stored("renameEnabled", False, then="_refill"),
        "editEnabled": stored("editEnabled", False, then="_refill"),
        "noneEnabled": stored("noneEnabled", False, then="_follow"),
        "noneDisplay": stored("noneDisplay", "None", then="_refill"),
        "baseName": stored("baseName", ""),
        "selectNodeUponCreation": stored("selectNodeUponCreation", True),
        "interactionNodeSingletonTag": stored("interactionNodeSingletonTag", ""),
        "sizeAdjustPolicy": stored("sizeAdjustPolicy", None),
        "currentNodeID": (_id, setCurrentNodeID),
        "currentNodeId": (_id, setCurrentNodeID),
    }
