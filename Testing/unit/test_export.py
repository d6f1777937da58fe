"""Tables of measurements and asymmetry as they leave the program."""

import csv
import io
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.asymmetry import asymmetry
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.export import write_asymmetry, write_measurements
from PALNetLandmarksLib.landmarks import RECORD_KEYS, LandmarkSet
from PALNetLandmarksLib.protocol import load_protocol
from PALNetLandmarksLib.spreadsheet import number_text, parse_table, safe_cell, table_text, unsafe_cell

DATA = Path(__file__).resolve().parents[1] / "data"
PROTOCOL = load_protocol()
FACE = np.loadtxt(DATA / "symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)


def example(missing=(), errors=2.0):
    positions = FACE.copy()
    positions[PROTOCOL.index("Ch_L"), 1] += 3.0
    for label in missing:
        positions[PROTOCOL.index(label)] = np.nan
    return LandmarkSet.from_positions(
        PROTOCOL,
        positions,
        "predicted",
        expected_error_mm=np.full(50, errors),
        provenance={"model_id": "face50-default", "model_sha256": "cd" * 32, "scan_unit": "mm"},
    )


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def test_the_long_table_of_measurements(tmp_path):
    write_measurements(tmp_path / "m.csv", example(missing=["Sn"]), case="P01", now=NOW)
    rows = {row["id"]: row for row in rows_of(tmp_path / "m.csv")}
    assert len(rows) == 93
    width = rows["Zy_R-Zy_L"]
    expected = 2 * abs(FACE[PROTOCOL.index("Zy_R"), 0])
    assert float(width["value"]) == pytest.approx(expected, abs=5.1e-4)
    assert (width["case"], width["kind"], width["group"], width["unit"]) == ("P01", "distance", "horizontal", "mm")
    assert (width["based_on"], width["flags"], width["source"]) == ("Zy_R Zy_L", "palpated", "PAL-Net table 4")
    assert width["expected_error"] == "1.414"  # half the root of 2 squared twice
    assert rows["facial index"]["based_on"] == "N Gn / Zy_R Zy_L" and rows["facial index"]["unit"] == "percent"
    assert (rows["N-Sn"]["value"], rows["N-Sn"]["flags"]) == ("", "missing")
    assert rows["T_R-N-T_L"]["unit"] == "degree"
    # The unit stands beside each value; one for all would contradict it.
    assert set(RECORD_KEYS) - {"units"} <= set(width) and "units" not in width
    assert (width["model_sha256"], width["missing_points"]) == ("cd" * 32, "1")
    assert (width["exported_utc"], width["protocol_version"]) == ("2026-03-04T05:06:07Z", "1.0.0")


def test_the_wide_table_of_measurements(tmp_path):
    write_measurements(tmp_path / "m.csv", {"a": example(), "b": example(["Sn"])}, layout="wide", now=NOW)
    rows = rows_of(tmp_path / "m.csv")
    assert [row["case"] for row in rows] == ["a", "b"]
    columns = [column for column in rows[0] if column.endswith("]")]
    assert len(columns) == 93 and columns[0] == "Tr-N [mm]" and "facial index [percent]" in columns
    assert rows[1]["N-Sn [mm]"] == "" and float(rows[0]["N-Sn [mm]"]) > 40
    assert (set(RECORD_KEYS) | {"scan_unit"}) - {"units"} <= set(rows[0]) and "units" not in rows[0]


def test_uncertain_landmarks_are_flagged(tmp_path):
    write_measurements(tmp_path / "m.csv", example(errors=4.5))
    assert rows_of(tmp_path / "m.csv")[0]["flags"] == "low-confidence"


def test_the_table_of_asymmetry(tmp_path):
    write_asymmetry(tmp_path / "a.csv", example(missing=["Al_R"], errors=1.0), now=NOW)
    rows = {row["pair"]: row for row in rows_of(tmp_path / "a.csv")}
    assert len(rows) == 19
    mouth = rows["Ch"]
    assert (mouth["right"], mouth["left"], mouth["distinguishable"]) == ("Ch_R", "Ch_L", "yes")
    assert float(mouth["magnitude_mm"]) == pytest.approx(3.0, abs=2e-3)
    # 3 mm along the file's y axis, which the Frankfurt plane tilts by a few degrees.
    front = FACE[PROTOCOL.index("Or_R")] - FACE[PROTOCOL.index("T_R")]
    tilt = np.arctan2(front[1], front[2])
    assert float(mouth["vertical_mm"]) == pytest.approx(3 * np.cos(tilt), abs=2e-3)
    assert float(mouth["antero_posterior_mm"]) == pytest.approx(3 * np.sin(tilt), abs=2e-3)
    assert mouth["expected_error_mm"] == "1.414"
    assert rows["En"]["distinguishable"] == "no"
    assert rows["Al"]["lateral_mm"] == "" and rows["Al"]["distinguishable"] == ""
    assert float(mouth["residual_rms_mm"]) == pytest.approx(asymmetry(example(["Al_R"])).residual_rms_mm, abs=1e-3)
    assert mouth["method"].startswith("least-squares midplane") and mouth["axes"].startswith("Frankfurt")


def test_no_plane_leaves_empty_cells_and_a_reason(tmp_path):
    empty = LandmarkSet.from_positions(PROTOCOL, np.full((50, 3), np.nan))
    write_asymmetry(tmp_path / "a.csv", {"x": empty})
    row = rows_of(tmp_path / "a.csv")[0]
    assert (row["lateral_mm"], row["residual_rms_mm"]) == ("", "") and "fewer than 3" in row["failure"]


def test_nothing_is_half_written(tmp_path):
    for write in (write_measurements, write_asymmetry):
        with pytest.raises(InputError, match="does not exist"):
            write(tmp_path / "none" / "m.csv", example())
    with pytest.raises(ValueError):
        write_measurements(tmp_path / "m.csv", example(), layout="round")
    own = load_protocol(DATA / "protocols" / "face68.json")
    other = LandmarkSet.from_positions(own, np.zeros((68, 3)))
    with pytest.raises(ValueError):
        write_measurements(tmp_path / "m.csv", {"a": example(), "b": other}, layout="wide")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["=1+1", "+1 2", "-x", "@SUM(A1)", "\tx", "\rx", "\nx", " =1", "\uff1d1", "--1", "-1-1", "+", "-"]
)
def test_cells_that_a_spreadsheet_would_run_are_quoted(text):
    assert safe_cell(text) == "'" + text
    assert unsafe_cell(safe_cell(text)) == text


@pytest.mark.parametrize("text", ["-1", "+1.5e-3", "1", "", "N-Pg", "'quoted", "a=b", "-.5", "0x", " 1"])
def test_numbers_and_words_stay_as_they_are(text):
    assert safe_cell(text) == text and unsafe_cell(text) == text


def test_numbers_have_points_no_minus_zero_and_no_nan():
    assert [number_text(value, 2) for value in (1234567.891, -0.004, float("nan"), -1.0)] == [
        "1234567.89",
        "0.00",
        "",
        "-1.00",
    ]


def test_cells_with_commas_quotes_and_line_ends_come_back():
    header, cells = ["a", "b"], ['x,"y"', "line\nend"]
    text = table_text(header, [cells])
    assert list(csv.reader(io.StringIO(text))) == [header, cells]
    assert parse_table(text, "t.csv")[1] == [(3, {"a": cells[0], "b": cells[1]})]
