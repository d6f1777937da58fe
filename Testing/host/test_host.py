"""The host itself: it does what the application does, and refuses what the application refuses."""

from __future__ import annotations

import enum
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parent / "example" / "HostExample.py"


# ---- PythonQt ------------------------------------------------------------------------------------------------------


def test_properties_are_attributes(host):
    import qt

    button, table, combo = qt.QPushButton("Go"), qt.QTableWidget(2, 3), qt.QComboBox()
    assert (button.text, button.enabled, table.rowCount, table.columnCount, combo.count) == ("Go", True, 2, 3, 0)
    combo.addItem("a", 7)
    assert (combo.currentIndex, combo.currentText, combo.currentData) == (0, "a", 7)
    button.text = "Stop"
    button.name = "stop"
    assert (button.text, button.objectName) == ("Stop", "stop")
    button.setText("Again")
    assert button.text == "Again"
    table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
    table.horizontalHeader().stretchLastSection = True
    assert table.horizontalHeader().stretchLastSection is True


def test_calling_a_property_is_refused(host):
    import qt

    with pytest.raises(TypeError):
        qt.QPushButton("Go").text()
    with pytest.raises(TypeError):
        qt.QComboBox().currentIndex()


def test_unknown_attributes_are_refused(host):
    import ctk
    import qt
    import slicer

    for obj in (qt.QLabel(), ctk.ctkCollapsibleButton(), slicer.qMRMLNodeComboBox(), slicer.app, qt.QTimer()):
        with pytest.raises(AttributeError):
            obj.notThere  # noqa: B018
        with pytest.raises(AttributeError):
            obj.notThere = 1
    with pytest.raises(AttributeError, match="not writable"):
        qt.QComboBox().count = 3
    with pytest.raises(AttributeError):
        ctk.ctkCollapsibleButton().setCollapsed(True)  # Slicer has the property, but no such slot
    with pytest.raises(AttributeError):
        qt.QDialog().exec()  # a keyword of the language there: exec_
    with pytest.raises(AttributeError):
        ctk.ctkNotThere  # noqa: B018


def test_a_class_derived_in_python_has_its_own_attributes(host):
    import qt

    class Mine(qt.QLabel):
        def __init__(self):
            super().__init__("text")
            self.painted = 0

        def paintEvent(self, event):  # noqa: N802
            self.painted += 1
            super().paintEvent(event)

    label = Mine()
    label.show()
    label.grab()
    assert label.painted and label.text == "text"
    with pytest.raises(AttributeError):
        label.notThere  # noqa: B018


def test_connect_says_whether_the_signal_exists(host, capsys):
    import qt

    button = qt.QPushButton()
    assert button.connect("clicked()", print) is True
    assert button.connect("presst()", print) is False
    assert "presst" in capsys.readouterr().out
    assert button.connect("textChanged(QString)", print) is False
    host.refusals.clear()


def test_a_callable_gets_as_many_arguments_as_it_takes(host):
    import qt

    got = []
    button = qt.QPushButton()
    button.connect("clicked(bool)", lambda: got.append("none"))
    button.connect("clicked(bool)", lambda x="default": got.append(x))
    button.connect("clicked()", lambda x="default": got.append(x))
    button.connect("clicked(bool)", lambda *a: got.append(a))
    button.clicked.connect(lambda checked: got.append(("attribute", checked)))
    button.click()
    assert got == ["none", False, "default", (False,), ("attribute", False)]


def test_a_slot_that_raises_is_recorded(host):
    import qt

    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert len(host.slot_errors) == 1 and "ZeroDivisionError" in host.slot_errors[0]
    host.slot_errors.clear()


def test_disconnect_and_methods_as_slots(host):
    import qt

    got = []

    class Receiver:
        def slot(self, value):
            got.append(value)

    receiver, box, other = Receiver(), qt.QSpinBox(), qt.QSpinBox()
    assert box.connect("valueChanged(int)", receiver.slot)
    assert box.connect("valueChanged(int)", other, "setValue(int)")
    box.value = 5
    assert got == [5] and other.value == 5
    assert box.disconnect("valueChanged(int)", receiver.slot)
    box.value = 6
    assert got == [5] and other.value == 6


def test_enums_count_as_integers(host):
    import qt

    assert qt.QProcess.NotRunning == 0 and not qt.QProcess.NotRunning
    assert int(qt.QMessageBox.Ok | qt.QMessageBox.Cancel) == 0x400400
    assert qt.Qt.UserRole + 1 == 257
    item = qt.QTableWidgetItem("x")
    item.setData(qt.Qt.UserRole, 5)
    assert item.data(qt.Qt.UserRole) == 5 and item.text() == "x"
    item.setFlags(item.flags() & ~qt.Qt.ItemIsEditable)
    label = qt.QLabel()
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignVCenter
    assert int(label.alignment) == 0x82


