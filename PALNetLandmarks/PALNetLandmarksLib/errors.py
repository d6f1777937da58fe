"""Errors that reach the user: one line that says what happened and one that says what to do.

Every error carries a stable ``code`` for programs and the process exit code of the command line.
"""

from __future__ import annotations


class LandmarkingError(Exception):
    """Base of all errors shown to a user.

    Parameters
    ----------
    message : str
        What happened, in words the user knows (no file path unless the user typed it).
    hint : str
        What to do about it.
    code : str
        Stable name for programs, for example ``"scan.empty"``.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "", *, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.__class__.__name__

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(LandmarkingError):
    """The command or its options are wrong."""

    exit_code = 2


class InputError(LandmarkingError):
    """A scan or another input file cannot be used."""

    exit_code = 3


class RegistrationError(LandmarkingError):
    """No trustworthy alignment of the scan to the reference face was found."""

    exit_code = 4


class BundleError(LandmarkingError):
    """A model bundle is damaged or does not fit."""

    exit_code = 5


class DeviceError(LandmarkingError):
    """Out of memory, or the computing device failed or is absent."""

    exit_code = 6


class CancelledError(LandmarkingError):
    """The user stopped the work."""

    exit_code = 130
