"""CTK's sections that fold away."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .properties import stored
from .signals import emit

Qt = QtCore.Qt


class ctkCollapsibleButton(QtWidgets.QAbstractButton):  # noqa: N801
    """A titled section that folds away."""

    host_class = True
    host_signals = ("contentsCollapsed(bool)",)

    def __init__(self, *arguments: Any) -> None:
        text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        parent = next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None)
        super().__init__(parent)
        self._folding = False
        self._wanted: dict[QtWidgets.QWidget, bool] = {}
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self._title = self.fontMetrics().height() + 8
        self.setContentsMargins(2, self._title, 2, 2)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.toggled.connect(self._toggled)

    def _toggled(self, opened: bool) -> None:
        self._folding = True
        for child in [c for c in self.children() if isinstance(c, QtWidgets.QWidget)]:
            if opened:
                child.setVisible(self._wanted.get(child, True))
            else:
                self._wanted[child] = not child.isHidden()
                child.setVisible(False)
        self._folding = False
        self.setMaximumHeight(16777215 if opened else self._title + 4)
        self.updateGeometry()
        emit(self, "contentsCollapsed(bool)", not opened)

    def childEvent(self, event: QtCore.QChildEvent) -> None:  # noqa: N802
        child = event.child()
        if event.added() and child.isWidgetType():
            child.installEventFilter(self)
        super().childEvent(event)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:  # noqa: N802
        # What is shown or hidden while the section is folded is remembered for the day when it opens.
        if not self._folding and not self.isChecked() and isinstance(child, QtWidgets.QWidget):
            if event.type() == QtCore.QEvent.Type.ShowToParent:
                self._folding = True
                self._wanted[child] = True
                child.setVisible(False)
                self._folding = False
            elif event.type() == QtCore.QEvent.Type.HideToParent:
                self._wanted[child] = False
        return False

    def hitButton(self, position: QtCore.QPoint) -> bool:  # noqa: N802
        return position.y() <= self._title

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:  # noqa: N802
        painter = QtGui.QPainter(self)
        bar = QtCore.QRect(0, 0, self.width(), self._title)
        painter.fillRect(bar, self.palette().midlight())
        painter.setPen(self.palette().mid().color())
        painter.drawRect(self.rect().adjusted(0, 0, -1, -1) if self.isChecked() else bar.adjusted(0, 0, -1, -1))
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(4, (self._title - 12) // 2, 12, 12)
        element = QtWidgets.QStyle.PrimitiveElement
        primitive = element.PE_IndicatorArrowDown if self.isChecked() else element.PE_IndicatorArrowRight
        self.style().drawPrimitive(primitive, arrow, painter, self)
        painter.setPen(self.palette().buttonText().color())
        painter.drawText(bar.adjusted(22, 0, -4, 0), Qt.AlignmentFlag.AlignVCenter, self.text().replace("&&", "&"))
        painter.end()

    def _is_collapsed(self) -> bool:
        return not self.isChecked()

    def _collapse(self, value: bool) -> None:
        self.setChecked(not value)

    host_properties = {
        "collapsed": (_is_collapsed, _collapse),
        "collapsedHeight": stored("collapsedHeight", 0),
        "contentsFrameShape": stored("contentsFrameShape", None),
        "contentsFrameShadow": stored("contentsFrameShadow", None),
        "contentsLineWidth": stored("contentsLineWidth", 1),
        "contentsMidLineWidth": stored("contentsMidLineWidth", 0),
        "flat": stored("flat", False),
        "buttonTextAlignment": stored("buttonTextAlignment", None),
        "indicatorAlignment": stored("indicatorAlignment", None),
    }


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):  # noqa: N801
    """A group box that folds away by its check box."""

    host_class = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._toggled)
        self._wanted: dict[QtWidgets.QWidget, bool] = {}

    def _toggled(self, opened: bool) -> None:
        for child in [c for c in self.children() if isinstance(c, QtWidgets.QWidget)]:
            if opened:
                child.setVisible(self._wanted.get(child, True))
            else:
                self._wanted[child] = not child.isHidden()
                child.setVisible(False)
        self.setMaximumHeight(16777215 if opened else self.fontMetrics().height() + 8)

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:  # noqa: N802
        # The check box of Qt's own is an arrow in CTK's.
        style = QtWidgets.QStyle
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        control = style.ComplexControl.CC_GroupBox
        box = self.style().subControlRect(control, option, style.SubControl.SC_GroupBoxCheckBox, self)
        label = self.style().subControlRect(control, option, style.SubControl.SC_GroupBoxLabel, self)
        painter = QtGui.QPainter(self)
        if self.isChecked():
            painter.setPen(self.palette().mid().color())
            painter.drawRect(self.rect().adjusted(0, label.height() // 2, -1, -1))
            painter.fillRect(box.united(label).adjusted(-2, 0, 4, 0), self.palette().window())
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = box
        element = style.PrimitiveElement
        primitive = element.PE_IndicatorArrowDown if self.isChecked() else element.PE_IndicatorArrowRight
        self.style().drawPrimitive(primitive, arrow, painter, self)
        painter.setPen(self.palette().windowText().color())
        painter.drawText(label, Qt.AlignmentFlag.AlignVCenter, self.title())
        painter.end()

    def _is_collapsed(self) -> bool:
        return not self.isChecked()

    def _collapse(self, value: bool) -> None:
        self.setChecked(not value)

    host_properties = {"collapsed": (_is_collapsed, _collapse), "collapsedHeight": stored("collapsedHeight", 14)}
