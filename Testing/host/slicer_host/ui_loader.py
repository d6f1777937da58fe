"""Reading of ``.ui`` files: everything that Qt would pass over in silence is an error."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from .api import class_api, normalized
from .objects import find_own, native_properties, raw_get
from .signals import connect

WIDGETS: dict[str, type] = {}  # the host's own classes by name; filled by the application

# Designer's own words for properties that are none of the widget's.
_OF_THE_LAYOUT = {"leftMargin", "topMargin", "rightMargin", "bottomMargin"}
# Classes that Designer writes and that are no classes of Qt.
_LINE = "Line"


class UiError(RuntimeError):
    """A ``.ui`` file that asks for what the application does not have."""


def enums_in(element: ElementTree.Element) -> Iterator[str]:
    """List the enum values of a property, without their scopes."""
    for kind in ("enum", "set"):
        for value in element.iter(kind):
            for part in (value.text or "").split("|"):
                if part.strip():
                    yield part.strip()


def check_enum(api: Any, property_name: str, value: str) -> str | None:
    """Tell what is wrong with an enum value, held against the property's type; None if nothing is."""
    scope, _, name = value.rpartition("::")
    type_ = api.property_types.get(property_name, "")
    class_scope = scope.partition("::")[0]
    if class_scope == "Qt" or type_.startswith("Qt::"):
        owner = QtCore.Qt
        wanted = type_.partition("::")[2]
        if not hasattr(owner, name):
            return f"{value} is no value of Qt"
        del wanted
        return None
    if "::" in type_:  # of another class
        return None if hasattr(getattr(QtWidgets, class_scope, None), name) else f"{value} is unknown"
    values = api.enums.get(type_)
    if values is None:
        return f"{property_name} of {api.name} is no enum ({type_ or 'unknown'})"
    if name not in values:
        return f"{value} is no value of {api.name}::{type_}"
    return None


def problems_of(root: ElementTree.Element) -> list[str]:
    """List what a ``.ui`` file asks for and the application does not have.

    Parameters
    ----------
    root : Element
        The file's ``<ui>``.
    """
    problems: list[str] = []
    names: set[str] = set()
    for widget in root.iter("widget"):
        class_name, name = widget.get("class", ""), widget.get("name", "")
        if name in names:
            problems.append(f"two widgets are called {name}")
        names.add(name)
        api = class_api("QFrame" if class_name == _LINE else class_name)
        if api is None:
            problems.append(f"{name}: unknown class {class_name}")
            continue
        for element in widget.findall("property"):
            property_name = element.get("name", "")
            if element.get("stdset") == "0":
                continue
            if class_name == _LINE and property_name == "orientation":
                continue
            if property_name not in api.properties:
                problems.append(f"{name}: {class_name} has no property {property_name}")
                continue
            if not api.properties[property_name]:
                problems.append(f"{name}: property {property_name} of {class_name} cannot be written")
            problems += [
                f"{name}: {problem}"
                for value in enums_in(element)
                if element.find("enum") is not None or element.find("set") is not None
                if (problem := check_enum(api, property_name, value))
            ]
    for connection in root.iter("connection"):
        sender, signal, receiver, slot = (
            connection.findtext(key, "") for key in ("sender", "signal", "receiver", "slot")
        )
        classes = {widget.get("name"): widget.get("class", "") for widget in root.iter("widget")}
        for who, what, is_signal in ((sender, signal, True), (receiver, slot, False)):
            api = class_api(classes.get(who, ""))
            if api is None:
                problems.append(f"connection names the unknown object {who}")
            elif is_signal and normalized(what) not in api.signals:
                problems.append(f"{who}: {api.name} has no signal {what}")
            elif not is_signal and normalized(what) not in api.slots.get(what.partition("(")[0], ()):
                problems.append(f"{who}: {api.name} has no slot {what}")
    return problems


