"""Run one of the training tools: ``python -m training_tools COMMAND ...``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from PALNetLandmarksLib.errors import LandmarkingError

COMMANDS: dict[str, tuple[str, str]] = {
    # command: (module with ``main(arguments) -> exit code``, one line of help); imported only when it is run
    "simulate": ("training_tools.simulation.command", "write simulated stereophotogrammetry scans"),
    "reference": ("training_tools.reference_command", "build the reference face from the parametric model"),
    "train": ("training_tools.train_command", "train a network on annotated scans"),
    "evaluate": ("training_tools.evaluate_command", "measure a model on annotated scans"),
    "export": ("training_tools.export_command", "make a model bundle of a finished training"),
}


def _usage() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:{width}s}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: python -m training_tools COMMAND ...", "", "commands:", *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line without the program's name; that of the process by default.

    Returns
    -------
    int
        Exit code: 0 done, otherwise the code of the error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in {"-h", "--help"}:
        print(_usage())
        return 0 if words else 2
    if words[0] not in COMMANDS:
        print(f"unknown command '{words[0]}'\n{_usage()}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[words[0]][0])
    try:
        return int(module.main(words[1:]))
    except LandmarkingError as error:
        print(f"error: {error.message} {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
