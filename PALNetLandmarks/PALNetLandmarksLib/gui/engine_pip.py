"""What pip says, in words that help."""

from __future__ import annotations

import re

from .engine_results import Failure
from .text import _

_NETWORK = re.compile(
    "NewConnectionError|NameResolutionError|name resolution|unreachable|Connection refused|Timeout|timed out|ProxyError"
    "|Could not fetch URL|SSLError|CERTIFICATE_VERIFY_FAILED|ConnectionResetError|getaddrinfo|from versions: none"
)


def pip_failure(text: str, reason: str, *, offline: bool) -> Failure:
    """Say what went wrong with pip.

    Parameters
    ----------
    text : str
        All that it said.
    reason : str
        How its process ended, see `ChildProcess.ended`.
    offline : bool
        Whether it was to take the packages from a folder.
    """
    if reason == "not_started" or "No module named pip" in text:
        return Failure("engine.pip", _("Slicer's Python could not run pip."), _("Name another Python instead."))
    if re.search("No space left on device|Disk quota exceeded|Errno 28", text):
        return Failure("engine.disk", _("The disk is full."), _("Free some space and try again."))
    if offline:
        missing = re.search(r"No matching distribution found for (\S+)", text)
        name = missing.group(1) if missing else ""
        message = _("The folder of wheels does not have all packages. Missing: {name}.").format(name=name or "?")
        return Failure("engine.wheels", message, _("Download the packages again for this system and this Python."))
    if _NETWORK.search(text):
        return Failure(
            "engine.network",
            _("The package index could not be reached."),
            _("Check the internet connection; behind a proxy, enter it. Or install from a folder of wheels."),
        )
    last = [line for line in text.splitlines() if line.startswith("ERROR")]
    hint = without_password(last[-1]) if last else _("The log has the details.")
    return Failure("engine.pip", _("pip failed."), hint)


def without_password(line: str) -> str:
    """Give a line without the password that an address in it holds."""
    return re.sub(r"://[^/@\s]+@", "://***@", line)
