"""Widgets that show the scene: tables, placing of points."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .node_selector import qMRMLNodeComboBox
from .properties import stored
from .scene_widget import SceneMixin, parent_of
from .signals import emit

Qt = QtCore.Qt


class qMRMLWidget(SceneMixin, QtWidgets.QWidget):  # noqa: N801
    """A widget with a scene, which the root of a ``.ui`` file hands on by its connections."""

    host_class = True


class qSlicerWidget(SceneMixin, QtWidgets.QWidget):  # noqa: N801
    """The same, of Slicer's own libraries."""

    host_class = True


class _TableModel(QtCore.QAbstractTableModel):
    """The cells of a table node, the first row of text being its column names."""

    def __init__(self, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self.node: slicer.vtkMRMLTableNode | None = None

    def rowCount(self, parent: Any = None) -> int:  # noqa: N802
        return 0 if self.node is None or parent is not None and parent.isValid() else self.node.GetNumberOfRows()

    def columnCount(self, parent: Any = None) -> int:  # noqa: N802
        return 0 if self.node is None or parent is not None and parent.isValid() else self.node.GetNumberOfColumns()

    def data(self, index: QtCore.QModelIndex, role: int = 0) -> Any:
        if self.node is not None and role in (0, 2):
            return self.node.GetCellText(index.row(), index.column())
        return None

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802
        if self.node is not None and role == 0:
            if orientation == Qt.Orientation.Horizontal:
                return self.node.GetColumnName(section)
            return str(section + 1)
        return None


class qMRMLTableView(SceneMixin, QtWidgets.QTableView):  # noqa: N801
    """A table node's cells."""

    host_class = True
    host_signals = (*SceneMixin.host_signals, "selectionChanged()")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._node: slicer.vtkMRMLTableNode | None = None
        self._tag = 0
        self._model = _TableModel(self)
        self._proxy = QtCore.QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self._model)
        self.setModel(self._proxy)

    def mrmlTableNode(self) -> slicer.vtkMRMLTableNode | None:  # noqa: N802
        return self._node

    def setMRMLTableNode(self, node: slicer.vtkMRMLTableNode | None) -> None:  # noqa: N802
        if node is not None and not isinstance(node, slicer.vtkMRMLTableNode):
            raise TypeError(f"setMRMLTableNode() takes a table node, not {node!r}")
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        if node is not None:
            self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_a: self._reset())
        self._reset()

    def _reset(self) -> None:
        self._model.beginResetModel()
        self._model.node = self._node
        self._model.endResetModel()

    def tableModel(self) -> QtCore.QAbstractItemModel:  # noqa: N802
        return self._model

    def sortFilterProxyModel(self) -> QtCore.QSortFilterProxyModel:  # noqa: N802
        return self._proxy

    host_properties = {
        "transposed": stored("transposed", False),
        "firstRowLocked": stored("firstRowLocked", False),
        "firstColumnLocked": stored("firstColumnLocked", False),
    }


class qSlicerMarkupsPlaceWidget(SceneMixin, QtWidgets.QWidget):  # noqa: N801
    """A button that switches place mode on."""

    host_class = True
    host_signals = (
        *SceneMixin.host_signals,
        "activeMarkupsPlaceModeChanged(bool)",
        "activeMarkupsFiducialPlaceModeChanged(bool)",
    )
    ShowPlaceMultipleMarkupsOption, HidePlaceMultipleMarkupsOption = 0, 1
    ForcePlaceSingleMarkup, ForcePlaceMultipleMarkups = 2, 3

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._node: Any = None
        self._button = QtWidgets.QToolButton(self)
        self._button.setText("Place")
        self._button.setCheckable(True)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._button.toggled.connect(lambda on: self.setPlaceModeEnabled(on))

    def currentNode(self) -> Any:  # noqa: N802
        return self._node

    currentMarkupsNode = currentNode  # noqa: N815

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802
        self._node = node

    def placeButton(self) -> QtWidgets.QToolButton:  # noqa: N802
        return self._button

    def interactionNode(self) -> Any:  # noqa: N802
        return slicer.app.applicationLogic().GetInteractionNode()

    def selectionNode(self) -> Any:  # noqa: N802
        return slicer.app.applicationLogic().GetSelectionNode()

    def _placing(self) -> bool:
        node = self.interactionNode()
        active = self.selectionNode().GetActivePlaceNodeID()
        return bool(
            node.GetCurrentInteractionMode() == node.Place and self._node is not None and active == self._node.GetID()
        )

    def setPlaceModeEnabled(self, on: bool) -> None:  # noqa: N802
        node = self.interactionNode()
        if on and self._node is not None:
            self.selectionNode().SetReferenceActivePlaceNodeClassName(self._node.GetClassName())
            self.selectionNode().SetActivePlaceNodeID(self._node.GetID())
            node.SetPlaceModePersistence(1 if self.__dict__.get("_placeMultipleMarkups") == 3 else 0)
        node.SetCurrentInteractionMode(node.Place if on and self._node is not None else node.ViewTransform)
        emit(self, "activeMarkupsPlaceModeChanged(bool)", self._placing())
        emit(self, "activeMarkupsFiducialPlaceModeChanged(bool)", self._placing())

    host_properties = {
        "placeModeEnabled": (_placing, setPlaceModeEnabled),
        "placeModePersistency": stored("placeModePersistency", False),
        "placeMultipleMarkups": stored("placeMultipleMarkups", 0),
        "buttonsVisible": stored("buttonsVisible", True),
        "deleteAllControlPointsOptionVisible": stored("deleteAllControlPointsOptionVisible", True),
        "deleteAllMarkupsOptionVisible": stored("deleteAllMarkupsOptionVisible", True),
        "unsetAllControlPointsOptionVisible": stored("unsetAllControlPointsOptionVisible", True),
        "unsetLastControlPointOptionVisible": stored("unsetLastControlPointOptionVisible", True),
    }


WIDGETS = {
    cls.__name__: cls
    for cls in (qMRMLNodeComboBox, qMRMLTableView, qMRMLWidget, qSlicerMarkupsPlaceWidget, qSlicerWidget)
}
