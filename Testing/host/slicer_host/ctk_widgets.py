"""The module ``ctk``: the widgets that a module sensibly uses, made of plain Qt ones."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .ctk_paths import ctkDirectoryButton, ctkPathLineEdit, of, row
from .ctk_sections import ctkCollapsibleButton, ctkCollapsibleGroupBox
from .properties import stored
from .signals import emit

Qt = QtCore.Qt


class ctkSearchBox(QtWidgets.QLineEdit):  # noqa: N801
    """A line edit to search by."""

    host_class = True

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setPlaceholderText("Search...")
        self.setClearButtonEnabled(True)

    host_properties = {
        "showSearchIcon": stored("showSearchIcon", False),
        "searchIcon": stored("searchIcon", None),
        "clearIcon": stored("clearIcon", None),
    }


class ctkSliderWidget(QtWidgets.QWidget):  # noqa: N801
    """A slider with a spin box."""

    host_class = True
    host_signals = ("valueChanged(double)", "valueIsChanging(double)", "decimalsChanged(int)")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None))
        self._slider, self._box = QtWidgets.QSlider(Qt.Orientation.Horizontal, self), QtWidgets.QDoubleSpinBox(self)
        self._box.setRange(0.0, 99.0)
        self._slider.setRange(0, 1000)
        row(self, self._slider, self._box)
        self._box.valueChanged.connect(self._value_changed)
        self._slider.valueChanged.connect(self._slid)

    def _value_changed(self, value: float) -> None:
        self._slider.blockSignals(True)
        span = self._box.maximum() - self._box.minimum()
        self._slider.setValue(round(1000 * (value - self._box.minimum()) / span) if span else 0)
        self._slider.blockSignals(False)
        emit(self, "valueChanged(double)", value)

    def _slid(self, position: int) -> None:
        span = self._box.maximum() - self._box.minimum()
        self._box.setValue(self._box.minimum() + span * position / 1000)

    def setValue(self, value: float) -> None:  # noqa: N802
        self._box.setValue(value)

    def setDecimals(self, decimals: int) -> None:  # noqa: N802
        self._box.setDecimals(decimals)

    def setSpinBoxVisible(self, visible: bool) -> None:  # noqa: N802
        self._box.setVisible(visible)

    host_properties = {
        "value": of("_box", "value", "setValue"),
        "minimum": of("_box", "minimum", "setMinimum"),
        "maximum": of("_box", "maximum", "setMaximum"),
        "singleStep": of("_box", "singleStep", "setSingleStep"),
        "decimals": of("_box", "decimals", "setDecimals"),
        "suffix": of("_box", "suffix", "setSuffix"),
        "prefix": of("_box", "prefix", "setPrefix"),
        "spinBoxVisible": of("_box", "isVisible", "setVisible"),
        "pageStep": stored("pageStep", 10.0),
        "tickInterval": stored("tickInterval", 0.0),
        "tracking": stored("tracking", True),
        "popupSlider": stored("popupSlider", False),
    }


class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):  # noqa: N801
    """A spin box for real numbers."""

    host_class = True

    def setValueIfDifferent(self, value: float) -> None:  # noqa: N802
        self.setValue(value)

    setValueAlways = setValueIfDifferent  # noqa: N815
    host_properties = {"decimalsOption": stored("decimalsOption", 0), "setMode": stored("setMode", 1)}


class ctkComboBox(QtWidgets.QComboBox):  # noqa: N801
    """A combo box with a text for nothing chosen."""

    host_class = True
    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = range(4)

    def _default_text(self) -> None:
        self.setPlaceholderText(self._defaultText)

    def _user_data(self) -> str:
        data = self.currentData()
        return "" if data is None else str(data)

    def setCurrentUserDataAsString(self, text: str) -> None:  # noqa: N802
        self.setCurrentIndex(next((i for i in range(self.count()) if str(self.itemData(i)) == text), -1))

    host_properties = {
        "defaultText": stored("defaultText", "", then="_default_text"),
        "defaultIcon": stored("defaultIcon", None),
        "forceDefault": stored("forceDefault", False),
        "elideMode": stored("elideMode", None),
        "scrollWheelEffect": stored("scrollWheelEffect", 1),
        "currentUserDataAsString": (_user_data, setCurrentUserDataAsString),
    }


class ctkMenuButton(QtWidgets.QPushButton):  # noqa: N801
    """A push button with a menu of its own."""

    host_class = True


class ctkCheckBox(QtWidgets.QCheckBox):  # noqa: N801
    """A check box with an icon."""

    host_class = True
    host_properties = {
        "indicatorIcon": stored("indicatorIcon", None),
        "indicatorIconSize": stored("indicatorIconSize", None),
    }


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):  # noqa: N801
    """A text as tall as it needs."""

    host_class = True

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.document().contentsChanged.connect(self._fit)

    def _fit(self) -> None:
        self.document().setTextWidth(self.viewport().width())
        self.setFixedHeight(max(24, int(self.document().size().height()) + 4))

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        self._fit()

    def setCollapsibleText(self, text: str) -> None:  # noqa: N802
        self.setText(text)

    def collapsibleText(self) -> str:  # noqa: N802
        return self.toHtml()

    host_properties = {
        "collapsed": stored("collapsed", True),
        "showDetailsText": stored("showDetailsText", "Show details..."),
        "hideDetailsText": stored("hideDetailsText", "Hide details."),
    }


class ctkColorPickerButton(QtWidgets.QPushButton):  # noqa: N801
    """A button that shows a colour."""

    host_class = True
    host_signals = ("colorChanged(QColor)", "colorNameChanged(QString)")

    def _get(self) -> QtGui.QColor:
        return self.__dict__.get("_color", QtGui.QColor("black"))

    def setColor(self, color: QtGui.QColor) -> None:  # noqa: N802
        self.__dict__["_color"] = color
        emit(self, "colorChanged(QColor)", color)

    host_properties = {"color": (_get, setColor), "displayColorName": stored("displayColorName", True)}


class ctkMessageBox(QtWidgets.QMessageBox):  # noqa: N801
    """A message box that can be told not to come again."""

    host_class = True
    host_properties = {
        "dontShowAgainVisible": stored("dontShowAgainVisible", False),
        "dontShowAgainSettingsKey": stored("dontShowAgainSettingsKey", ""),
    }


class ctkExpandButton(QtWidgets.QToolButton):  # noqa: N801
    """A small arrow that opens something."""

    host_class = True
    host_properties = {"mirrorOnExpand": stored("mirrorOnExpand", False), "orientation": stored("orientation", None)}


_HERE = [value for value in list(globals().values()) if isinstance(value, type) and "host_class" in vars(value)]
_ELSEWHERE = [ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkDirectoryButton, ctkPathLineEdit]
WIDGETS = {cls.__name__: cls for cls in (*_HERE, *_ELSEWHERE)}


def make() -> types.ModuleType:
    """Make the module."""
    module = types.ModuleType("ctk", "CTK's widgets, a stand-in for tests.")
    for name, widget in WIDGETS.items():
        setattr(module, name, widget)

    def missing(name: str) -> Any:
        raise AttributeError(f"The host does not offer ctk.{name}")

    module.__getattr__ = missing
    return module
