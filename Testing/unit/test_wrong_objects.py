"""What is no face is refused, what is not a usual face is refused, flagged or answered rightly: one of each kind.

The rates over hundreds come from ``python -m Testing.robustness``; see docs/robustness.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from Testing.robustness.__main__ import report
from Testing.robustness.faces import CHANGED, CHANGES, TWO_FACES
from Testing.robustness.objects import NO_FACES
from Testing.robustness.trials import FACE, Outcome, Task, attempt, made, prepare, tasks

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


def test_rates_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    doubt = ("registration.doubtful",)
    objects = [
        Outcome("sphere", 0, "", (), 2.0, 50),
        Outcome("sphere", 1, "", doubt, 0.5, 50),
        Outcome("vase", 0, "registration.no_face", ()),
        Outcome("vase", 1, "scan.flat", ()),
    ]
    faces = [
        Outcome(FACE, 0, "registration.no_face", ()),
        Outcome(FACE, 1, "", doubt, 0.5, 50, 2.0, 8.0, 0),
        Outcome(FACE, 2, "", (), 2.0, 50, 9.0, 40.0, 20),
        Outcome(FACE, 3, "", (), 2.0, 50, 2.0, 8.0, 0),
        Outcome(FACE, 4, "", (), 2.0, 50, 1.0, 4.0, 0),
    ]
    assert report([*objects, *faces, Outcome("half a face", 0, "", (), 2.0, 50, 9.0, 14.0, 0)]) == (0.25, 0.2)
    said = capsys.readouterr().out
    assert "false accept: 1 of 4 (25.0 %), and 1 accepted with a warning" in said
    assert "false refuse: 1 of 5 (20.0 %); of those accepted 1 with a warning, 1 wrong without one" in said
    rows = {line[:22].strip(): [int(word) for word in line[22:].split()[:5]] for line in said.splitlines()[1:6]}
    # tried, refused, with a warning, in silence, wrong
    assert rows["sphere"] == [2, 0, 1, 1, 1] and rows["vase"] == [2, 2, 0, 0, 0]
    assert rows[FACE] == [5, 1, 1, 3, 1] and rows["half a face"] == [1, 0, 0, 1, 1]


def test_as_many_trials_are_made_as_asked_for() -> None:
    planned = tasks(1, FOLDERS, Path("model.npz"), 200, 150, 3)
    kinds = [task.kind for task in planned]
    assert len({(task.kind, task.number) for task in planned}) == len(planned) == 350 + 3 * len(CHANGED)
    assert set(kinds) == {*NO_FACES, FACE, *CHANGED} and kinds.count(FACE) == 150
    assert sum(kind in NO_FACES for kind in kinds) == 200
    assert kinds.count("sphere") >= 200 // len(NO_FACES)
