"""``slicer.parameterNodeWrapper``: typed attributes over a parameter node, tied to widgets.

Written after what was seen of Slicer's own in the running application; it takes the same types, ties them to the same
widgets and refuses the others.
"""

from __future__ import annotations

import types as python_types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .parameter_types import Choice, Decimals, Default, Maximum, Minimum, ParameterType, SingleStep, WithinRange
from .parameter_widgets import GuiConnector, createGuiConnector

SlicerParameterNamePropertyName = "SlicerParameterName"

_OBSERVERS: list[Callable[..., None]] = []


class _Cached:
    """The value of one parameter, read again when somebody else changes the node."""

    def __init__(self, owner: Any, node: Any, name: str, type_: ParameterType, default: Any) -> None:
        self.node, self.name, self.type, self.owner, self.default = node, name, type_, weakref.ref(owner), default
        self.writing = False
        self.value = self.read()
        me = weakref.ref(self)

        def changed(*_: Any) -> None:
            alive = me()
            if alive is not None:
                alive.modified()

        # VTK lets Python's garbage collector empty functions that a node, alive in the scene only, may still call.
        _OBSERVERS.append(changed)
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, changed)

    def read(self) -> Any:
        # A closed scene has emptied the node: the default is written again.
        if not self.node.HasParameter(self.name):
            self.type.check(self.default)
            self.type.write(self.node, self.name, self.default)
        return self.type.read(self.node, self.name, self.owner())

    def modified(self) -> None:
        if not self.writing:
            self.value = self.read()

    def write(self, value: Any) -> None:
        self.type.check(value)
        self.writing = True
        try:
            with slicer.util.NodeModify(self.node):
                self.type.write(self.node, self.name, value)
                self.value = self.read()
        finally:
            self.writing = False


def _make_property(name: str) -> property:
    return property(
        lambda self: self._cached[name].value,
        lambda self, value: self._cached[name].write(value),
    )


class _Methods:
    """What the decorator adds to the class."""

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:  # noqa: N803
        if not isinstance(parameterNode, slicer.vtkMRMLScriptedModuleNode):
            raise TypeError(f"A parameter node wrapper takes a vtkMRMLScriptedModuleNode, not {parameterNode!r}")
        self.parameterNode = parameterNode
        self._guis: dict[int, dict[str, GuiConnector]] = {}
        self._updating = False
        self._cached = {
            name: _Cached(self, parameterNode, (prefix or "") + name, type_, default)
            for name, (type_, default) in self.allParameters.items()
        }

    def _known(self, name: str) -> None:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")

    def default(self, paramName: str) -> Default:  # noqa: N803
        self._known(paramName)
        return Default(self.allParameters[paramName][1])

    def isCached(self, paramName: str) -> bool:  # noqa: N802, N803
        self._known(paramName)
        return True

    def getValue(self, name: str) -> Any:  # noqa: N802
        self._known(name)
        return self._cached[name].value

    def setValue(self, name: str, value: Any) -> None:  # noqa: N802
        self._known(name)
        self._cached[name].write(value)

    def connectGui(self, gui: Any) -> int:  # noqa: N802
        if isinstance(gui, QtWidgets.QWidget):
            widgets = gui.findChildren(QtWidgets.QWidget)
        else:
            widgets = [w for w in vars(gui).values() if isinstance(w, QtCore.QObject)]
        found = {w.property(SlicerParameterNamePropertyName): w for w in widgets}
        return self.connectParametersToGui({name: w for name, w in found.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:  # noqa: N802
        for name in mapping:
            self._known(name)
        connectors = {
            name: w if isinstance(w, GuiConnector) else GuiConnector(w, self.allParameters[name][0])
            for name, w in mapping.items()
        }
        tag = len(self._guis)
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._from_gui(name, connector))

        # As in Slicer, the observation keeps the wrapper alive as long as the node lives.
        def changed(*_: Any) -> None:
            self._to_gui()

        _OBSERVERS.append(changed)
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, changed)
        return tag

    def _from_gui(self, name: str, connector: GuiConnector) -> Callable[[], None]:
        def store() -> None:
            if not self._updating:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.read())

        return store

    def _to_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in list(self._guis.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating = False

    def disconnectGui(self, tag: int) -> None:  # noqa: N802
        for connector in self._guis.pop(tag, {}).values():
            connector.onChanged(None)

    def StartModify(self) -> int:  # noqa: N802
        return self.parameterNode.StartModify()

    def EndModify(self, was_modified: int) -> int:  # noqa: N802
        return self.parameterNode.EndModify(was_modified)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:  # noqa: N802
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:  # noqa: N802
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:  # noqa: N802
        self.parameterNode.Modified()


def parameterNodeWrapper(classtype: type | None = None) -> Any:  # noqa: N802
    """Turn a class of annotations into a wrapper of a parameter node."""
    if classtype is None:
        return parameterNodeWrapper
    parameters: dict[str, tuple[ParameterType, Any]] = {}
    for name, hint in typing.get_type_hints(classtype, include_extras=True).items():
        if isinstance(vars(classtype).get("__annotations__", {}).get(name), str):
            raise TypeError(f"The annotation of {name} is a string: Slicer 5.6 does not read it as a type")
        type_ = ParameterType(hint)
        default = next((a.value for a in type_.annotations if isinstance(a, Default)), type_.default())
        default = getattr(classtype, name, default)
        type_.check(default)
        parameters[name] = (type_, default)
        setattr(classtype, name, _make_property(name))
    for name, member in vars(_Methods).items():
        if name in ("__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__annotations__"):
            continue
        if name != "__init__" and hasattr(classtype, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(classtype, name, member)
    classtype.allParameters = parameters
    classtype._is_parameter_node_wrapper = True
    classtype.dataType = staticmethod(lambda name: parameters[name][0].hint)
    return classtype


def isParameterNodeWrapper(thing: Any) -> bool:  # noqa: N802
    """Tell whether a class or object is a wrapper."""
    return getattr(thing, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:  # noqa: N802
    """Find the child that carries a parameter's name."""
    children = QtWidgets.QWidget.findChildren(widget, QtWidgets.QWidget)
    return next((w for w in children if w.property(SlicerParameterNamePropertyName) == parameter), None)


def make() -> python_types.ModuleType:
    """Make the module."""
    module = python_types.ModuleType("slicer.parameterNodeWrapper")
    for thing in (
        *(Choice, Decimals, Default, Maximum, Minimum, SingleStep, WithinRange),
        *(GuiConnector, createGuiConnector, findChildWidgetForParameter, isParameterNodeWrapper, parameterNodeWrapper),
    ):
        setattr(module, thing.__name__, thing)
    module.SlicerParameterNamePropertyName = SlicerParameterNamePropertyName
    return module
