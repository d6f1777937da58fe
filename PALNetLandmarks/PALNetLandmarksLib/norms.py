"""The user's own norms: how a measurement compares with people of the same sex and age.

No norms come with the software. A laboratory writes those it trusts into a CSV table, one row per measurement, sex and
range of ages, and says for each where it comes from and how it was measured (``docs/norms.md``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .errors import InputError
from .files import PathLike, read_text
from .measurements import Measurements
from .norms_cells import COLUMNS, UNITS, MeasurementNames, age_range, read_number, sex_of, simplified
from .protocol import Measurement, Protocol
from .spreadsheet import parse_table

#: Sexes of a person, as the program names them; empty text where it is not known.
SEXES = ("female", "male")
#: Sex of a norm that holds for everybody.
ANY = "any"
#: What is said of a norm whose file leaves it open.
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Norm:
    """One row of a table of norms.

    Parameters
    ----------
    measurement : str
        Name of the measurement, as in the protocol.
    sex : {"female", "male", "any"}
        Whom it holds for.
    age_from, age_below : float
        Ages in years from ``age_from`` to just below ``age_below`` (infinite where there is no upper end).
    mean, sd : float
        In the measurement's unit; the standard deviation is above 0.
    count : int
        People it rests on; 0 where not stated.
    source, method : str
        Where it comes from; how it was measured.
    line : int
        Its line in the file.
    """

    measurement: str
    sex: str
    age_from: float
    age_below: float
    mean: float
    sd: float
    count: int
    source: str
    method: str
    line: int = 0

    @property
    def all_ages(self) -> bool:
        """Whether it holds for every age."""
        return self.age_from <= 0.0 and math.isinf(self.age_below)

    @property
    def people(self) -> str:
        """Say whom it holds for, for example ``female, 19 to 25 years, n = 100``."""
        whole = self.age_from.is_integer() and (math.isinf(self.age_below) or self.age_below.is_integer())
        if self.all_ages:
            years = "all ages"
        elif math.isinf(self.age_below):
            years = f"{self.age_from:g} years and older"
        elif whole:
            last = self.age_below - 1
            years = f"{self.age_from:g} years" if last == self.age_from else f"{self.age_from:g} to {last:g} years"
        else:
            years = f"{self.age_from:g} to below {self.age_below:g} years"
        sex = "both sexes" if self.sex == ANY else self.sex
        return f"{sex}, {years}" + (f", n = {self.count}" if self.count else "")


@dataclass(frozen=True)
class Norms:
    """A table of norms.

    Parameters
    ----------
    rows : tuple of Norm
        In the order of the file.
    unknown : tuple of str
        Names in the file that the protocol has no measurement for; their rows are left out.
    """

    rows: tuple[Norm, ...]
    unknown: tuple[str, ...] = ()

    def find(self, measurement: str, sex: str, age: float | None) -> tuple[Norm | None, str]:
        """Find the norm for one measurement of one person.

        Parameters
        ----------
        measurement : str
            Its name in the protocol.
        sex : str
            ``female``, ``male``, or empty where unknown. A norm for the person's sex goes before one for both.
        age : float or None
            Years; None, NaN or 0 where unknown.

        Returns
        -------
        norm : Norm or None
            The norm.
        reason : str
            Why there is none; empty when there is one.
        """
        rows = [row for row in self.rows if row.measurement == measurement]
        if not rows:
            return None, "the norms file does not have it"
        known = age is not None and math.isfinite(age) and age > 0.0
        years = float(age) if known and age is not None else math.nan
        same = [row for row in rows if row.sex == sex]
        both = [row for row in rows if row.sex == ANY]
        for row in (*same, *both):
            if row.all_ages or row.age_from <= years < row.age_below:
                return row, ""
        if not (same or both):
            return None, "the norms file has none for this sex" if sex else "the sex is not given"
        return None, "the norms file has none for this age" if known else "the age is not given"


@dataclass(frozen=True)
class ZScore:
    """How a measurement lies against its norm.

    Parameters
    ----------
    z : float
        (value - mean) / SD; NaN where there is no norm or no value.
    norm : Norm or None
        The norm used.
    reason : str
        Why there is no z; empty when there is one.
    """

    z: float
    norm: Norm | None = None
    reason: str = ""

    @property
    def mean(self) -> float:
        """Mean of the norm, in the measurement's unit; NaN without one."""
        return self.norm.mean if self.norm else math.nan

    @property
    def sd(self) -> float:
        """Standard deviation of the norm, in the measurement's unit; NaN without one."""
        return self.norm.sd if self.norm else math.nan

    @property
    def source(self) -> str:
        """Where the norm comes from; empty without one."""
        return self.norm.source if self.norm else ""

    @property
    def method(self) -> str:
        """How the norm was measured; empty without one."""
        return self.norm.method if self.norm else ""