def test_process_timer_and_settings(host, wait_until):
    import qt
    import slicer

    process, done, called = qt.QProcess(), [], []
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: done.append((code, int(status))))
    process.start(sys.executable, ["-c", "import sys; print(input()); sys.exit(3)"])
    process.write("hello\n")
    qt.QTimer.singleShot(0, lambda: called.append(1))
    wait_until(lambda: done, 20)
    assert done == [(3, 0)] and process.readAllStandardOutput().data() == b"hello\n"
    assert process.state() == qt.QProcess.NotRunning and process.exitCode() == 3 and called == [1]
    settings = qt.QSettings()
    settings.setValue("PALNetLandmarks/key", "value")
    assert settings.value("PALNetLandmarks/key") == "value"
    assert str(host.folder) in settings.fileName()
    assert slicer.util.settingsValue("PALNetLandmarks/key", "") == "value"


# ---- widgets -------------------------------------------------------------------------------------------------------


def test_a_collapsible_button_folds_its_children(host):
    import ctk
    import qt
    from slicer_host.user import click

    got = []
    window = qt.QWidget()
    qt.QVBoxLayout(window)
    section, label, hidden = ctk.ctkCollapsibleButton(), qt.QLabel("inside"), qt.QLabel("hidden")
    section.text = "Section"
    layout = qt.QVBoxLayout(section)
    layout.addWidget(label)
    layout.addWidget(hidden)
    hidden.visible = False
    window.layout().addWidget(section)
    section.connect("contentsCollapsed(bool)", got.append)
    window.show()
    open_height = section.sizeHint.height()
    click(section)
    assert section.collapsed and not label.visible and got == [True]
    assert section.sizeHint.height() < open_height
    hidden.visible = True
    assert not hidden.visible
    section.collapsed = False
    assert label.visible and hidden.visible and got == [True, False]


def test_node_selector(host):
    import slicer

    combo, got = slicer.qMRMLNodeComboBox(), []
    combo.nodeTypes = ["vtkMRMLMarkupsFiducialNode"]
    combo.noneEnabled = True
    combo.addAttribute("vtkMRMLMarkupsFiducialNode", "PALNet.protocol", None)
    combo.setMRMLScene(slicer.mrmlScene)
    combo.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "other")
    assert combo.nodeCount() == 0
    mine = combo.addNode()
    assert combo.currentNode() is mine and got == [mine] and mine.GetAttribute("PALNet.protocol") is not None
    other.SetAttribute("PALNet.protocol", "face50")
    combo.setCurrentNode(None)
    assert combo.currentNode() is None and got == [mine, None]
    combo.setCurrentNodeID(mine.GetID())
    slicer.mrmlScene.RemoveNode(mine)  # moves on to the other node of the type
    assert combo.currentNode() is other
    slicer.mrmlScene.RemoveNode(other)
    assert combo.currentNode() is None and combo.currentNodeID == ""
    with pytest.raises(TypeError):
        combo.setCurrentNode(3)


def test_table_view_shows_a_table_node(host):
    import numpy as np
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "values")
    slicer.util.updateTableFromArray(node, [np.array([1.5, 2.5])], ["mm"])
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(node)
    model = view.model()
    assert (model.rowCount(), model.columnCount()) == (2, 1)
    assert model.data(model.index(1, 0)).startswith("2.5")
    node.AddEmptyRow()
    assert model.rowCount() == 3


# ---- .ui files -----------------------------------------------------------------------------------------------------


UI = """<ui version="4.0"><class>T</class><widget class="QWidget" name="T"><layout class="QVBoxLayout" name="l">
<item>{}</item></layout></widget>{}</ui>"""


