"""Reading of the module's source: what it asks of Qt, CTK and the application, without running it."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets

from .api import class_api, class_names, functions_of_util, normalized

MODULES = ("qt", "ctk", "slicer")


def classes_of_widgets(ui_files: Iterable[Path]) -> dict[str, set[str]]:
    """Give the classes that a widget of a name has in ``.ui`` files."""
    classes: dict[str, set[str]] = {}
    for file in ui_files:
        for widget in ElementTree.parse(file).getroot().iter("widget"):
            name = widget.get("class", "")
            classes.setdefault(widget.get("name", ""), set()).add("QFrame" if name == "Line" else name)
    return classes


class Source:
    """One Python file.

    Parameters
    ----------
    file : Path
    widgets : dict
        Classes of the ``.ui`` files' widgets by name.
    """

    def __init__(self, file: Path, widgets: dict[str, set[str]]) -> None:
        self.file, self.widgets = file, widgets
        self.tree = ast.parse(file.read_text(encoding="utf-8"))
        self.made: dict[str, set[str]] = {}  # expressions that hold an object of a known class
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
                name = self._made_class(node.value)
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if name:
                    for target in targets:
                        self.made.setdefault(ast.unparse(target), set()).add(name)
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and self._ui_widget(node.value):
                self.made.setdefault(ast.unparse(node.targets[0]), set()).update(self._ui_widget(node.value))
        # A name that is also bound to something else says nothing.
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign):
                known = isinstance(node.value, ast.Call) and self._made_class(node.value) or self._ui_widget(node.value)
                if not known:
                    for target in node.targets:
                        self.made.pop(ast.unparse(target), None)
            elif isinstance(node, (ast.For, ast.comprehension)):
                self.made.pop(ast.unparse(node.target), None)
            elif isinstance(node, ast.arg):
                self.made.pop(node.arg, None)

    @staticmethod
    def _made_class(call: ast.Call) -> str | None:
        function = call.func
        if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
            return None
        known = function.value.id in MODULES and function.attr[:1] in "Qcq" and class_api(function.attr)
        return function.attr if known else None

    def _ui_widget(self, node: ast.AST) -> set[str]:
        """Give the classes of ``ui.name``, ``self.ui.name`` or ``self._ui.name``."""
        if not isinstance(node, ast.Attribute):
            return set()
        holder = node.value
        name = holder.id if isinstance(holder, ast.Name) else holder.attr if isinstance(holder, ast.Attribute) else ""
        return self.widgets.get(node.attr, {""}) if name in ("ui", "_ui") else set()

    def classes(self, node: ast.AST) -> set[str]:
        """Give the classes that an expression may have; empty where that is not known."""
        return self._ui_widget(node) or self.made.get(ast.unparse(node), set())

    def _problem(self, node: ast.AST, text: str) -> str:
        return f"{self.file.name}:{node.lineno}: {text}"

    def connections(self) -> Iterator[tuple[ast.Call, ast.AST, str]]:
        """List the calls that connect a signal: the call, the sender, the signature."""
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Call):
                continue
            function, arguments = node.func, node.args
            if isinstance(function, ast.Attribute) and function.attr in ("connect", "disconnect") and arguments:
                sender, signature = function.value, arguments[0]
            elif isinstance(function, ast.Name) and function.id in ("connect", "disconnect") and len(arguments) > 1:
                sender, signature = arguments[0], arguments[1]
            else:
                continue
            if isinstance(signature, ast.Constant) and isinstance(signature.value, str):
                yield node, sender, signature.value

    def problems(self) -> list[str]:
        """List all that the application does not have."""
        return [
            *self._signal_problems(),
            *self._attribute_problems(),
            *self._namespace_problems(),
        ]

    def _signal_problems(self) -> Iterator[str]:
        every = {signal for name in class_names() for signal in class_api(name).signals}
        every |= {
            "moduleAboutToBeUnloaded(QString)",
            "activated()",
            "moduleLoaded(QString)",
        }  # of classes not in the file
        for node, sender, signature in self.connections():
            wanted = normalized(signature)
            if signature != wanted:
                yield self._problem(node, f"{signature} is not written as Qt writes it: {wanted}")
            if wanted not in every:
                yield self._problem(node, f"no class has the signal {signature}")
                continue
            for name in self.classes(sender):
                if not name:
                    yield self._problem(node, f"no .ui file has a widget {ast.unparse(sender)}")
                elif wanted not in class_api(name).signals:
                    yield self._problem(node, f"{ast.unparse(sender)}, a {name}, has no signal {signature}")

    def _attribute_problems(self) -> Iterator[str]:
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Attribute):
                continue
            for name in self.classes(node.value):
                if not name:
                    yield self._problem(node, f"no .ui file has a widget {ast.unparse(node.value)}")
                    continue
                kind = class_api(name).kind(node.attr)
                if kind is None:
                    yield self._problem(node, f"{ast.unparse(node.value)}, a {name}, has no {node.attr}")
                elif isinstance(node.ctx, ast.Store) and kind != "property" and node.attr != "name":
                    yield self._problem(node, f"{node.attr} of {ast.unparse(node.value)}, a {name}, is no property")
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                for name in self.classes(node.func.value) - {""}:
                    if class_api(name).kind(node.func.attr) == "property":
                        yield self._problem(node, f"{ast.unparse(node.func)} is a property of {name} and not called")

    def _guarded(self, name: str) -> bool:
        return any(isinstance(node, ast.Constant) and node.value == name for node in ast.walk(self.tree))

    def _namespace_problems(self) -> Iterator[str]:
        functions, app = functions_of_util(), class_api("slicer.app")
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Attribute):
                continue
            text = ast.unparse(node)
            parts = text.split(".")
            if not all(part.isidentifier() for part in parts):
                continue
            if parts[:2] == ["slicer", "util"] and len(parts) == 3:
                if parts[2] not in functions and not self._guarded(parts[2]):
                    yield self._problem(node, f"{text} does not exist in Slicer 5.6, and no hasattr() asks for it")
            elif parts[:2] == ["slicer", "app"] and len(parts) == 3:
                if app.kind(parts[2]) is None:
                    yield self._problem(node, f"{text} does not exist")
            elif parts[0] == "ctk" and len(parts) == 2:
                if class_api(parts[1]) is None:
                    yield self._problem(node, f"{text} is not in the file of the API")
            elif parts[0] == "qt" and len(parts) == 3:
                yield from self._qt_name_problem(node, text, parts[1], parts[2])
            elif parts[0] == "qt" and len(parts) == 4 and parts[2][:1].isupper():
                yield self._problem(node, f"{text}: values of an enum are names of its class in PythonQt")

    def _qt_name_problem(self, node: ast.AST, text: str, class_name: str, name: str) -> Iterator[str]:
        api = class_api(class_name)
        if api is not None:
            known = api.kind(name) is not None or any(name in values for values in api.enums.values())
        else:
            found = [getattr(m, class_name) for m in (QtCore, QtGui, QtWidgets) if hasattr(m, class_name)]
            known = bool(found) and hasattr(found[0], name)
        if not known:
            yield self._problem(node, f"{text} does not exist")
