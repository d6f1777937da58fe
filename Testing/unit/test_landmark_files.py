"""Landmark files: what is written is read again, what others write is understood, what is broken is refused."""

import csv
import io
import json
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.errors import InputError, LandmarkingError, UsageError
from PALNetLandmarksLib.landmark_files import (
    FORMATS,
    landmark_format,
    read_landmark_file,
    read_landmarks,
    write_landmark_cases,
    write_landmarks,
)
from PALNetLandmarksLib.landmarks import RECORD_KEYS, LandmarkSet
from PALNetLandmarksLib.protocol import load_protocol

DATA = Path(__file__).resolve().parents[1] / "data"
PROTOCOL = load_protocol()
FACE = np.loadtxt(DATA / "symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)


def example(system="LPS"):
    positions = FACE + np.random.default_rng(0).normal(size=FACE.shape)
    positions[3] = np.nan
    status = ["predicted"] * 50
    status[3], status[5], status[6] = "missing", "corrected", "placed"
    errors = np.linspace(0.51, 5.37, 50)
    errors[5] = np.nan
    return LandmarkSet(
        PROTOCOL,
        positions,
        tuple(status),
        expected_error_mm=errors,
        notes=tuple("no surface within 8 mm" if place == 3 else "" for place in range(50)),
        coordinate_system=system,
        provenance={"model_id": "face50-default", "model_sha256": "ab" * 32, "registration_verdict": "good"},
    )


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


@pytest.mark.parametrize("system", ["LPS", "RAS"])
@pytest.mark.parametrize("name", ["a.mrk.json", "a.txt", "a.csv", "wide.csv", "a.tps"])
def test_what_is_written_is_read_again(tmp_path, name, system):
    landmarks = example(system)
    path = tmp_path / f"größe 1 {name}"
    write_landmarks(path, landmarks, layout="wide" if name == "wide.csv" else "long", now=NOW)
    found = read_landmark_file(path)
    assert found.warnings == ()
    again = read_landmarks(path)
    tolerance = 1e-12 if name == "a.mrk.json" else 5.001e-5
    assert np.nanmax(np.abs(again.positions - landmarks.positions)) <= tolerance
    assert (again.status, again.coordinate_system) == (landmarks.status, system)
    assert again.provenance["model_sha256"] == "ab" * 32
    assert again.provenance["registration_verdict"] == "good"
    if name in ("a.mrk.json", "a.txt", "a.csv"):
        assert again.notes == landmarks.notes
        error = np.abs(again.expected_error_mm - landmarks.expected_error_mm)
        present = ~np.isnan(landmarks.expected_error_mm) & ~landmarks.missing
        assert error[present].max() <= (0.00501 if name == "a.csv" else 1e-12)
        assert np.isnan(again.expected_error_mm[5])


def test_every_file_tells_how_it_came_about_and_nothing_private(tmp_path):
    for ending in FORMATS:
        path = tmp_path / f"Mustermann_1970{ending}"
        write_landmarks(path, example(), now=NOW)
        beside = tmp_path / "Mustermann_1970.record.json"
        text = (beside if ending == ".txt" else path).read_text(encoding="utf-8")
        for said in ("mm", "LPS", "face50", "1.0.0", "face50-default", "ab" * 32, "2026-03-04T05:06:07Z", *RECORD_KEYS):
            if said != "created_utc":
                assert said in text, (ending, said)
        assert "Mustermann" not in text and str(tmp_path) not in text


# --- markups ---


def markups(points, **fields):
    return json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points, **fields}]})


