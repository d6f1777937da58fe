"""Slicer's own libraries without the application: a scene with its logics, and a 3D view with a mouse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from slicer_scene import Scene, new_scene

from PALNetLandmarksLib.protocol import Protocol, load_protocol


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need slicer-core."""
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.slicer)


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A fresh scene with its logics."""
    made = new_scene(tmp_path_factory.mktemp("cache"))
    yield made
    made.mrml.Clear(True)


@pytest.fixture
def view(scene: Scene) -> Any:
    """A 3D view of the scene with a mouse."""
    from slicer_view import View

    return View(scene)


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    """The 50 landmarks of the face."""
    return load_protocol()


@pytest.fixture
def case(scene: Scene, protocol: Protocol) -> Any:
    """A case with a scan and no landmarks yet."""
    from PALNetLandmarksLib.gui.case import Case

    made = Case(scene.mrml, protocol)
    made.set_scan(scene.add_scan())
    yield made
    made.cleanup()
