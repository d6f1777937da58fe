"""Sets of landmarks: what they refuse, their two frames, what they say of themselves."""

import copy
import pickle
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.label_matching import LabelMatcher
from PALNetLandmarksLib.landmarks import PROVENANCE_KEYS, LandmarkSet, parse_description, utc_text
from PALNetLandmarksLib.protocol import load_protocol

PROTOCOL = load_protocol()
DATA = Path(__file__).resolve().parents[1] / "data"
FACE = np.loadtxt(DATA / "symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))


def example(**changes):
    positions = FACE.copy()
    positions[3] = np.nan
    status = ["predicted"] * 50
    status[3], status[5], status[6] = "missing", "corrected", "placed"
    arguments = {
        "positions": positions,
        "status": tuple(status),
        "expected_error_mm": np.linspace(0.5, 5.4, 50),
        "notes": tuple("no surface within 8 mm" if place == 3 else "" for place in range(50)),
        "provenance": {"model_id": "face50-default", "model_sha256": "ab" * 32, "created_utc": "2026-01-02T03:04:05Z"},
        **changes,
    }
    return LandmarkSet(PROTOCOL, **arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": FACE[:49]},
        {"positions": FACE},  # a position although the status says missing
        {"status": ("predicted",) * 50},  # no position although the status says predicted
        {"status": ("guessed",) * 50},
        {"status": ("predicted",)},
        {"notes": ("a",)},
        {"expected_error_mm": np.zeros(3)},
        {"expected_error_mm": np.full(50, -1.0)},
        {"expected_error_mm": np.full(50, np.inf)},
        {"positions": np.where(np.isnan(FACE), FACE, np.inf)},
        {"coordinate_system": "RSA"},
        {"provenance": {"scan_path": "/home/somebody/face.ply"}},
    ],
)
def test_contradictions_are_refused(changes):
    with pytest.raises(ValueError):
        example(**changes)


def test_half_a_position_is_no_position():
    positions = FACE.copy()
    positions[0, 2] = np.nan
    landmarks = LandmarkSet.from_positions(PROTOCOL, positions, "predicted")
    assert landmarks.status[:2] == ("missing", "predicted")
    assert np.isnan(landmarks.positions[0]).all()
    assert landmarks.missing.tolist() == [True] + [False] * 49
    with pytest.raises(ValueError):
        LandmarkSet.from_positions(PROTOCOL, FACE[0])


def test_nothing_in_a_set_can_be_changed_behind_its_back():
    source = FACE.copy()
    landmarks = LandmarkSet.from_positions(PROTOCOL, source)
    source[0] = 7
    assert landmarks.positions[0].tolist() == FACE[0].tolist()
    with pytest.raises(ValueError):
        landmarks.positions[0] = 1
    with pytest.raises(TypeError):
        landmarks.provenance["model_id"] = "x"


def test_the_two_frames_differ_by_half_a_turn():
    landmarks = example()
    turned = landmarks.in_coordinate_system("RAS")
    assert turned.position("N").tolist() == [-FACE[2, 0], -FACE[2, 1], FACE[2, 2]]
    assert turned.coordinate_system == "RAS" and turned.status == landmarks.status
    assert np.array_equal(turned.in_coordinate_system("LPS").positions, landmarks.positions, equal_nan=True)
    assert landmarks.in_coordinate_system("LPS") is landmarks
    with pytest.raises(ValueError):
        landmarks.in_coordinate_system("IJK")


def test_a_point_is_moved_in_a_copy():
    landmarks = example()
    moved = landmarks.with_point("Prn", (1, 2, 3), "corrected")
    assert moved.position("Prn").tolist() == [1, 2, 3]
    assert (moved.count("corrected"), landmarks.count("corrected")) == (2, 1)
    assert np.isnan(moved.expected_error_mm[3]) and moved.notes[3] == ""
    gone = moved.with_point("Prn", None, "missing", note="hair")
    assert gone.missing[3] and gone.description("Prn") == "missing: hair"
    with pytest.raises(ValueError):
        landmarks.with_point("Prn", None, "placed")


