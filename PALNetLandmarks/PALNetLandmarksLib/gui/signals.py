"""Telling others that something happened: plain Python signals, and Qt's with a check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """A list of functions that are called when something happens.

    Qt's own signals need a class known to Qt's meta-object system, which Slicer's Python cannot make.

    Examples
    --------
    >>> moved = Signal()
    >>> moved.connect(print)
    >>> moved.emit("Prn")
    Prn
    >>> moved.disconnect(print)
    >>> moved.emit("Prn")
    """

    def __init__(self) -> None:
        self._functions: list[Callable[..., Any]] = []

    def connect(self, function: Callable[..., Any]) -> None:
        """Call a function from now on; connecting it twice changes nothing."""
        if function not in self._functions:
            self._functions.append(function)

    def disconnect(self, function: Callable[..., Any]) -> None:
        """Call a function no longer; one that is not connected is no error."""
        if function in self._functions:
            self._functions.remove(function)

    def clear(self) -> None:
        """Let go of all functions."""
        self._functions.clear()

    def emit(self, *arguments: Any) -> None:
        """Call every function, also when one of them disconnects another meanwhile."""
        for function in tuple(self._functions):
            if function in self._functions:
                function(*arguments)


def connect(sender: Any, signature: str, function: Callable[..., Any]) -> None:
    """Connect a signal of a Qt object, and fail loudly when there is none of that name.

    PythonQt only prints a line and returns False for a signal that does not exist.

    Parameters
    ----------
    sender : QObject
    signature : str
        C++ signature, for example ``clicked(bool)``.
    function : callable
        It gets as many of the signal's arguments as it has positional parameters.

    Raises
    ------
    RuntimeError
        If the object has no such signal.
    """
    if not sender.connect(signature, function):
        raise RuntimeError(f"{sender.className()} has no signal {signature}")
