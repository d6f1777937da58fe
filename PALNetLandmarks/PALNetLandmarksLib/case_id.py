"""The identifier that a user types for a case: it goes into files and their names, so it must be no path."""

from __future__ import annotations

import re
from typing import NoReturn

from .errors import InputError

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_FILE = re.compile(r".*\.(obj|ply|stl|vtp|vtk|off|glb|gltf|json|csv|txt|tps|jpe?g|png|mtl)", re.IGNORECASE)
#: Windows takes these for devices, also with an ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 80


def checked_case_id(text: str) -> str:
    """Check an identifier.

    Parameters
    ----------
    text : str
        As typed.

    Returns
    -------
    str
        The identifier, without spaces round it and with single ones inside.

    Raises
    ------
    InputError
        When it is empty, looks like a path or a file, or cannot be part of a file's name.

    Examples
    --------
    >>> checked_case_id("  P 001 ")
    'P 001'
    """
    identifier = " ".join(text.split())
    if not identifier:
        _refuse("There is no case identifier.")
    if "/" in identifier or "\\" in identifier or identifier.startswith("~") or re.match(r"[A-Za-z]:", identifier):
        _refuse("The case identifier looks like a path.")
    if _FILE.fullmatch(identifier):
        _refuse("The case identifier looks like a file's name.")
    found = _FORBIDDEN.search(identifier)
    if found:
        _refuse(f"The case identifier cannot hold the character {found.group(0)!r}.")
    if identifier.startswith(".") or identifier.endswith(".") or _DEVICES.fullmatch(identifier):
        _refuse("The case identifier cannot be part of a file's name.")
    if len(identifier) > _LONGEST:
        _refuse(f"The case identifier has more than {_LONGEST} letters.")
    return identifier


def _refuse(problem: str) -> NoReturn:
    raise InputError(problem, "Type a pseudonym for the case, for example P001.", code="case.identifier")
