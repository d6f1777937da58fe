"""Options and checks that several commands share."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PALNetLandmarksLib.errors import DeviceError, LandmarkingError, UsageError
from PALNetLandmarksLib.files import raise_write_error

if TYPE_CHECKING:
    from PALNetLandmarksLib.engine.bundle import Bundle
    from PALNetLandmarksLib.landmarks import LandmarkSet
    from PALNetLandmarksLib.protocol import Protocol

UNITS = ("auto", "mm", "cm", "m", "in")
DEVICES = ("auto", "cpu", "cuda")
LAYOUTS = ("long", "wide")
_LONGEST_CASE = 64


def add_talk_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    group = parser.add_argument_group("what is said")
    group.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    group.add_argument("--quiet", action="store_true", help="no progress and no summary")
    group.add_argument("--debug", action="store_true", help="show where an unexpected error happened")


def add_overwrite_argument(parser: argparse._ActionsContainer) -> None:
    """Add ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace output files that are there already")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a prediction."""
    group = parser.add_argument_group("how to predict")
    group.add_argument(
        "--model",
        metavar="BUNDLE",
        help="folder of a model bundle, or the id of one that is listed by "
        "'models list' (default: the one that comes with the program)",
    )
    group.add_argument("--device", choices=DEVICES, default="auto", help="where to compute (default: auto)")
    group.add_argument("--threads", type=positive_integer, metavar="N", help="threads of the CPU (default: all)")
    group.add_argument(
        "--unit",
        choices=UNITS,
        default="auto",
        help="unit of the scan's coordinates (default: told from the size of the face)",
    )
    group.add_argument(
        "--seed",
        type=seed_number,
        default=0,
        metavar="N",
        help="seed of the search for the face (default: 0); the same seed gives the same result",
    )


def positive_integer(text: str) -> int:
    """Read a whole number from 1 up."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def seed_number(text: str) -> int:
    """Read a seed: a whole number from 0 to 2^32 - 1."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 4294967295")
    return value


def case_name(text: str) -> str:
    """Read the user's name for a case: up to 64 printable characters that can also be part of a file name."""
    name = " ".join(text.split())
    if not name or len(name) > _LONGEST_CASE or not name.isprintable():
        raise argparse.ArgumentTypeError(f"a case id has 1 to {_LONGEST_CASE} printable characters")
    if any(sign in name for sign in '/\\:*?"<>|') or name.startswith("."):
        raise argparse.ArgumentTypeError('a case id has none of / \\ : * ? " < > | and does not begin with a full stop')
    return name


def set_threads(count: int | None) -> None:
    """Limit the threads of the libraries that read the environment when they are loaded."""
    if count is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(count)


def check_outputs(
    outputs: Mapping[str, str | None], *, inputs: Sequence[str | None] = (), overwrite: bool = False
) -> dict[str, Path]:
    """Make sure before the work that every output file can be written after it.

    Parameters
    ----------
    outputs : mapping of str to str or None
        Path by option; None where the option was not given.
    inputs : sequence of str or None
        Files that must not be written to.
    overwrite : bool
        Whether files that exist may be replaced. Without it they are not: one of them could hold landmarks that
        somebody corrected by hand.

    Returns
    -------
    dict of str to Path
        The outputs that were asked for.

    Raises
    ------
    UsageError
        When two outputs, or an input and an output, are the same file, or a file is there already.
    InputError
        When a folder does not exist or cannot be written to.
    """
    wanted = {option: Path(text) for option, text in outputs.items() if text is not None}
    sources = {_identity(Path(text)) for text in inputs if text is not None}
    seen: dict[str, str] = {}
    for option, path in wanted.items():
        identity = _identity(path)
        if identity in sources:
            raise UsageError(
                f"{option} names an input file.", "Give the output a name of its own.", code="output.input"
            )
        if identity in seen:
            message = f"{seen[identity]} and {option} name the same file."
            raise UsageError(message, "Give each output a name of its own.", code="output.same")
        seen[identity] = option
        probe_folder(path)
        if path.exists() and not overwrite:
            raise UsageError(
                f"{path.name} is there already.",
                "Give another name, or add --overwrite to replace it.",
                code="output.exists",
            )
    return wanted


def _identity(path: Path) -> str:
    """Give one name to a file, by whatever path it is called."""
    return os.path.normcase(os.path.realpath(path))


def probe_folder(path: Path) -> None:
    """Make sure that a file could be written: its folder exists and takes files.

    Raises
    ------
    InputError
        When it could not.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        with tempfile.TemporaryFile(dir=path.parent or "."):
            pass
    except (OSError, ValueError) as error:
        raise_write_error(error if isinstance(error, OSError) else OSError(22, "not a valid file name"), path)


def check_ending(option: str, text: str | None, ending: str) -> None:
    """Make sure that an output's name says what it is.

    Raises
    ------
    UsageError
        When it does not.
    """
    if text is not None and not text.lower().endswith(ending):
        raise UsageError(f"{option} writes a {ending} file.", f"Let the name end in {ending}.", code="output.ending")


def check_landmark_ending(text: str | None) -> None:
    """Make sure that a landmark file's name has an ending that can be written.

    Raises
    ------
    UsageError
        When it has none.
    """
    if text is not None:
        from PALNetLandmarksLib.landmark_files import landmark_format

        landmark_format(text)


def read_protocol(path: str | None) -> Protocol:
    """Load the protocol that the user named, or the default one."""
    from PALNetLandmarksLib.protocol import load_protocol

    return load_protocol(path)


def read_initial(path: str | None, bundle: Bundle) -> LandmarkSet | None:
    """Read the points to start from, in the scan's frame (LPS, as scans are read)."""
    if path is None:
        return None
    from PALNetLandmarksLib.landmark_files import read_landmarks

    return read_landmarks(path, bundle.protocol).in_coordinate_system("LPS")


def as_landmarking_error(error: BaseException) -> LandmarkingError | None:
    """Translate what can happen anywhere into an error that says what to do; None for what nobody expects."""
    if isinstance(error, LandmarkingError):
        return error
    if _lacks_memory(error):
        return DeviceError(
            "There is not enough memory.",
            "Close other programs, or reduce the scan to fewer triangles.",
            code="device.memory",
        )
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("PALNetLandmarksLib"):
        return DeviceError(
            f"The Python package '{error.name.partition('.')[0]}' is not installed.",
            "Install the program's packages: pip install -r requirements.txt.",
            code="engine.package",
        )
    return None


def _lacks_memory(error: BaseException) -> bool:
    """Say whether an error tells of memory that was not to be had; libraries say so in words of their own."""
    if isinstance(error, MemoryError):
        return True
    words = ("failed to map segment", "cannot allocate memory", "can't start new thread", "bad_alloc")
    return isinstance(error, (ImportError, OSError, RuntimeError)) and any(word in str(error).lower() for word in words)


def model_facts(bundle: Bundle) -> dict[str, Any]:
    """Say which model was used, for ``--json``."""
    return {
        "id": bundle.id,
        "version": bundle.version,
        "weights_sha256": bundle.weights_sha256,
        "bundle_sha256": bundle.sha256,
    }