@pytest.mark.parametrize(
    ("widget", "connections", "problem"),
    [
        ('<widget class="qMRMLWrongBox" name="a"/>', "", "unknown class qMRMLWrongBox"),
        (
            '<widget class="QLabel" name="a"><property name="txt"><string>x</string></property></widget>',
            "",
            "no property txt",
        ),
        (
            '<widget class="QLabel" name="a"><property name="alignment"><set>Qt::AlignWrong</set></property></widget>',
            "",
            "AlignWrong",
        ),
        (
            '<widget class="QFrame" name="a"><property name="frameShape"><enum>QFrame::Cube</enum></property></widget>',
            "",
            "Cube",
        ),
        (
            '<widget class="ctkPathLineEdit" name="a"><property name="path"><string>x</string></property></widget>',
            "",
            "no property path",
        ),
        (
            '<widget class="QPushButton" name="a"/>',
            "<connections><connection><sender>a</sender><signal>tapped()</signal><receiver>T</receiver><slot>close()</slot>"
            "</connection></connections>",
            "no signal tapped",
        ),
        (
            '<widget class="QPushButton" name="a"/>',
            "<connections><connection><sender>a</sender><signal>clicked()</signal><receiver>T</receiver><slot>vanish()</slot>"
            "</connection></connections>",
            "no slot vanish",
        ),
    ],
)
def test_ui_files_with_mistakes_are_refused(host, tmp_path, widget, connections, problem):
    import slicer

    file = tmp_path / "T.ui"
    file.write_text(UI.format(widget, connections))
    with pytest.raises(RuntimeError, match=problem):
        slicer.util.loadUI(str(file))


# ---- the application -----------------------------------------------------------------------------------------------


def test_messages_are_recorded_and_answered(host, messages):
    import ctk
    import qt
    import slicer

    slicer.util.errorDisplay("bad", detailedText="details")
    messages.answer("confirm", False)
    assert slicer.util.confirmOkCancelDisplay("sure?") is False
    assert slicer.util.confirmYesNoDisplay("sure?") is True
    messages.answer("folder", "/tmp")
    assert qt.QFileDialog.getExistingDirectory(None, "Where?", "") == "/tmp"
    assert qt.QFileDialog.getOpenFileName(None, "Which?", "", "") == ""
    box = ctk.ctkMessageBox()
    box.text = "note"
    box.exec_()
    assert [m.kind for m in messages] == ["error", "confirm", "confirm", "folder", "file", "info"]
    assert messages.texts("error") == ["bad"] and messages[0].details == "details"
    with pytest.raises(ZeroDivisionError), slicer.util.tryWithErrorDisplay("It failed"):
        1 / 0  # noqa: B018
    assert "It failed" in messages.texts("error")[-1]


def test_application(host):
    import slicer

    assert slicer.app.majorVersion == 5 and Path(slicer.app.temporaryPath).is_dir()
    assert slicer.app.testingEnabled() is False
    assert slicer.util.mainWindow() is None
    assert "PATH" in slicer.util.startupEnvironment()
    assert slicer.app.layoutManager().threeDViewCount == 1
    with pytest.raises(TypeError):
        slicer.app.temporaryPath()
    with slicer.util.RenderBlocker():
        assert slicer.app.layoutManager().threeDWidget(0).threeDView().isRenderPaused()


def test_scene_is_saved_and_loaded(host, tmp_path):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPoint(1.0, 2.0, 3.0, "Prn")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    (loaded,) = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    assert loaded.GetNthControlPointLabel(0) == "Prn" and loaded.GetNthControlPointPosition(0) == (1.0, 2.0, 3.0)


def test_sample_data_comes_from_a_file(host, tmp_path):
    import SampleData
    import slicer
    import vtk

    source = vtk.vtkSphereSource()
    source.Update()
    writer = vtk.vtkPLYWriter()
    writer.SetFileName(str(tmp_path / "ball.ply"))
    writer.SetInputData(source.GetOutput())
    writer.Write()
    digest = slicer.util.computeChecksum("SHA256", str(tmp_path / "ball.ply"))
    uri = (tmp_path / "ball.ply").as_uri()
    for name, checksum in (("good", digest), ("bad", "0" * 64)):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="C", sampleName=name, uris=uri, fileNames="ball.ply", nodeNames="Ball", loadFileType="ModelFile",
            checksums=f"SHA256:{checksum}",
        )  # fmt: skip
    assert SampleData.SampleDataLogic().downloadSample("good").GetName() == "Ball"
    with pytest.raises(ValueError, match="Checksum"):
        SampleData.SampleDataLogic().downloadSample("bad")


# ---- a module ------------------------------------------------------------------------------------------------------


