"""The ties between parameters and widgets: the same pairs that Slicer ties, and no others."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets

from . import ctk_widgets, mrml_widgets
from .parameter_types import Choice, Decimals, ParameterType, SingleStep, WithinRange, is_node
from .properties import get_property, set_property
from .signals import connect, disconnect


class GuiConnector:
    """The tie between a parameter and a widget: the property that holds the value and the signal of its change.

    Only the exact classes that Slicer ties are tied: a ``ctkPathLineEdit`` takes a ``Path`` and no ``str``.
    """

    def __init__(self, widget: QtCore.QObject, type_: ParameterType) -> None:
        self.widget_, self.type = widget, type_
        self._callback: Callable[[], None] | None = None
        cls, origin = type(widget), type_.origin
        self.items: list[Any] = []
        if origin is bool and cls is QtWidgets.QCheckBox:
            self.property, self.signal = "checked", "stateChanged(int)"
        elif origin is bool and cls is QtWidgets.QPushButton:
            self.property, self.signal = "checked", "toggled(bool)"
            set_property(widget, "checkable", True)
        elif origin is int and cls in (QtWidgets.QSpinBox, QtWidgets.QSlider):
            self.property, self.signal = "value", "valueChanged(int)"
            self._set_range(-(2**31), 2**31 - 1)
        elif origin is float and cls in (QtWidgets.QDoubleSpinBox, ctk_widgets.ctkSliderWidget):
            self.property, self.signal = "value", "valueChanged(double)"
            if cls is ctk_widgets.ctkSliderWidget and not any(isinstance(a, WithinRange) for a in type_.annotations):
                raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
            self._set_range(float("-inf"), float("inf"))
        elif cls is QtWidgets.QComboBox and origin in (int, float, str, bool):
            choice = next((a for a in type_.annotations if isinstance(a, Choice)), None)
            if choice is None:
                raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
            self._fill([(str(value), value) for value in choice.choices])
        elif cls is QtWidgets.QComboBox and isinstance(origin, type) and issubclass(origin, enum.Enum):
            label = getattr(origin, "label", lambda member: member.name)
            self._fill([(label(member), member) for member in origin])
        elif origin is str and cls is QtWidgets.QLineEdit:
            self.property, self.signal = "text", "textChanged(QString)"
        elif origin is str and cls is QtWidgets.QTextEdit:
            self.property, self.signal = "plainText", "textChanged()"
        elif origin in (pathlib.Path, pathlib.PurePath) and cls is ctk_widgets.ctkPathLineEdit:
            self.property, self.signal = "currentPath", "currentPathChanged(QString)"
        elif origin in (pathlib.Path, pathlib.PurePath) and cls is ctk_widgets.ctkDirectoryButton:
            self.property, self.signal = "directory", "directoryChanged(QString)"
        elif is_node(origin) and cls is mrml_widgets.qMRMLNodeComboBox:
            self.property, self.signal = "", "currentNodeChanged(vtkMRMLNode*)"
            set_property(widget, "nodeTypes", [origin.__name__])
        else:
            raise RuntimeError(
                f"Unable to create GUI connector from datatype '{type_.type}' to widget type '{cls.__name__}'"
            )

    def _set_range(self, low: float, high: float) -> None:
        for annotation in self.type.annotations:
            low = getattr(annotation, "minimum", low)
            high = getattr(annotation, "maximum", high)
            if isinstance(annotation, Decimals):
                set_property(self.widget_, "decimals", annotation.value)
            if isinstance(annotation, SingleStep):
                set_property(self.widget_, "singleStep", annotation.value)
        set_property(self.widget_, "minimum", low)
        set_property(self.widget_, "maximum", high)

    def _fill(self, items: list[tuple[str, Any]]) -> None:
        self.property, self.signal = "currentIndex", "currentIndexChanged(int)"
        self.items = [value for _label, value in items]
        self.widget_.clear()
        for label, _value in items:
            self.widget_.addItem(label)

    def widget(self) -> QtCore.QObject:
        return self.widget_

    def changed(self) -> None:
        if self._callback:
            self._callback()

    def onChanged(self, callback: Callable[[], None] | None) -> None:  # noqa: N802
        self._callback = callback
        (connect if callback else disconnect)(self.widget_, self.signal, self.changed)

    def read(self) -> Any:
        if not self.property:
            return self.widget_.currentNode()
        value = get_property(self.widget_, self.property)
        if self.items:
            return self.items[value]
        return self.type.origin(value)

    def write(self, value: Any) -> None:
        if not self.property:
            self.widget_.setCurrentNode(value)
        elif self.items:
            if value not in self.items:
                raise ValueError(f"Unable to find value {value} in choices {self.items}")
            set_property(self.widget_, self.property, self.items.index(value))
        else:
            set_property(self.widget_, self.property, str(value) if isinstance(value, pathlib.PurePath) else value)


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:  # noqa: N802
    """Tie a widget to a type."""
    return GuiConnector(widget, ParameterType(datatype))
