"""Pictures in memory as Qt shows them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import qt

#: A picture in a panel is as wide as its place, within reason, pixels.
_NARROW, _WIDE = 260, 640


def pixmap_of(png: bytes) -> Any:
    """Make a pixmap of a PNG file in memory.

    Parameters
    ----------
    png : bytes

    Returns
    -------
    QPixmap
    """
    pixmap = qt.QPixmap()
    if not pixmap.loadFromData(png):
        # Whether bytes arrive whole depends on how PythonQt was built; a file always does.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "picture.png"
            file.write_bytes(png)
            pixmap.load(str(file))
    return pixmap


def room_for(label: Any) -> int:
    """Say how wide a picture in a label can be, pixels."""
    return int(min(max(label.width, _NARROW), _WIDE))
