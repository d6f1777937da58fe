"""Message boxes and file dialogs, behind one small class that tests can replace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import qt
import slicer

from PALNetLandmarksLib.errors import LandmarkingError

from .text import _

TITLE = "PALNetLandmarks"


class Messages:
    """Ask and tell the user by Slicer's own boxes, in front of the main window."""

    def error(self, text: str, details: str = "") -> None:
        """Show an error until it is acknowledged."""
        slicer.util.errorDisplay(text, windowTitle=TITLE, detailedText=details)

    def warning(self, text: str) -> None:
        """Show a warning until it is acknowledged."""
        slicer.util.warningDisplay(text, windowTitle=TITLE)

    def information(self, text: str) -> None:
        """Show a note until it is acknowledged."""
        slicer.util.infoDisplay(text, windowTitle=TITLE)

    def confirm(self, text: str) -> bool:
        """Ask a question that is answered by OK or Cancel."""
        return bool(slicer.util.confirmOkCancelDisplay(text, windowTitle=TITLE))

    def open_file(self, title: str, filters: str, folder: str = "") -> str:
        """Ask for a file that exists; empty when the user cancels."""
        return str(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, folder, filters) or "")

    def save_file(self, title: str, suggestion: str, filters: str) -> str:
        """Ask for a file to write, the dialog asks before it replaces one; empty when the user cancels."""
        return str(qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, suggestion, filters) or "")

    def folder(self, title: str, start: str = "") -> str:
        """Ask for a folder; empty when the user cancels."""
        return str(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, start) or "")


@contextmanager
def showing_errors(messages: Messages) -> Iterator[None]:
    """Show what goes wrong in a user's action as one message, and go on.

    An error of ours says what to do. Anything else is a fault of the program: its traceback goes to Slicer's log.

    Parameters
    ----------
    messages : Messages
        Where to show it.
    """
    try:
        yield
    except LandmarkingError as error:
        messages.error(f"{error.message}\n\n{error.hint}".strip())
    except Exception as error:  # noqa: BLE001  a slot must not raise into Qt
        logging.exception("An action of the user failed")
        messages.error(
            _("A fault in the program stopped this: {kind}. Slicer's error log has the details.").format(
                kind=type(error).__name__
            ),
            details=str(error),
        )
