"""Splits: by person, repeatable, no scan in two parts, none lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from PALNetLandmarksLib.errors import InputError, UsageError
from training_tools.splits import Split, folds, person_of, read_split, split_scans

NAMES = [f"P{person:02d}_{scan}" for person in range(20) for scan in range(2)]
PERSON = person_of(r"(P\d+)_")


def test_all_scans_of_a_person_stay_together() -> None:
    for seed in range(5):
        split = split_scans(NAMES, 0.2, 0.2, seed, PERSON)
        persons = [{PERSON(name) for name in split.part(part)} for part in ("training", "validation", "test")]
        assert not persons[0] & persons[1] and not persons[0] & persons[2] and not persons[1] & persons[2]
        assert [len(group) for group in persons] == [12, 4, 4]
        assert sorted(split.training + split.validation + split.test) == sorted(NAMES)


def test_a_split_depends_on_names_and_seed_only() -> None:
    split = split_scans(NAMES, 0.2, 0.2, 3, PERSON)
    assert split == split_scans(NAMES[::-1], 0.2, 0.2, 3, PERSON)
    assert split != split_scans(NAMES, 0.2, 0.2, 4, PERSON)


def test_folds_test_every_scan_once_and_choose_on_others() -> None:
    splits = folds(NAMES, 5, 0.15, 0, PERSON)
    assert sorted(name for split in splits for name in split.test) == sorted(NAMES)
    for split in splits:
        assert split.validation
        assert sorted(split.training + split.validation + split.test) == sorted(NAMES)
        tested = {PERSON(name) for name in split.test}
        assert not tested & {PERSON(name) for name in split.training + split.validation}
    assert len({split.validation for split in splits}) > 1


@pytest.mark.parametrize(
    ("count", "share", "error"), [(1, 0.1, InputError), (21, 0.1, InputError), (5, 1.0, UsageError)]
)
def test_impossible_folds_are_refused(count: int, share: float, error: type[Exception]) -> None:
    with pytest.raises(error):
        folds(NAMES, count, share, 0, PERSON)


def test_nobody_left_to_train_on_is_an_error() -> None:
    with pytest.raises(InputError, match="too few"):
        split_scans(["a", "b"], 0.4, 0.4, 0)


def test_a_split_is_read_as_it_was_written(tmp_path: Path) -> None:
    split = split_scans(NAMES, 0.2, 0.2, 0, PERSON)
    split.write(tmp_path / "split.json")
    assert read_split(tmp_path / "split.json") == split
    (tmp_path / "other.json").write_text('{"training": []}')
    with pytest.raises(InputError, match="no split"):
        read_split(tmp_path / "other.json")


def test_a_scan_in_two_parts_is_refused() -> None:
    with pytest.raises(InputError, match="'a' stands in two parts"):
        Split(("a", "b"), ("c",), ("a",))


@pytest.mark.parametrize("pattern", ["(", "S[0-9]+"])
def test_a_pattern_that_names_nobody_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError):
        person_of(pattern)
