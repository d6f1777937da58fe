"""The command line ``palnet-landmarks``.

Exit codes: 0 done; 2 wrong usage; 3 input that cannot be used; 4 no trustworthy registration; 5 bundle damaged or
unfit; 6 out of memory or device failure; 7 what `verify` checks does not hold; 130 cancelled; 1 a fault of the program
itself.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import NoReturn

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.engine.commands import COMMANDS
from PALNetLandmarksLib.engine.commands.common import add_talk_arguments, as_landmarking_error
from PALNetLandmarksLib.engine.commands.console import PROGRAM, Console, guarded_output
from PALNetLandmarksLib.errors import CancelledError, UsageError

REPORT = "Please report it with the output of the same command with --debug added (it may hold file names)."
_EPILOG = """\
exit codes: 0 done, 2 wrong usage, 3 input that cannot be used, 4 no trustworthy registration, 5 model bundle damaged
or unfit, 6 out of memory or device failure, 7 verify: changed or not reproduced, 130 cancelled.
Research use only. Not for diagnosis. Nothing leaves this computer."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors become ours: one line that says what is wrong and what to do."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line."""
        raise UsageError(message[:1].upper() + message[1:] + ".", f"See '{self.prog} --help'.", code="usage")


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line.

    Returns
    -------
    ArgumentParser
        Its result has ``run``, the function of the command.
    """
    parser = _Parser(
        prog=PROGRAM,
        description="Places 50 anatomical landmarks on 3D face scans and measures them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"PALNetLandmarks {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"PALNetLandmarksLib.engine.commands.{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        add_talk_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line without the program's name; default: the process's.

    Returns
    -------
    int
        Exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json, debug = "--json" in words, "--debug" in words
    with guarded_output(as_json) as output:
        console = Console(quiet="--quiet" in words, as_json=as_json, output=output)
        try:
            with _terminable():
                options = build_parser().parse_args(words)
                outcome = options.run(options, console)
                console.clear()
                if as_json:
                    console.json({"command": options.command, "software_version": __version__, **outcome.result})
                output.flush()
                return int(outcome.exit_code)
        except BrokenPipeError:
            # The reader of our output went away (as `head` does): there is nobody to tell. Python would complain once
            # more when it closes the stream.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            console.error("Cancelled.", code="cancelled", exit_code=CancelledError.exit_code)
            if arguments is None:
                # Python would end by the signal itself where Ctrl-C hit code that a C library ran, and it would first
                # wait for threads. Nothing is left to do: files are whole or were never begun.
                sys.stderr.flush()
                output.flush()
                os._exit(CancelledError.exit_code)
            return CancelledError.exit_code
        except Exception as error:  # noqa: BLE001 - the last stop before the user
            return _report(error, console, debug)


def _report(error: Exception, console: Console, debug: bool) -> int:
    """Tell the user what happened; gives the exit code."""
    if debug:
        console.clear()
        traceback.print_exc(file=sys.stderr)
    known = as_landmarking_error(error)
    if known is not None:
        console.error(known.message, known.hint, code=known.code, exit_code=known.exit_code)
        return known.exit_code
    # Of a file the system says more than its trouble: where it lies. That is for --debug only.
    told = error.strerror if isinstance(error, OSError) else error
    console.error(
        f"The program failed unexpectedly ({type(error).__name__}: {told}).", REPORT, code="internal", exit_code=1
    )
    return 1


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let a polite request to end (SIGTERM) clean up as Ctrl-C does."""

    def stop(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
