"""Where the data that come with the software lie: protocols, model bundles, sample scans."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import InputError

ENVIRONMENT_VARIABLE = "PALNET_RESOURCES"
_SCAN_SUFFIXES = (".glb", ".gltf", ".obj", ".off", ".ply", ".stl", ".vtk", ".vtp")


def resources_dir() -> Path:
    """Find the folder with ``Protocols``, ``Models`` and ``SampleData``.

    Looked for in this order: the environment variable ``PALNET_RESOURCES``; ``Resources`` at the root of the checkout;
    ``Resources`` beside the library, where the Slicer extension installs it; ``_resources`` inside the installed
    package.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        When none of them has a ``Protocols`` folder.
    """
    library = Path(__file__).resolve().parent
    chosen = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if chosen:
        candidates = [Path(chosen)]
    else:
        candidates = [library.parent.parent / "Resources", library.parent / "Resources", library / "_resources"]
    for candidate in candidates:
        if (candidate / "Protocols").is_dir():
            return candidate
    if chosen:
        hint = f"The environment variable {ENVIRONMENT_VARIABLE} must name a folder with Protocols in it, or be unset."
    else:
        hint = "Install PALNetLandmarks again."
    raise InputError("The folder with the landmark protocols was not found.", hint, code="resources.missing")


def bundled_models() -> tuple[Path, ...]:
    """List the model bundles that come with the software.

    Returns
    -------
    tuple of Path
        Folders with a ``bundle.json``, sorted by name; empty when there is none.
    """
    return tuple(sorted(path.parent for path in (resources_dir() / "Models").glob("*/bundle.json")))


def sample_scans() -> tuple[Path, ...]:
    """List the sample scans that come with the software.

    Returns
    -------
    tuple of Path
        Scan files, sorted by path; empty when there is none.
    """
    folder = resources_dir() / "SampleData"
    return tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SCAN_SUFFIXES and path.is_file()))
