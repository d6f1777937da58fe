r"""Tables as comma-separated text that people open in spreadsheets and programs read.

Written: commas, decimal points, ``\\n`` line ends, UTF-8; a byte-order mark only when a cell has a letter outside ASCII
(Excel needs it then; other readers are better off without). Read: commas, semicolons or tabs, any line ends, decimal
commas where the separator is not a comma.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence

from .errors import InputError
from .files import PathLike, atomic_write

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: Spellings of a value that is not there.
_ABSENT = {"", "na", "nan", "n/a", "null", "none"}


def safe_cell(text: str) -> str:
    """Quote a cell that a spreadsheet would run as a formula.

    A cell that begins with = + - @ (also full-width), tab or line end, and is no number, gets a leading apostrophe.

    Parameters
    ----------
    text : str
        Content of a cell.

    Returns
    -------
    str
        The same, or with an apostrophe in front.

    Examples
    --------
    >>> safe_cell("=1+2"), safe_cell("-1.5"), safe_cell("N-Pg")
    ("'=1+2", '-1.5', 'N-Pg')
    """
    if text.startswith(_TRIGGERS) or text.lstrip().startswith(_TRIGGERS):
        return text if _NUMBER.fullmatch(text) else f"'{text}"
    return text


def unsafe_cell(text: str) -> str:
    """Take off the apostrophe that :func:`safe_cell` put in front.

    Parameters
    ----------
    text : str
        Content of a cell read from a file.

    Returns
    -------
    str
        The original text.

    Examples
    --------
    >>> unsafe_cell("'=1+2"), unsafe_cell("'s Gravenhage")
    ('=1+2', "'s Gravenhage")
    """
    rest = text[1:]
    return rest if text.startswith("'") and safe_cell(rest) != rest else text


def number_text(value: float, decimals: int) -> str:
    """Write a number with a decimal point, empty when it is NaN, and no minus sign in front of a zero.

    Parameters
    ----------
    value : float
        The number.
    decimals : int
        Digits after the point.

    Returns
    -------
    str
        For example ``1.50``.

    Examples
    --------
    >>> number_text(1.5, 2), number_text(float("nan"), 2), number_text(-0.001, 2)
    ('1.50', '', '0.00')
    """
    if math.isnan(value):
        return ""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0.0 else text


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table as comma-separated text, each cell safe for spreadsheets.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
        Cells.

    Returns
    -------
    str
        The text, with a byte-order mark in front when it is not plain ASCII.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for row in (header, *rows):
        # A lone carriage return begins a new row in spreadsheets, and Python's writer does not quote it.
        writer.writerow([safe_cell(cell).replace("\r\n", "\n").replace("\r", "\n") for cell in row])
    text = stream.getvalue()
    return text if text.isascii() else "\ufeff" + text


def write_table(path: PathLike, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table as a CSV file that appears whole or not at all.

    Parameters
    ----------
    path : str or PathLike
        File to write.
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
        Cells.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    with atomic_write(path) as stream:
        stream.write(table_text(header, rows))


def parse_table(text: str, name: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    r"""Read a table from text with commas, semicolons or tabs.

    Parameters
    ----------
    text : str
        The file's content, without byte-order mark, with ``\\n`` line ends.
    name : str
        What to call the file in errors.

    Returns
    -------
    header : list of str
        Names of the columns.
    rows : list of (int, dict)
        Line number in the file, and the cells by column; empty lines are left out.

    Raises
    ------
    InputError
        When a column is there twice, or a row has more or fewer cells than the header.
    """
    first = next((line for line in text.split("\n") if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                _check_header(header, name)
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{name}: line {reader.line_num} has {len(cells)} cells where the header has {len(header)}.",
                    "Correct that line, or export the table again.",
                    code="table.row",
                )
            values = [unsafe_cell(cell.strip()) for cell in cells]
            if delimiter != ",":
                values = [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in values]
            rows.append((reader.line_num, dict(zip(header, values))))
    except csv.Error as error:
        raise InputError(
            f"{name}: line {reader.line_num} is not readable as a table ({error}).",
            "Save it as CSV again.",
            code="table.format",
        ) from error
    return header, rows


def _check_header(header: Sequence[str], name: str) -> None:
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise InputError(
            f"{name}: the column {', '.join(twice[:5])} is there twice.", "Keep one of them.", code="table.header"
        )


def parse_number(text: str, where: str) -> float:
    """Read a finite number; NaN for a cell that is empty or says that there is none.

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
    if text.strip().lower() in _ABSENT:
        return math.nan
    if _NUMBER.fullmatch(text.strip()):
        value = float(text)
        if math.isfinite(value):
            return value
    raise InputError(
        f"{where}: '{text[:40]}' is not a number.", "Correct it; leave it empty if missing.", code="table.number"
    )


def merged_columns(records: Sequence[Mapping[str, str]], first: Sequence[str]) -> list[str]:
    """Give the columns that hold all keys of several records: some in a fixed order, the rest as they come.

    Parameters
    ----------
    records : sequence of mapping
        One per row.
    first : sequence of str
        Columns that are always there.

    Returns
    -------
    list of str
        Names of the columns.
    """
    columns: dict[str, str | None] = dict.fromkeys(first)
    for record in records:
        columns.update(dict.fromkeys(record))
    return list(columns)