def test_a_markups_file_is_as_slicer_writes_it(tmp_path):
    path = tmp_path / "a.mrk.json"
    write_landmarks(path, example(), now=NOW)
    document = json.loads(path.read_text())
    assert document["@schema"].endswith("markups-schema-v1.0.3.json#")
    markup = document["markups"][0]
    assert (markup["type"], markup["coordinateSystem"], markup["coordinateUnits"]) == ("Fiducial", "LPS", "mm")
    assert markup["fixedNumberOfControlPoints"] is True
    points = markup["controlPoints"]
    assert [point["label"] for point in points] == list(PROTOCOL.labels)
    assert set(points[0]) == {
        "id", "label", "description", "associatedNodeID", "position", "orientation", "selected", "locked",
        "visibility", "positionStatus",
    }  # fmt: skip
    assert points[0]["description"] == "predicted; expected error 0.5 mm"
    assert points[3]["positionStatus"] == "undefined" and "position" not in points[3]
    assert points[0]["orientation"] == [-1, 0, 0, 0, -1, 0, 0, 0, 1]
    assert "0.0, 0.0, 0.0]" not in path.read_text()


def test_a_markups_file_of_others_is_understood(tmp_path):
    points = [
        {"label": "sn", "position": [1, 2, 3]},
        {"label": "Right Exocanthion", "position": [4.5, 5, 6], "positionStatus": "defined", "description": "by hand"},
        {"label": "Ex_L", "position": "", "positionStatus": "undefined"},
        {"label": "Prn", "position": [9, 9, 9], "positionStatus": "preview"},
        {"label": "F-1", "position": [0, 0, 0]},
        {"label": "N", "position": [7, 7, 7], "description": "missing: hair"},
    ]
    path = write(tmp_path, "a.mrk.json", markups(points))
    found = read_landmark_file(path)
    landmarks = found.cases["case"]
    assert landmarks.position("Sn").tolist() == [1, 2, 3]
    assert landmarks.position("Ex_R").tolist() == [4.5, 5, 6] and landmarks.notes[PROTOCOL.index("Ex_R")] == "by hand"
    assert landmarks.missing[[PROTOCOL.index("Ex_L"), PROTOCOL.index("Prn")]].all()
    assert landmarks.status[PROTOCOL.index("N")] == "placed"  # set after it was marked as missing
    assert landmarks.count("placed") == 3
    assert "F-1" in found.warnings[0] and "not in the file: Tr, G" in found.warnings[1]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"coordinateSystem": "RAS"}, ("RAS", [1, 2, 3])),
        ({"coordinateSystem": 0}, ("RAS", [1, 2, 3])),
        ({"coordinateSystem": "1"}, ("LPS", [1, 2, 3])),
        ({"coordinateUnits": ["um", "UCUM", "micrometer"]}, ("LPS", [0.001, 0.002, 0.003])),
        ({"coordinateUnits": "mm"}, ("LPS", [1, 2, 3])),
    ],
)
def test_frames_and_units_are_honoured(tmp_path, fields, expected):
    path = write(tmp_path, "a.mrk.json", markups([{"label": "Sn", "position": [1, 2, 3]}], **fields))
    landmarks = read_landmarks(path)
    assert landmarks.coordinate_system == expected[0]
    assert landmarks.position("Sn") == pytest.approx(expected[1])


