"""How a data set is to be read, kept in the data set itself, so that every command reads it the same way.

``palnet-dataset.json`` in the data set's folder, for example ``{"format": "vertex-indices", "unit": "m"}``. It only
names layouts of this program: a data set from elsewhere must not decide which code is run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from PALNetLandmarksLib.engine.units import MILLIMETRES
from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.files import read_text

SETTINGS = "palnet-dataset.json"
_UP = 4  # folders between a subject and the data set's, at most

_ALLOWED: Mapping[str, Callable[[Any], bool]] = {
    "format": lambda value: isinstance(value, str),
    "unit": lambda value: value in MILLIMETRES,
    "predicted": lambda value: isinstance(value, bool),
    "key": lambda value: isinstance(value, str),
    "indices": lambda value: isinstance(value, str),
    "matrices": lambda value: isinstance(value, str),
}


def saved_settings(folder: Path, layouts: Collection[str]) -> dict[str, Any]:
    """Read the settings of a data set.

    Parameters
    ----------
    folder : Path
        The data set's.
    layouts : collection of str
        Names of the layouts there are.

    Returns
    -------
    dict
        ``format`` and fields of the reader, as far as given; paths are relative to the folder. Empty without a file.

    Raises
    ------
    InputError
        When the file is there and cannot be used.
    """
    file = folder / SETTINGS
    if not file.is_file():
        return {}
    try:
        content = json.loads(read_text(file, what="settings file"))
    except (ValueError, RecursionError) as error:
        raise _refused("it is not valid JSON") from error
    if not isinstance(content, Mapping):
        raise _refused("it is not a JSON object")
    for key, value in content.items():
        if key not in _ALLOWED or not _ALLOWED[key](value):
            raise _refused(f"'{key[:40]}' is unknown or has a value that it cannot have")
    if "format" in content and content["format"] not in layouts:
        raise _refused(f"it names the layout '{content['format'][:40]}', which is none of {', '.join(layouts)}")
    return {name: folder / value if name in ("indices", "matrices") else value for name, value in content.items()}


def settings_above(place: Path, layouts: Collection[str]) -> dict[str, Any]:
    """Find the settings of the data set that a subject belongs to.

    Parameters
    ----------
    place : Path
        The subject's.
    layouts : collection of str
        Names of the layouts there are.

    Returns
    -------
    dict
        As of :func:`saved_settings`; empty when there are none.
    """
    for folder in list(place.parents)[:_UP]:
        if (folder / SETTINGS).is_file():
            return saved_settings(folder, layouts)
    return {}


def _refused(reason: str) -> InputError:
    return InputError(
        f"{SETTINGS} cannot be used: {reason}.",
        f"It may hold {', '.join(_ALLOWED)}; see docs/datasets.md.",
        code="dataset.settings",
    )