def z_scores(measurements: Measurements, norms: Norms | None, sex: str, age: float | None) -> tuple[ZScore, ...]:
    r"""Compare all measurements of a person with norms.

    Parameters
    ----------
    measurements : Measurements
        M measurements.
    norms : Norms or None
        The norms; None gives M scores without a z and without a reason.
    sex : str
        ``female``, ``male``, or empty where unknown.
    age : float or None
        Years; None, NaN or 0 where unknown.

    Returns
    -------
    tuple of ZScore
        M scores, in the protocol's order.

    Examples
    --------
    >>> import numpy as np
    >>> from PALNetLandmarksLib.measurements import measure
    >>> protocol = Protocol.from_dict({
    ...     "id": "tiny", "version": "1.0", "title": "two points",
    ...     "landmarks": [{"label": "Ch_R", "side": "right"}, {"label": "Ch_L", "side": "left"}],
    ...     "measurements": [{"id": "mouth width", "kind": "distance", "points": "Ch_R Ch_L"}],
    ... })
    >>> norms = parse_norms("measurement;sex;age;mean;SD;source\nmouth width;f;18-30;48,0;2,5;own", "n.csv", protocol)
    >>> face = measure(np.array([[-26.5, 0, 0], [26.5, 0, 0]]), protocol)
    >>> [score.z for score in z_scores(face, norms, "female", 25.0)]
    [2.0]
    >>> [score.reason for score in z_scores(face, norms, "female", None)]
    ['the age is not given']
    """
    if norms is None:
        return (ZScore(math.nan),) * len(measurements.values)
    scores = []
    for place, item in enumerate(measurements.protocol.measurements):
        value = float(measurements.values[place])
        norm, reason = norms.find(item.id, sex, age)
        if norm is not None and math.isnan(value):
            reason = "the measurement is missing"
        scores.append(ZScore(math.nan if norm is None or reason else (value - norm.mean) / norm.sd, norm, reason))
    return tuple(scores)


def read_norms(path: PathLike, protocol: Protocol) -> Norms:
    """Read a table of norms.

    Parameters
    ----------
    path : str or PathLike
        A CSV file, see :func:`parse_norms`.
    protocol : Protocol
        The measurements it may name.

    Returns
    -------
    Norms
        The checked norms.

    Raises
    ------
    InputError
        When the file cannot be read, or with the line of the first thing that is wrong.
    """
    return parse_norms(read_text(path, what="table of norms"), Path(path).name, protocol)


def parse_norms(text: str, name: str, protocol: Protocol) -> Norms:
    r"""Read a table of norms from text.

    Needed are the columns measurement, mean, SD and source. Sex, ages (``age min`` and ``age max``, or one column
    ``age`` like ``18-25``, ``60+``), n, method and unit may be left out. A range of whole years counts in completed
    years: 19 to 25 holds for everybody who is 19 and not yet 26.

    Parameters
    ----------
    text : str
        Commas, semicolons or tabs between cells; decimal points or commas.
    name : str
        What to call the file in errors.
    protocol : Protocol
        The measurements it may name. Names are matched without regard to capitals.

    Returns
    -------
    Norms
        The checked norms.

    Raises
    ------
    InputError
        With the line of the first thing that is wrong: a missing column, a mean or SD that is no number, an SD of 0,
        an unknown sex, ages that make no range, a unit that is not the measurement's, two rows for the same person.
    """
    header, rows = parse_table(text, name)
    columns = _columns(header, name)
    names = MeasurementNames(protocol)
    norms: list[Norm] = []
    unknown: list[str] = []
    for line, cells in rows:
        row = {key: cells[column].strip() for key, column in columns.items()}
        where = f"{name} line {line}"
        if not row["measurement"]:
            _refuse(where, "no measurement is named", "Name it as in the protocol, for example N-Pg.")
        item = names.find(row["measurement"])
        norm = _norm(row, item, where, line)
        if item is None:
            unknown.append(row["measurement"])
        else:
            norms.append(norm)
    if not norms:
        listed = f" (it has {', '.join(unknown[:5])})" if unknown else ""
        raise InputError(
            f"{name} has no norm for a measurement of the protocol {protocol.id}{listed}.",
            "Name the measurements as the program does: "
            + ", ".join(item.id for item in protocol.measurements[:3])
            + " and so on.",
            code="norms.empty",
        )
    _check_overlaps(norms, name)
    return Norms(tuple(norms), tuple(dict.fromkeys(unknown)))


