"""Slicer's user settings as the small mapping that the engine's classes want."""

from __future__ import annotations

from typing import Any

import slicer

GROUP = "PALNetLandmarks"


class UserSettings:
    """Text by name, kept in Slicer's settings of this user under ``PALNetLandmarks/``."""

    def get(self, name: str, default: str = "") -> str:
        """Return a setting; the default where it is not set."""
        value: Any = slicer.app.userSettings().value(f"{GROUP}/{name}")
        return default if value is None else str(value)

    def __setitem__(self, name: str, value: str) -> None:
        slicer.app.userSettings().setValue(f"{GROUP}/{name}", str(value))

    def pop(self, name: str, default: str = "") -> str:
        """Forget a setting and return what it was."""
        value = self.get(name, default)
        slicer.app.userSettings().remove(f"{GROUP}/{name}")
        return value