def test_several_point_lists_in_one_file(tmp_path):
    first = {"type": "Line", "controlPoints": [{"label": "Sn", "position": [0, 0, 0]}]}
    second = {"coordinateSystem": "RAS", "controlPoints": [{"label": "Sn", "position": [1, 2, 3]}]}
    third = {"coordinateSystem": "LPS", "type": "Fiducial", "controlPoints": [{"label": "N", "position": [1, 2, 3]}]}
    path = write(tmp_path, "a.mrk.json", json.dumps({"markups": [first, second, third]}))
    landmarks = read_landmarks(path)
    assert landmarks.coordinate_system == "RAS"
    assert landmarks.position("Sn").tolist() == [1, 2, 3] and landmarks.position("N").tolist() == [-1, -2, 3]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("{", "not valid JSON"),
        ("[]", "no list 'markups'"),
        ('{"markups": []}', "no point list"),
        ('{"markups": [{"type": "ROI"}]}', "no point list"),
        ('{"markups": [{"controlPoints": 3}]}', "not a list"),
        (markups([3]), "not an object"),
        (markups([]), "no point with a label"),
        (markups([{"label": "F-1", "position": [1, 2, 3]}]), "F-1"),
        (markups([{"label": "Sn", "position": [1, 2]}]), "position of Sn"),
        (markups([{"label": "Sn", "position": [1, 2, "3"]}]), "position of Sn"),
        (markups([{"label": "Sn", "position": [1, 2, True]}]), "position of Sn"),
        (markups([{"label": "Sn", "position": [1, 2, 10**400]}]), "position of Sn"),
        (markups([{"label": "Sn", "position": [1, 2, 3]}]).replace("3]", "NaN]"), "NaN"),
        (markups([{"label": "Sn", "position": [1, 2, 3]}]).replace("3]", "1e999]"), "position of Sn"),
        (markups([{"label": "Sn", "position": [1, 2, 3]}] * 2), "Sn is there twice"),
        (markups([{"label": "Sn"}], coordinateSystem="IJK"), "neither LPS nor RAS"),
        (markups([{"label": "Sn"}], coordinateSystem=None), "neither LPS nor RAS"),
        (markups([{"label": "Sn"}], coordinateUnits="cm"), "not mm"),
        (markups([{"label": "Sn"}], coordinateUnits=[]), "not mm"),
        ("[" * 200000, "not valid JSON"),
        (b"\x89PNG\x00\x01", "binary"),
    ],
)
def test_broken_markups_files_are_refused_in_words(tmp_path, content, said):
    with pytest.raises(InputError) as caught:
        read_landmarks(write(tmp_path, "a.mrk.json", content))
    assert said in caught.value.message and caught.value.hint and caught.value.exit_code == 3


@pytest.mark.slicer
def test_the_real_slicer_keeps_everything_it_should(tmp_path):
    slicer = pytest.importorskip("slicer", reason="needs slicer-core")
    if not hasattr(slicer, "vtkMRMLMarkupsJsonStorageNode"):
        pytest.skip("needs slicer-core")
    landmarks = example()
    write_landmarks(tmp_path / "a.mrk.json", landmarks, now=NOW)
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    storage.SetFileName(str(tmp_path / "a.mrk.json"))
    assert storage.ReadData(node) == 1
    assert (node.GetNumberOfControlPoints(), node.GetNumberOfDefinedControlPoints()) == (50, 49)
    assert node.GetNthControlPointPositionStatus(3) == node.PositionUndefined
    assert node.GetFixedNumberOfControlPoints()
    # The scene is RAS.
    assert np.array(node.GetNthControlPointPosition(0)) == pytest.approx(landmarks.positions[0] * [-1, -1, 1])
    assert node.GetNthControlPointOrientationMatrix(0) == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    storage.SetFileName(str(tmp_path / "b.mrk.json"))
    assert storage.WriteData(node) == 1
    found = read_landmark_file(tmp_path / "b.mrk.json")
    again = found.cases["case"]
    assert found.warnings == ()
    assert (again.status, again.notes) == (landmarks.status, landmarks.notes)
    assert np.nanmax(np.abs(again.positions - landmarks.positions)) < 1e-9
    assert again.provenance["model_sha256"] == "ab" * 32
    ours = json.loads((tmp_path / "a.mrk.json").read_text())["markups"][0]
    theirs = json.loads((tmp_path / "b.mrk.json").read_text())["markups"][0]
    assert set(theirs) - {"display"} == set(ours)
    assert theirs["controlPoints"][0] == ours["controlPoints"][0]


# --- LAFAS text ---


def lafas(names, positions, header="landmark names"):
    lines = [f"{name}\t({','.join(map(str, positions[place]))})" for place, name in enumerate(names)]
    return "\n".join([header, *lines] if header else lines) + "\n"


def test_a_lafas_file_is_as_published(tmp_path):
    write_landmarks(tmp_path / "landmarks.txt", example(), now=NOW)
    lines = (tmp_path / "landmarks.txt").read_text().splitlines()
    assert lines[0] == "landmark names" and len(lines) == 51
    assert lines[1].startswith("Tr\t(") and lines[4] == "Prn\t(nan,nan,nan)"


