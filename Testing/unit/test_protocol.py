"""Protocols: the bundled one, a laboratory's own, and everything that can be wrong with one."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.protocol import Protocol, load_protocol
from PALNetLandmarksLib.resources import bundled_models, resources_dir, sample_scans

DATA = Path(__file__).resolve().parents[1] / "data"
FACE68 = DATA / "protocols" / "face68.json"


def tiny(**changes):
    document = {
        "id": "tiny",
        "version": "1.0",
        "title": "three points",
        "landmarks": [
            {"label": "N", "side": "midline"},
            {"label": "Ex_R", "side": "right"},
            {"label": "Ex_L", "side": "left"},
        ],
        "measurements": [{"id": "width", "kind": "distance", "points": ["Ex_R", "Ex_L"]}],
    }
    document.update(changes)
    return document


def problems_of(document):
    with pytest.raises(InputError) as caught:
        Protocol.from_dict(document, name="tiny")
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return caught.value.message


def test_bundled_protocol_holds_the_papers_landmarks_and_measurements():
    protocol = load_protocol()
    assert (protocol.id, len(protocol), len(protocol.measurements)) == ("face50", 50, 93)
    assert [mark.side for mark in protocol.landmarks] == ["midline"] * 12 + ["right"] * 19 + ["left"] * 19
    assert protocol.labels[:4] == ("Tr", "G", "N", "Prn")
    assert protocol.landmarks[protocol.index("Zy_L")].palpated
    assert sum(mark.peripheral_ear for mark in protocol.landmarks) == 8
    # Means of table 3 of the paper over the 50 landmarks, and of its first five rows worked by hand.
    means = [mark.palnet_lafas_mean_mm for mark in protocol.landmarks]
    assert np.mean(means) == pytest.approx(3.686, abs=5e-4)
    assert np.mean(means[:5]) == pytest.approx((6.413 + 2.672 + 2.240 + 2.096 + 1.824) / 5)
    kinds = [item.kind for item in protocol.measurements]
    counted = {kind: kinds.count(kind) for kind in kinds}
    assert counted == {"distance": 58, "angle": 17, "point_to_line": 3, "ratio_percent": 15}
    assert [item.source for item in protocol.measurements].count("PAL-Net table 4") == 20
    assert [item.source for item in protocol.measurements].count("PAL-Net table 5") == 9


def test_lafas_rows_are_the_numbers_sorted_as_text():
    protocol = load_protocol()
    by_text = sorted(str(number) for number in range(1, 51))
    assert [mark.lafas_file_row for mark in protocol.landmarks] == [by_text.index(str(n)) + 1 for n in range(1, 51)]


def test_mirror_swaps_sides_and_keeps_the_midline():
    protocol = load_protocol()
    mirrored = [protocol.labels[place] for place in protocol.mirror]
    swap = {"_R": "_L", "_L": "_R"}
    assert mirrored == [label[:-2] + swap[label[-2:]] if label[-2:] in swap else label for label in protocol.labels]
    assert np.array_equal(protocol.mirror[protocol.mirror], np.arange(50))
    assert [(protocol.labels[r], protocol.labels[left]) for r, left in protocol.pairs][0] == ("T_R", "T_L")
    with pytest.raises(ValueError):
        protocol.mirror[0] = 1


def test_round_trip_through_json_keeps_everything():
    protocol = load_protocol()
    assert Protocol.from_dict(json.loads(json.dumps(protocol.to_dict()))) == protocol


def test_a_laboratory_with_68_landmarks():
    protocol = load_protocol(FACE68)
    assert (len(protocol), len(protocol.pairs), len(protocol.midline)) == (68, 29, 10)
    # The outline's ends, the outer eye corners and the mouth's corners are each other's mirror images.
    for right, left in (("p01", "p17"), ("p37", "p46"), ("p49", "p55"), ("p61", "p65"), ("p33", "p35")):
        assert protocol.mirror[protocol.index(right)] == protocol.index(left)
    assert protocol.landmarks[9].lafas_file_row == 2  # number 10 follows number 1 when sorted as text


def test_schema_and_code_agree():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((resources_dir() / "Protocols" / "protocol.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator
    validator.check_schema(schema)
    check = validator(schema)
    folder = resources_dir() / "Protocols" / "face50" / "protocol.json"
    for good in (json.loads(folder.read_text()), load_protocol().to_dict(), json.loads(FACE68.read_text()), tiny()):
        assert not list(check.iter_errors(good))
    for bad in (
        tiny(id="Bad Id"),
        tiny(version="one"),
        tiny(landmarks=[]),
        tiny(landmarks=[{"label": "=A", "side": "midline"}]),
        tiny(landmarks=[{"label": "A", "side": "centre"}]),
        tiny(landmarks=[{"label": "A", "side": "midline", "paplated": 1}]),
        tiny(measurements=[{"id": "a", "kind": "angle", "points": ["N", "Ex_R"]}]),
        tiny(measurements=[{"id": "a", "kind": "area", "points": ["N", "Ex_R"]}]),
        tiny(measurements=[{"id": "a", "kind": "ratio_percent", "points": ["N", "Ex_R"]}]),
        tiny(colour="red"),
    ):
        assert list(check.iter_errors(bad))
        problems_of(bad)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"landmarks": [{"label": "A", "side": "right"}]}, "landmark 1: right 'A' has no left partner"),
        ({"landmarks": [{"label": label, "side": "midline"} for label in "Aa"]}, "landmark 2: the label 'a'"),
        ({"landmarks": "none.csv.txt"}, "must be a list"),
        ({"landmarks": [7]}, "landmark 1: it is not a JSON object"),
        ({"landmarks": [{"label": "A", "side": "midline", "number": 2}]}, "the number is 2"),
        ({"landmarks": [{"label": "A", "side": "midline", "palpated": "often"}]}, "'palpated' must be 0 or 1"),
        ({"landmarks": [{"label": "A", "side": "midline", "lafas_file_row": 3}]}, "each of 1 to 1 once"),
        ({"landmarks": [{"label": 5, "side": "midline"}]}, "'label' must be text"),
        ({"landmarks": [{"label": "A", "side": "midline", "intra_observer_mm": "nan"}]}, "at least 0"),
        ({"measurements": [{"id": "d", "kind": "distance", "points": "N N"}]}, "names a landmark twice"),
        ({"measurements": [{"id": "d", "kind": "distance", "points": "N Q"}]}, "unknown landmark Q"),
        ({"measurements": [{"id": "d", "kind": "ratio_percent", "points": "N Ex_R Ex_L"}]}, "two labels / two labels"),
        ({"measurements": [{"id": "d", "kind": "distance", "points": 3}]}, "needs 2 labels"),
        ({"measurements": [{"id": "", "kind": "distance", "points": "N Ex_R"}]}, "printable 'id'"),
        ({"anterior_axes": [{"name": "x", "from": ["N"], "to": ["Q"]}]}, "anterior_axes 1: 'to'"),
        ({"anterior_axes": [{"name": "x"}]}, "needs 'name', 'from' and 'to'"),
        ({"anterior_axes": 1}, "must be a list"),
        ({"title": " "}, "'title' must be text"),
        ({"conventions": "text"}, "'conventions' must be a list"),
    ],
)
def test_each_problem_is_named_with_its_place(change, said):
    assert said in problems_of(tiny(**change))


def test_all_problems_are_told_at_once():
    message = problems_of(tiny(id="", version="", landmarks=[{"label": "1", "side": "up"}], measurements=[]))
    assert "4 problems" in message
    assert problems_of([]).endswith("it is not a JSON object.")


def folder_with(tmp_path, landmarks, measurements="id,kind,points\n"):
    head = {"id": "own", "version": "1.0", "title": "own", "landmarks": "l.csv", "measurements": "m.csv"}
    (tmp_path / "protocol.json").write_text(json.dumps(head))
    (tmp_path / "l.csv").write_bytes(landmarks.encode("utf-8"))
    (tmp_path / "m.csv").write_text(measurements)
    return tmp_path


def test_a_folder_with_windows_line_ends_and_own_columns(tmp_path):
    text = "\ufefflabel,side,x_room\r\nA,midline,3\r\nB_R,right,\r\n\r\nB_L,left,\r\n"
    protocol = load_protocol(folder_with(tmp_path, text, "id,kind,points\nd,distance,B_R B_L\n"))
    assert protocol.labels == ("A", "B_R", "B_L")
    assert protocol.measurements[0].unit == "mm"


def test_problems_in_tables_name_file_and_line(tmp_path):
    folder = folder_with(tmp_path, "label,side\nA,midline\nB,centre\nC\n", "id,kind,points\nd,distance,A Q\n")
    with pytest.raises(InputError) as caught:
        load_protocol(folder)
    assert "l.csv line 3: the side 'centre'" in caught.value.message
    assert "l.csv line 4: 1 cells where the header has 2" in caught.value.message
    assert "m.csv line 2: unknown landmark Q" in caught.value.message
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("name", ["../l.csv", "/etc/passwd", "a\\b.csv", "l.txt"])
def test_tables_outside_the_folder_are_refused(tmp_path, name):
    folder = folder_with(tmp_path, "label,side\nA,midline\n")
    document = json.loads((folder / "protocol.json").read_text())
    (folder / "protocol.json").write_text(json.dumps({**document, "landmarks": name}))
    with pytest.raises(InputError, match="in the same folder"):
        load_protocol(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\x00\x01\x02", b"null", b"[" * 100000, b'{"id": NaN}'])
def test_files_that_are_no_protocol(tmp_path, content):
    file = tmp_path / "p.json"
    file.write_bytes(content)
    with pytest.raises(InputError):
        load_protocol(file)


def test_resources_are_found_and_can_be_moved(tmp_path, monkeypatch):
    assert (resources_dir() / "Protocols" / "face50" / "landmarks.csv").is_file()
    rows = list(csv.DictReader((resources_dir() / "Protocols" / "face50" / "landmarks.csv").open()))
    assert tuple(row["label"] for row in rows) == load_protocol().labels
    monkeypatch.setenv("PALNET_RESOURCES", str(tmp_path))
    with pytest.raises(InputError, match="not found"):
        resources_dir()
    (tmp_path / "Protocols").mkdir()
    (tmp_path / "Models" / "one").mkdir(parents=True)
    (tmp_path / "Models" / "two").mkdir()
    (tmp_path / "Models" / "one" / "bundle.json").write_text("{}")
    (tmp_path / "SampleData").mkdir()
    (tmp_path / "SampleData" / "face.PLY").write_text("")
    assert resources_dir() == tmp_path
    assert [path.name for path in bundled_models()] == ["one"]
    assert [path.name for path in sample_scans()] == ["face.PLY"]
