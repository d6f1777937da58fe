"""The types that a parameter node takes: how they are checked, written and read."""

from __future__ import annotations

import collections.abc
import enum
import json
import pathlib
import types as python_types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer


@dataclass
class Default:
    """The value of a parameter that nobody has set."""

    value: Any


@dataclass
class Minimum:
    """A lower limit."""

    minimum: float

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, not {value}")


@dataclass
class Maximum:
    """An upper limit."""

    maximum: float

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, not {value}")


@dataclass
class WithinRange:
    """Both limits."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within {self.minimum} and {self.maximum}, not {value}")


class Choice:
    """A list of values to choose from."""

    def __init__(self, choices: Any) -> None:
        self.choices = list(choices)

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, not {value!r}")


@dataclass
class Decimals:
    """Decimals of a spin box."""

    value: int


@dataclass
class SingleStep:
    """Step of a spin box."""

    value: float


# ---- types -----------------------------------------------------------------------------------------------------


def is_node(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode)


_SUPPORTED = (int, float, str, bool, pathlib.Path, pathlib.PurePath)


class ParameterType:
    """How one type is written to and read from the node."""

    def __init__(self, hint: Any) -> None:
        self.hint = hint
        self.validators: list[Any] = []
        self.annotations: list[Any] = []
        if typing.get_origin(hint) is typing.Annotated:
            base, *self.annotations = typing.get_args(hint)
            self.validators = [a for a in self.annotations if hasattr(a, "validate")]
        else:
            base = hint
        arguments = typing.get_args(base)
        self.optional = typing.get_origin(base) in (typing.Union, python_types.UnionType) and type(None) in arguments
        if self.optional:
            (base,) = [a for a in arguments if a is not type(None)]
        elif typing.get_origin(base) is typing.Union:
            raise TypeError(f"The host does not take {base}")
        self.type = base
        self.origin = typing.get_origin(base) or base
        if not (
            self.origin in (list, dict)
            or is_node(self.origin)
            or isinstance(self.origin, type)
            and (issubclass(self.origin, enum.Enum) or self.origin in _SUPPORTED)
        ):
            raise TypeError(f"Unable to create serializer for type: {base}")

    def default(self) -> Any:
        if self.optional or is_node(self.origin):
            return None
        if issubclass(self.origin, enum.Enum):
            return next(iter(self.origin))
        return self.origin()

    def check(self, value: Any) -> None:
        if value is None:
            if self.optional or is_node(self.origin):
                return
            raise ValueError("Value must not be None")
        accepted: Any = (int, float) if self.origin is float else self.origin
        if self.origin is list:
            accepted = (list, ObservedList)
        if self.origin is dict:
            accepted = (dict, ObservedDict)
        if not isinstance(value, accepted) or self.origin is int and not isinstance(value, int):
            raise TypeError(f"Value of type {type(value).__name__} is not of type {self.origin.__name__}")
        for validator in self.validators:
            validator.validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        if is_node(self.origin):
            node.SetParameter(name, "")
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
        elif value is None:
            node.SetParameter(name, "")
        elif isinstance(value, enum.Enum):
            node.SetParameter(name, value.name)
        elif self.origin in (list, dict):
            plain = value.plain() if isinstance(value, (ObservedList, ObservedDict)) else value
            node.SetParameter(name, json.dumps(plain))
        else:
            node.SetParameter(name, str(value))

    def read(self, node: Any, name: str, owner: Any) -> Any:
        if is_node(self.origin):
            return node.GetNodeReference(name)
        text = node.GetParameter(name)
        if self.optional and text == "":
            return None
        if isinstance(self.origin, type) and issubclass(self.origin, enum.Enum):
            return self.origin[text]
        if self.origin is bool:
            return text == "True"
        if self.origin is list:
            return ObservedList(json.loads(text), lambda value: setattr(owner, name, value))
        if self.origin is dict:
            return ObservedDict(json.loads(text), lambda value: setattr(owner, name, value))
        return self.origin(text)


class ObservedList(collections.abc.MutableSequence):
    """A list that stores itself when it is changed."""

    def __init__(self, values: list[Any], store: Callable[[list[Any]], None]) -> None:
        self._values, self._store = values, store

    def plain(self) -> list[Any]:
        return self._values

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._values[index] = value
        self._store(list(self._values))

    def __delitem__(self, index: Any) -> None:
        del self._values[index]
        self._store(list(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def insert(self, index: int, value: Any) -> None:
        self._values.insert(index, value)
        self._store(list(self._values))

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, ObservedList) else other)

    __hash__ = None


class ObservedDict(collections.abc.MutableMapping):
    """A dict that stores itself when it is changed."""

    def __init__(self, values: dict[Any, Any], store: Callable[[dict[Any, Any]], None]) -> None:
        self._values, self._store = values, store

    def plain(self) -> dict[Any, Any]:
        return self._values

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._values[key] = value
        self._store(dict(self._values))

    def __delitem__(self, key: Any) -> None:
        del self._values[key]
        self._store(dict(self._values))

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
