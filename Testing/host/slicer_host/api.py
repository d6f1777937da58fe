"""What the running application has: properties, signals, slots and names of its classes, read from a file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

API_FILE = Path(__file__).resolve().parents[1] / "api_5.6.2.json"

# Names that are keywords of Python are reached with an underscore at the end.
KEYWORDS = ("exec", "raise", "print", "del", "import", "is", "pass")

# PythonQt gives them to every object, the file leaves them out.
ALWAYS = {"connect", "disconnect", "className", "delete", "help", "inherits", "name"}


def normalized(signature: str) -> str:
    """Give a signature as Qt writes it: without spaces, const and references.

    Examples
    --------
    >>> normalized("finished( int, QProcess::ExitStatus )")
    'finished(int,QProcess::ExitStatus)'
    >>> normalized("textChanged(const QString &)")
    'textChanged(QString)'
    """
    name, _, arguments = signature.strip().partition("(")
    parts = [part.strip() for part in arguments.rstrip(") ").split(",") if part.strip()]
    parts = [re.sub(r"^const\s+(.*?)\s*&$", r"\1", part).replace(" ", "") for part in parts]
    return f"{name.strip()}({','.join(parts)})"


@dataclass(frozen=True)
class ClassApi:
    """One class of the application.

    Attributes
    ----------
    properties : dict
        Name to whether it can be written.
    property_types : dict
        Name to the C++ type.
    signals : frozenset of str
        Signatures.
    slots : dict
        Name to its signatures.
    names : frozenset of str
        All other names that Python sees.
    enums : dict
        Enum to its values by name.
    kinds : dict
        Answers of ``kind`` so far.
    """

    name: str
    properties: dict[str, bool] = field(default_factory=dict)
    property_types: dict[str, str] = field(default_factory=dict)
    signals: frozenset[str] = frozenset()
    slots: dict[str, tuple[str, ...]] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    enums: dict[str, dict[str, int]] = field(default_factory=dict)
    kinds: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)

    def kind(self, name: str) -> str | None:
        """Tell what a name is: property, signal, method, or None for a name that does not exist."""
        if name not in self.kinds:
            self.kinds[name] = self._kind(name)
        return self.kinds[name]

    def _kind(self, name: str) -> str | None:
        if name in self.properties:
            return "property"
        if any(signature.startswith(name + "(") for signature in self.signals):
            return "signal"
        plain = name[:-1] if name.endswith("_") and name[:-1] in KEYWORDS else name
        if plain in KEYWORDS and plain == name:
            return None  # not Python's syntax in Slicer 5.6: written with an underscore
        if plain in self.names or plain in self.slots or plain in ALWAYS:
            return "method"
        return None


@cache
def contents() -> dict[str, Any]:
    """Read the file."""
    return json.loads(API_FILE.read_text(encoding="utf-8"))


@cache
def class_api(name: str) -> ClassApi | None:
    """Give what the application's class has, with what it inherits; None for a class that the file does not know.

    Parameters
    ----------
    name : str
        C++ name, or one of the file's objects such as ``slicer.app``.
    """
    entry = contents()["classes"].get(name)
    if entry is None or "properties" not in entry and "python_names" not in entry:
        return None
    properties = {key: bool(value["writable"]) for key, value in entry.get("properties", {}).items()}
    types = {key: value["type"] for key, value in entry.get("properties", {}).items()}
    signals = {normalized(signature) for signature in entry.get("signals", [])}
    slots: dict[str, tuple[str, ...]] = {}
    for signature in entry.get("slots", []):
        slot = signature.partition("(")[0]
        slots[slot] = (*slots.get(slot, ()), normalized(signature))
    names = set(entry.get("python_names", []))
    enums = dict(entry.get("enums", {}))
    if entry.get("adds_to"):
        base = class_api(entry["adds_to"])
        assert base is not None
        properties = {**base.properties, **properties}
        types = {**base.property_types, **types}
        signals |= base.signals
        slots = {**base.slots, **slots}
        names |= base.names
        enums = {**base.enums, **enums}
    return ClassApi(name, properties, types, frozenset(signals), slots, frozenset(names), enums)


def class_names() -> list[str]:
    """List the classes that the file describes."""
    return [name for name in contents()["classes"] if class_api(name) is not None]


def functions_of_util() -> dict[str, str]:
    """Give the functions of ``slicer.util`` with their signatures."""
    return dict(contents()["classes"]["slicer.util"]["functions"])
