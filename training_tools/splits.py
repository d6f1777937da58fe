"""Which scans train, which choose the best epoch, and which are reported on: by person, from a seed.

All scans of one person stay together. The same names, seed and shares give the same split on every machine and in any
order of the files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PALNetLandmarksLib.errors import InputError, UsageError
from PALNetLandmarksLib.files import atomic_write

PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Names of the scans of each part, sorted."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a scan that stands in two parts."""
        twice = (
            set(self.training) & set(self.validation)
            | set(self.training) & set(self.test)
            | set(self.validation) & set(self.test)
        )
        if twice:
            raise InputError(
                f"The scan '{min(twice)}' stands in two parts of the split.",
                "Name every scan once.",
                code="split.twice",
            )

    def part(self, name: str) -> tuple[str, ...]:
        """Return the names of one part."""
        names: tuple[str, ...] = getattr(self, name)
        return names

    def write(self, path: Path) -> None:
        """Write the split as JSON."""
        with atomic_write(path) as file:
            json.dump({name: list(self.part(name)) for name in PARTS}, file, indent=1, ensure_ascii=False)


def read_split(path: Path) -> Split:
    """Read what :meth:`Split.write` wrote.

    Raises
    ------
    InputError
        If it is something else.
    """
    try:
        data: Mapping[str, Sequence[str]] = json.loads(path.read_text(encoding="utf-8"))
        return Split(*(tuple(str(name) for name in data[part]) for part in PARTS))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{path.name}' is no split of a data set.",
            "Give the split.json that a training wrote.",
            code="split.file",
        ) from error


def person_of(pattern: str | None) -> Callable[[str], str]:
    """Return a function from a scan's name to the name of its person.

    Parameters
    ----------
    pattern : str, optional
        Regular expression whose first group is the person; a scan that it does not match is a person of its own.

    Examples
    --------
    >>> person_of(r"(S[0-9]+)_")("S01_smile"), person_of(None)("S01_smile")
    ('S01', 'S01_smile')
    """
    if pattern is None:
        return lambda name: name
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"'{pattern}' is no regular expression ({error}).", "An example: '(S[0-9]+)_'.", code="split.person"
        ) from error
    if expression.groups < 1:
        raise UsageError(
            f"'{pattern}' has no group.", "Put brackets round the person, as in '(S[0-9]+)_'.", code="split.person"
        )

    def person(name: str) -> str:
        found = expression.search(name)
        return found.group(1) if found and found.group(1) else name

    return person


def shuffled(persons: Sequence[str], seed: int) -> list[str]:
    """Return each person once, in an order that depends on names and seed only.

    Each is placed by the digest of seed and name, so that a person more or less leaves the order of the others.
    """
    return sorted(set(persons), key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).hexdigest(), name))


def split_scans(
    names: Sequence[str],
    validation: float,
    test: float,
    seed: int,
    person: Callable[[str], str] = lambda name: name,
) -> Split:
    """Split scans into parts by person.

    Parameters
    ----------
    names : sequence of str
    validation, test : float
        Shares of the persons, 0 to 1; a share above zero takes one person at least.
    seed : int
    person : callable
        From a scan's name to its person.

    Raises
    ------
    InputError
        If nobody would be left to train on.
    """
    persons = shuffled([person(name) for name in names], seed)
    tested = _count(test, len(persons))
    validated = _count(validation, len(persons))
    if tested + validated >= len(persons):
        raise InputError(
            f"{len(persons)} persons are too few for a validation and a test part.",
            "Add scans of more persons, or lower the shares.",
            code="split.few",
        )
    role = {name: "test" for name in persons[:tested]}
    role |= {name: "validation" for name in persons[tested : tested + validated]}
    chosen = {part: tuple(sorted(n for n in names if role.get(person(n), "training") == part)) for part in PARTS}
    return Split(chosen["training"], chosen["validation"], chosen["test"])


def folds(
    names: Sequence[str],
    count: int,
    validation: float,
    seed: int,
    person: Callable[[str], str] = lambda name: name,
) -> list[Split]:
    """Split scans for cross-validation: every scan is tested once, and each fold has a validation part of its own.

    Parameters
    ----------
    names : sequence of str
    count : int
        Number of folds.
    validation : float
        Share of the persons outside the tested fold on whom the best epoch is chosen.
    seed : int
    person : callable

    Raises
    ------
    InputError
        If there are fewer persons than folds, or nobody would be left to train on.
    """
    persons = shuffled([person(name) for name in names], seed)
    if count < 2 or len(persons) < count:
        raise InputError(
            f"{len(persons)} persons cannot be split into {count} folds.",
            "Choose 2 folds or more, and no more than there are persons.",
            code="split.folds",
        )
    splits = []
    for fold in range(count):
        tested = set(persons[fold::count])
        rest = [name for name in names if person(name) not in tested]
        inner = split_scans(rest, validation, 0.0, seed + 1 + fold, person)
        test = tuple(sorted(name for name in names if person(name) in tested))
        splits.append(Split(inner.training, inner.validation, test))
    return splits


def _count(share: float, persons: int) -> int:
    if not 0.0 <= share < 1.0:
        raise UsageError(f"{share:g} is no share.", "Give a number from 0 to below 1.", code="split.share")
    return max(1, round(share * persons)) if share > 0 else 0
