"""PySide6's objects made to behave as PythonQt's: properties are attributes, signals are connected by signature.

Only code outside of this package sees them so: who asks for an attribute is told by the calling frame. The package
itself and PySide6's own Python code get the plain objects.
"""

from __future__ import annotations

import enum
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtTest, QtUiTools, QtWidgets
from shiboken6 import Shiboken

from .api import KEYWORDS
from .objects import (
    cpp_name,
    described,
    find_own,
    in_python_part,
    is_internal,
    native_properties,
    native_signals,
    plain_ways,
    raw_get,
    raw_set,
    read_meta_objects,
)
from .properties import get_property, set_property
from .signals import BoundSignal, connect, disconnect

MODULES = (QtCore, QtGui, QtWidgets, QtUiTools, QtTest)


# ---- attributes ----------------------------------------------------------------------------------------------------


def _delete(self: Any) -> None:
    Shiboken.delete(self)


def _asked_by_python(frame: types.FrameType, name: str) -> bool:
    """Tell whether a frame's code asks for a name, or C++ does, which looks for an overridden virtual method.

    An error in the second case would be left pending and come up somewhere else.
    """
    return name in frame.f_code.co_names or name in frame.f_code.co_consts


def _getattribute(self: Any, name: str) -> Any:
    try:
        frame = sys._getframe(1)
    except ValueError:  # C++ asks while no Python code runs
        return raw_get(self, name)
    if name[:2] == "__" or is_internal(frame):
        return raw_get(self, name)
    cls = type(self)
    wrapper, api, derived = described(cls)
    if derived and (name in raw_get(self, "__dict__") or in_python_part(cls, name)):
        return raw_get(self, name)
    if api is not None:
        kind = api.kind(name)
    else:
        if name in native_properties(wrapper):
            kind = "property"
        else:
            kind = "signal" if any(s.startswith(name + "(") for s in native_signals(wrapper)) else "method"
    if name == "name":
        return QtCore.QObject.objectName(self)
    if name == "connect":
        return types.MethodType(connect, self)
    if name == "disconnect":
        return types.MethodType(disconnect, self)
    if name == "className":
        return types.MethodType(cpp_name, self)
    if name == "delete":
        return types.MethodType(_delete, self)
    if kind == "property":
        return get_property(self, name)
    if kind == "signal":
        return BoundSignal(self, name)
    if kind == "method":
        if name == "property" or name == "setProperty":
            return types.MethodType(_property if name == "property" else _set_property, self)
        own = _own_setter(cls, name)
        if own is not None:
            return types.MethodType(own, self)
        plain = name[:-1] if name.endswith("_") and name[:-1] in KEYWORDS else name
        try:
            return raw_get(self, plain)
        except AttributeError:
            if plain != name:
                return raw_get(self, name)
            raise AttributeError(f"The host does not offer {wrapper.__name__}.{name}") from None
    if not _asked_by_python(frame, name):
        return raw_get(self, name)
    raise AttributeError(f"{wrapper.__name__} has no attribute named '{name}'")


def _own_setter(cls: type, name: str) -> Callable | None:
    if not name.startswith("set") or len(name) < 4:
        return None
    own = find_own(cls, name[3].lower() + name[4:])
    if own is None or any(name in vars(c) for c in cls.__mro__ if "host_class" in vars(c)):
        return None
    return own[1]


def _property(self: Any, name: str) -> Any:
    own = find_own(type(self), name)
    return own[0](self) if own else QtCore.QObject.property(self, name)


def _set_property(self: Any, name: str, value: Any) -> bool:
    own = find_own(type(self), name)
    if own:
        own[1](self, value)
        return True
    return QtCore.QObject.setProperty(self, name, value)


def _setattr(self: Any, name: str, value: Any) -> None:
    if name[:2] == "__" or is_internal(sys._getframe(1)):
        raw_set(self, name, value)
        return
    wrapper, api, derived = described(type(self))
    if name == "name":
        QtCore.QObject.setObjectName(self, value)
        return
    if api is not None:
        if name in api.properties:
            if not api.properties[name]:
                raise AttributeError(f"Property '{name}' of {wrapper.__name__} is not writable")
            set_property(self, name, value)
            return
    elif name in native_properties(wrapper):
        set_property(self, name, value)
        return
    if derived:
        raw_set(self, name, value)
        return
    raise AttributeError(
        f"Attribute '{name}' does not exist on {wrapper.__name__} and creation of new attributes on C++ objects "
        "is not allowed"
    )


# ---- enums ---------------------------------------------------------------------------------------------------------


def _int_like(cls: type[enum.Enum]) -> None:
    """Let the members of an enum count as integers: in PythonQt they are."""

    def number(other: Any) -> Any:
        return other.value if isinstance(other, enum.Enum) else other

    def binary(operation: Callable[[int, int], int]) -> Callable[[Any, Any], Any]:
        def apply(self: Any, other: Any) -> Any:
            other = number(other)
            if not isinstance(other, int):
                return NotImplemented
            result = operation(self.value, other)
            if issubclass(cls, enum.Flag):
                return cls(result)
            return result

        return apply

    cls.__int__ = cls.__index__ = lambda self: self.value
    cls.__bool__ = lambda self: bool(self.value)
    cls.__hash__ = lambda self: hash(self.value)
    cls.__eq__ = lambda self, other: self.value == number(other) if isinstance(other, (int, cls)) else NotImplemented
    cls.__lt__ = lambda self, other: self.value < number(other)
    cls.__gt__ = lambda self, other: self.value > number(other)
    cls.__or__ = cls.__ror__ = binary(lambda a, b: a | b)
    cls.__and__ = cls.__rand__ = binary(lambda a, b: a & b)
    cls.__add__ = cls.__radd__ = lambda self, other: self.value + number(other)


_done = False


def dress() -> None:
    """Change the classes of PySide6, once per process."""
    global _done
    if _done:
        return
    _done = True
    classes = [getattr(module, name) for module in MODULES for name in dir(module)]
    objects = [cls for cls in classes if inspect.isclass(cls) and issubclass(cls, QtCore.QObject)]
    read_meta_objects(objects)
    for cls in objects:
        plain_ways[cls] = cls.__getattribute__
    for cls in classes:
        if inspect.isclass(cls):
            for member in [getattr(cls, n, None) for n in dir(cls) if n[:1].isupper()]:
                if inspect.isclass(member) and issubclass(member, enum.Enum) and not issubclass(member, int):
                    _int_like(member)
    for cls in objects:
        cls.__getattribute__ = _getattribute
        cls.__setattr__ = _setattr
