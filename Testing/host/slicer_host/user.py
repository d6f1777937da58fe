"""The hands of a person: clicks, typing, dragging, waiting, and pictures of what there is to see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PySide6 import QtCore, QtGui, QtTest, QtWidgets

from .three_d_view import qMRMLThreeDView

Qt = QtCore.Qt
_LEFT = Qt.MouseButton.LeftButton
_PLAIN = Qt.KeyboardModifier.NoModifier


def _reachable(widget: QtWidgets.QWidget) -> None:
    """Fail where a person could not click; scroll to what is further down."""
    name = f"{type(widget).__name__} {widget.objectName()!r}"
    area = widget.parentWidget()
    while area is not None:
        if isinstance(area, QtWidgets.QScrollArea) and area.widget() is not None:
            QtWidgets.QApplication.processEvents()
            area.ensureWidgetVisible(widget, 0, 10)
        area = area.parentWidget()
    assert widget.isVisible(), f"{name} is not visible"
    assert widget.isEnabled(), f"{name} is disabled"
    assert not widget.visibleRegion().isEmpty(), f"{name} is hidden behind something"


def click(widget: QtWidgets.QWidget, double: bool = False) -> None:
    """Click on a button, or on any other widget, in the middle."""
    _reachable(widget)
    position = widget.rect().center()
    if isinstance(widget, (QtWidgets.QCheckBox, QtWidgets.QRadioButton)):
        position = QtCore.QPoint(10, widget.height() // 2)
    elif hasattr(widget, "_title"):  # a section that folds
        position = QtCore.QPoint(40, widget._title // 2)
    QtTest.QTest.mouseClick(widget, _LEFT, _PLAIN, position)
    if double:
        QtTest.QTest.mouseDClick(widget, _LEFT, _PLAIN, position)


def click_cell(table: QtWidgets.QTableView, row: int, column: int = 0, double: bool = False) -> None:
    """Click on a cell of a table."""
    _reachable(table)
    index = table.model().index(row, column)
    table.scrollTo(index)
    position = table.visualRect(index).center()
    QtTest.QTest.mouseClick(table.viewport(), _LEFT, _PLAIN, position)
    if double:
        QtTest.QTest.mouseDClick(table.viewport(), _LEFT, _PLAIN, position)


def type_text(widget: QtWidgets.QWidget, text: str) -> None:
    """Type a text in the place of what a line edit, path edit or spin box holds, and leave it."""
    _reachable(widget)
    target: Any = widget
    if not isinstance(target, (QtWidgets.QLineEdit, QtWidgets.QAbstractSpinBox)):
        target = widget.findChild(QtWidgets.QLineEdit)
    assert target is not None, f"nothing to type into in {widget.objectName()}"
    target.setFocus()
    target.selectAll()
    QtTest.QTest.keyClick(target, Qt.Key.Key_Delete)
    for character in text:
        if character.isascii():
            QtTest.QTest.keyClicks(target, character)
        else:  # QTest knows no other characters
            event = QtGui.QKeyEvent(QtCore.QEvent.Type.KeyPress, 0, _PLAIN, character)
            QtWidgets.QApplication.sendEvent(target, event)
    QtTest.QTest.keyClick(target, Qt.Key.Key_Return)


def press_key(widget: QtWidgets.QWidget, key: str) -> None:
    """Press a key or a combination, written as ``Ctrl+Z``, while a widget has the focus."""
    sequence = QtGui.QKeySequence(key)
    combination = sequence[0]
    widget.window().activateWindow()
    widget.setFocus()
    QtWidgets.QApplication.processEvents()
    QtTest.QTest.keyClick(widget, combination.key(), combination.keyboardModifiers())


def choose(combo: QtWidgets.QWidget, text: str) -> None:
    """Choose an entry of a combo box, or of a node selector, by its text."""
    _reachable(combo)
    box = combo if isinstance(combo, QtWidgets.QComboBox) else combo.findChild(QtWidgets.QComboBox)
    row = box.findText(text)
    assert row >= 0, f"{combo.objectName()} has no entry {text!r}: {[box.itemText(i) for i in range(box.count())]}"
    box.setCurrentIndex(row)
    box.activated.emit(row)


def process_events() -> None:
    """Let Qt do what waits, deferred deletions too."""
    QtWidgets.QApplication.processEvents()
    QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def wait_until(condition: Callable[[], Any], timeout: float = 10.0, what: str = "") -> Any:
    """Run the event loop until a condition holds.

    Parameters
    ----------
    condition : callable
    timeout : float
        Seconds.
    what : str
        What is waited for, for the message.

    Returns
    -------
    object
        The condition's value.

    Raises
    ------
    AssertionError
        If it does not hold in time.
    """
    end = time.perf_counter() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.perf_counter() < end, f"waited {timeout:g} s in vain for {what or 'a condition'}"
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 20)
        QtCore.QThread.msleep(1)


class BlockingMeter:
    """Measure for how long the event loop does not come round.

    Use it as a context. It ticks every 5 ms in a waiting loop such as ``wait_until``.

    Attributes
    ----------
    longest : float
        Seconds by the clock.
    longest_work : float
        Seconds that this thread worked: the same on a busy machine, where the clock says what others took.
    """

    def __init__(self) -> None:
        self.longest = self.longest_work = 0.0
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._tick)
        self._last = self._last_work = 0.0

    def _tick(self) -> None:
        now, work = time.perf_counter(), time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self.longest_work = max(self.longest_work, work - self._last_work)
        self._last, self._last_work = now, work

    def __enter__(self) -> BlockingMeter:
        self.longest = self.longest_work = 0.0
        self._last, self._last_work = time.perf_counter(), time.thread_time()
        self._timer.start()
        return self

    def __exit__(self, *_error: Any) -> None:
        self._tick()  # what runs now may have been waited for
        self._timer.stop()


# ---- in the 3D view ------------------------------------------------------------------------------------------------


def look(view: qMRMLThreeDView, axis: str = "Anterior") -> None:
    """Turn the view to a side of the scan and show all of it.

    Parameters
    ----------
    view : qMRMLThreeDView
    axis : str
        A direction of ``vtkMRMLCameraNode``.
    """
    import slicer

    view.forceRender()
    view.cameraNode().RotateTo(getattr(slicer.vtkMRMLCameraNode, axis))
    view.resetCamera(False, True, True)
    view.forceRender()


def click_view(view: qMRMLThreeDView, world: Any, shift: bool = False) -> None:
    """Click at a point in the scene, RAS, mm."""
    view.forceRender()
    x, y = view.display_position(world)
    view.send("MouseMoveEvent", x + 15, y)
    view.send("MouseMoveEvent", x, y)
    view.send("LeftButtonPressEvent", x, y, shift)
    view.send("LeftButtonReleaseEvent", x, y, shift)


def drag_view(view: qMRMLThreeDView, start: Any, path: Iterable[Any], steps: int = 8) -> None:
    """Drag what lies at a point along others, all in RAS, mm; or ``("display", x, y)`` for a pixel of the view.

    Parameters
    ----------
    view : qMRMLThreeDView
    start : (3,) float
    path : sequence of (3,) float
        Where to, one after the other.
    steps : int
        Moves of the mouse between two of them.
    """

    def pixel(point: Any) -> np.ndarray:
        if isinstance(point[0], str):
            return np.array(point[1:], dtype=float)
        return view.display_position(point)

    view.forceRender()
    here = pixel(start)
    view.send("MouseMoveEvent", *(here + [20, 20]))
    view.send("MouseMoveEvent", *here)
    view.send("LeftButtonPressEvent", *here)
    for point in path:
        there = pixel(point)
        for part in np.linspace(0.0, 1.0, steps + 1)[1:]:
            view.send("MouseMoveEvent", *(here + (there - here) * part))
            process_events()
        here = there
    view.send("LeftButtonReleaseEvent", *here)
    process_events()


def display_position(view: qMRMLThreeDView, world: Any) -> tuple[float, float]:
    """Tell where in the view a point in RAS, mm, is seen: pixels from the lower left corner."""
    x, y = view.display_position(world)
    return float(x), float(y)


def mouse(view: qMRMLThreeDView, event: str, x: float, y: float, shift: bool = False, control: bool = False) -> None:
    """Send one of VTK's events to the view, such as ``LeftButtonPressEvent``, in pixels from the lower left corner."""
    view.send(event, x, y, shift, control)
    process_events()


# ---- pictures ------------------------------------------------------------------------------------------------------


def save_screenshot(file: Path, panel: QtWidgets.QWidget, view: qMRMLThreeDView | None = None) -> Path:
    """Save a picture of a panel, with the 3D view beside it.

    Parameters
    ----------
    file : Path
    panel : QWidget
    view : qMRMLThreeDView, optional
    """
    for _round in range(3):  # a layout is settled from the inside outwards
        process_events()
    left = panel.grab().toImage()
    right = view.picture() if view is not None else None
    height = max(left.height(), right.height() if right else 0)
    image = QtGui.QImage(left.width() + (right.width() if right else 0), height, QtGui.QImage.Format.Format_RGB888)
    image.fill(QtGui.QColor("#efefef"))
    painter = QtGui.QPainter(image)
    painter.drawImage(0, 0, left)
    if right:
        painter.drawImage(left.width(), 0, right)
    painter.end()
    file.parent.mkdir(parents=True, exist_ok=True)
    assert image.save(str(file)), f"could not write {file}"
    return file
