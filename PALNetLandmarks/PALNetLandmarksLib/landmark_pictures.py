"""Where the pictures lie that show each landmark's place on a face."""

from __future__ import annotations

from pathlib import Path

from .protocol import Protocol


def picture_name(protocol: Protocol, label: str) -> str:
    """Give the file name of a landmark's picture.

    The number comes first because Windows keeps some names for itself, whatever the case and the ending, and ``PRN``
    is one of them.

    Examples
    --------
    >>> from PALNetLandmarksLib.protocol import load_protocol
    >>> picture_name(load_protocol(), "Prn")
    '04_Prn.png'
    """
    return f"{protocol.index(label) + 1:02d}_{label}.png"


def picture_path(protocol: Protocol, label: str) -> Path | None:
    """Give the picture of a landmark; None when there is none, as for a protocol of the user's own.

    Parameters
    ----------
    protocol : Protocol
    label : str

    Returns
    -------
    Path or None
    """
    folder = Path(__file__).resolve().parent.parent / "Resources" / "Landmarks"
    path = folder / picture_name(protocol, label)
    return path if protocol.id == "face50" and path.is_file() else None
