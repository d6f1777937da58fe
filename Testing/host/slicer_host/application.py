"""``slicer.app``, ``slicer.modules`` and the rest of the application, over Slicer's real scene and logics."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from shiboken6 import Shiboken

from . import ctk_widgets, mrml_widgets, parameter_node, qt_module, sample_data, scripted_module, ui_loader
from .files import IOManager
from .properties import stored
from .questions import Messages, messages, record_displays
from .signals import connections, disconnect, emit, refusals, slot_errors
from .three_d_view import qMRMLThreeDView, qMRMLThreeDWidget

_FROM_QT = [
    "activeModalWidget",
    "activePopupWidget",
    "activeWindow",
    "allWidgets",
    "clipboard",
    "keyboardModifiers",
    "mouseButtons",
    "overrideCursor",
    "processEvents",
    "restoreOverrideCursor",
    "setOverrideCursor",
    "topLevelWidgets",
    "widgetAt",
    "focusWidget",
    "font",
    "palette",
    "style",
    "beep",
    "sendPostedEvents",
    "screens",
]


def _constant(value: Any) -> tuple:
    return (lambda self: value, None)


class LayoutManager(QtCore.QObject):
    """``slicer.app.layoutManager()``: one 3D view, and a layout that is only remembered."""

    host_class = True
    host_api = "layoutManager"
    host_signals = ("layoutChanged()", "layoutChanged(int)")

    def __init__(self, application: Application) -> None:
        super().__init__()
        self._application = application
        self._widget: qMRMLThreeDWidget | None = None

    def threeDWidget(self, _index: Any = 0) -> qMRMLThreeDWidget:  # noqa: N802
        if self._widget is None or not Shiboken.isValid(self._widget):
            self._widget = qMRMLThreeDWidget(qMRMLThreeDView(self._application.logic))
        return self._widget

    def setLayout(self, layout: int) -> None:  # noqa: N802
        if layout != self.__dict__.get("_layout", 3):
            self.__dict__["_layout"] = layout
            emit(self, "layoutChanged(int)", layout)
            emit(self, "layoutChanged()")

    def sliceViewNames(self) -> tuple:  # noqa: N802
        return ()

    def mrmlScene(self) -> Any:  # noqa: N802
        return slicer.mrmlScene

    def activeMRMLThreeDViewNode(self) -> Any:  # noqa: N802
        return self.threeDWidget().mrmlViewNode()

    def resetThreeDViews(self) -> None:  # noqa: N802
        self.threeDWidget().threeDView().resetFocalPoint()

    def resetSliceViews(self) -> None:  # noqa: N802
        pass

    def pauseRender(self) -> None:  # noqa: N802
        self.threeDWidget().threeDView().pauseRender()

    def resumeRender(self) -> None:  # noqa: N802
        self.threeDWidget().threeDView().resumeRender()

    def _layout_now(self) -> int:
        return self.__dict__.get("_layout", 3)

    host_properties = {
        "layout": (_layout_now, setLayout),
        "threeDViewCount": _constant(1),
        "tableViewCount": _constant(0),
        "plotViewCount": _constant(0),
        "enabled": stored("enabled", True),
    }


class ModuleManager(QtCore.QObject):
    """``slicer.app.moduleManager()``."""

    host_class = True
    host_api = "qSlicerModuleManager"
    host_signals = ("moduleAboutToBeUnloaded(QString)", "moduleLoaded(QString)")

    def modulesNames(self) -> list[str]:  # noqa: N802
        return [m.name for m in vars(slicer.modules).values() if isinstance(m, scripted_module.Module)]

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)


class Application(QtCore.QObject):
    """``slicer.app``."""

    host_class = True
    host_api = "slicer.app"
    host_signals = ("startupCompleted()", "aboutToQuit()", "mrmlSceneChanged(vtkMRMLScene*)", "renderPaused(bool)")

    def __init__(self) -> None:
        super().__init__()
        self.qt = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer-host"])
        self.qt.setStyle("Fusion")
        self.qt.setApplicationName("Slicer")
        self.qt.setOrganizationName("slicer.org")
        font = self.qt.font()
        font.setFamily("DejaVu Sans")
        font.setPointSize(9)
        self.qt.setFont(font)
        self.testing = False
        folder = self.folder = Path(tempfile.mkdtemp(prefix="slicer-host-"))
        for name in ("temporary", "cache", "settings"):
            (folder / name).mkdir()
        self.__dict__["_temporaryPath"] = str(folder / "temporary")
        self.__dict__["_cachePath"] = str(folder / "cache")
        ini = QtCore.QSettings.Format.IniFormat
        QtCore.QSettings.setDefaultFormat(ini)
        QtCore.QSettings.setPath(ini, QtCore.QSettings.Scope.UserScope, str(folder / "settings"))
        self._settings = QtCore.QSettings(str(folder / "settings" / "Slicer.ini"), ini)
        self._revision_settings = QtCore.QSettings(str(folder / "settings" / "Slicer-32448.ini"), ini)
        self._modules, self._io, self._layouts = ModuleManager(), IOManager(self), LayoutManager(self)

        scene = self.scene = slicer.vtkMRMLScene()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        scene.AddNode(crosshair)
        logic = self.logic = slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(scene)
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        logic.GetColorLogic().SetMRMLScene(scene)
        logic.GetColorLogic().AddDefaultColorNodes()
        self.logics: dict[str, Any] = {}
        for name in ("Markups", "Models", "Tables", "SubjectHierarchy", "Transforms"):
            found = [getattr(slicer, f"vtkSlicer{name}{end}", None) for end in ("Logic", "ModuleLogic")]
            cls = next((c for c in found if isinstance(c, type)), None)
            if cls is None:
                continue
            module_logic = self.logics[name.lower()] = cls()
            module_logic.SetMRMLScene(scene)
            module_logic.SetMRMLApplicationLogic(logic)
            logic.SetModuleLogic(name, module_logic)
        # A bundle (.mrb) is unpacked through these.
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        self._remote.SetMRMLScene(scene)
        self._remote.SetMRMLApplicationLogic(logic)
        self._remote.GetCacheManager().SetRemoteCacheDirectory(str(folder / "cache"))
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetMRMLScene(scene)
        self._data_io.SetMRMLApplicationLogic(logic)
        self._data_io.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        self._remote.AddDataIOToScene()

    def mrmlScene(self) -> Any:  # noqa: N802
        return self.scene

    def applicationLogic(self) -> Any:  # noqa: N802
        return self.logic

    def moduleManager(self) -> ModuleManager:  # noqa: N802
        return self._modules

    def moduleLogic(self, name: str) -> Any:  # noqa: N802
        return self.logics.get(name.lower())

    def layoutManager(self) -> LayoutManager:  # noqa: N802
        return self._layouts

    def coreIOManager(self) -> IOManager:  # noqa: N802
        return self._io

    ioManager = coreIOManager  # noqa: N815

    def settings(self) -> QtCore.QSettings:
        return self._settings

    userSettings = settings  # noqa: N815

    def revisionUserSettings(self) -> QtCore.QSettings:  # noqa: N802
        return self._revision_settings

    def testingEnabled(self) -> bool:  # noqa: N802
        return self.testing

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:  # noqa: N802
        return _Environment(os.environ)

    environment = startupEnvironment

    def pauseRender(self) -> None:  # noqa: N802
        self._layouts.pauseRender()

    def resumeRender(self) -> None:  # noqa: N802
        self._layouts.resumeRender()

    def translate(self, _context: str, text: str, *_more: Any) -> str:
        return text

    def moduleDocumentationUrl(self, name: str) -> str:  # noqa: N802
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    def openUrl(self, url: str) -> bool:  # noqa: N802
        messages.shown("url", url)
        return True

    def pythonConsole(self) -> None:  # noqa: N802
        return None

    def arguments(self) -> list[str]:
        return ["Slicer"]

    def applicationDirPath(self) -> str:  # noqa: N802
        return str(self.folder)

    def applicationPid(self) -> int:  # noqa: N802
        return os.getpid()

    def launchDesigner(self, *_arguments: Any) -> None:  # noqa: N802
        raise NotImplementedError("The host has no designer")

    host_properties = {
        "applicationName": _constant("Slicer"),
        "applicationVersion": _constant("5.6.2-2024-04-05"),
        "majorVersion": _constant(5),
        "minorVersion": _constant(6),
        "mainApplicationName": _constant("Slicer"),
        "revision": _constant("32448"),
        "repositoryRevision": _constant("32448"),
        "platform": _constant("linux-amd64"),
        "os": _constant("linux"),
        "arch": _constant("amd64"),
        "releaseType": _constant("Stable"),
        "isInstalled": _constant(True),
        "temporaryPath": stored("temporaryPath", ""),
        "cachePath": stored("cachePath", ""),
        "defaultScenePath": stored("defaultScenePath", ""),
        "documentationBaseUrl": _constant("https://slicer.readthedocs.io/en/latest/"),
        "slicerHome": (lambda self: str(self.folder), None),
        "slicerSharePath": _constant("share/Slicer-5.6"),
        "slicerUserSettingsFilePath": (lambda self: self._settings.fileName(), None),
        "slicerRevisionUserSettingsFilePath": (lambda self: self._revision_settings.fileName(), None),
        "extensionsInstallPath": (lambda self: str(self.folder / "extensions"), None),
        "launcherExecutableFilePath": _constant(""),
        "startupWorkingPath": _constant(os.getcwd()),
    }


class _Environment:
    """A process environment, as the application gives it to ``slicer.util``."""

    def __init__(self, values: Any) -> None:
        self._values = dict(values)

    def keys(self) -> list[str]:
        return list(self._values)

    def value(self, name: str) -> str:
        return self._values[name]


def _delegate(name: str) -> Any:
    def call(self: Application, *arguments: Any) -> Any:
        return getattr(self.qt, name)(*arguments)

    call.__name__ = name
    return call


for _name in _FROM_QT:
    setattr(Application, _name, _delegate(_name))


def _i18n() -> types.ModuleType:
    module = types.ModuleType("slicer.i18n")

    def tr(text: str, context: str | None = None) -> str:
        if not isinstance(text, str):
            raise TypeError(f"tr() takes a str, not {text!r}")
        return text

    def translate(context: str, text: str) -> str:
        return tr(text)

    module.tr, module.translate = tr, translate
    module.getContext = lambda source_file: Path(source_file).stem
    return module


class Host:
    """The whole stand-in, for the fixtures.

    Attributes
    ----------
    application : Application
    messages : Messages
        Boxes that were shown, and the answers for those to come.
    slot_errors : list of str
        Tracebacks of exceptions in slots: PythonQt prints them and goes on.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.messages: Messages = messages
        self.slot_errors = slot_errors
        self.refusals = refusals
        self.folder: Path = application.folder

    @property
    def view(self) -> qMRMLThreeDView:
        """The 3D view."""
        return self.application.layoutManager().threeDWidget(0).threeDView()

    def top_level_windows(self) -> list[QtWidgets.QWidget]:
        """List the windows that are on the screen."""
        return [widget for widget in self.application.qt.topLevelWidgets() if widget.isVisible()]

    def clear(self) -> None:
        """Make the scene and the records as new; modules stay loaded."""
        interaction = self.application.logic.GetInteractionNode()
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        self.application.scene.SetUndoOff()
        self.application.scene.ClearUndoStack()
        self.application.scene.ClearRedoStack()
        self.application.scene.Clear(0)
        if self.application.layoutManager()._widget is not None:
            self.view.paused = 0
            self.view.attach()
        for settings in (self.application._settings, self.application._revision_settings, QtCore.QSettings()):
            settings.clear()
        messages.clear()
        slot_errors.clear()
        refusals.clear()
        self.application.testing = False

    def load_module(self, path: Path) -> scripted_module.Module:
        """Load a scripted module and tell it that the application has started."""
        module = scripted_module.load(path)
        emit(self.application, "startupCompleted()")
        return module

    def unload_module(self, module: scripted_module.Module) -> None:
        """Unload it again, as at the end of the application."""
        scripted_module.unload(module)
        for _signature, function in connections(self.application):
            for signature in ("startupCompleted()", "aboutToQuit()"):
                disconnect(self.application, signature, function)
        sample_data.sources.clear()
        slicer.modules.sampleDataSources.clear()
        self.application.qt.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


