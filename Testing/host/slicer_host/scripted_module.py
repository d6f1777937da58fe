"""``slicer.ScriptedLoadableModule``: what a module derives from, and the application's side of it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtGui, QtWidgets

from .mrml_widgets import qMRMLWidget
from .signals import connect, disconnect


class ScriptedLoadableModule:
    """The module's description."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.dependencies = "", [], []
        parent.contributors, parent.helpText, parent.acknowledgementText = [], "", ""
        icon = Path(parent.path).parent / "Resources" / "Icons" / f"{self.moduleName}.png"
        if icon.is_file():
            parent.icon = QtGui.QIcon(str(icon))
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:  # noqa: N802
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:  # noqa: N802, N803
        return f'<p>For more information see the <a href="{docPage or self.moduleName}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:  # noqa: N802
        test = getattr(importlib.import_module(type(self).__module__), self.moduleName + "Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The module's panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        if parent is None:
            self.parent = qMRMLWidget()
            self.parent.setLayout(QtWidgets.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        else:
            self.parent = parent
        self.layout = QtWidgets.QWidget.layout(self.parent)
        if parent is None:
            self.setup()
            self.parent.show()
        connect(slicer.app.moduleManager(), "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:  # noqa: N802
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self) -> None:
        self.setupDeveloperSection()

    def cleanup(self) -> None:
        pass

    def setupDeveloperSection(self) -> None:  # noqa: N802
        pass

    def onReload(self) -> None:  # noqa: N802
        slicer.util.reloadScriptedModule(self.moduleName)

    def onTest(self, **kwargs: Any) -> None:  # noqa: N802
        slicer.selfTests[self.moduleName](**kwargs)

    def onReloadAndTest(self, **kwargs: Any) -> None:  # noqa: N802
        self.onReload()
        self.onTest(**kwargs)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:  # noqa: N802
        if name == self.moduleName:
            self.cleanup()
            manager = slicer.app.moduleManager()
            disconnect(manager, "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """What the module can do without its panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getAllParameterNodes(self) -> list[Any]:  # noqa: N802
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def getParameterNode(self) -> Any:  # noqa: N802
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)
                return node
        elif self.getAllParameterNodes():
            return self.getAllParameterNodes()[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def createParameterNode(self) -> Any:  # noqa: N802
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's self-test."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messageDelay = 0
        self.enableScreenshots = False

    def runTest(self) -> None:  # noqa: N802
        pass

    def delayDisplay(self, message: str, requestedDelay: Any = None, msec: Any = None) -> None:  # noqa: N802, N803
        print(message)

    def takeScreenshot(self, name: str, description: str, type: int = -1) -> None:  # noqa: A002, N802
        pass


class ModuleWidget(qMRMLWidget):
    """The application's side of a panel, as ``qSlicerScriptedLoadableModuleWidget``."""

    host_class = True
    host_api = "qSlicerScriptedLoadableModuleWidget"

    def __init__(self, module: Module) -> None:
        super().__init__()
        self._module = module
        self._python: Any = None
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        self.setMRMLScene(slicer.mrmlScene)

    def build(self) -> None:
        """Make the module's own widget and set it up."""
        name = self._module.name
        self._python = getattr(sys.modules[name], name + "Widget")(self)
        setattr(slicer.modules, name + "Widget", self._python)
        self._python.setup()

    def self(self) -> Any:
        return self._python

    def reload(self) -> None:
        self.build()

    def enter(self) -> None:
        getattr(self._python, "enter", lambda: None)()

    def exit(self) -> None:
        getattr(self._python, "exit", lambda: None)()


class Module:
    """A module of the application: with a logic in C++, or a scripted one by its file."""

    def __init__(self, name: str, logic: Any = None, path: str = "") -> None:
        self.name, self.path, self.title = name, path, name
        self.icon = QtGui.QIcon()
        self.hidden = False
        self._logic, self._widget = logic, None

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> Any:  # noqa: N802
        if self._widget is None and self.path:
            self._widget = ModuleWidget(self)
            self._widget.build()
        return self._widget


def load(path: Path) -> Module:
    """Load a scripted module as Slicer does: import the file and make its description.

    Parameters
    ----------
    path : Path
        The module's Python file.
    """
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    python = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(python)
    module = Module(name, path=str(path))
    module.description = getattr(python, name)(module)
    setattr(slicer.modules, name.lower(), module)
    return module


def unload(module: Module) -> None:
    """Unload a module as Slicer does when it ends."""
    from .signals import emit

    emit(slicer.app.moduleManager(), "moduleAboutToBeUnloaded(QString)", module.name)
    if module._widget is not None:
        module._widget.close()
        module._widget.deleteLater()
        module._widget = None
    for attribute in (module.name.lower(), module.name + "Widget"):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)


def make() -> types.ModuleType:
    """Make the module ``slicer.ScriptedLoadableModule``."""
    python = types.ModuleType("slicer.ScriptedLoadableModule")
    python.__all__ = [
        "ScriptedLoadableModule",
        "ScriptedLoadableModuleLogic",
        "ScriptedLoadableModuleTest",
        "ScriptedLoadableModuleWidget",
    ]
    for name in python.__all__:
        setattr(python, name, globals()[name])
    return python
