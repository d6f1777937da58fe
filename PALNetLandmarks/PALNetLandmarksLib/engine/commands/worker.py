"""Answer requests as JSON Lines on standard input until it closes: the engine of the 3D Slicer module."""

from __future__ import annotations

import argparse

from PALNetLandmarksLib.engine.commands.console import Console, Outcome

HELP = "the engine process that the 3D Slicer module talks to"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments: there are none."""


def run(options: argparse.Namespace, console: Console) -> Outcome:
    """Be the engine process; it ends with its standard input."""
    from PALNetLandmarksLib.engine.worker import main

    main()