def test_descriptions_are_for_people_and_programs():
    landmarks = example()
    assert landmarks.description("Tr") == "predicted; expected error 0.5 mm"
    assert landmarks.description("Prn") == "missing: no surface within 8 mm"
    assert LandmarkSet.from_positions(PROTOCOL, FACE).description("Tr") == "placed"
    noted = landmarks.with_point("N", (1, 1, 1), "predicted", note="beard; note: 3", expected_error_mm=1.84)
    assert noted.description("N") == "predicted; expected error 1.8 mm; note: beard; note: 3"
    assert parse_description(noted.description("N")) == ("predicted", 1.8, "beard; note: 3")
    for label in ("Tr", "Prn", "Sn", "Ls"):
        place = PROTOCOL.index(label)
        status, error, note = parse_description(landmarks.description(label))
        assert (status, note) == (landmarks.status[place], landmarks.notes[place])
        if status != "missing":
            assert error == pytest.approx(landmarks.expected_error_mm[place], abs=0.0501)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", "")),
        ("seen by Dr X", ("", "seen by Dr X")),
        ("Predicted", ("predicted", "")),
        ("MISSING", ("missing", "")),
        ("placed; note: twice; checked", ("placed", "twice; checked")),
        ("corrected; expected error -1 mm", ("corrected", "expected error -1 mm")),
    ],
)
def test_descriptions_that_people_wrote(text, expected):
    status, error, note = parse_description(text)
    assert (status, note) == expected and np.isnan(error)


def test_the_record_counts_and_names():
    now = datetime(2026, 1, 2, 4, 0, 0, tzinfo=timezone(timedelta(hours=1)))
    landmarks = example(provenance={"model_id": "m", "registration_verdict": "good"})
    record = landmarks.with_point("Tr", (1, 2, 3), "corrected").with_point("G", None, "missing").record(now)
    assert record["exported_utc"] == "2026-01-02T03:00:00Z"
    assert (record["corrected_points"], record["placed_points"], record["missing_points"]) == ("2", "1", "2")
    assert (record["units"], record["coordinate_system"], record["protocol_version"]) == ("mm", "LPS", "1.0.0")
    assert record["software_version"].startswith("PALNetLandmarks ")
    assert list(record)[-1] == "registration_verdict"
    assert utc_text().endswith("Z") and len(utc_text()) == 20


def test_provenance_has_no_place_for_paths_or_names():
    private = ("path", "file", "name", "patient", "user")
    assert not [key for key in PROVENANCE_KEYS if any(word in key for word in private)]
    assert example(provenance={"settings": "a\nb\tc"}).provenance["settings"] == "a b c"


def test_sets_can_be_copied_and_sent_to_another_process():
    landmarks = example()
    for other in (copy.deepcopy(landmarks), pickle.loads(pickle.dumps(landmarks))):
        assert np.array_equal(other.positions, landmarks.positions, equal_nan=True)
        assert dict(other.provenance) == dict(landmarks.provenance)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Ex_R", "Ex_R"),
        ("ex_r", "Ex_R"),
        ("EX R", "Ex_R"),
        ("right exocanthion", "Ex_R"),
        ("Exocanthion (left)", "Ex_L"),
        ("exocanthion-R", "Ex_R"),
        ("R Ex", "Ex_R"),
        ("Inferior terminal of the nostril axis, left", "Itn_L"),
        ("subnasale", "Sn"),
        ("Ls", "Ls"),
        ("", None),
        ("right", None),
        ("exocanthion", None),
        ("Ex_R2", None),
        # Trichion and the right tragion have the same letters.
        ("Tr", "Tr"),
        ("T_R", "T_R"),
        ("t r", "T_R"),
        ("tr", None),
        ("TR", None),
        ("trichion", "Tr"),
        ("tragion r", "T_R"),
    ],
)
def test_names_are_found_by_many_spellings(name, label):
    assert LabelMatcher(PROTOCOL).find(name) == label


def test_no_spelling_leads_to_the_wrong_landmark():
    matcher = LabelMatcher(PROTOCOL)
    for mark in PROTOCOL.landmarks:
        words = [mark.name] if mark.side == "midline" else [f"{mark.side} {mark.name}", f"{mark.name}_{mark.side[0]}"]
        assert [matcher.find(word) for word in words] == [mark.label] * len(words)