def _columns(header: Sequence[str], name: str) -> dict[str, str]:
    """Find our columns among those of the file."""
    found: dict[str, str] = {}
    for column in header:
        plain = simplified(column)
        for key, spellings in COLUMNS.items():
            if plain in spellings:
                if key in found:
                    _refuse(name, f"the columns '{found[key]}' and '{column}' mean the same", "Keep one of them.")
                found[key] = column
    missing = [key for key in ("measurement", "mean", "sd", "source") if key not in found]
    if missing:
        raise InputError(
            f"{name} has no column {', '.join(missing)}.",
            "A table of norms has the columns measurement, sex, age_min, age_max, mean, SD, n, source, method.",
            code="norms.columns",
        )
    return found


def _norm(row: dict[str, str], item: Measurement | None, where: str, line: int) -> Norm:
    sex = sex_of(row.get("sex", ""))
    if not sex:
        _refuse(where, f"the sex '{row['sex'][:40]}' is not understood", "Write female, male, or any.")
    mean = read_number(row["mean"], f"{where}, mean")
    sd = read_number(row["sd"], f"{where}, SD")
    if math.isnan(mean) or math.isnan(sd):
        _refuse(where, "the mean or the SD is empty", "Fill it in, or leave the row out.")
    if sd <= 0.0:
        _refuse(where, f"the SD is {sd:g}", "A standard deviation is above 0.")
    count = read_number(row.get("n", ""), f"{where}, n")
    if not math.isnan(count) and (count < 1 or not count.is_integer()):
        _refuse(where, f"n is {count:g}", "n is the number of people, a whole number; leave it empty if unknown.")
    unit = row.get("unit", "")
    if unit and item is not None and UNITS.get(unit.casefold().strip(" .()[]")) != item.unit:
        _refuse(where, f"the unit of {item.id} is {item.unit}, not '{unit[:20]}'", f"Give mean and SD in {item.unit}.")
    if not row["source"]:
        _refuse(where, "no source is given", "Say where the figures come from: nobody can judge them otherwise.")
    ages = age_range(row.get("age_min", ""), row.get("age_max", ""), row.get("age", ""), where)
    return Norm(
        measurement=item.id if item else row["measurement"],
        sex=sex,
        age_from=ages[0],
        age_below=ages[1],
        mean=mean,
        sd=sd,
        count=0 if math.isnan(count) else int(count),
        source=row["source"],
        method=row.get("method", "") or NOT_STATED,
        line=line,
    )


def _check_overlaps(norms: Sequence[Norm], name: str) -> None:
    """Refuse two rows of which either could be used for the same person."""
    groups: dict[tuple[str, str], list[Norm]] = {}
    for norm in norms:
        groups.setdefault((norm.measurement, norm.sex), []).append(norm)
    for (measurement, sex), rows in groups.items():
        rows.sort(key=lambda row: row.age_from)
        for one, other in zip(rows, rows[1:]):
            if other.age_from < one.age_below:
                lines = sorted((one.line, other.line))
                raise InputError(
                    f"{name}: lines {lines[0]} and {lines[1]} overlap: both hold for {measurement}, "
                    f"{'both sexes' if sex == ANY else sex}, at the age of {other.age_from:g}.",
                    "Keep one of them, or let the second range begin after the first (18 to 25, 26 to 35).",
                    code="norms.overlap",
                )


def _refuse(where: str, problem: str, hint: str) -> NoReturn:
    raise InputError(f"{where}: {problem}.", hint, code="norms.row")