_host: Host | None = None


def install() -> Host:
    """Put everything in place, once per process."""
    global _host
    if _host is not None:
        return _host
    sys.modules["qt"] = qt_module.make()
    sys.modules["ctk"] = ctk_widgets.make()
    ui_loader.WIDGETS.update(ctk_widgets.WIDGETS)
    ui_loader.WIDGETS.update(mrml_widgets.WIDGETS)
    application = Application()
    atexit.register(shutil.rmtree, application.folder, ignore_errors=True)
    modules = types.ModuleType("slicer.modules")
    modules.sampleDataSources = {}
    for name, logic in application.logics.items():
        setattr(modules, name, scripted_module.Module(name.capitalize(), logic))
    sys.modules["SampleData"] = sample_data.make()
    modules.sampledata = scripted_module.Module("SampleData")
    additions = {
        "app": application,
        "mrmlScene": application.scene,
        "modules": modules,
        "selfTests": {},
        "i18n": _i18n(),
        "ScriptedLoadableModule": scripted_module.make(),
        "parameterNodeWrapper": parameter_node.make(),
        "qSlicerScriptedLoadableModuleWidget": scripted_module.ModuleWidget,
        "qSlicerScriptedLoadableModule": scripted_module.Module,
        "qMRMLThreeDView": qMRMLThreeDView,
        "qMRMLThreeDWidget": qMRMLThreeDWidget,
        **mrml_widgets.WIDGETS,
    }
    for name, value in additions.items():
        assert not hasattr(slicer, name), f"slicer-core has its own {name}: the host must not hide it"
        setattr(slicer, name, value)
        if isinstance(value, types.ModuleType):
            sys.modules[f"slicer.{name}"] = value
    record_displays()
    _host = Host(application)
    return _host