def test_a_module_runs_from_load_to_reload(host, panel_of, wait_until, screenshot, ui_blocking):
    import slicer
    from slicer_host.user import choose, click, type_text

    panel = panel_of(EXAMPLE)
    assert panel.module.description.started == 1 and panel.module.title == "Host example"
    click(panel.find("go"))
    assert panel.widget.clicks == 1
    parameters = panel.widget.parameters
    type_text(panel.find("caseId"), "Größe")
    assert parameters.case_id == "Größe"
    type_text(panel.find("caseId"), "S0001")
    assert parameters.case_id == "S0001"
    type_text(panel.find("folder"), "/tmp")
    assert parameters.folder == Path("/tmp")
    choose(panel.find("device"), "CPU")
    assert parameters.device.name == "CPU"
    click(panel.find("visible_"))
    assert parameters.visible is False
    with pytest.raises(AssertionError, match="disabled"):
        click(panel.find("go"))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "face")
    choose(panel.find("scan"), "face")
    assert parameters.scan is node
    slicer.mrmlScene.RemoveNode(node)
    assert parameters.scan is None
    file = screenshot("host_example", panel)
    assert file.stat().st_size > 5000
    with ui_blocking:
        wait_until(lambda: ui_blocking.longest > 0, 2)
    before = panel.widget
    slicer.util.reloadScriptedModule("HostExample")
    assert before.cleaned and panel.widget is not before and not panel.widget.cleaned
    assert panel.widget.ui.caseId.text == "S0001"


def test_parameter_nodes(host, panel_of):
    import slicer

    panel = panel_of(EXAMPLE)
    wrapper = panel.widget.parameters
    module = sys.modules["HostExample"]
    assert wrapper.scan is None and wrapper.device is module.Device.AUTO and wrapper.visible is True
    with pytest.raises(ValueError, match="within"):
        wrapper.age = 121.0
    assert wrapper.age == 0.0
    for name, wrong in (("age", "x"), ("case_id", 3), ("visible", 1), ("device", "CPU"), ("count", 1.5)):
        with pytest.raises(TypeError):
            setattr(wrapper, name, wrong)
    with pytest.raises(TypeError):
        wrapper.scan = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    wrapper.notDeclared = 5  # silently accepted, and kept nowhere
    assert not wrapper.parameterNode.HasParameter("notDeclared")
    fired = []
    tag = wrapper.AddObserver("ModifiedEvent", lambda *_a: fired.append(1))
    wrapper.names.append("y")
    assert wrapper.names == ["y"] and len(fired) == 1
    wrapper.device = module.Device.CPU
    assert wrapper.parameterNode.GetParameter("device") == "CPU" and len(fired) == 2
    assert panel.find("device").currentText == "CPU"
    wrapper.RemoveObserver(tag)
    assert (panel.find("age").minimum, panel.find("age").maximum) == (0.0, 120.0)
    panel.find("age").value = 33.0
    assert wrapper.age == 33.0


def test_only_the_widgets_that_slicer_ties_are_tied(host):
    import ctk
    import qt
    import slicer
    from slicer.parameterNodeWrapper import createGuiConnector

    class Device(enum.Enum):
        CPU = 1

    for widget, datatype in (
        (ctk.ctkPathLineEdit(), str),
        (ctk.ctkSearchBox(), str),
        (ctk.ctkCollapsibleButton(), bool),
        (qt.QComboBox(), str),
        (qt.QSpinBox(), float),
        (ctk.ctkComboBox(), Device),
    ):
        with pytest.raises(RuntimeError):
            createGuiConnector(widget, datatype)
    createGuiConnector(qt.QComboBox(), Device)
    createGuiConnector(slicer.qMRMLNodeComboBox(), slicer.vtkMRMLModelNode)


def test_dragging_a_point_in_the_view(host):
    import numpy as np
    import slicer
    import vtk
    from slicer_host.user import click_view, drag_view, look

    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(50)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "ball")
    model.SetAndObservePolyData(sphere.GetOutput())
    model.CreateDefaultDisplayNodes()
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    points.CreateDefaultDisplayNodes()
    points.AddControlPoint(0.0, 50.0, 0.0, "front")
    look(host.view)
    target = np.array([0.0, np.cos(0.4), np.sin(0.4)]) * 50
    drag_view(host.view, (0.0, 50.0, 0.0), [target])
    moved = np.array(points.GetNthControlPointPositionWorld(0))
    assert np.linalg.norm(moved - target) < 1.0
    slicer.modules.markups.logic().SetActiveList(points)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.Place)
    click_view(host.view, (30.0, 40.0, 0.0))
    assert points.GetNumberOfControlPoints() == 2
    assert np.linalg.norm(np.array(points.GetNthControlPointPositionWorld(1)) - (30, 40, 0)) < 1.5


def test_what_slicer_core_brings_stays_as_it_is(installed_host):
    """Other tests of the same process use slicer-core without the host: it only adds names."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import slicer; before = dict(vars(slicer)); "
        "import slicer_host; slicer_host.install(); "
        "changed = [n for n, v in before.items() if getattr(slicer, n) is not v]; assert not changed, changed"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], check=True, timeout=60)
