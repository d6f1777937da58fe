"""Names and dates of people in what a scan file says besides its surface: comments, and names of objects and materials.

Capture programs write the patient's name or the date of the visit there, and whoever passes the scan on passes them on
too. What is found is only counted by kind: no word of it reaches a warning, a log or a file. What programs write of
themselves (their name, their version, when they exported) is no finding. The rules are told in docs/data-flow.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from PALNetLandmarksLib.engine.personal_words import GIVEN_NAMES, TECHNICAL_WORDS
from PALNetLandmarksLib.engine.reading_texture import file_beside
from PALNetLandmarksLib.engine.scan import ScanWarning

_MOST_TEXTS = 2000
_LONGEST_TEXT = 400  # bytes looked at of a line
_LARGEST_LIBRARY = 4 * 1024 * 1024  # bytes of a material library; larger ones are not looked at
_LONGEST_HEADER = 1024 * 1024

_OBJ_LINE = re.compile(rb"\n[ \t]*(#|o[ \t]|g[ \t]|usemtl[ \t]|mtllib[ \t])([^\r\n]*)")
_MTL_LINE = re.compile(rb"\n[ \t]*(#|newmtl[ \t]|map_\w+[ \t]|bump[ \t]|disp[ \t]|decal[ \t]|refl[ \t])([^\r\n]*)")
_PLY_LINE = re.compile(rb"\n(comment|obj_info)[ \t]([^\r\n]*)")

# A word for a person or a record, then what it is.
_ABOUT_A_PERSON = re.compile(
    r"\b(patient|paziente|patienten?|subject|soggetto|proband(?:in)?|participant|client|person)(?:['’]?s)?[ _-]?"
    r"(?:name|nome|id|nr|no|number)?\s*[:=]\s*(?P<value>\S.*)"
    r"|\b(?:(?:patient|full|first|last|family|given|sur|fore)[ _-]?name|nachname|vorname|cognome|apellidos?|prénom)"
    r"\s*[:=]?\s*(?P<value2>\S.*)",
    re.IGNORECASE,
)
_CODE = re.compile(r"[A-Za-z]{0,4}[-_ ]?\d{1,6}|[a-z]?|unknown|anonymous|anonymi[sz]ed|none|n/a|-+|\?+", re.IGNORECASE)
_TITLE = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Herr|Frau|Sig|Sig\.ra|Signora?|Monsieur|Madame|Sra?)\b\.?[ _]+[A-ZÀ-Ý][a-zà-ÿ]+"
)
_BIRTH = re.compile(
    r"\b(?:born|birth|dob|d\.o\.b|geb(?:oren|\.)?|geburts\w*|nat[oa]|nascita|né|née|nacid[oa]|nacimiento)\b", re.I
)
_RECORD = re.compile(
    r"\b(?:mrn|ssn|nhs[ _-]?(?:no|number)|medical record|codice fiscale|versicherungs\w*)\b\W*\w*\d", re.IGNORECASE
)
_HOME = re.compile(r"[\\/](?:users|home|benutzer|utenti|documents and settings)[\\/]+([^\\/]+)[\\/]", re.IGNORECASE)
_NOBODY = {"public", "shared", "default", "user", "users", "admin", "administrator", "all users", "root", "guest", "me"}

_MONTH = r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-z]*"
_DATE = re.compile(
    r"(?<![\d.])(?:"
    r"(?:19|20)\d\d[-/._](?:0?[1-9]|1[0-2])[-/._](?:3[01]|[12]\d|0?[1-9])"
    r"|(?:3[01]|[12]\d|0?[1-9])[-/._](?:3[01]|[12]\d|0?[1-9])[-/._](?:19|20)\d\d"
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:3[01]|[12]\d|0[1-9])"
    rf"|(?:3[01]|[12]\d|0?[1-9])\.?[ _-]{_MONTH}\.?[ _-](?:19|20)\d\d"
    rf"|{_MONTH}\.?[ _](?:3[01]|[12]\d|0?[1-9]),?[ _](?:19|20)\d\d"
    r")(?![\d.]*\d)",
    re.IGNORECASE,
)
# What stands beside the date on which a program wrote the file, or was written itself.
_OF_THE_FILE = re.compile(
    r"export|creat|generat|writ|sav(?:e|ed)|modif|convert|process|version|build|release|copyright|\(c\)|©|^\W*(?:file\W+)?"
    r"(?:date|time|datum|data)\b|\d\d?:\d\d|erstellt|esportat|creat[oa]|software|v\d+\.\d",
    re.IGNORECASE,
)

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_CAMEL = re.compile(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Ý])")
_CAPITALISED = re.compile(r"[A-ZÀ-Ý][a-zà-ÿ]+(?:['’][A-Za-zà-ÿ]+)?|[A-ZÀ-Ý]['’][A-ZÀ-Ý][a-zà-ÿ]+")

_PLACES = {"comment": "a comment in it", "name": "the name of an object, a material or a picture in it"}
_KINDS = {"name": "a person's name or number", "date": "a date of birth or of a visit"}


def personal_data_warning(kind: str, data: bytes, folder: Path) -> ScanWarning | None:
    """Look for people in the words of a scan file and of its material libraries.

    Parameters
    ----------
    kind : str
        Format: ``"OBJ"``, ``"PLY"`` or ``"STL"``; others are not looked at.
    data : bytes
        The file's content.
    folder : Path
        Where the file lies, for its material libraries.

    Returns
    -------
    ScanWarning or None
        ``scan.personal_data``; it says what kind of thing was found and where, never the thing itself.
    """
    found: dict[str, set[str]] = {}
    for place, text in _texts(kind, data, folder):
        for what in clues(text, comment=place == "comment"):
            found.setdefault(what, set()).add(place)
    if not found:
        return None
    kinds = " and ".join(_KINDS[what] for what in _KINDS if what in found)
    places = " and ".join(_PLACES[place] for place in _PLACES if any(place in where for where in found.values()))
    return ScanWarning(
        "scan.personal_data",
        f"The scan file seems to hold {kinds}: {places} looks like one. Nothing of it goes into the results; take it "
        "out before you pass the scan on.",
    )


def clues(text: str, *, comment: bool) -> set[str]:
    """Say what a text seems to tell of a person.

    Parameters
    ----------
    text : str
        One comment, or the name of an object, material or picture.
    comment : bool
        Whether it is a comment.

    Returns
    -------
    set of str
        ``"name"`` and ``"date"``, where they seem to be in it.

    Examples
    --------
    >>> sorted(clues("Patient: Rossi, Giulia, born 12.04.1987", comment=True))
    ['date', 'name']
    >>> clues("Exported by MeshLab on 2026-11-02", comment=True)
    set()
    """
    found = set()
    if _says_a_person(text) or _is_a_name(text, comment):
        found.add("name")
    born = _BIRTH.search(text) and re.search(r"\d", text)
    if born or (_DATE.search(text) and not (comment and _OF_THE_FILE.search(text))):
        found.add("date")
    return found


def _says_a_person(text: str) -> bool:
    told = _ABOUT_A_PERSON.search(text)
    # "patient: 017" is a pseudonym, which is what should be there.
    if told and not _CODE.fullmatch((told["value"] or told["value2"]).strip(" \t'\"*#;,.")):
        return True
    home = _HOME.search(text.replace("\\\\", "\\"))
    if home and home[1].strip().lower() not in _NOBODY:
        return True
    return bool(_TITLE.search(text) or _RECORD.search(text))


def _is_a_name(text: str, comment: bool) -> bool:
    """Tell whether a text is nothing but a person's name, perhaps with numbers."""
    last = re.split(r"[\\/]", text.strip())[-1]
    stem = re.sub(r"\.(?:obj|ply|stl|mtl|png|jpe?g|bmp|tiff?|tga|blend|zip)\b['\"]?$", "", last, flags=re.IGNORECASE)
    # A file's name in quotation marks is a text of its own, as in: OBJ File: 'face.blend'.
    quoted = re.search(r"['\"]([^'\"]+)\.\w{2,5}['\"]", text)
    if quoted and comment:
        return _is_a_name(quoted[1], False)
    words = _WORD.findall(_CAMEL.sub(" ", stem))
    known = [word for word in words if len(word) > 1 and word.lower() in TECHNICAL_WORDS]
    others = [word for word in words if len(word) > 1 and word.lower() not in TECHNICAL_WORDS]
    given = [word for word in others if word.lower() in GIVEN_NAMES]
    if not others or len(words) > 4:
        return False
    if given and (len(others) > len(given) or len(given) > 1 or not known):
        return True
    if known or not 2 <= len(others) <= 3:
        return False
    capitalised = all(_CAPITALISED.fullmatch(word) or (word.isupper() and len(word) > 3) for word in others)
    signs = re.sub(r"[\w\s,.'’-]", "", stem)  # brackets, equals signs: words about something
    return capitalised and not signs


