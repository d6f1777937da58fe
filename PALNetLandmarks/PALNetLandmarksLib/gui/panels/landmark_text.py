"""A landmark in words and a picture, for the panels that ask about one."""

from __future__ import annotations

import html
from typing import Any

import qt

from PALNetLandmarksLib.landmark_pictures import picture_path
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Protocol

from ..edits import ACCEPTED, MARKED
from ..text import _


def landmark_html(protocol: Protocol, label: str, landmarks: LandmarkSet | None = None) -> str:
    """Say what a landmark is, and what is known of it on this scan.

    Parameters
    ----------
    protocol : Protocol
    label : str
    landmarks : LandmarkSet, optional
        For its note.

    Returns
    -------
    str
        Rich text.
    """
    mark = protocol.landmarks[protocol.index(label)]
    sides = {"right": _("subject's right"), "left": _("subject's left"), "midline": _("midline")}
    title = f"<b>{html.escape(mark.label)}</b> {html.escape(mark.name)} ({sides[mark.side]})"
    lines = [title, html.escape(mark.definition)]
    if mark.palpated:
        lines.append(_("<i>A bony point that is felt on a person: on a scan its place is an estimate.</i>"))
    if landmarks is not None:
        note = landmarks.notes[protocol.index(label)]
        own = [part for part in note.split("; ") if part not in (ACCEPTED, MARKED, "")]
        if own:
            lines.append(_("Note: {note}").format(note=html.escape("; ".join(own))))
    return "<br>".join(line for line in lines if line)


def show_picture(label_widget: Any, protocol: Protocol, label: str | None) -> None:
    """Show where a landmark lies; nothing where there is no picture of it.

    Parameters
    ----------
    label_widget : QLabel
    protocol : Protocol
    label : str or None
    """
    path = picture_path(protocol, label) if label is not None else None
    pixmap = qt.QPixmap(str(path)) if path is not None else qt.QPixmap()
    label_widget.setPixmap(pixmap)
    label_widget.visible = not pixmap.isNull()
