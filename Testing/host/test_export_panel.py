"""The section Export, worked by hand: what is written, what is refused, what is asked."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from measured_case import FakeParameters, add_head, face_landmarks, load_panel, show


@pytest.fixture
def panel(host, messages, tmp_path):
    import slicer

    from PALNetLandmarksLib.gui.case import Case
    from PALNetLandmarksLib.gui.messages import Messages
    from PALNetLandmarksLib.gui.norms_choice import NormsChoice
    from PALNetLandmarksLib.gui.panels.export_panel import ExportPanel
    from PALNetLandmarksLib.protocol import load_protocol

    class Bench:
        def __init__(self):
            self.case = Case(slicer.mrmlScene, load_protocol())
            self.widget, self.ui = load_panel("ExportPanel")
            self.norms = NormsChoice(self.case.protocol)
            self.panel = ExportPanel(self.ui, self.case, self.norms, Messages())
            self.parameters = FakeParameters()
            self.panel.set_parameters(self.parameters)
            self.folder = tmp_path / "my exports ü"
            self.folder.mkdir()
            show(self.widget, height=260)

        def predict(self, scan=True, **changes):
            landmarks = face_landmarks(**changes)
            self.case.set_scan(add_head(landmarks) if scan else None)
            self.case.show_prediction(landmarks)

        def fill(self, identifier="P 001"):
            from slicer_host.user import type_text

            type_text(self.ui.caseId, identifier)
            self.ui.exportFolder.currentPath = str(self.folder)

        def tick(self, *names):
            for name in ("Long", "Wide", "Asymmetry", "Report", "Markups", "Lafas", "Tps"):
                getattr(self.ui, f"export{name}").checked = name in names

        def export(self):
            from slicer_host.user import click

            click(self.ui.exportButton)

        def files(self):
            return sorted(file.name for file in self.folder.iterdir())

    bench = Bench()
    yield bench
    bench.panel.cleanup()
    bench.case.cleanup()
    bench.widget.close()


ALL = ("Long", "Wide", "Asymmetry", "Report", "Markups", "Lafas", "Tps")
FILES = [
    "P 001.manifest.json", "P 001.mrk.json", "P 001.record.json", "P 001.tps", "P 001.txt", "P 001_asymmetry.csv",
    "P 001_measurements.csv", "P 001_measurements_wide.csv", "P 001_report.html",
]  # fmt: skip


def test_everything_at_once(panel, messages, screenshot):
    from PALNetLandmarksLib.landmark_files import read_landmarks
    from PALNetLandmarksLib.measurements import measure

    panel.predict(missing=["Sn"])
    panel.fill()
    panel.tick(*ALL)
    panel.export()
    assert not messages.texts("error") and panel.files() == FILES
    assert all(name in panel.ui.exportNote.text for name in FILES)
    assert panel.ui.openFolderButton.enabled
    assert panel.parameters.export_folder == str(panel.folder)
    screenshot("export_panel", panel.widget)
    # Files are in the scan's own frame and say so.
    for name in ("P 001.mrk.json", "P 001.txt", "P 001.tps"):
        landmarks = read_landmarks(panel.folder / name)
        assert landmarks.coordinate_system == "LPS"
        assert np.allclose(landmarks.positions, face_landmarks(missing=["Sn"]).positions, atol=1e-3, equal_nan=True)
    rows = list(csv.DictReader(io.StringIO((panel.folder / "P 001_measurements.csv").read_text(encoding="utf-8-sig"))))
    row = next(row for row in rows if row["id"] == "N-Gn")
    assert float(row["value"]) == pytest.approx(measure(face_landmarks()).value("N-Gn"), abs=1e-3)
    assert (row["case"], row["coordinate_system"], row["model_id"]) == ("P 001", "LPS", "face50-simulated-2")


def test_the_report(panel, tmp_path):
    from PALNetLandmarksLib.measurements import measure

    panel.predict()
    value = measure(face_landmarks()).value("N-Gn")
    file = tmp_path / "norms.csv"
    file.write_text(f"measurement,mean,sd,source\nN-Gn,{value - 3},2,Own lab")
    panel.norms.read(str(file))
    panel.norms.sex, panel.norms.age = "female", 20.0
    panel.fill()
    panel.tick("Report")
    panel.export()
    text = (panel.folder / "P 001_report.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 4
    assert "From the front" in text and "+1.5 [1]" in text and "Own lab" in text and "female, 20 years" in text
    # Nothing of the scan's name, of folders or of this computer.
    assert "Smith" not in text and str(tmp_path) not in text and "norms.csv" not in text


def test_without_a_scan_there_are_no_pictures(panel, messages):
    panel.predict(scan=False)
    panel.fill()
    panel.tick("Report")
    panel.export()
    text = (panel.folder / "P 001_report.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 1 and not messages.texts("error")


@pytest.mark.parametrize(
    ("identifier", "word"), [("", "no case identifier"), ("/home/smith", "path"), ("smith.obj", "file's name")]
)
def test_a_bad_identifier_is_refused(panel, messages, identifier, word):
    panel.predict()
    panel.fill(identifier)
    panel.export()
    (text,) = messages.texts("error")
    assert word in text and "pseudonym" in text and panel.files() == []


def test_nothing_ticked_no_folder_no_landmarks(panel, messages):
    panel.fill()
    panel.export()
    panel.predict()
    panel.fill()
    panel.tick()
    panel.export()
    panel.tick("Long")
    panel.ui.exportFolder.currentPath = ""
    panel.export()
    panel.ui.exportFolder.currentPath = str(panel.folder / "none")
    panel.export()
    texts = messages.texts("error")
    words = ("no landmarks", "No kind of file", "No folder is chosen", "does not exist")
    assert len(texts) == 4 and all(word in text for word, text in zip(words, texts, strict=True))
    assert panel.files() == []


def test_existing_files_are_asked_about_once_before_anything_is_written(panel, messages):
    panel.predict()
    panel.fill()
    panel.tick("Long", "Tps", "Wide")
    for name in ("P 001.tps", "P 001_measurements.csv"):
        (panel.folder / name).write_text("precious")
    messages.answer("confirm", False)
    panel.export()
    (question,) = messages.texts("confirm")
    assert "P 001.tps" in question and "P 001_measurements.csv" in question and "wide" not in question
    assert panel.files() == ["P 001.tps", "P 001_measurements.csv"]
    assert (panel.folder / "P 001.tps").read_text() == "precious"
    messages.answer("confirm", True)
    panel.export()
    assert "LM3=50" in (panel.folder / "P 001.tps").read_text()
    assert "P 001_measurements_wide.csv" in panel.files() and len(panel.files()) == 4


def test_an_identifier_left_from_another_scan_is_asked_about(panel, messages, tmp_path):
    panel.predict()
    panel.fill()
    panel.tick("Tps")
    panel.export()
    other = tmp_path / "other"
    other.mkdir()
    panel.predict()  # the next patient
    panel.ui.exportFolder.currentPath = str(other)
    messages.answer("confirm", False)
    panel.export()
    assert "P 001 was used for another scan" in messages.texts("confirm")[0] and not list(other.iterdir())
    messages.answer("confirm", True)
    panel.export()
    assert {path.name for path in other.iterdir()} == {"P 001.tps", "P 001.manifest.json"}
    panel.ui.caseId.text = "P 002"
    panel.export()
    assert len(messages.texts("confirm")) == 2 and len(list(other.iterdir())) == 4


def test_all_or_nothing(panel, messages, monkeypatch):
    from PALNetLandmarksLib.errors import InputError
    from PALNetLandmarksLib.gui import export_files

    panel.predict()
    panel.fill()
    panel.tick(*ALL)

    def fail(*_arguments, **_options):
        raise InputError("The disk is full.", "Free some space.", code="file.write")

    monkeypatch.setattr(export_files, "write_asymmetry", fail)
    panel.export()
    assert "disk is full" in messages.texts("error")[0]
    assert panel.files() == [] and panel.ui.exportNote.text == "" and not panel.ui.openFolderButton.enabled


def test_a_file_that_cannot_be_replaced_brings_the_others_back(panel, messages, monkeypatch):
    from PALNetLandmarksLib.gui import export_files

    panel.predict()
    panel.fill()
    panel.tick("Long", "Asymmetry", "Tps")
    (panel.folder / "P 001_measurements.csv").write_text("precious")
    real = export_files.os.replace

    def replace(source, target):
        if str(target) == str(panel.folder / "P 001.tps"):
            raise PermissionError(13, "in use")
        real(source, target)

    monkeypatch.setattr(export_files.os, "replace", replace)
    messages.answer("confirm", True)
    panel.export()
    assert "P 001.tps could not be written" in messages.texts("error")[0]
    monkeypatch.undo()
    assert panel.files() == ["P 001_measurements.csv"]
    assert (panel.folder / "P 001_measurements.csv").read_text() == "precious"


def test_a_folder_of_that_name_is_left_alone(panel, messages):
    panel.predict()
    panel.fill()
    panel.tick("Tps")
    (panel.folder / "P 001.tps").mkdir()
    (panel.folder / "P 001.tps" / "x").write_text("precious")
    panel.export()
    assert "A folder is called P 001.tps" in messages.texts("error")[0]
    assert (panel.folder / "P 001.tps" / "x").read_text() == "precious"


def test_opening_the_folder(panel, monkeypatch):
    import qt
    from slicer_host.user import click

    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    panel.predict()
    panel.fill()
    assert not panel.ui.openFolderButton.enabled
    panel.tick("Tps")
    panel.export()
    click(panel.ui.openFolderButton)
    assert opened == [str(panel.folder)]
    # What was written belongs to another case then.
    panel.fill("P 002")
    assert not panel.ui.openFolderButton.enabled and panel.ui.exportNote.text == ""


def test_the_folder_is_remembered_with_the_scene(panel):
    panel.fill()
    other = FakeParameters()
    other.export_folder = "/elsewhere"
    panel.panel.set_parameters(other)
    assert panel.ui.exportFolder.currentPath == "/elsewhere"
    panel.panel.set_parameters(None)
    assert panel.ui.exportFolder.currentPath == "" and other.export_folder == "/elsewhere"