def rows(form, positions):
    return [form.format(*row) for row in positions]


def by_text(positions):
    """Order positions as a file does that sorts the numbers 1 to 50 as text."""
    return [positions[int(text) - 1] for text in sorted(str(number) for number in range(1, 51))]


NUMBERS = [str(number) for number in range(1, 51)]


@pytest.mark.parametrize(
    "content",
    [
        lafas(PROTOCOL.labels[::-1], FACE[::-1]),
        lafas([mark.name + "_" + mark.side.upper() if mark.side != "midline" else mark.name.upper()
               for mark in PROTOCOL.landmarks], FACE, header=""),
        lafas(sorted(NUMBERS), by_text(FACE)),
        lafas(NUMBERS, FACE),
        lafas(NUMBERS, by_text(FACE)),  # rows of a text-sorted file, counted anew
        "landmark names\r\n" + "\r\n".join(rows("({}, {}, {})", by_text(FACE))),
        "\n".join(rows("{} {} {}", by_text(FACE))),
        "x,y,z\n" + "\n".join(rows("{},{},{}", by_text(FACE))),
        "\n\n".join(rows("{:.6e}\t{:.6e}\t{:.6e}  ", by_text(FACE))),
    ],
)  # fmt: skip
def test_every_kind_of_lafas_file_gives_the_right_landmarks(tmp_path, content):
    found = read_landmark_file(write(tmp_path, "landmarks.txt", content))
    assert np.abs(found.cases["case"].positions - FACE).max() < 1e-3
    assert set(found.cases["case"].status) == {"placed"}
    assert found.warnings == ()


def test_unnamed_rows_in_the_protocols_order_are_recognised_by_the_face(tmp_path):
    content = "\n".join(rows("{} {} {}", FACE))
    found = read_landmark_file(write(tmp_path, "landmarks.txt", content))
    assert np.array_equal(found.cases["case"].positions, FACE)
    assert "protocol's own order" in found.warnings[0]


def test_an_order_that_gives_no_face_is_said_so(tmp_path):
    content = "\n".join(rows("{} {} {}", np.random.default_rng(1).normal(size=(50, 3)) * 60))
    found = read_landmark_file(write(tmp_path, "a.txt", content))
    assert "not confirmed" in found.warnings[0]


def test_missing_and_unknown_rows(tmp_path):
    content = "landmark names\nSn\t(1,2,3)\nPrn\t(nan,nan,nan)\nN\t()\nG\nelbow\t(1,1,1)\nTr\t(1,NA,3)\n"
    found = read_landmark_file(write(tmp_path, "a.txt", content))
    assert found.cases["case"].count("placed") == 1
    assert found.warnings[0] == "unknown names left out: elbow"
    assert "not in the file: C, Ls" in found.warnings[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("landmark names\n", "no landmark rows"),
        (lafas(PROTOCOL.labels, FACE) + "Sn\t(1,2,3)\n", "Sn again"),
        ("landmark names\nSn\t(1,2)\n", "line 2"),
        ("landmark names\nSn\t(1,2,x)\n", "line 2"),
        ("landmark names\nSn\t(1,2,1e999)\n", "too large"),
        ("1 2 3\n4 5 6\n", "2 rows without names"),
        (lafas(["1"] * 50, FACE), "not numbered from 1 to 50"),
        ("Sn\t(1,2,3)\n(4,5,6)\n", "no name although"),
        ("a\t(1,2,3)\nb\t(1,2,3)\n", "but a, b"),
        ("x" * 100000 + "\n" + "y" * 100000, "line 2"),
        ("\x01\x02 \x03", "no landmark rows"),
        (b"\x00\x01\x02", "binary"),
        (b"", "empty"),
    ],
)
def test_broken_lafas_files_are_refused_in_words(tmp_path, content, said):
    with pytest.raises(InputError) as caught:
        read_landmarks(write(tmp_path, "a.txt", content))
    assert said in caught.value.message and caught.value.hint


