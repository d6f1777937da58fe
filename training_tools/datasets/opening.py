"""Open a data set: recognise its layout, or take the one that the user names."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from PALNetLandmarksLib.engine.units import MILLIMETRES
from PALNetLandmarksLib.errors import InputError, UsageError
from PALNetLandmarksLib.protocol import Protocol, load_protocol
from PALNetLandmarksLib.resources import resources_dir
from training_tools.datasets.lafas import Lafas
from training_tools.datasets.markups import ENDING, Markups
from training_tools.datasets.reader import Layout, Reader, folders_in, scans_in
from training_tools.datasets.settings import saved_settings, settings_above
from training_tools.datasets.vertex_indices import FaceScape, VertexIndices

#: In the order in which they are tried.
LAYOUTS: Mapping[str, type[Layout]] = {kind.format: kind for kind in (FaceScape, Lafas, Markups, VertexIndices)}
AUTO = "auto"


@dataclass(frozen=True)
class Dataset:
    """A folder of subjects and the reader of its layout.

    Parameters
    ----------
    folder : Path
    reader : Reader
    places : tuple of Path
        All subjects, also incomplete ones, in order of their names.
    """

    folder: Path
    reader: Reader
    places: tuple[Path, ...]

    @property
    def annotated(self) -> list[Path]:
        """Subjects that have an annotation, readable or not."""
        return [place for place in self.places if self.reader.has_landmarks(place)]


def open_dataset(folder: Path, layout: str = AUTO, **settings: Any) -> Dataset:
    """Open a data set.

    Parameters
    ----------
    folder : Path
    layout : str
        ``auto`` to recognise it, a name in :data:`LAYOUTS`, or ``module:Class`` for a reader of one's own.
    **settings
        Fields of the reader, for example ``unit="m"``; None and what a layout does not have are left out. They go
        before those that the data set itself keeps, see :mod:`training_tools.datasets.settings`.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        When there is no such folder, its layout is not recognised, or there is no subject in it.
    UsageError
        When the layout's name is unknown.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder '{folder.name}'.", "Check the name.", code="dataset.folder")
    given = {name: value for name, value in settings.items() if value is not None}
    kept = saved_settings(folder, LAYOUTS)
    chosen = kept.pop("format", AUTO) if layout == AUTO else layout
    settings = {**kept, **given}
    reader = _recognised(folder, settings) if chosen == AUTO else _named(chosen, settings)
    places = reader.places(folder)
    if not places:
        raise _empty(folder)
    return Dataset(folder, reader, tuple(places))


def reader_at(place: Path) -> Reader:
    """Tell the layout of one subject from its place, for work that gets places only.

    Parameters
    ----------
    place : Path
        As a reader of this project lists it.

    Returns
    -------
    Reader
        With the settings that the data set keeps.
    """
    settings = settings_above(place, LAYOUTS)
    named = settings.pop("format", "")
    return _made(LAYOUTS[named] if named else _layout_at(place), settings)


def _layout_at(place: Path) -> type[Layout]:
    if place.is_dir():
        alone = not (place / "landmarks.txt").exists()
        return VertexIndices if alone and VertexIndices().recognises(place.parent) else Lafas
    if place.name.endswith("_neutral") and place.with_name(place.name + ".obj").exists():
        return FaceScape
    return Markups if Markups().has_landmarks(place) else VertexIndices


def _recognised(folder: Path, settings: Mapping[str, Any]) -> Reader:
    for kind in LAYOUTS.values():
        reader = _made(kind, settings)
        if reader.recognises(folder):
            return reader
    if settings.get("indices") is not None:
        return _made(VertexIndices, settings)
    # Scans that nobody has annotated yet can still be registered.
    if any(scans_in(sub) for sub in folders_in(folder)):
        return _made(Lafas, settings)
    if scans_in(folder):
        return _made(Markups, settings)
    raise _empty(folder)


def _empty(folder: Path) -> InputError:
    return InputError(
        f"'{folder.name}' holds no annotated scans.",
        f"Expected are sub-folders with a mesh and landmarks.txt (LAFAS layout), scans with {ENDING} files beside "
        "them, or another layout of docs/datasets.md.",
        code="dataset.empty",
    )


def _named(layout: str, settings: Mapping[str, Any]) -> Reader:
    kind: Any = LAYOUTS.get(layout)
    module, colon, name = layout.partition(":")
    if kind is None and colon:
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UsageError(
                f"The reader '{layout}' was not found ({error}).",
                "Run the command in the folder of the module, or put that folder into PYTHONPATH.",
                code="dataset.format",
            ) from error
    if kind is None:
        raise UsageError(
            f"There is no data format '{layout}'.",
            f"Use {AUTO}, {', '.join(LAYOUTS)}, or module:Class for a reader of your own.",
            code="dataset.format",
        )
    reader = _made(kind, settings)
    if not isinstance(reader, Reader):
        raise UsageError(
            f"'{layout}' is no reader of data sets.", "See the example in docs/datasets.md.", code="dataset.format"
        )
    return reader


def _made(kind: Any, settings: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(kind)} if hasattr(kind, "__dataclass_fields__") else set()
    return kind(**{name: value for name, value in settings.items() if name in known})


def find_protocol(name: str | None) -> Protocol:
    """Load a protocol that comes with the program by its id, or any other by its path.

    Parameters
    ----------
    name : str, optional
        ``face50``, ``face68``, or a folder or JSON file; default: the 50 landmarks.

    Returns
    -------
    Protocol

    Raises
    ------
    InputError
        When there is none, or it has mistakes.
    """
    if name is None or Path(name).exists():
        return load_protocol(name)
    protocols = resources_dir() / "Protocols"
    known = sorted(path.parent.name for path in protocols.glob("*/protocol.json"))
    if name in known:
        return load_protocol(protocols / name)
    raise InputError(
        f"There is no protocol '{Path(name).name}'.",
        f"Use {', '.join(known)}, or the path of your own.",
        code="protocol.missing",
    )


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` and what tells how to read it."""
    parser.add_argument("--data", required=True, type=Path, help="folder of the data set")
    parser.add_argument(
        "--format",
        default=AUTO,
        help=f"layout: {AUTO} (default), {', '.join(LAYOUTS)}, or module:Class for a reader of your own",
    )
    parser.add_argument("--protocol", help="landmarks: face50 (default), face68, or the path of your own protocol")
    parser.add_argument("--unit", choices=tuple(MILLIMETRES), help="unit of scans and landmarks (default: mm)")
    parser.add_argument(
        "--without-predicted",
        dest="predicted",
        action="store_const",
        const=False,
        help="take landmarks that a model predicted and nobody corrected as not annotated",
    )
    parser.add_argument("--indices", type=Path, help="file with the landmarks' vertex indices (vertex-indices)")
    parser.add_argument("--indices-key", dest="key", help="which array of that file")
    parser.add_argument("--matrices", type=Path, help="folder of the matrices (default: with the scans)")


def dataset_of(options: argparse.Namespace) -> Dataset:
    """Open the data set that the options of :func:`add_dataset_arguments` describe."""
    names = ("unit", "predicted", "matrices", "indices", "key")
    return open_dataset(options.data, options.format, **{name: getattr(options, name) for name in names})
