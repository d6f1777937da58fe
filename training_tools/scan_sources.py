"""The annotated scans that a command line names: any layout of :mod:`training_tools.datasets`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from training_tools.dataset import list_subjects
from training_tools.datasets import Reader, open_dataset
from training_tools.datasets.opening import add_dataset_arguments

_SETTINGS = ("unit", "predicted", "matrices", "indices", "key")


@dataclass(frozen=True)
class Scans:
    """Places of annotated scans, and how to read them."""

    folders: tuple[Path, ...]
    reader: Reader | None = None


def add_scan_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add ``--data``, ``--protocol`` and what tells how scans are read."""
    group = parser.add_argument_group("annotated scans")
    before = set(parser._actions)
    add_dataset_arguments(group)  # type: ignore[arg-type]  # a group takes arguments as a parser does
    if not required:
        for action in set(parser._actions) - before:
            action.required = False


def scans_of_options(options: argparse.Namespace, folder: Path | None = None) -> Scans:
    """Return the annotated scans of ``--data``, or of another folder that is read in the same way.

    Raises
    ------
    InputError
        If there are none.
    """
    settings = {name: getattr(options, name) for name in _SETTINGS}
    opened = open_dataset(folder or options.data, options.format, **settings)
    return Scans(tuple(list_subjects(opened.folder, opened.reader)), opened.reader)