def test_a_record_is_believed_only_beside_its_own_text(tmp_path):
    path, beside = tmp_path / "landmarks.txt", tmp_path / "landmarks.record.json"
    write_landmarks(path, example("RAS"), now=NOW)
    assert read_landmarks(path).coordinate_system == "RAS"
    good = beside.read_text()
    for damage in ("{", "[]", good.replace('"note"', '"mote"'), good.replace('"corrected"', "7"), '{"for_sha256": 1}'):
        beside.write_text(damage)
        found = read_landmark_file(path)
        assert found.cases["case"].coordinate_system in ("LPS", "RAS")
        assert found.warnings or "7" in damage
    beside.write_text(good)
    path.write_text(path.read_text().replace("Tr\t(", "Tr\t(1"))
    found = read_landmark_file(path)
    assert found.cases["case"].status[5] == "placed" and "other landmarks" in found.warnings[0]


# --- tables ---


def test_a_long_table_is_as_documented(tmp_path):
    write_landmarks(tmp_path / "a.csv", example(), case="=cmd|' /C calc'!A0", now=NOW)
    raw = (tmp_path / "a.csv").read_bytes()
    assert not raw.startswith(b"\xef\xbb\xbf") and b"\r" not in raw
    table = list(csv.DictReader(io.StringIO(raw.decode())))
    assert len(table) == 50
    assert list(table[0])[:9] == ["case", "label", "name", "x", "y", "z", "status", "expected_error_mm", "note"]
    assert set(RECORD_KEYS) <= set(table[0])
    assert table[0]["case"] == "'=cmd|' /C calc'!A0"
    assert [table[3][axis] for axis in "xyz"] == ["", "", ""] and table[3]["status"] == "missing"
    assert float(table[0]["x"]) == pytest.approx(example().positions[0, 0], abs=5.1e-5)
    assert read_landmark_file(tmp_path / "a.csv").cases.keys() == {"=cmd|' /C calc'!A0"}


def test_a_byte_order_mark_only_where_excel_needs_it(tmp_path):
    write_landmarks(tmp_path / "a.csv", example(), case="Fall Größe")
    assert (tmp_path / "a.csv").read_bytes().startswith(b"\xef\xbb\xbfcase,")
    assert list(read_landmark_file(tmp_path / "a.csv").cases) == ["Fall Größe"]


@pytest.mark.parametrize("layout", ["long", "wide"])
def test_many_cases_in_one_table(tmp_path, layout):
    cases = {"a": example(), "b": example("RAS").with_point("Sn", None, "missing")}
    write_landmark_cases(tmp_path / "all.csv", cases, layout=layout, now=NOW)
    found = read_landmark_file(tmp_path / "all.csv").cases
    assert list(found) == ["a", "b"]
    assert read_landmarks(tmp_path / "all.csv", case="b").missing[PROTOCOL.index("Sn")]
    with pytest.raises(InputError, match="holds 2 cases"):
        read_landmarks(tmp_path / "all.csv")
    with pytest.raises(InputError, match="no case 'c'"):
        read_landmarks(tmp_path / "all.csv", case="c")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_saved_again_by_a_spreadsheet(tmp_path, delimiter):
    table = [["Label", "X", "Y", "Z", "operator note"]]
    for place, label in enumerate(PROTOCOL.labels):
        cells = [f"{value:.2f}" for value in FACE[place]]
        table.append([label, *(cells if delimiter == "," else [cell.replace(".", ",") for cell in cells]), ""])
    text = "\r\n".join(delimiter.join(row) for row in table) + "\r\n" + delimiter * 4 + "\r\n"
    for encoding in ("utf-8-sig", "utf-16"):
        path = write(tmp_path, "a.csv", text.encode(encoding))
        assert read_landmarks(path).positions == pytest.approx(FACE, abs=0.0051)


