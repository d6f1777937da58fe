"""Edits of a set of landmarks while it is reviewed, and what is left to look at. Nothing here knows of the scene."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from PALNetLandmarksLib.landmarks import LandmarkSet

from .text import _

#: The note of a prediction that a person looked at and left as it was. It is part of files: not translated.
ACCEPTED = "accepted"
#: The note of a landmark that a person marked as missing, to tell it from one not come to yet. Part of files.
MARKED = "marked by hand"
#: Expected errors, mm, up to which a landmark is good, and fair: 2 mm is what is usually asked of one for clinical use.
GOOD_MM, FAIR_MM = 2.0, 4.0


def with_moved(landmarks: LandmarkSet, positions: np.ndarray, places: np.ndarray) -> LandmarkSet:
    """Give the set after someone moved, placed or removed points by hand.

    Parameters
    ----------
    landmarks : LandmarkSet
        Before.
    positions : (L, 3) float
        After; NaN where a point was removed.
    places : (k,) int
        Which landmarks were touched.

    Returns
    -------
    LandmarkSet
        What was predicted is now corrected, what was missing is placed; nobody knows their expected error.
    """
    for place in places:
        label, status = landmarks.protocol.labels[place], landmarks.status[place]
        if np.isnan(positions[place, 0]):
            landmarks = landmarks.with_point(label, None, "missing")
        else:
            by_hand = {"predicted": "corrected", "missing": "placed"}.get(status, status)
            landmarks = landmarks.with_point(label, positions[place], by_hand)
    return landmarks


def different(first: LandmarkSet, second: LandmarkSet) -> tuple[str, ...]:
    """Name the landmarks whose position, status, expected error or note differs between two sets."""
    same = ((first.positions == second.positions) | (first.missing & second.missing)[:, None]).all(axis=1)
    errors = first.expected_error_mm, second.expected_error_mm
    same &= (errors[0] == errors[1]) | (np.isnan(errors[0]) & np.isnan(errors[1]))
    said = zip(first.status, second.status, first.notes, second.notes)
    words = np.array([a == b and c == d for a, b, c, d in said])
    return tuple(label for label, equal in zip(first.protocol.labels, same & words) if not equal)


def moved_text(before: LandmarkSet, after: LandmarkSet, labels: tuple[str, ...]) -> str:
    """Name an edit by hand for the user."""
    if len(labels) != 1:
        return _("Move {n} landmarks").format(n=len(labels))
    place = before.protocol.index(labels[0])
    if before.missing[place]:
        return _("Place {label}").format(label=labels[0])
    if after.missing[place]:
        return _("Remove {label}").format(label=labels[0])
    return _("Move {label}").format(label=labels[0])


def is_accepted(landmarks: LandmarkSet, label: str) -> bool:
    """Say whether someone accepted a prediction as it is."""
    return landmarks.notes[landmarks.protocol.index(label)].split("; ")[0] == ACCEPTED


def accept(landmarks: LandmarkSet, label: str) -> LandmarkSet:
    """Note that a prediction was looked at and is good; its status stays *predicted*. Others stay as they are."""
    place = landmarks.protocol.index(label)
    if landmarks.status[place] != "predicted" or is_accepted(landmarks, label):
        return landmarks
    return _with_note(landmarks, place, "; ".join(filter(None, (ACCEPTED, landmarks.notes[place]))))


def is_marked(landmarks: LandmarkSet, label: str) -> bool:
    """Say whether someone marked a landmark as missing; one not come to yet is missing, but not marked."""
    place = landmarks.protocol.index(label)
    return landmarks.status[place] == "missing" and landmarks.notes[place].split("; ")[0] == MARKED


def mark_missing(landmarks: LandmarkSet, label: str) -> LandmarkSet:
    """Give the set without a landmark: it cannot be seen on this scan."""
    if is_marked(landmarks, label):
        return landmarks
    return landmarks.with_point(label, None, "missing", note=MARKED)


def restore(landmarks: LandmarkSet, predicted: LandmarkSet, label: str) -> LandmarkSet:
    """Put a landmark back to where the model had it, with what the model had said of it.

    Parameters
    ----------
    landmarks, predicted : LandmarkSet
        In the same frame.
    label : str

    Returns
    -------
    LandmarkSet
        As it was when the model found no such landmark, and nothing differs.
    """
    place = landmarks.protocol.index(label)
    position: Any = None if predicted.missing[place] else predicted.positions[place]
    return landmarks.with_point(
        label,
        position,
        predicted.status[place],
        note=predicted.notes[place],
        expected_error_mm=float(predicted.expected_error_mm[place]),
    )


def to_look_at(landmarks: LandmarkSet) -> np.ndarray:
    """Say (L,) bool which landmarks nobody has looked at yet.

    Those are predictions that are not accepted and not known to be good, and missing ones that nobody marked as such.
    """
    result = np.zeros(len(landmarks.protocol), dtype=bool)
    for place, (status, note) in enumerate(zip(landmarks.status, landmarks.notes)):
        if status == "predicted":
            # An unknown error (NaN) counts as not good.
            good = landmarks.expected_error_mm[place] <= GOOD_MM
            result[place] = not good and note.split("; ")[0] != ACCEPTED
        elif status == "missing":
            result[place] = note.split("; ")[0] != MARKED
    return result


def doubt_order(landmarks: LandmarkSet) -> np.ndarray:
    """Order (L,) int of the landmarks, least certain first.

    First the missing ones not marked by hand, then predictions by falling expected error, unknown ones first, then
    what a person has dealt with; the protocol's order among equals.
    """
    keys = []
    for place, (status, note) in enumerate(zip(landmarks.status, landmarks.notes)):
        error = landmarks.expected_error_mm[place]
        if status == "missing":
            keys.append((3.0 if note.split("; ")[0] == MARKED else 0.0, 0.0, place))
        elif status == "predicted":
            accepted = note.split("; ")[0] == ACCEPTED
            keys.append((2.0 if accepted else 1.0, -np.inf if np.isnan(error) else -float(error), place))
        else:
            keys.append((3.0, 0.0, place))
    return np.array([place for _group, _error, place in sorted(keys)], dtype=int)


def _with_note(landmarks: LandmarkSet, place: int, note: str) -> LandmarkSet:
    notes = list(landmarks.notes)
    notes[place] = note
    return replace(landmarks, notes=tuple(notes))
