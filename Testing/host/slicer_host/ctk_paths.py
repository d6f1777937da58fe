"""CTK's widgets that ask for a file or a folder."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from .properties import stored
from .questions import messages
from .signals import emit


def row(widget: QtWidgets.QWidget, *parts: QtWidgets.QWidget) -> None:
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(2)
    for part in parts:
        layout.addWidget(part)


def of(part: str, getter: str, setter: str | None) -> tuple:
    """Make a property that belongs to an inner widget."""

    def get(self: Any) -> Any:
        return getattr(getattr(self, part), getter)()

    def set_(self: Any, value: Any) -> None:
        getattr(getattr(self, part), setter)(value)

    return get, set_ if setter else None


class ctkPathLineEdit(QtWidgets.QWidget):  # noqa: N801
    """A path to type, or to choose by the button beside it."""

    host_class = True
    host_signals = ("currentPathChanged(QString)", "validInputChanged(bool)")

    # ctkPathLineEdit::Filter is that of QDir.
    Dirs, Files, Drives, NoSymLinks, AllEntries = 1, 2, 4, 8, 7
    Readable, Writable, Executable, NoDot, NoDotDot, NoDotAndDotDot = 0x10, 0x20, 0x40, 0x2000, 0x4000, 0x6000
    Hidden, System, AllDirs = 0x100, 0x200, 0x400

    def __init__(self, *arguments: Any) -> None:
        super().__init__(next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None))
        self._edit, self._button = QtWidgets.QComboBox(self), QtWidgets.QToolButton(self)
        self._edit.setEditable(True)
        self._edit.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._edit.setMinimumContentsLength(5)
        self._edit.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._button.setText("…")
        self._valid = False
        row(self, self._edit, self._button)
        self.setFocusProxy(self._edit)
        self._edit.editTextChanged.connect(self._changed)
        self._button.clicked.connect(lambda: self.browse())

    def _changed(self, text: str) -> None:
        emit(self, "currentPathChanged(QString)", text)
        valid = bool(text) and QtCore.QFileInfo(text).exists()
        if valid != self._valid:
            self._valid = valid
            emit(self, "validInputChanged(bool)", valid)

    def browse(self) -> None:
        folders = not int(self.__dict__.get("_filters", self.Files)) & self.Files
        answer = messages.shown("folder" if folders else "file", self.toolTip())
        if answer:
            self.setCurrentPath(str(answer))

    def comboBox(self) -> QtWidgets.QComboBox:  # noqa: N802
        return self._edit

    def setCurrentPath(self, path: str) -> None:  # noqa: N802
        if not isinstance(path, str):
            raise TypeError(f"setCurrentPath() takes a str, not {path!r}")
        self._edit.setEditText(path)

    def _path(self) -> str:
        return self._edit.currentText()

    def addCurrentPathToHistory(self) -> None:  # noqa: N802
        if self._path() and self._edit.findText(self._path()) < 0:
            self._edit.addItem(self._path())

    def retrieveHistory(self) -> None:  # noqa: N802
        pass

    def _browse_button(self) -> None:
        self._button.setVisible(self._showBrowseButton)

    host_properties = {
        "currentPath": (_path, setCurrentPath),
        "filters": stored("filters", 2),
        "label": stored("label", ""),
        "minimumContentsLength": stored("minimumContentsLength", 0),
        "nameFilters": stored("nameFilters", ()),
        "options": stored("options", 0),
        "settingKey": stored("settingKey", ""),
        "showBrowseButton": stored("showBrowseButton", True, then="_browse_button"),
        "showHistoryButton": stored("showHistoryButton", True),
        "sizeAdjustPolicy": stored("sizeAdjustPolicy", None),
    }


class ctkDirectoryButton(QtWidgets.QWidget):  # noqa: N801
    """A button that shows a folder and asks for another."""

    host_class = True
    host_signals = ("directoryChanged(QString)", "directorySelected(QString)")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None))
        self._button = QtWidgets.QPushButton(self)
        self._directory = "."
        row(self, self._button)
        self._button.clicked.connect(lambda: self.browse())

    def browse(self) -> None:
        answer = messages.shown("folder", self.__dict__.get("_caption", ""))
        if answer:
            self._set(str(answer))
            emit(self, "directorySelected(QString)", str(answer))

    def _get(self) -> str:
        return self._directory

    def _set(self, folder: str) -> None:
        if folder != self._directory:
            self._directory = folder
            self._button.setText(folder)
            emit(self, "directoryChanged(QString)", folder)

    host_properties = {
        "directory": (_get, _set),
        "caption": stored("caption", ""),
        "text": of("_button", "text", "setText"),
        "icon": of("_button", "icon", "setIcon"),
        "options": stored("options", 0),
        "acceptMode": stored("acceptMode", 0),
        "elideMode": stored("elideMode", None),
    }
