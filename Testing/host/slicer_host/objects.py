"""Objects of PySide6 as they are: plain access to them, and what the application calls their classes."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

from .api import ClassApi, class_api

INTERNAL = ("slicer_host", "PySide6", "shiboken6", "shibokensupport", "importlib")

plain_ways: dict[
    type, Callable[[Any, str], Any]
] = {}  # how PySide6 itself finds an attribute; some classes have their own way


def raw_get(obj: Any, name: str) -> Any:
    """Get an attribute as PySide6 does."""
    cls = type(obj)
    plain = plain_ways.get(cls)
    if plain is None:
        plain = plain_ways[cls] = next(
            (plain_ways[c] for c in cls.__mro__ if c in plain_ways), plain_ways[QtCore.QObject]
        )
    return plain(obj, name)


def raw_set(obj: Any, name: str, value: Any) -> None:
    """Set an attribute as any Python object would."""
    for c in type(obj).__mro__:
        descriptor = vars(c).get(name)
        if descriptor is not None:
            if hasattr(type(descriptor), "__set__"):
                type(descriptor).__set__(descriptor, obj, value)
                return
            break
    raw_get(obj, "__dict__")[name] = value


_internal_modules: dict[str, bool] = {}


def is_internal(frame: types.FrameType) -> bool:
    """Tell whether a frame belongs to this package or to PySide6."""
    name = frame.f_globals.get("__name__", "")
    internal = _internal_modules.get(name)
    if internal is None:
        internal = _internal_modules[name] = name.partition(".")[0] in INTERNAL
    return internal


_types: dict[type, tuple[type, ClassApi | None, bool]] = {}


def described(cls: type) -> tuple[type, ClassApi | None, bool]:
    """Give the C++ class behind a Python type, what the application's class has, and whether Python code derived it."""
    found = _types.get(cls)
    if found is None:
        wrapper = next(c for c in cls.__mro__ if c.__module__.startswith("PySide6") or "host_class" in vars(c))
        name = vars(wrapper).get("host_api", wrapper.__name__)
        found = _types[cls] = (wrapper, class_api(name), wrapper is not cls)
    return found


_native: dict[type, tuple[frozenset[str], frozenset[str]]] = {}


def read_meta_objects(classes: list[type]) -> None:
    """Note the properties and signals of PySide6's classes, while their meta-objects can be read.

    Later they cannot be relied on: PySide6 makes them anew when a method of a derived class is connected.
    """
    for cls in classes:
        meta = cls.staticMetaObject
        methods = [meta.method(i) for i in range(meta.methodCount())]
        _native[cls] = (
            frozenset(meta.property(i).name() for i in range(meta.propertyCount())),
            frozenset(
                bytes(m.methodSignature().data()).decode()
                for m in methods
                if m.methodType() == QtCore.QMetaMethod.MethodType.Signal
            ),
        )


def _native_base(cls: type) -> type:
    return next(c for c in cls.__mro__ if c in _native)


def native_properties(cls: type) -> frozenset[str]:
    """Give the names of the properties of the class of PySide6 behind a class."""
    return _native[_native_base(cls)][0]


def native_signals(cls: type) -> frozenset[str]:
    """Give the signatures of the signals of the class of PySide6 behind a class."""
    return _native[_native_base(cls)][1]


def cpp_name(obj: Any) -> str:
    """Give the name of the class as the application would."""
    return described(type(obj))[0].__name__


def in_python_part(cls: type, name: str) -> bool:
    """Tell whether a class that is derived in Python defines a name itself."""
    wrapper = described(cls)[0]
    for c in cls.__mro__:
        if c is wrapper:
            return False
        if name in vars(c):
            return True
    return False


_own: dict[tuple[type, str], tuple[Callable, Callable | None] | None] = {}


def find_own(cls: type, name: str) -> tuple[Callable, Callable | None] | None:
    """Find a property that a class of the host declares in ``host_properties``."""
    key = (cls, name)
    if key not in _own:
        declared = (vars(c).get("host_properties", {}).get(name) for c in cls.__mro__)
        _own[key] = next((own for own in declared if own is not None), None)
    return _own[key]
