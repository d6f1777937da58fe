"""Signals as PythonQt connects them: by their C++ signature, to any callable."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore
from shiboken6 import Shiboken

from .api import normalized
from .objects import cpp_name, described, find_own, native_signals, raw_get

slot_errors: list[str] = []  # tracebacks of what slots raised; PythonQt prints them and goes on
refusals: list[str] = []  # signals that were asked for and do not exist


def positional_parameters(function: Callable[..., Any]) -> int | None:
    """Count the arguments that PythonQt passes to a callable; None for all of them."""
    if inspect.ismethod(function):
        code = getattr(function.__func__, "__code__", None)
        bound = 1
    else:
        code = getattr(function, "__code__", None) if inspect.isfunction(function) else None
        bound = 0
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - bound


def slot_of(function: Callable[..., Any], offered: int) -> Callable[..., None]:
    """Wrap a callable that is connected to a signal with so many arguments: it gets those that it can take."""
    parameters = positional_parameters(function)
    count = offered if parameters is None else min(offered, parameters)

    def call(*arguments: Any) -> None:
        try:
            function(*arguments[:count])
        except Exception:
            text = traceback.format_exc()
            slot_errors.append(text)
            sys.stderr.write(text)

    # PySide6 chooses among the overloads of a signal by the number of named parameters.
    forms = (
        lambda: call(),
        lambda a: call(a),
        lambda a, b: call(a, b),
        lambda a, b, c: call(a, b, c),
        lambda a, b, c, d: call(a, b, c, d),
    )
    return forms[offered]


_connections: dict[tuple[int, str], list[tuple[Callable[..., Any], Callable[..., Any]]]] = {}
_watched: set[int] = set()


def _pointer(obj: Any) -> int:
    pointer = Shiboken.getCppPointer(obj)[0]
    if pointer not in _watched:
        _watched.add(pointer)

        def forget(*_arguments: Any) -> None:
            _watched.discard(pointer)
            for key in [key for key in _connections if key[0] == pointer]:
                del _connections[key]

        raw_get(obj, "destroyed").connect(forget)
    return pointer


def _arguments(signature: str) -> int:
    inside = signature.partition("(")[2].rstrip(")")
    return len(inside.split(",")) if inside else 0


def _own_signal(cls: type, signature: str) -> bool:
    return any(signature in vars(c).get("host_signals", ()) for c in cls.__mro__)


def has_signal(obj: Any, signature: str) -> bool:
    """Tell whether the application's object has a signal, and the host too."""
    api = described(type(obj))[1]
    if api is not None and signature not in api.signals:
        return False
    return _own_signal(type(obj), signature) or signature in native_signals(type(obj))


def connect(obj: Any, *arguments: Any) -> bool:
    """Connect ``("signal()", function)`` or ``("signal()", receiver, "slot()")``."""
    if len(arguments) == 3 and isinstance(arguments[1], QtCore.QObject):
        signature, receiver, slot = arguments
        name = normalized(slot).partition("(")[0]
        if described(type(receiver))[1] is not None and described(type(receiver))[1].kind(name) is None:
            refusals.append(f"{cpp_name(receiver)} has no slot {slot}")
            print(refusals[-1])
            return False
        own = find_own(type(receiver), name[3:4].lower() + name[4:]) if name.startswith("set") else None
        function = (lambda value: own[1](receiver, value)) if own else raw_get(receiver, name)
    elif len(arguments) == 2 and callable(arguments[1]):
        signature, function = arguments
    else:
        raise TypeError(f"connect() of {cpp_name(obj)} takes a signature and a callable, not {arguments!r}")
    signature = normalized(signature)
    if not has_signal(obj, signature):
        refusals.append(f"{cpp_name(obj)} has no signal {signature}")
        print(refusals[-1])
        return False
    slot_ = slot_of(function, _arguments(signature))
    if not _own_signal(type(obj), signature):
        bound = raw_get(obj, signature.partition("(")[0])
        bound.connect(slot_)
    _connections.setdefault((_pointer(obj), signature), []).append((function, slot_))
    return True


def disconnect(obj: Any, *arguments: Any) -> bool:
    """Disconnect a function from a signal, or everything from it; False where nothing was connected."""
    if not arguments:
        raise TypeError("disconnect() without a signal is not offered")
    signature = normalized(arguments[0])
    found = _connections.get((_pointer(obj), signature), [])
    wanted = arguments[1] if len(arguments) > 1 else None
    gone = [pair for pair in found if wanted is None or pair[0] == wanted]
    for pair in gone:
        found.remove(pair)
        if not _own_signal(type(obj), signature):
            raw_get(obj, signature.partition("(")[0]).disconnect(pair[1])
    return bool(gone)


def connections(obj: Any) -> list[tuple[str, Callable[..., Any]]]:
    """List what Python functions are connected to an object, for tests."""
    pointer = _pointer(obj)
    return [(key[1], f) for key, pairs in _connections.items() if key[0] == pointer for f, _slot in pairs]


def emit(obj: Any, signature: str, *arguments: Any) -> None:
    """Emit a signal of one of the host's own classes."""
    if not Shiboken.isValid(obj) or QtCore.QObject.signalsBlocked(obj):
        return
    for _function, slot in tuple(_connections.get((_pointer(obj), signature), ())):
        slot(*arguments)


class BoundSignal:
    """``widget.clicked``: to connect, to disconnect, or to call, which emits it."""

    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self._name = owner, name
        api = described(type(owner))[1]
        known = api.signals if api else frozenset()
        if not known:
            known = native_signals(type(owner))
        # The one with most arguments that the host has: a function takes as many of them as it can.
        offered = [s for s in known if s.startswith(name + "(") and has_signal(owner, s)]
        if not offered:
            raise AttributeError(f"The host does not offer the signal {name} of {cpp_name(owner)}")
        self._signature = max(offered, key=lambda s: (_arguments(s), "*" in s))

    def connect(self, *arguments: Any) -> bool:
        return connect(self._owner, self._signature, *arguments)

    def disconnect(self, *arguments: Any) -> bool:
        return disconnect(self._owner, self._signature, *arguments)

    def __call__(self, *arguments: Any) -> None:
        if _own_signal(type(self._owner), self._signature):
            emit(self._owner, self._signature, *arguments)
        else:
            raw_get(self._owner, self._name).emit(*arguments)
