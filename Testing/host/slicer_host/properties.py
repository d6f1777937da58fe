"""Qt's properties, of PySide6's classes and of the host's own."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

from .objects import cpp_name, described, find_own, raw_get
from .signals import emit

_getters: dict[tuple[type, str], Callable[[Any], Any]] = {}


def _native_getter(cls: type, name: str) -> Callable[[Any], Any]:
    capital = name[0].upper() + name[1:]
    for candidate in (
        name,
        "is" + capital,
        "has" + capital,
        name.replace("Enabled", "") if "Enabled" in name else name,
    ):
        member = getattr(cls, candidate, None)
        if callable(member) and not isinstance(member, (QtCore.Signal, type)):
            return member
    return lambda obj: QtCore.QObject.property(obj, name)


def get_property(obj: Any, name: str) -> Any:
    """Read a Qt property."""
    own = find_own(type(obj), name)
    if own is not None:
        return own[0](obj)
    wrapper = described(type(obj))[0]
    getter = _getters.get((wrapper, name))
    if getter is None:
        getter = _getters[wrapper, name] = _native_getter(wrapper, name)
    try:
        return getter(obj)
    except TypeError:
        return QtCore.QObject.property(obj, name)


def set_property(obj: Any, name: str, value: Any) -> None:
    """Write a Qt property."""
    own = find_own(type(obj), name)
    if own is not None:
        if own[1] is None:
            raise AttributeError(f"Property {name!r} of {cpp_name(obj)} is not writable")
        own[1](obj, value)
        return
    setter = getattr(described(type(obj))[0], "set" + name[0].upper() + name[1:], None)
    if isinstance(value, tuple):
        value = list(value)
    if setter is not None:
        try:
            setter(obj, value)
        except TypeError as error:
            if not isinstance(value, int) or not QtCore.QObject.setProperty(obj, name, value):
                raise TypeError(f"Property {name!r} of {cpp_name(obj)} does not take {value!r}: {error}") from None
    elif not QtCore.QObject.setProperty(obj, name, value):
        raise AttributeError(f"Property {name!r} of {cpp_name(obj)} is not writable or does not take {value!r}")


def stored(name: str, default: Any, changed: str | None = None, then: str | None = None) -> tuple[Callable, Callable]:
    """Make a property that is just kept, with the signal to emit and the method to call after a change."""
    key = "_" + name

    def get(self: Any) -> Any:
        return self.__dict__.get(key, default)

    def set_(self: Any, value: Any) -> None:
        if isinstance(value, tuple):
            value = list(value)
        if (
            not isinstance(default, bool)
            and isinstance(default, (str, int, float))
            and not isinstance(value, (type(default), int, enum.Enum))
        ):
            raise TypeError(f"Property {name!r} of {cpp_name(self)} does not take {value!r}")
        if isinstance(default, str) and not isinstance(value, str):
            raise TypeError(f"Property {name!r} of {cpp_name(self)} does not take {value!r}")
        old = get(self)
        self.__dict__[key] = value
        if old != value:
            if then:
                raw_get(self, then)()
            if changed:
                emit(self, changed, value)

    return get, set_
