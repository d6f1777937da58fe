"""Translation of what the user reads."""

from __future__ import annotations

try:
    from slicer.i18n import tr as _
except ImportError:  # Slicer's bare libraries, without the application

    def _(text: str) -> str:
        """Give the text itself: there is nothing to translate it with."""
        return text


__all__ = ["_"]
