"""The module's source and ``.ui`` files, held against what the running application has."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UI_FILES = sorted((ROOT / "PALNetLandmarks" / "Resources" / "UI").glob("*.ui"))
LIBRARY = ROOT / "PALNetLandmarks" / "PALNetLandmarksLib"
SOURCES = sorted([*(LIBRARY / "gui").rglob("*.py"), *(ROOT / "PALNetLandmarks").glob("*.py")])
PARAMETERS = LIBRARY / "gui" / "parameters.py"


@pytest.fixture(scope="module")
def widgets(installed_host):
    from slicer_host.source_check import classes_of_widgets

    return classes_of_widgets(UI_FILES)


def parameter_fields() -> dict[str, str]:
    """Give the fields of the class ``Parameters`` with their types as written."""
    tree = ast.parse(PARAMETERS.read_text(encoding="utf-8"))
    (parameters,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Parameters"]
    return {n.target.id: ast.unparse(n.annotation) for n in parameters.body if isinstance(n, ast.AnnAssign)}


@pytest.mark.parametrize("file", UI_FILES, ids=lambda file: file.name)
def test_ui_file(installed_host, file):
    from slicer_host.ui_loader import problems_of

    assert not problems_of(ElementTree.parse(file).getroot())


@pytest.mark.parametrize("file", UI_FILES, ids=lambda file: file.name)
def test_widgets_are_tied_to_parameters_that_exist(host, file):
    import slicer
    from slicer.parameterNodeWrapper import createGuiConnector

    tied = [
        (widget.get("name"), element.findtext("string"))
        for widget in ElementTree.parse(file).getroot().iter("widget")
        for element in widget.findall("property")
        if element.get("name") == "SlicerParameterName"
    ]
    if not tied:
        return
    from PALNetLandmarksLib.gui.parameters import Parameters

    loaded = slicer.util.loadUI(str(file))
    ui = slicer.util.childWidgetVariables(loaded)
    for name, parameter in tied:
        assert parameter in parameter_fields(), f"{name}: there is no parameter {parameter}"
        createGuiConnector(getattr(ui, name), Parameters.dataType(parameter))


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT / "PALNetLandmarks")))
def test_source_file(widgets, file):
    from slicer_host.source_check import Source

    assert not Source(file, widgets).problems()


def test_parameters_are_declared_where_they_are_used(installed_host):
    """The wrapper takes a misspelt name in silence and never saves it."""
    fields = set(parameter_fields())
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    methods = {"parameterNode", *dir(parameterNodeWrapper(type("Empty", (), {})))}
    problems = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                holder = node.value
                name = holder.id if isinstance(holder, ast.Name) else getattr(holder, "attr", "")
                if name in ("parameters", "_parameters") and node.attr not in fields | methods:
                    problems.append(f"{file.name}:{node.lineno}: no parameter {node.attr}")
    assert not problems


WRONG = """
import qt, ctk, slicer
from .signals import connect

class Panel:
    def __init__(self, ui):
        self.ui = ui
        connect(ui.box, "textChangd(QString)", print)
        connect(ui.box, "clicked()", print)
        connect(self.ui.nowhere, "clicked()", print)
        self.ui.box.txt = "x"
        self.ui.box.text()
        self.ui.box.setText("fine")
        self.timer = qt.QTimer()
        self.timer.connect("tick()", print)
        self.timer.connect("timeout()", print)
        self.timer.interval = 5
        self.timer.interval()
        qt.QProcess.NotRuning
        qt.QProcess.NotRunning
        qt.QProcess.ProcessState.NotRunning
        slicer.util.launchRocket()
        slicer.app.temporaryPaths
        ctk.ctkRocket()
"""


def test_each_mistake_is_found(installed_host, tmp_path):
    from slicer_host.source_check import Source

    file = tmp_path / "panel.py"
    file.write_text(WRONG)
    problems = Source(file, {"box": {"QLineEdit"}}).problems()
    for text in (
        "no class has the signal textChangd(QString)",
        "ui.box, a QLineEdit, has no signal clicked()",
        "no .ui file has a widget self.ui.nowhere",
        "self.ui.box, a QLineEdit, has no txt",
        "self.ui.box.text is a property",
        "no class has the signal tick()",
        "self.timer.interval is a property",
        "qt.QProcess.NotRuning does not exist",
        "qt.QProcess.ProcessState.NotRunning",
        "slicer.util.launchRocket",
        "slicer.app.temporaryPaths",
        "ctk.ctkRocket",
    ):
        assert any(text in problem for problem in problems), (text, problems)
    lines = {int(problem.split(":")[1]) for problem in problems}
    assert lines == {8, 9, 10, 11, 12, 15, 18, 19, 21, 22, 23, 24}, problems
