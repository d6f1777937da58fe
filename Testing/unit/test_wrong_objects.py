"""What is no face is refused, what is not a usual face is refused, flagged or answered rightly: one of each kind.

The rates over hundreds come from ``python -m Testing.robustness``; see docs/robustness.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from Testing.robustness.faces import CHANGES, TWO_FACES
from Testing.robustness.objects import NO_FACES
from Testing.robustness.trials import FACE, Outcome, Task, attempt, made, prepare

FOLDERS = [Path(__file__).parents[1] / "data" / "faces" / "small"]
QUICK = ("sphere", "vase", "terrain", "chair", "hand", "animal", "back of a head")


@pytest.fixture(scope="module", autouse=True)
def model() -> None:
    prepare(threads=1)


def tried(kind: str, number: int = 0) -> Outcome:
    return attempt(Task(kind, number, 5, FOLDERS))


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in NO_FACES]
)
def test_what_is_no_face_is_refused(kind: str) -> None:
    assert tried(kind).refused == "registration.no_face"


def test_a_face_is_accepted_without_a_warning() -> None:
    outcome = tried(FACE)
    assert outcome.silent
    assert outcome.close


def test_two_faces_are_said_and_one_of_them_is_answered() -> None:
    outcome = tried(TWO_FACES)
    assert outcome.flags == ("registration.second_face",)
    assert outcome.close


@pytest.mark.parametrize("kind", ["only a nose", "scaled by 0.5", "scaled by 2"])
def test_too_little_of_a_face_and_faces_of_another_size_are_refused(kind: str) -> None:
    assert tried(kind).refused


@pytest.mark.parametrize("kind", [kind for kind in CHANGES if kind.startswith(("half", "mirrored"))])
def test_a_changed_face_is_not_answered_wrongly_in_silence(kind: str) -> None:
    outcome = tried(kind)
    assert outcome.right
    assert (kind == "mirrored, inside out") == ("scan.inside_out" in outcome.flags)


def test_trials_can_be_repeated() -> None:
    for kind in ("animal", FACE, "half a face"):
        first, again, other = (made(Task(kind, number, 5, FOLDERS))[0].vertices for number in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert first.shape != other.shape or not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("outcome", "right"),
    [
        (Outcome("sphere", 0, "registration.no_face", ()), True),
        (Outcome("sphere", 0, "", ("registration.doubtful",), 0.5, 50), True),
        (Outcome("sphere", 0, "", (), 2.0, 50), False),
        (Outcome(FACE, 0, "registration.no_face", ()), False),
        (Outcome(FACE, 0, "", (), 5.0, 50, 2.0, 8.0, 0), True),
        (Outcome("half a face", 0, "", (), 2.0, 25, 2.5, 9.0, 0), True),
        (Outcome("half a face", 0, "", (), 2.0, 50, 4.0, 40.0, 6), False),
        (Outcome("half a face", 0, "", (), 2.0, 50, 9.0, 14.0, 0), False),
        (Outcome("half a face", 0, "", ("registration.doubtful",), 0.5, 50, 9.0, 14.0, 0), True),
    ],
)
def test_the_judge_knows_right_from_wrong(outcome: Outcome, right: bool) -> None:
    assert outcome.right is right
