"""Section 1 of the panel: loading a scan, what is said of it, and its unit; without an engine and with the real one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from PALNetLandmarksLib.engine.mesh_files import write_mesh
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.resources import sample_scans


def _obj(path: Path, factor: float = 1.0) -> Path:
    scan = read_scan(sample_scans()[0])
    write_mesh(path, scan.vertices * factor, scan.triangles)
    return path


@pytest.fixture
def engine(module: Any) -> Any:
    """The module with the real engine, in this Python."""
    module.widget.panels.environment.set_external_python(sys.executable)
    yield module
    module.widget.panels.environment.set_external_python("")


def test_sample_is_loaded_and_chosen(module: Any, messages: Any) -> None:
    from slicer_host.user import click

    click(module.find("sampleButton"))
    assert module.widget.panels.case.scan.GetName() == "PALNetFace01"
    assert "26,799 vertices" in module.find("checkLabel").text and not messages.texts("error")
    assert not module.find("unitsRow").visible


def test_scan_from_a_file_under_a_difficult_path(module: Any, messages: Any, tmp_path: Path) -> None:
    from slicer_host.user import click

    folder = tmp_path / "Gesichter ü 顔"
    folder.mkdir()
    messages.answer("file", str(_obj(folder / "my scan.obj")))
    click(module.find("loadButton"))
    scan = module.widget.panels.case.scan
    assert scan is not None and scan.GetPolyData().GetNumberOfPoints() > 20000 and not messages.texts("error")


@pytest.mark.parametrize("content", [b"", b"not a mesh at all", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"])
def test_bad_file_is_one_message_and_leaves_nothing(module: Any, messages: Any, tmp_path: Path, content: bytes) -> None:
    import slicer
    from slicer_host.user import click

    path = tmp_path / "bad.obj"
    path.write_bytes(content)
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLModelNode")
    messages.answer("file", str(path))
    click(module.find("loadButton"))
    assert len(messages.texts("error")) == 1 and "bad.obj" in messages.texts("error")[0]
    assert module.widget.panels.case.scan is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLModelNode") == before


def test_cancelled_dialog_changes_nothing(module: Any, messages: Any) -> None:
    from slicer_host.user import click

    messages.answer("file", "")
    click(module.find("loadButton"))
    assert module.widget.panels.case.scan is None and not messages.texts("error")


def test_unit_is_offered_and_mended_without_an_engine(module: Any, messages: Any, tmp_path: Path) -> None:
    from slicer_host.user import choose, click

    messages.answer("file", str(_obj(tmp_path / "scan.obj", 1 / 25.4)))
    click(module.find("loadButton"))
    assert module.find("unitsRow").visible and module.find("unitSelector").visible  # cm or inches: the user must say
    choose(module.find("unitSelector"), "in")
    click(module.find("fixUnitsButton"))
    assert not module.find("unitsRow").visible
    bounds = np.zeros(6)
    module.widget.panels.case.scan.GetRASBounds(bounds)
    assert 400 < np.ptp(bounds[2:4]) < 500


def test_engine_looks_the_scan_over(engine: Any, messages: Any, tmp_path: Path, wait_until: Any) -> None:
    from slicer_host.user import click

    label = engine.find("checkLabel")
    messages.answer("file", str(_obj(tmp_path / "scan.obj", 0.001)))
    click(engine.find("loadButton"))
    wait_until(lambda: "Checking" not in label.text, 60, "the check of a scan in metres")
    assert engine.find("unitsRow").visible and "in m" in engine.find("unitsLabel").text
    assert not engine.find("unitSelector").visible
    click(engine.find("fixUnitsButton"))
    wait_until(lambda: "Checking" not in label.text, 60, "the check of the mended scan")
    assert not engine.find("unitsRow").visible
    assert "A face was found. Both ears are in view." in label.text and "holes" in label.text
    assert "median edge" in label.toolTip


def test_each_scan_has_its_own_landmarks(module: Any, messages: Any) -> None:
    from slicer_host.user import click

    from PALNetLandmarksLib.landmark_files import read_landmarks

    case, selector = module.widget.panels.case, module.find("scanSelector")
    truth = read_landmarks(sample_scans()[0].with_name("landmarks.txt"), case.protocol)
    scans, lists = [], []
    for _ in range(2):
        click(module.find("sampleButton"))
        case.show_prediction(truth)
        scans.append(case.scan)
        lists.append(case.landmarks_node)
    assert scans[0] is not scans[1] and lists[0] is not lists[1]
    for place in (0, 1, 0):
        selector.setCurrentNode(scans[place])
        assert case.scan is scans[place] and case.landmarks_node is lists[place]
        assert module.widget.logic.getParameterNode().landmarks is lists[place]
        for nodes in (scans, lists):  # one scan at a time, with its own landmarks
            assert [bool(node.GetDisplayVisibility()) for node in nodes] == [place == 0, place == 1]
    click(module.find("sampleButton"))  # a third one, without landmarks yet
    assert case.landmarks_node is None and not module.find("reviewSection").visible
    selector.setCurrentNode(None)
    assert case.scan is None and case.landmarks_node is None and not messages.texts("error")
