"""The module ``qt``: all of Qt's classes in one namespace."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

from . import pythonqt
from .objects import raw_get
from .questions import record_boxes
from .signals import slot_of
from .ui_loader import QUiLoader

_timers: set[QtCore.QTimer] = set()


def _single_shot(milliseconds: int, *target: Any) -> None:
    """Call a function once, later."""
    function: Callable[[], Any]
    if len(target) == 2:
        receiver, slot = target
        function = raw_get(receiver, slot.partition("(")[0])
    else:
        (function,) = target
    timer = QtCore.QTimer()
    timer.setSingleShot(True)
    call = slot_of(function, 0)

    def fire() -> None:
        _timers.discard(timer)
        call()

    timer.timeout.connect(fire)
    _timers.add(timer)
    timer.start(milliseconds)


_plain_write = QtCore.QIODevice.write


def _write(device: QtCore.QIODevice, data: Any) -> int:
    return _plain_write(device, data.encode() if isinstance(data, str) else data)


def make() -> types.ModuleType:
    """Make the module."""
    pythonqt.dress()
    record_boxes()
    QtCore.QTimer.singleShot = staticmethod(_single_shot)
    QtCore.QIODevice.write = _write
    module = types.ModuleType("qt", "Qt as PythonQt shows it, a stand-in for tests.")
    for part in pythonqt.MODULES:
        for name in dir(part):
            if name.startswith("Q") and (inspect.isclass(getattr(part, name)) or name == "Qt"):
                setattr(module, name, getattr(part, name))
    module.QUiLoader = QUiLoader
    return module