def test_a_wide_table_of_others(tmp_path):
    path = write(tmp_path, "a.csv", "id,Sn X,Sn.Y,sn_z,Prn_x,Prn_y\nq,1,2,3,4,5\nr,NA,,nan,4,5\n")
    cases = read_landmark_file(path).cases
    assert [landmarks.status[5] for landmarks in cases.values()] == ["placed", "missing"]
    assert cases["row 2"].position("Sn").tolist() == [1, 2, 3]
    assert cases["row 2"].missing[3]  # Prn has no z


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("label,x,y,z\n", "no rows"),
        ("a,b\n1,2\n", "neither the columns"),
        ("label,x,y,z\nSn,1,2,3\nSn,1,2,3\n", "Sn again (first in line 2)"),
        ("label,x,y,z\nSn,1,2\n", "line 2 has 3 cells"),
        ("label,x,y,z\nSn,1,2,abc\n", "line 2: 'abc' is not a number"),
        ("label,x,y,z\nSn,1,2,inf\n", "not a number"),
        ("label,x,y,z\nSn,1,2,1e999\n", "not a number"),
        ("label,x,x,y,z\nSn,1,1,2,3\n", "column x is there twice"),
        ("label,x,y,z\nF-1,1,2,3\n", "none of its labels"),
        ("label,x,y,z,status\nSn,1,2,3,guessed\n", "the status 'guessed'"),
        ("label,x,y,z,status\nSn,,,,predicted\n", "has no position"),
        ("label,x,y,z,status\nSn,1,2,3,missing\n", "missing but has a position"),
        ("label,x,y,z,expected_error_mm\nSn,1,2,3,-1\n", "negative"),
        ("label,x,y,z,units\nSn,1,2,3,cm\n", "the unit 'cm'"),
        ("label,x,y,z,coordinate_system\nSn,1,2,3,IJK\n", "neither LPS nor RAS"),
        ("case,Sn_x,Sn_y,Sn_z\na,1,2,3\na,1,2,3\n", "the case a is there twice"),
        ('label,x,y,z\nSn,1,2,"3\n', "not readable as a table"),
        (b"PK\x03\x04\x00\x00", "binary"),
    ],
)
def test_broken_tables_are_refused_in_words(tmp_path, content, said):
    with pytest.raises(InputError) as caught:
        read_landmarks(write(tmp_path, "a.csv", content))
    assert said in caught.value.message and caught.value.hint


# --- TPS ---


def test_a_tps_file_is_as_geomorph_reads_it(tmp_path):
    write_landmarks(tmp_path / "a.tps", example(), case="P=01", now=NOW)
    lines = (tmp_path / "a.tps").read_text().splitlines()
    assert lines[0] == "LM3=50" and lines[4] == "NA NA NA" and lines[51] == "ID=P-01"
    assert all(line.startswith("COMMENT=") and line.count("=") == 1 for line in lines[52:])
    # geomorph drops every line with an equals sign and takes the rest as a matrix of 3 columns.
    rest = [line.split() for line in lines if "=" not in line]
    matrix = np.array([[np.nan if cell == "NA" else float(cell) for cell in row] for row in rest])
    assert matrix == pytest.approx(example().positions, abs=5.1e-5, nan_ok=True)