def _texts(kind: str, data: bytes, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each distinct text of a file with the place where it stands."""
    if kind == "OBJ":
        libraries: list[str] = []
        for keyword, text in _obj_lines(data):
            if keyword == "mtllib":
                libraries.append(text)
            yield ("comment" if keyword == "#" else "name"), text
        for library in libraries[:8]:
            path = file_beside(folder, library)
            try:
                content = path.read_bytes() if path and path.stat().st_size <= _LARGEST_LIBRARY else b""
            except OSError:
                continue
            for keyword, text in _lines(_MTL_LINE, b"\n" + content):
                yield ("comment" if keyword == "#" else "name"), text
    elif kind == "PLY":
        head = data[:_LONGEST_HEADER].partition(b"end_header")[0].replace(b"\r", b"\n")
        for _, text in _lines(_PLY_LINE, head):
            texture = re.match(r"texturefile\s+(.*)", text, re.IGNORECASE)
            yield ("name", texture[1]) if texture else ("comment", text)
    elif kind == "STL":
        head = data[:80].partition(b"\n")[0].partition(b"\0")[0]
        yield "name", _decoded(head[5:] if head[:5].lower() == b"solid" else head)


def _obj_lines(data: bytes) -> Iterable[tuple[str, str]]:
    if b"\n" not in data[:_LONGEST_HEADER]:  # old Macintosh line ends
        data = data.replace(b"\r", b"\n")
    # The pattern wants a line end before; the data are too large to put one in front of all of them.
    first = data[: data.find(b"\n") + 1] or data
    return [*_lines(_OBJ_LINE, b"\n" + first), *_lines(_OBJ_LINE, data)]


def _lines(pattern: re.Pattern[bytes], data: bytes) -> Iterable[tuple[str, str]]:
    seen: dict[tuple[bytes, bytes], None] = {}
    for match in pattern.finditer(data):
        seen[match[1].strip(), match[2][:_LONGEST_TEXT].strip(b" \t#")] = None
        if len(seen) == _MOST_TEXTS:
            break
    return [(keyword.decode("ascii"), _decoded(text)) for keyword, text in seen if text]


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")
