"""What the application would show in a box of its own: recorded, and answered by the test instead of by a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .objects import cpp_name, raw_get


@dataclass
class Message:
    """One box that was shown.

    Attributes
    ----------
    kind : str
        ``info``, ``warning``, ``error``, ``confirm``, ``file``, ``folder``, ``save``, ``dialog`` or ``url``.
    text, title, details : str
    answer : object
        What was answered.
    """

    kind: str
    text: str
    title: str = ""
    details: str = ""
    answer: Any = None


class Messages(list[Message]):
    """The boxes shown so far, and the answers for those to come."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[str, list[Any]] = {}
        self.on_dialog: Callable[[QtWidgets.QDialog], None] | None = None

    def answer(self, kind: str, *answers: Any) -> None:
        """Set the answers to the next boxes of a kind: a bool for ``confirm``, a path for files and folders.

        Without an answer set, a question is confirmed and a file dialog is cancelled.
        """
        self._answers.setdefault(kind, []).extend(answers)

    def shown(self, kind: str, text: str, title: str = "", details: str = "", default: Any = None) -> Any:
        """Record a box and give the answer to it."""
        waiting = self._answers.get(kind)
        answer = waiting.pop(0) if waiting else default
        self.append(Message(kind, text, title, details, answer))
        return answer

    def texts(self, kind: str = "") -> list[str]:
        """List the texts shown, of one kind or of all."""
        return [message.text for message in self if kind in ("", message.kind)]

    def clear(self) -> None:
        """Forget what was shown and what was to be answered."""
        super().clear()
        self._answers.clear()
        self.on_dialog = None


messages = Messages()


def _path(answer: Any) -> str:
    return "" if answer is None else str(answer)


def _open_file(_parent: Any = None, caption: str = "", _folder: str = "", _filters: str = "", *_more: Any) -> str:
    return _path(messages.shown("file", caption))


def _open_files(_parent: Any = None, caption: str = "", _folder: str = "", _filters: str = "", *_more: Any) -> tuple:
    answer = messages.shown("file", caption)
    return tuple(str(path) for path in answer or ())


def _save_file(_parent: Any = None, caption: str = "", _folder: str = "", _filters: str = "", *_more: Any) -> str:
    return _path(messages.shown("save", caption))


def _folder(_parent: Any = None, caption: str = "", _folder: str = "", *_more: Any) -> str:
    return _path(messages.shown("folder", caption))


def _static_box(kind: str, default_button: Any) -> Callable[..., Any]:
    def show(_parent: Any, title: str, text: str, buttons: Any = None, default: Any = None) -> Any:
        answer = messages.shown(kind, text, title)
        if isinstance(answer, bool):
            box = QtWidgets.QMessageBox.StandardButton
            yes = [b for b in (box.Ok, box.Yes) if buttons is None or int(buttons) & int(b)]
            no = [b for b in (box.Cancel, box.No) if buttons is not None and int(buttons) & int(b)]
            return (yes if answer else no or yes)[0]
        return answer if answer is not None else default or default_button

    return staticmethod(show)


_plain_exec = QtWidgets.QDialog.exec


def _run_box(box: QtWidgets.QMessageBox) -> Any:
    """Answer a message box at once."""
    cls = QtWidgets.QMessageBox
    buttons = cls.standardButtons(box)
    accept = [b for b in (cls.Ok, cls.Yes, cls.Retry, cls.Save) if int(buttons) & int(b)]
    refuse = [b for b in (cls.Cancel, cls.No, cls.Close, cls.Abort) if int(buttons) & int(b)]
    kind = "confirm" if accept and refuse else {2: "warning", 3: "error"}.get(int(cls.icon(box)), "info")
    text = "\n".join(part for part in (cls.text(box), cls.informativeText(box)) if part)
    answer = messages.shown(kind, text, cls.windowTitle(box).strip(), cls.detailedText(box), True)
    if not isinstance(answer, bool):
        return answer
    return (accept or refuse or [cls.Ok])[0] if answer else (refuse or accept)[0]


def _run_dialog(dialog: QtWidgets.QDialog) -> int:
    """Run a dialog under the hand of the test; nobody's dialog is dismissed instead of waiting for ever."""
    messages.shown("dialog", cpp_name(dialog), QtWidgets.QWidget.windowTitle(dialog))
    hand = messages.on_dialog
    if hand is None:
        QtCore.QTimer.singleShot(0, raw_get(dialog, "reject"))
    else:
        QtCore.QTimer.singleShot(0, lambda: hand(dialog))
    return int(_plain_exec(dialog))


def _open_url(url: QtCore.QUrl) -> bool:
    messages.shown("url", url.toString() if isinstance(url, QtCore.QUrl) else str(url))
    return True


def record_boxes() -> None:
    """Put the recording functions in the place of those that would wait for a person."""
    files, boxes = QtWidgets.QFileDialog, QtWidgets.QMessageBox
    files.getOpenFileName = staticmethod(_open_file)
    files.getOpenFileNames = staticmethod(_open_files)
    files.getSaveFileName = staticmethod(_save_file)
    files.getExistingDirectory = staticmethod(_folder)
    for name, kind in (("information", "info"), ("warning", "warning"), ("critical", "error")):
        setattr(boxes, name, _static_box(kind, boxes.Ok))
    boxes.question = _static_box("confirm", boxes.Yes)
    boxes.exec = boxes.exec_ = _run_box
    QtWidgets.QDialog.exec = QtWidgets.QDialog.exec_ = _run_dialog
    QtGui.QDesktopServices.openUrl = staticmethod(_open_url)


def record_displays() -> None:
    """Record what ``slicer.util`` displays: it has no main window to show it in front of."""

    def display(
        level: int,
        text: str,
        testing_value: Any,
        mainWindowNeeded: bool = False,  # noqa: N803
        parent: Any = None,
        windowTitle: str | None = None,  # noqa: N803
        **kwargs: Any,
    ) -> Any:
        buttons = kwargs.get("standardButtons")
        box = QtWidgets.QMessageBox
        question = buttons is not None and bool(int(buttons) & int(box.Cancel | box.No | box.Close))
        kind = "confirm" if question else {20: "info", 30: "warning", 40: "error"}.get(level, "info")
        details = kwargs.get("detailedText", "")
        if slicer.app.testing:
            return testing_value
        answer = messages.shown(kind, text, windowTitle or "", details, True if question else None)
        if not question:
            return None
        accept = next(b for b in (box.Ok, box.Yes, box.Retry) if int(buttons) & int(b))
        refuse = next(b for b in (box.Cancel, box.No, box.Close) if int(buttons) & int(b))
        return accept if answer else refuse

    slicer.util._messageDisplay = display
    slicer.util.delayDisplay = lambda message, *_a, **_k: messages.shown("info", message)
