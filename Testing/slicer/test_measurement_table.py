"""Measurements and asymmetry as table nodes: right, live, quick, and saved with the scene."""

import time

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from pathlib import Path  # noqa: E402

from PALNetLandmarksLib.asymmetry import asymmetry  # noqa: E402
from PALNetLandmarksLib.gui.scene.measurement_table import (  # noqa: E402
    ASYMMETRY_COLUMNS,
    MEASUREMENT_COLUMNS,
    clear_table,
    create_table,
    write_asymmetry,
    write_measurements,
)
from PALNetLandmarksLib.landmarks import LandmarkSet  # noqa: E402
from PALNetLandmarksLib.measurements import measure  # noqa: E402
from PALNetLandmarksLib.norms import parse_norms, z_scores  # noqa: E402
from PALNetLandmarksLib.protocol import load_protocol  # noqa: E402

DATA = Path(__file__).resolve().parents[1] / "data"
PROTOCOL = load_protocol()
FACE = np.loadtxt(DATA / "symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))


def face(missing=(), moved=0.0):
    positions = FACE.copy()
    positions[PROTOCOL.index("Ch_L"), 2] += moved
    for label in missing:
        positions[PROTOCOL.index(label)] = np.nan
    errors = np.full(50, 2.0)
    errors[PROTOCOL.index("Tr")] = 6.0
    return LandmarkSet.from_positions(PROTOCOL, positions, "predicted", expected_error_mm=errors)


def cells(node, name):
    return dict(zip(column(node, MEASUREMENT_COLUMNS[1]), column(node, name), strict=True))


def column(node, name):
    array = node.GetTable().GetColumnByName(name)
    return [array.GetValue(row) for row in range(array.GetNumberOfValues())]


class Events:
    def __init__(self, node):
        self.count = 0
        node.AddObserver("AnyEvent", self)

    def __call__(self, caller, event):
        self.count += 1


@pytest.fixture
def table(scene):
    return create_table(scene.mrml, "Measurements")


def test_values_errors_and_remarks(table):
    assert write_measurements(table, measure(face(missing=["Sn"])))
    assert table.GetNumberOfRows() == 93 and table.GetNumberOfColumns() == len(MEASUREMENT_COLUMNS)
    values = cells(table, "value")
    assert float(values["N-Gn"]) == pytest.approx(measure(face()).value("N-Gn"), abs=6e-4)
    assert (cells(table, "unit")["N-Gn"], cells(table, "unit")["facial index"]) == ("mm", "percent")
    assert cells(table, "expected error")["N-Gn"] == "1.414"
    assert cells(table, "remarks")["Tr-N"] == "low confidence"
    assert cells(table, "remarks")["Zy_R-Zy_L"] == "palpated"
    assert cells(table, "group")["N-Gn"] == "facial heights"
    # Missing is empty: not zero, not "nan".
    assert values["N-Sn"] == "" and cells(table, "remarks")["N-Sn"] == "missing"
    assert cells(table, "z")["N-Gn"] == ""


def test_z_scores_and_their_source(table):
    landmarks = face()
    norms = parse_norms(f"measurement,mean,sd,source\nN-Gn,{measure(landmarks).value('N-Gn') - 3},2,Own", "n", PROTOCOL)
    write_measurements(table, measure(landmarks), z_scores(measure(landmarks), norms, "", None))
    assert (cells(table, "z")["N-Gn"], cells(table, "norm")["N-Gn"], cells(table, "z")["N-Sn"]) == ("+1.5", "Own", "")


def test_only_what_changed_is_written_by_one_event(table):
    write_measurements(table, measure(face()))
    before, events = table.GetTable(), Events(table)
    moved = face().with_point("Sn", face().position("Sn") + 1.0, "corrected")
    assert write_measurements(table, measure(moved))
    assert events.count == 1
    assert table.GetTable() is before
    assert float(cells(table, "value")["N-Sn"]) == pytest.approx(measure(moved).value("N-Sn"), abs=6e-4)
    assert not write_measurements(table, measure(moved)) and events.count == 1


def test_a_table_of_somebody_else_is_replaced(table):
    write_asymmetry(table, asymmetry(face()))
    events = Events(table)
    write_measurements(table, measure(face()))
    assert table.GetNumberOfRows() == 93 and events.count <= 2
    clear_table(table)
    assert table.GetNumberOfColumns() == 0


def test_the_asymmetry(table):
    write_asymmetry(table, asymmetry(face(moved=8.0, missing=["Ex_R"])))
    assert table.GetNumberOfRows() == 19 and table.GetNumberOfColumns() == len(ASYMMETRY_COLUMNS)
    rows = {row[0]: row[1:] for row in zip(*(column(table, name) for name in ASYMMETRY_COLUMNS), strict=True)}
    assert rows["Ch"][-1] == "distinguishable" and float(rows["Ch"][5]) == pytest.approx(8.0, rel=0.25)
    assert rows["Ex"] == ("Ex_R", "Ex_L", "", "", "", "", "2.828", "missing")
    assert rows["En"][-1] == "not distinguishable" and rows["En"][0:2] == ("En_R", "En_L")


def test_a_full_recomputation_takes_less_than_50_ms(table):
    other = create_table(table.GetScene(), "Asymmetry")
    rng = np.random.default_rng(0)
    sets = [
        LandmarkSet.from_positions(
            PROTOCOL, FACE + rng.normal(size=(50, 3)), "predicted", expected_error_mm=np.ones(50)
        )
        for _ in range(12)
    ]
    took = []
    for landmarks in sets:
        start = time.thread_time()
        write_measurements(table, measure(landmarks))
        write_asymmetry(other, asymmetry(landmarks))
        took.append(time.thread_time() - start)
    assert np.median(took[2:]) < 0.05, took


def test_the_tables_travel_with_the_scene(scene, tmp_path, table):
    write_measurements(table, measure(face(missing=["Sn"])))
    before = [column(table, name) for name in MEASUREMENT_COLUMNS]
    scene.save(tmp_path / "scene.mrb")
    scene.mrml.Clear(False)
    scene.load(tmp_path / "scene.mrb")
    loaded = scene.mrml.GetFirstNodeByClass("vtkMRMLTableNode")
    assert [column(loaded, name) for name in MEASUREMENT_COLUMNS] == before
    # It goes on being updated after loading.
    write_measurements(loaded, measure(face()))
    assert cells(loaded, "value")["N-Sn"] != ""
