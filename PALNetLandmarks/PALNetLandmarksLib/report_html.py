"""Pieces of HTML that the report is made of: everything that goes in is escaped here."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .landmarks import RECORD_NAME

#: No scripts, no links to elsewhere: the page needs nothing but itself, and the browser is told to fetch nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
@page { margin: 16mm 14mm; }
* { box-sizing: border-box; }
body { font: 11pt/1.45 "Segoe UI", "Helvetica Neue", Helvetica, Arial, sans-serif; color: #1b1f24; background: #fff;
  max-width: 190mm; margin: 0 auto; padding: 8mm 4mm; }
h1 { font-size: 17pt; margin: 0 0 1mm; }
h2 { font-size: 13pt; margin: 8mm 0 2mm; padding-bottom: 1mm; border-bottom: 1px solid #9aa4af; break-after: avoid; }
h3 { font-size: 11pt; margin: 4mm 0 1mm; break-after: avoid; }
p { margin: 1.5mm 0; }
.case { font-size: 13pt; margin: 0; }
.research { border: 1.5px solid #8a4b00; background: #fff6e6; padding: 2mm 3mm; margin: 3mm 0; font-weight: 600; }
.note { color: #4a535d; font-size: 9.5pt; }
.alarm { color: #8a1c1c; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; font-size: 9.5pt; margin: 1mm 0 3mm; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
th, td { text-align: left; vertical-align: top; padding: 0.7mm 1.5mm; border-bottom: 1px solid #dde2e7; }
td { overflow-wrap: anywhere; }
th { border-bottom: 1px solid #6b7681; font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.n { white-space: nowrap; }
tr.doubt td { background: #fff3dd; }
tr.gone td { color: #77818b; }
tr.same td { color: #77818b; }
.pictures { display: flex; flex-wrap: wrap; gap: 3mm; }
figure { margin: 0; break-inside: avoid; flex: 1 1 52mm; }
figure.wide { flex-basis: 100%; }
img { width: 100%; height: auto; display: block; border: 1px solid #dde2e7; }
figcaption { font-size: 9pt; color: #4a535d; padding-top: 0.7mm; }
dl { display: grid; grid-template-columns: 55mm 1fr; gap: 0.5mm 3mm; font-size: 9.5pt; margin: 1mm 0; }
dt { color: #4a535d; } dd { margin: 0; overflow-wrap: anywhere; }
@media print { body { padding: 0; max-width: none; font-size: 10pt; } }
"""


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Parameters
    ----------
    caption : str
        What it shows.
    png : bytes
        The picture as a PNG file.
    wide : bool
        Whether it takes the width of the page.
    """

    caption: str
    png: bytes
    wide: bool = False


@dataclass(frozen=True)
class Row:
    """Cells of a table, and how it is marked: ``doubt``, ``gone``, ``same`` or nothing."""

    cells: tuple[str, ...]
    mark: str = ""


def escaped(text: str) -> str:
    """Make text harmless in HTML, attributes included.

    Parameters
    ----------
    text : str
        Anything.

    Returns
    -------
    str
        Escaped, and without control characters, which XML-minded readers refuse.

    Examples
    --------
    >>> escaped('<b a="1">')
    '&lt;b a=&quot;1&quot;&gt;'
    """
    return html.escape("".join(letter for letter in text if letter >= " " or letter in "\t\n"), quote=True)


def page(title: str, body: str, record: Mapping[str, str] | None = None) -> str:
    """Make a page of its parts.

    Parameters
    ----------
    title : str
        Text, escaped here.
    body : str
        HTML.
    record : mapping of str to str, optional
        How the page came about, for programs: a ``meta`` element called :data:`RECORD_NAME` holds it as JSON.

    Returns
    -------
    str
        The whole document.
    """
    said = f'<meta name="{RECORD_NAME}" content="{escaped(json.dumps(dict(record)))}">\n' if record else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{said}<title>{escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def element(name: str, text: str, mark: str = "") -> str:
    """Make an element of text, which is escaped."""
    return f"<{name}{_class(mark)}>{escaped(text)}</{name}>"


def table(
    header: Sequence[str], rows: Sequence[Row], *, numbers: Sequence[int] = (), widths: Sequence[int] = ()
) -> str:
    """Make a table.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of Row
        Their cells, escaped here.
    numbers : sequence of int
        Columns that are set to the right, from 0.
    widths : sequence of int
        Width of each column in percent; equal ones by default.

    Returns
    -------
    str
        HTML.
    """
    head = "".join(
        f"<th{_class('n' if place in numbers else '')}>{escaped(text)}</th>" for place, text in enumerate(header)
    )
    lines = []
    for row in rows:
        cells = "".join(
            f"<td{_class('n' if place in numbers else '')}>{escaped(text)}</td>" for place, text in enumerate(row.cells)
        )
        lines.append(f"<tr{_class(row.mark)}>{cells}</tr>")
    columns = "".join(f'<col style="width:{width}%">' for width in widths)
    return (
        f"<table>\n<colgroup>{columns}</colgroup>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody>\n</table>"
    )


def listing(pairs: Sequence[tuple[str, str]]) -> str:
    """Make a list of names and what they stand for."""
    return "<dl>\n" + "\n".join(f"{element('dt', name)}{element('dd', text)}" for name, text in pairs) + "\n</dl>"


def figures(pictures: Sequence[Picture]) -> str:
    """Put pictures side by side, each within the page itself."""
    made = []
    for picture in pictures:
        data = base64.b64encode(picture.png).decode("ascii")
        caption = escaped(picture.caption)
        made.append(
            f'<figure{_class("wide" if picture.wide else "")}><img alt="{caption}" src="data:image/png;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return '<div class="pictures">\n' + "\n".join(made) + "\n</div>" if made else ""


def _class(mark: str) -> str:
    return f' class="{mark}"' if mark else ""