def test_tps_files_of_others(tmp_path):
    points = "\n".join(rows("{:f} {:f} {:f}", FACE / 10))
    content = f"lm3=50\r\n{points}\r\nIMAGE=a.jpg\r\nSCALE=10\r\nLM3=50\n{points}\nCOMMENT=x\n"
    cases = read_landmark_file(write(tmp_path, "a.tps", content)).cases
    assert list(cases) == ["a.jpg", "2"]
    assert cases["a.jpg"].positions == pytest.approx(FACE, abs=1e-4)
    assert cases["2"].positions == pytest.approx(FACE / 10, abs=1e-4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("hello\n", "before the first LM3="),
        ("LM3=50\n1 2 3\n", "LM3=50 and 1 points"),
        ("LM3=1\n1 2 3\n", "has 50 landmarks"),
        ("LM=50\n1 2\n", "LM"),
        ("LM3=50\n1 2\n", "2 numbers"),
        ("LM3=50\n1 2 x\n", "'x' is not a number"),
        ("LM3=50\n1 2 inf\n", "not a finite number"),
        ("LM3=50\n" + "1 2 3\n" * 50 + "CURVES=1\n", "CURVES"),
        ("LM3=50\n" + "1 2 3\n" * 50 + "SCALE=0\n", "scale 0"),
        ("LM3=50\n" + "1 2 3\n" * 50 + "SCALE=x\n", "'x' is not a number"),
        (("LM3=50\n" + "1 2 3\n" * 50 + "ID=a\n") * 2, "a is there twice"),
        ("LM3=50\n" + "1 2 3\n" * 50 + "COMMENT=landmarks: a b\n", "other landmarks"),
    ],
)
def test_broken_tps_files_are_refused_in_words(tmp_path, content, said):
    with pytest.raises(InputError) as caught:
        read_landmarks(write(tmp_path, "a.tps", content))
    assert said in caught.value.message and caught.value.hint


# --- all ---


def test_another_protocol_is_followed_and_named(tmp_path):
    own = load_protocol(DATA / "protocols" / "face68.json")
    positions = np.random.default_rng(0).normal(size=(68, 3)) * 50
    landmarks = LandmarkSet.from_positions(own, positions, "predicted")
    for ending in FORMATS:
        path = tmp_path / f"a{ending}"
        write_landmarks(path, landmarks)
        assert np.abs(read_landmarks(path, own).positions - positions).max() < 5.1e-5
        with pytest.raises(InputError):
            read_landmarks(path)  # as the 50 landmarks
    changed = json.loads((tmp_path / "a.mrk.json").read_text().replace('"1.0.0"', '"0.9.0"'))
    (tmp_path / "b.mrk.json").write_text(json.dumps(changed))
    assert "face68 0.9.0, read with face68 1.0.0" in read_landmark_file(tmp_path / "b.mrk.json", own).warnings[0]


def test_endings_decide(tmp_path):
    assert [landmark_format(f"A{ending.upper()}") for ending in FORMATS] == list(FORMATS)
    for name in ("a.json", "a.fcsv", "a", "mrk.json.bak"):
        with pytest.raises(UsageError, match="Use one of the endings"):
            landmark_format(name)
    with pytest.raises(UsageError):
        write_landmark_cases(tmp_path / "a.txt", {"a": example()})
    with pytest.raises(UsageError):
        write_landmark_cases(tmp_path / "a.csv", {"a": example(), " a": example()})
    with pytest.raises(ValueError):
        write_landmarks(tmp_path / "a.csv", example(), layout="round")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="does not exist"):
        write_landmarks(tmp_path / "none" / "a.mrk.json", example())


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("line", [("1" * 130 + " ") * 3 + "x", "1" * 130000 + "x", "1 " * 60000])
def test_no_line_takes_long_to_refuse(tmp_path, ending, line):
    head = {".csv": "label,x,y,z\nSn,1,2,", ".tps": "LM3=50\n", ".txt": "landmark names\n", ".mrk.json": "["}[ending]
    path = write(tmp_path, f"a{ending}", head + line + "\n")
    start = time.process_time()
    with pytest.raises(InputError):
        read_landmarks(path)
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("ending", FORMATS)
def test_random_damage_never_leads_to_anything_but_our_errors(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    write_landmarks(path, example(), now=NOW)
    whole = path.read_bytes()
    rng = np.random.default_rng(11)
    refused = 0
    for trial in range(150):
        damaged = bytearray(whole)
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(len(whole))]
        for _ in range(rng.integers(1, 6)):
            if damaged:
                damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            for landmarks in read_landmark_file(path).cases.values():
                assert np.isfinite(landmarks.positions[~landmarks.missing]).all()
        except LandmarkingError as error:
            refused += 1
            assert error.message and error.hint
    assert refused > 10
