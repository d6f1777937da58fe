"""Edits of a set while it is reviewed, what is left to look at, and undo: without Slicer."""

from __future__ import annotations

import numpy as np
import pytest

from PALNetLandmarksLib.gui.confidence import BY_HAND, FAIR, GOOD, MISSING, POOR, confidence_kinds
from PALNetLandmarksLib.gui.edits import (
    accept,
    different,
    doubt_order,
    is_accepted,
    is_marked,
    mark_missing,
    moved_text,
    restore,
    to_look_at,
    with_moved,
)
from PALNetLandmarksLib.gui.history import MAX_STEPS, History
from PALNetLandmarksLib.landmark_pictures import picture_name, picture_path
from PALNetLandmarksLib.landmarks import LandmarkSet, parse_description
from PALNetLandmarksLib.protocol import load_protocol


@pytest.fixture
def landmarks() -> LandmarkSet:
    """Tr missing; G 5 mm, N unknown, Prn 3 mm with a note; the rest 1 mm."""
    protocol = load_protocol()
    positions, errors = np.arange(150.0).reshape(50, 3), np.full(50, 1.0)
    positions[0], errors[:4] = np.nan, (np.nan, 5.0, np.nan, 3.0)
    notes = ["no surface within 8 mm", "", "", "beard"] + [""] * 46
    return LandmarkSet.from_positions(protocol, positions, "predicted", expected_error_mm=errors, notes=notes)


def test_moved_points_are_by_hand(landmarks: LandmarkSet) -> None:
    positions = landmarks.positions.copy()
    positions[0], positions[1], positions[2] = (1, 2, 3), (4, 5, 6), np.nan
    moved = with_moved(landmarks, positions, np.array([0, 1, 2]))
    assert moved.status[:4] == ("placed", "corrected", "missing", "predicted")
    assert np.isnan(moved.expected_error_mm[:3]).all() and moved.notes[0] == ""
    again = with_moved(moved, positions + 1, np.array([0, 1]))
    assert again.status[:2] == ("placed", "corrected")
    assert different(landmarks, moved) == ("Tr", "G", "N")
    assert different(landmarks, landmarks.with_point("Prn", landmarks.positions[3], "predicted", note="x")) == ("Prn",)
    assert different(landmarks, landmarks) == ()
    assert moved_text(landmarks, moved, ("Tr",)) == "Place Tr"
    assert moved_text(landmarks, moved, ("G",)) == "Move G"
    assert moved_text(landmarks, moved, ("N",)) == "Remove N"
    assert moved_text(landmarks, moved, ("Tr", "G")) == "Move 2 landmarks"


def test_accepting_keeps_status_and_note_and_survives_the_description(landmarks: LandmarkSet) -> None:
    accepted = accept(landmarks, "Prn")
    assert accepted.status[3] == "predicted" and accepted.notes[3] == "accepted; beard"
    assert accepted.expected_error_mm[3] == 3.0
    assert is_accepted(accepted, "Prn") and not is_accepted(landmarks, "Prn")
    assert accept(accepted, "Prn") is accepted
    assert accept(landmarks, "Tr") is landmarks
    for label in ("Prn", "N"):
        accepted = accept(accepted, label)
        status, _error, note = parse_description(accepted.description(label))
        assert (status, note) == ("predicted", accepted.notes[landmarks.protocol.index(label)])


def test_marking_and_restoring(landmarks: LandmarkSet) -> None:
    marked = mark_missing(mark_missing(landmarks, "G"), "Tr")
    assert is_marked(marked, "G") and is_marked(marked, "Tr") and not is_marked(landmarks, "Tr")
    assert mark_missing(marked, "G") is marked
    status, _error, note = parse_description(marked.description("G"))
    assert (status, note) == ("missing", marked.notes[1])
    restored = restore(restore(marked, landmarks, "G"), landmarks, "Tr")
    assert different(restored, landmarks) == ()


def test_what_is_left_to_look_at(landmarks: LandmarkSet) -> None:
    left = np.flatnonzero(to_look_at(landmarks))
    assert [landmarks.protocol.labels[place] for place in left] == ["Tr", "G", "N", "Prn"]
    done = mark_missing(accept(accept(landmarks, "G"), "N"), "Tr").with_point("Prn", (1, 2, 3), "corrected")
    assert not to_look_at(done).any()


def test_least_certain_first(landmarks: LandmarkSet) -> None:
    labels = landmarks.protocol.labels
    assert [labels[place] for place in doubt_order(landmarks)[:5]] == ["Tr", "N", "G", "Prn", "C"]
    done = mark_missing(accept(landmarks, "G"), "Tr").with_point("Prn", (1, 2, 3), "corrected")
    order = [labels[place] for place in doubt_order(done)]
    assert order[:2] == ["N", "C"] and order[-3:] == ["G", "Tr", "Prn"]
    assert sorted(order) == sorted(labels)


def test_colours_by_confidence(landmarks: LandmarkSet) -> None:
    moved = landmarks.with_point("C", (1, 2, 3), "corrected").with_point("Sn", (1, 2, 3), "placed")
    assert confidence_kinds(moved)[:7].tolist() == [MISSING, POOR, POOR, FAIR, BY_HAND, BY_HAND, GOOD]


def test_history(landmarks: LandmarkSet) -> None:
    history = History()
    assert history.undo(landmarks) is None and history.redo(landmarks) is None and history.undo_text == ""
    second, third = accept(landmarks, "G"), mark_missing(landmarks, "G")
    history.push(landmarks, "accept")
    assert history.undo(second) is landmarks and history.redo_text == "accept"
    assert history.redo(landmarks) is second
    history.push(second, "mark")
    assert (history.undo_text, history.redo_text) == ("mark", "")
    assert history.undo(third) is second
    history.push(second, "other")
    assert history.redo_text == ""
    for number in range(2 * MAX_STEPS):
        history.push(landmarks, str(number))
    steps = 0
    while history.undo(landmarks) is not None:
        steps += 1
    assert steps == MAX_STEPS


def test_every_landmark_has_a_picture_with_a_name_for_all_disks() -> None:
    protocol = load_protocol()
    names = [picture_name(protocol, label) for label in protocol.labels]
    assert len({name.lower() for name in names}) == 50
    reserved = {"con", "prn", "aux", "nul"}
    assert not {name.split(".")[0].lower() for name in names} & reserved
    paths = [picture_path(protocol, label) for label in protocol.labels]
    assert all(path is not None for path in paths)
    assert sum(path.stat().st_size for path in paths if path) < 700_000
