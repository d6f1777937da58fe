"""Cells of a table of norms as people write them: names of columns, sexes, units, ages."""

from __future__ import annotations

import math
import re
from typing import NoReturn

from .errors import InputError
from .protocol import Measurement, Protocol
from .spreadsheet import parse_number

#: Spellings of the columns, as :func:`simplified` makes them.
COLUMNS: dict[str, frozenset[str]] = {
    "measurement": frozenset({"measurement", "measurements", "measure", "measurementid", "id", "variable", "name"}),
    "sex": frozenset({"sex", "gender"}),
    "age": frozenset({"age", "ages", "agerange", "agegroup", "years"}),
    "age_min": frozenset({"agemin", "minage", "minimumage", "ageminimum", "agefrom", "fromage", "agelow"}),
    "age_max": frozenset({"agemax", "maxage", "maximumage", "agemaximum", "ageto", "toage", "agehigh"}),
    "mean": frozenset({"mean", "m", "average", "avg"}),
    "sd": frozenset({"sd", "std", "stdev", "stddev", "standarddeviation"}),
    "n": frozenset({"n", "count", "number", "samplesize", "subjects"}),
    "source": frozenset({"source", "sources", "reference", "citation"}),
    "method": frozenset({"method", "methods", "instrument", "device", "technique"}),
    "unit": frozenset({"unit", "units"}),
}
UNITS: dict[str, str] = {
    "mm": "mm", "millimetre": "mm", "millimetres": "mm", "millimeter": "mm", "millimeters": "mm",
    "degree": "degree", "degrees": "degree", "deg": "degree", "\u00b0": "degree",
    "percent": "percent", "%": "percent", "per cent": "percent",
}  # fmt: skip
_SEXES: dict[str, frozenset[str]] = {
    "female": frozenset({"female", "females", "f", "woman", "women", "girl", "girls"}),
    "male": frozenset({"male", "males", "m", "man", "men", "boy", "boys"}),
    "any": frozenset({"", "any", "all", "both", "both sexes", "mixed", "pooled", "f+m", "m+f", "f/m", "m/f", "*", "-"}),
}
_COMMA = re.compile(r"[-+]?\d*,\d+")
_NUMBER = r"(\d+(?:[.,]\d+)?)"
_RANGE = re.compile(_NUMBER + r"\s*(?:-|to|until)\s*" + _NUMBER)
_FROM = re.compile(r"(?:>=|\u2265|from)?\s*" + _NUMBER + r"\s*(\+|and older|and over|and above)?")


class MeasurementNames:
    """Names of a protocol's measurements as people spell them.

    Parameters
    ----------
    protocol : Protocol
        The measurements.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._exact = {item.id: item for item in protocol.measurements}
        self._loose: dict[str, list[Measurement]] = {}
        for item in protocol.measurements:
            self._loose.setdefault(_loosely(item.id), []).append(item)

    def find(self, name: str) -> Measurement | None:
        """Find a measurement; a spelling that could mean two means none."""
        if name in self._exact:
            return self._exact[name]
        found = self._loose.get(_loosely(name), [])
        return found[0] if len(found) == 1 else None


def _loosely(name: str) -> str:
    """Take out of a name what people spell differently: capitals, kinds of dashes, spaces."""
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", name.casefold())
    return re.sub(r"\s*-\s*", "-", re.sub(r"\s+", " ", text)).strip()


def simplified(column: str) -> str:
    """Take out of a column's name what people spell differently.

    Parameters
    ----------
    column : str
        As in the file, perhaps with a unit in brackets.

    Returns
    -------
    str
        Its letters, small.

    Examples
    --------
    >>> simplified("Age_Min (years)"), simplified("S.D.")
    ('agemin', 'sd')
    """
    text = column.casefold()
    # Behind the last closing bracket no opening one has its partner: looking for it takes time with their square.
    end = max(text.rfind(")"), text.rfind("]")) + 1
    return re.sub(r"[^a-z]", "", re.sub(r"[(\[][^)\]]*[)\]]", "", text[:end]) + text[end:])


def sex_of(text: str) -> str:
    """Give the sex that a cell names: ``female``, ``male`` or ``any``; empty when it names none of them.

    Examples
    --------
    >>> sex_of("F"), sex_of("Men"), sex_of(""), sex_of("x")
    ('female', 'male', 'any', '')
    """
    plain = text.strip().casefold()
    return next((sex for sex, spellings in _SEXES.items() if plain in spellings), "")


def read_number(text: str, where: str) -> float:
    """Read a number, also with a decimal comma; NaN for a cell that is empty.

    Parameters
    ----------
    text : str
        The cell.
    where : str
        Place for the error message.

    Returns
    -------
    float
        The number, or NaN.

    Raises
    ------
    InputError
        When it is neither.
    """
    return parse_number(text.replace(",", ".") if _COMMA.fullmatch(text.strip()) else text, where)


def age_range(low: str, high: str, both: str, where: str) -> tuple[float, float]:
    """Read a range of ages.

    Parameters
    ----------
    low, high : str
        Cells with the lowest and the highest age; empty where there is no limit.
    both : str
        Cell with both, like ``18-25``, ``60+``, ``30``; empty when the others count.
    where : str
        Place for the error message.

    Returns
    -------
    age_from, age_below : float
        The range holds from the first to just below the second, years. Whole numbers count in completed years, so that
        19 to 25 reaches to just below 26.

    Raises
    ------
    InputError
        When it is no range.

    Examples
    --------
    >>> age_range("19", "25", "", "n"), age_range("", "", "0.5 - 1.5", "n"), age_range("60", "", "", "n")
    ((19.0, 26.0), (0.5, 1.5), (60.0, inf))
    """
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", " ".join(both.casefold().split()))
    text = re.sub(r"\s*(years?|yrs?|y)\b\.?(\s*of age)?", "", text).strip()
    if text not in ("", "all", "any", "all ages", "-"):
        if low or high:
            _refuse(where, "ages are given twice", "Use either age, or age_min and age_max.")
        if _RANGE.fullmatch(text):
            low, high = _RANGE.fullmatch(text).groups()  # type: ignore[union-attr]
        elif _FROM.fullmatch(text):
            match = _FROM.fullmatch(text)
            low = match.group(1)  # type: ignore[union-attr]
            opened = match.group(2) or not text[0].isdigit()  # type: ignore[union-attr]
            high = "" if opened else low
        else:
            _refuse(where, f"the age '{both[:40]}' is not understood", "Write it like 18-25 or 60+.")
    first, last = read_number(low, f"{where}, lowest age"), read_number(high, f"{where}, highest age")
    start = 0.0 if math.isnan(first) else first
    if math.isnan(last):
        end = math.inf
    elif last.is_integer() and start.is_integer():
        end = last + 1.0
    else:
        end = last
    if start < 0.0 or end <= start:
        _refuse(where, f"{low or '0'} to {high} is no range of ages", "The lowest age comes first, in years.")
    return start, end


def _refuse(where: str, problem: str, hint: str) -> NoReturn:
    raise InputError(f"{where}: {problem}.", hint, code="norms.row")
