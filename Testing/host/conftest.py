"""Fixtures of the tests that run the module in the stand-in for the application."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULE = ROOT / "PALNetLandmarks" / "PALNetLandmarks.py"
SCREENSHOTS = Path(os.environ.get("PALNET_SCREENSHOTS", HERE / "output"))

# What is no test: with --doctest-modules pytest would import it, before the host is in place.
collect_ignore_glob = ["example/*", "slicer_host/*", "conftest.py", "engine_stand_ins.py", "measured_case.py"]

if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker of these tests known."""
    config.addinivalue_line("markers", "host: runs the module in the stand-in for the application")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them where a package is missing."""
    missing = [name for name in ("slicer", "PySide6") if importlib.util.find_spec(name) is None]
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker("host")
            if missing and "installed_host" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=f"{' and '.join(missing)} not installed"))


@pytest.fixture(scope="session")
def installed_host() -> Any:
    """Put the stand-in in place, when the first test asks for it."""
    import slicer_host

    return slicer_host.install()


@pytest.fixture
def host(installed_host: Any) -> Iterator[Any]:
    """The stand-in with an empty scene; a slot that raised, or a refused signal, fails the test afterwards."""
    installed_host.clear()
    yield installed_host
    errors, refusals = list(installed_host.slot_errors), list(installed_host.refusals)
    installed_host.clear()
    assert not errors, "slots raised:\n" + "\n".join(errors)
    assert not refusals, "the application refused: " + "; ".join(refusals)


@pytest.fixture
def messages(host: Any) -> Any:
    """The boxes that were shown; ``messages.answer("confirm", False)`` answers the next question."""
    return host.messages


class Panel:
    """The module's panel, 420 px wide, beside the 3D view.

    Attributes
    ----------
    module : object
        The application's side: ``module.description`` is the instance of the module's own class.
    widget : object
        The instance of ``PALNetLandmarksWidget``.
    window, area : QWidget
        The window, and the scroll area that holds the panel.
    """

    def __init__(self, host: Any, path: Path) -> None:
        from PySide6 import QtCore, QtWidgets
        from slicer_host.user import process_events

        self.host = host
        self.closed = False
        self.module = host.load_module(path)
        self.window = QtWidgets.QWidget()
        layout = QtWidgets.QHBoxLayout(self.window)
        QtWidgets.QWidget.setFixedHeight(self.window, 900)
        layout.setContentsMargins(0, 0, 0, 0)
        self.area = QtWidgets.QScrollArea()
        self.area.setFixedWidth(420)
        self.area.setWidgetResizable(True)
        self.area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        layout.addWidget(self.area)
        layout.addWidget(host.application.layoutManager().threeDWidget(0))
        QtWidgets.QWidget.resize(self.window, 1120, 900)
        self.representation = self.module.widgetRepresentation()
        self.area.setWidget(self.representation)
        self.window.show()
        host.application.layoutManager().threeDWidget(0).show()
        self.representation.enter()
        process_events()

    @property
    def widget(self) -> Any:
        """The module's own widget, also after a reload."""
        return self.representation.self()

    @property
    def view(self) -> Any:
        """The 3D view."""
        return self.host.view

    def find(self, name: str, panel: str = "") -> Any:
        """Find a widget by its name in the ``.ui`` file; and by the file's, where two files have the name."""
        from PySide6 import QtWidgets
        from slicer_host.user import process_events

        process_events()  # a panel that was just put in place is shown by then
        # A reload leaves the old panel where it was, hidden.
        roots = [w for w in self.representation.children() if w.isWidgetType() and not w.isHidden()]
        if panel:
            roots = [w for root in roots for w in QtWidgets.QWidget.findChildren(root, QtWidgets.QWidget, panel)]
        found = [w for root in roots for w in QtWidgets.QWidget.findChildren(root, QtWidgets.QWidget, name)]
        assert len(found) == 1, f"{len(found)} widgets are called {name}"
        return found[0]

    def close(self) -> None:
        """Take the panel down as the application does at its end."""
        from slicer_host.user import process_events

        if self.closed:
            return
        self.closed = True
        # First what outlives the window.
        self.host.application.layoutManager().threeDWidget(0).setParent(None)
        self.area.takeWidget()
        self.representation.exit()
        self.host.unload_module(self.module)
        self.window.close()
        self.window.deleteLater()
        process_events()


@pytest.fixture
def panel_of(host: Any) -> Iterator[Callable[[Path], Panel]]:
    """Show the panel of any module; those that are still open are closed afterwards."""
    open_panels: list[Panel] = []

    def show(path: Path = MODULE) -> Panel:
        open_panels.append(Panel(host, path))
        return open_panels[-1]

    yield show
    for panel in open_panels:
        panel.close()


@pytest.fixture
def module(panel_of: Callable[..., Panel]) -> Panel:
    """The panel of PALNetLandmarks, as a person sees it who just selected the module."""
    if not MODULE.is_file():
        pytest.skip("PALNetLandmarks.py does not exist yet")
    return panel_of(MODULE)


@pytest.fixture
def wait_until(host: Any) -> Callable[..., Any]:
    """Run the event loop until a condition holds: ``wait_until(condition, timeout, "what")``."""
    from slicer_host.user import wait_until

    return wait_until


@pytest.fixture
def ui_blocking(host: Any) -> Any:
    """A context that measures for how long the event loop stood still: ``with ui_blocking: …; ui_blocking.longest``."""
    from slicer_host.user import BlockingMeter

    return BlockingMeter()


@pytest.fixture
def screenshot(host: Any) -> Callable[..., Path]:
    """Save a picture: ``screenshot("name", panel)`` of a module's panel with the view, or of any widget."""
    from slicer_host.user import save_screenshot

    def save(name: str, what: Any) -> Path:
        file = SCREENSHOTS / f"{name}.png"
        if isinstance(what, Panel):
            return save_screenshot(file, what.area, what.view)
        return save_screenshot(file, what)

    return save
