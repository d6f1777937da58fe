"""What a command says: results on standard output, everything else on standard error, JSON for machines."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

PROGRAM = "palnet-landmarks"
_BAR_WIDTH = 28


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, and what ``--json`` prints."""

    exit_code: int
    result: Mapping[str, Any] = field(default_factory=dict)


class Console:
    """The two output streams of a command.

    Parameters
    ----------
    quiet : bool
        Whether to leave out progress and summaries; warnings, errors and results that were asked for remain.
    as_json : bool
        Whether standard output is kept for one JSON object.
    output, errors : text stream, optional
        Default: the process's own.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        as_json: bool = False,
        output: TextIO | None = None,
        errors: TextIO | None = None,
    ) -> None:
        self.quiet, self.as_json = quiet, as_json
        self._output, self._errors = output or sys.stdout, errors or sys.stderr
        self._bar_shown = False

    def progress(self, stage: str, share: float) -> None:
        """Show how far the work is, on a terminal only.

        Parameters
        ----------
        stage : str
            What is being done.
        share : float
            From 0 to 1.
        """
        if self.quiet or not self._errors.isatty():
            return
        share = min(max(share, 0.0), 1.0)
        done = round(share * _BAR_WIDTH)
        bar = "#" * done + "." * (_BAR_WIDTH - done)
        self._errors.write(f"\r\x1b[K[{bar}] {share:4.0%} {stage}")
        self._errors.flush()
        self._bar_shown = True

    def clear(self) -> None:
        """Take the progress bar away, so that a line can be written."""
        if self._bar_shown:
            self._errors.write("\r\x1b[K")
            self._errors.flush()
            self._bar_shown = False

    def summary(self, text: str) -> None:
        """Write a line about the result to standard output; not with ``--quiet`` or ``--json``."""
        if not self.quiet:
            self.print(text)

    def print(self, text: str) -> None:
        """Write a line of what was asked for to standard output; not with ``--json``."""
        self.clear()
        if not self.as_json:
            self._output.write(text + "\n")

    def warning(self, message: str) -> None:
        """Write a warning as one line to standard error."""
        self.clear()
        self._errors.write(f"{PROGRAM}: warning: {one_line(message)}\n")

    def error(self, message: str, hint: str = "", *, code: str = "", exit_code: int = 1) -> None:
        """Report an error: one line on standard error, or a JSON object on standard output."""
        self.clear()
        if self.as_json:
            self.json(
                {"error": {"code": code, "message": one_line(message), "hint": one_line(hint), "exit_code": exit_code}}
            )
        self._errors.write(f"{PROGRAM}: error: {one_line(f'{message} {hint}')}\n")

    def event(self, value: Mapping[str, Any]) -> None:
        """Write something that happened as one JSON object on a line of standard error, for a program that watches."""
        self.clear()
        self._errors.write(json.dumps(plain(value), allow_nan=False, ensure_ascii=True) + "\n")
        self._errors.flush()

    def json(self, value: Mapping[str, Any]) -> None:
        """Write one JSON object on a line of its own; numbers that are not finite become null."""
        self._output.write(json.dumps(plain(value), allow_nan=False, ensure_ascii=True) + "\n")
        self._output.flush()


def one_line(text: str) -> str:
    """Put text on one line, without control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def plain(value: Any) -> Any:
    """Turn mappings, sequences, arrays and NumPy numbers into what JSON has."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    # File names may hold bytes that are no text (surrogates), which JSON readers refuse.
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


@contextlib.contextmanager
def guarded_output(as_json: bool) -> Iterator[TextIO]:
    """Keep standard output for the program's own words.

    Libraries in C and C++ print to the process's standard output. With ``--json`` that would break the one object, so
    the descriptor is led to standard error while the command runs, and our stream goes to the original.

    Parameters
    ----------
    as_json : bool
        Whether to do so.

    Yields
    ------
    text stream
        Where results go.
    """
    try:
        ours = as_json and sys.stdout.fileno() == 1 and sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        yield sys.stdout
        return
    sys.stdout.flush()
    original = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(original, "w", encoding="utf-8", closefd=False) as stream:
            yield stream
    finally:
        os.dup2(original, 1)
        os.close(original)
