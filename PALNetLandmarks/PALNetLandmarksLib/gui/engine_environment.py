"""Which Python runs the engine, and in what environment.

Either Slicer's own Python with packages from a private folder, which Slicer itself never sees, or any other Python
that has the packages. Nothing here installs or starts anything.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional, Protocol

from PALNetLandmarksLib.errors import InputError, LandmarkingError

from .text import _

#: The engine's packages need at least this Python.
OLDEST_PYTHON = (3, 10)
#: Written into the private folder when all of it is there and works.
MARKER = "palnet-engine.json"
#: Folder that holds PALNetLandmarksLib.
LIBRARY = Path(__file__).resolve().parents[2]
_PYTHON_SETTING = "EnginePython"
#: Variables that bind a Python to its own files: an outside Python must not see Slicer's.
_PYTHON_VARIABLES = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "PYTHONNOUSERSITE")


class Settings(Protocol):
    """Text by name that outlives Slicer; a dict will do."""

    def get(self, name: str, default: str = "") -> Any:
        """Return a setting; the default where it is not set."""

    def __setitem__(self, name: str, value: str) -> None: ...

    def pop(self, name: str, default: str = "") -> Any:
        """Forget a setting and return what it was."""


class EngineEnvironment:
    """The engine's Python.

    Parameters
    ----------
    settings : mapping of str to str
        Where the user's choice is kept.
    folder : path
        Where the private packages of all Pythons go; each Python version has a folder of its own in it.
    own_python : sequence of str, optional
        How Slicer's own Python is started; default: as found.
    startup_environment : callable, optional
        Gives the environment that Slicer was started in; default: ``slicer.util.startupEnvironment``, if there is one.
    """

    def __init__(
        self,
        settings: Settings,
        folder: os.PathLike[str],
        *,
        own_python: Optional[list[str]] = None,
        startup_environment: Optional[Callable[[], Mapping[str, str]]] = None,
    ) -> None:
        self._settings = settings
        self._base = Path(folder)
        self._own_python = own_python
        self._startup_environment = startup_environment or _slicer_startup_environment

    @property
    def packages_folder(self) -> Path:
        """Private folder of the packages for Slicer's present Python."""
        return self._base / "engine-py{}.{}".format(*sys.version_info[:2])

    def status(self) -> str:
        """Say what the engine runs on: ``external``, ``private`` or ``missing``."""
        if self.external_python:
            return "external"
        return "private" if (self.packages_folder / MARKER).is_file() else "missing"

    @property
    def too_old(self) -> bool:
        """Whether Slicer's own Python is too old for the engine's packages."""
        return sys.version_info[:2] < OLDEST_PYTHON

    @property
    def external_python(self) -> str:
        """The Python that the user named; empty when there is none."""
        return str(self._settings.get(_PYTHON_SETTING, "") or "")

    def set_external_python(self, path: str) -> None:
        """Use a Python that the user named; empty text for the private packages again.

        Raises
        ------
        InputError
            If there is no such program.
        """
        if not path:
            self._settings.pop(_PYTHON_SETTING, "")
            return
        self._settings[_PYTHON_SETTING] = found_python(path)

    def own_python(self) -> list[str]:
        """Return how Slicer's own Python is started."""
        if self._own_python is not None:
            return list(self._own_python)
        # sys.executable is PythonSlicer in the application; in a developer's build it may be the bare python.
        name = os.path.basename(sys.executable or "")
        found = sys.executable if name.startswith("PythonSlicer") else shutil.which("PythonSlicer")
        return [found or sys.executable]

    def python(self) -> list[str]:
        """Return how the engine's Python is started: program and first arguments."""
        return [self.external_python] if self.external_python else self.own_python()

    def process_environment(self) -> dict[str, str]:
        """Return the environment of the engine's process."""
        if self.external_python:
            return self.external_environment()
        return self.private_environment(self.packages_folder)

    def private_environment(self, packages: Path) -> dict[str, str]:
        """Return the environment for Slicer's own Python with packages from a folder, which go before Slicer's."""
        environment = dict(os.environ)
        path = [str(packages), str(LIBRARY), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
        environment["PALNET_ENGINE_PACKAGES"] = str(packages)  # see engine/__init__.py
        environment["PYTHONNOUSERSITE"] = "1"  # packages of the user's other Pythons do not fit this one
        return {**environment, **_ALWAYS}

    def external_environment(self) -> dict[str, str]:
        """Return the environment for an outside Python: the one that Slicer was started in, without Slicer's paths."""
        environment = dict(self._startup_environment())
        for name in (*_PYTHON_VARIABLES, "PALNET_ENGINE_PACKAGES"):
            environment.pop(name, None)
        environment["PYTHONPATH"] = str(LIBRARY)
        return {**environment, **_ALWAYS}

    def installed(self) -> dict[str, Any]:
        """Return what the private folder says about itself: packages and when they were installed; empty if none."""
        try:
            found = json.loads((self.packages_folder / MARKER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


#: For every engine process: UTF-8 whatever the system's language.
_ALWAYS = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}


def found_python(path: str) -> str:
    """Find the program that a user means: the program itself, or the folder of an environment.

    Raises
    ------
    InputError
        If there is none.
    """
    given = Path(path).expanduser()
    candidates = [given]
    if given.is_dir():
        candidates = [given / "bin" / "python", given / "python.exe", given / "Scripts" / "python.exe"]
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    raise InputError(
        _("There is no Python at this place."),
        _("Choose the python program of an environment, for example .venv/bin/python."),
        code="engine.python",
    )


def _slicer_startup_environment() -> Mapping[str, str]:
    try:
        import slicer.util

        return dict(slicer.util.startupEnvironment())
    except (ImportError, AttributeError):  # outside the application
        return dict(os.environ)


def default_environment() -> EngineEnvironment:
    """Make the environment of this Slicer: settings of the user, packages beside Slicer's settings file.

    Raises
    ------
    LandmarkingError
        If Slicer has no settings file.
    """
    import slicer

    from .engine_settings import UserSettings

    file = str(slicer.app.slicerUserSettingsFilePath or "")
    if not file:
        raise LandmarkingError(_("Slicer's settings folder was not found."), code="engine.settings")
    return EngineEnvironment(UserSettings(), Path(file).parent / "PALNetLandmarks")
