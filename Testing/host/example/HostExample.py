"""A module as small as can be, to test the host with."""

import enum
from pathlib import Path
from typing import Annotated

import slicer
from slicer import vtkMRMLModelNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Device(enum.Enum):
    AUTO = "auto"
    CPU = "cpu"


@parameterNodeWrapper
class Parameters:
    scan: vtkMRMLModelNode
    folder: Path
    device: Device = Device.AUTO
    case_id: str
    age: Annotated[float, WithinRange(0, 120)] = 0.0
    visible: bool = True
    count: int = 0
    names: list[str]


class HostExample(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("Host example")
        self.started = 0
        slicer.app.connect("startupCompleted()", self.register)

    def register(self):
        self.started += 1


class HostExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameters = None

    def setup(self):
        super().setup()
        widget = slicer.util.loadUI(str(Path(__file__).parent / "HostExample.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = ScriptedLoadableModuleLogic()
        self.logic.moduleName = "HostExample"
        self.parameters = Parameters(self.logic.getParameterNode())
        self.tag = self.parameters.connectGui(self.ui)
        self.clicks = 0
        self.ui.go.connect("clicked(bool)", self.on_go)
        self.cleaned = False

    def on_go(self):
        self.clicks += 1

    def cleanup(self):
        self.cleaned = True
        self.parameters.disconnectGui(self.tag)
        self.removeObservers()
