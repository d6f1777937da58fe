"""Run one of the training tools: ``python -m training_tools COMMAND ...``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from PALNetLandmarksLib.errors import LandmarkingError

COMMANDS: dict[str, tuple[str, str]] = {
    # command: (module with ``main(arguments) -> exit code``, one line of help); imported only when it is run
    "simulate": ("training_tools.simulation.command", "write simulated stereophotogrammetry scans"),
    "check": ("training_tools.check_command", "look a data set over before training"),
    "register": ("training_tools.register_command", "align every scan of a data set to the reference face"),
    "repeatability": ("training_tools.repeatability_command", "compare two annotations of the same scans"),
    "reference": ("training_tools.reference_command", "build the reference face from the parametric model"),
    "train": ("training_tools.train_command", "train a network on annotated scans"),
    "cross-validate": ("training_tools.cross_validate_command", "train and test in folds, and write one report"),
    "evaluate": ("training_tools.evaluate_command", "measure a model on annotated scans"),
    "compare": ("training_tools.compare_command", "compare models on the same scans, with confidence intervals"),
    "ablate": ("training_tools.ablate_command", "the ablations of the paper's table 6, cross-validated"),
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
    except OSError as error:
        # A full disk or a missing permission that nothing below has put in words.
        what = f"'{Path(error.filename).name}': " if isinstance(error.filename, str) else ""
        print(f"error: {what}{error.strerror or error}. Check free space and permissions.", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