def _value(element: ElementTree.Element) -> Any:
    """Read the value of a property of one of the host's own classes."""
    (child,) = [c for c in element]
    text = child.text or ""
    if child.tag in ("string", "cstring"):
        return text
    if child.tag == "bool":
        return text == "true"
    if child.tag == "number":
        return int(text)
    if child.tag == "double":
        return float(text)
    if child.tag == "stringlist":
        return [item.text or "" for item in child]
    if child.tag in ("enum", "set"):
        scope_class = WIDGETS.get(text.partition("::")[0])
        total = 0
        for part in text.split("|"):
            name = part.strip().rpartition("::")[2]
            for holder in (scope_class, QtCore.Qt, QtWidgets.QFrame, QtWidgets.QComboBox, QtWidgets.QSlider):
                if holder is not None and hasattr(holder, name):
                    value = getattr(holder, name)
                    total = value if total == 0 else int(total) | int(value)
                    break
            else:
                raise UiError(f"The host does not know the value {part}")
        return total
    raise UiError(f"The host does not read a <{child.tag}> for {element.get('name')}")


class QUiLoader(QtUiTools.QUiLoader):
    """The loader that ``slicer.util.loadUI`` uses."""

    host_class = True

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> QtWidgets.QWidget:  # noqa: N802
        cls = WIDGETS.get(class_name)
        if cls is None:
            if not hasattr(QtWidgets, class_name) and class_name != _LINE:
                self.missing.append(f"{name}: the host does not offer {class_name}")
                return QtWidgets.QWidget(parent)
            return super().createWidget(class_name, parent, name)
        widget = cls(parent)
        widget.setObjectName(name)
        self.made[name] = widget
        return widget

    def load(self, file: Any, parent: Any = None) -> QtWidgets.QWidget:
        """Read a file.

        Raises
        ------
        UiError
            With all that is wrong in it.
        """
        path = file if isinstance(file, str) else QtCore.QFile.fileName(file)
        root = ElementTree.fromstring(Path(path).read_text(encoding="utf-8"))
        problems = problems_of(root)
        if problems:
            raise UiError(f"{Path(path).name}: " + "; ".join(problems))
        self.made: dict[str, QtWidgets.QWidget] = {}
        self.missing: list[str] = []

        connections = [
            [connection.findtext(key, "") for key in ("sender", "signal", "receiver", "slot")]
            for connection in root.iter("connection")
        ]
        for element in root.findall("connections"):
            root.remove(element)
        own: list[tuple[str, str, Any]] = []
        for widget in root.iter("widget"):
            cls = WIDGETS.get(widget.get("class", ""))
            if cls is None:
                continue
            for element in list(widget.findall("property")):
                name = element.get("name", "")
                if element.get("stdset") != "0" and not _native_has(cls, name):
                    if find_own(cls, name) is None:
                        self.missing.append(f"{widget.get('name')}: the host does not offer {cls.__name__}.{name}")
                        continue
                    own.append((widget.get("name", ""), name, _value(element)))
                    widget.remove(element)
        if self.missing:
            raise NotImplementedError("; ".join(self.missing))

        data = QtCore.QBuffer()
        data.setData(ElementTree.tostring(root))
        data.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        loaded = super().load(data, parent)
        if loaded is None:
            raise UiError(f"{Path(path).name}: {self.errorString()}")
        if self.missing:
            raise NotImplementedError("; ".join(self.missing))
        for name, property_name, value in own:
            _get, set_ = find_own(type(self.made[name]), property_name)
            set_(self.made[name], value)
        objects = {child.objectName(): child for child in loaded.findChildren(QtCore.QObject)}
        objects[loaded.objectName()] = loaded
        for sender, signal, receiver, slot in connections:
            if not connect(objects[sender], signal, objects[receiver], slot):
                raise UiError(f"{Path(path).name}: cannot connect {sender}.{signal} to {receiver}.{slot}")
        # The Python side of the host's widgets must live as long as the file's widget does.
        raw_get(loaded, "__dict__")["_made"] = self.made
        return loaded


def _native_has(cls: type, name: str) -> bool:
    return find_own(cls, name) is None and name in native_properties(cls)
