"""The engine process's end of the line: JSON Lines in, JSON Lines out, and nothing else on standard output.

Libraries in C, C++ and Python print to standard output when they like. Their descriptor is led to standard error, and
the events go to a copy of the original that only the channel knows.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from PALNetLandmarksLib.engine.commands.console import one_line, plain
from PALNetLandmarksLib.errors import LandmarkingError

#: A request is a few hundred bytes; the mesh goes by a file.
LONGEST_REQUEST = 1024 * 1024


class ProtocolError(LandmarkingError):
    """A request that cannot be understood."""


class Channel:
    """Send events and receive requests.

    Parameters
    ----------
    requests, events : binary stream
        Where requests come from and where events go.
    """

    def __init__(self, requests: BinaryIO, events: BinaryIO) -> None:
        self._requests, self._events = requests, events
        self._lock = threading.Lock()
        self.broken = False

    def send(self, event: str, identifier: Any = None, **facts: Any) -> None:
        """Send an event as one line; numbers that are not finite become null.

        When the reader is gone nothing can be said any more: the event is dropped and `broken` set.
        """
        line = json.dumps(plain({"id": identifier, "event": event, **facts}), allow_nan=False, ensure_ascii=True)
        with self._lock:
            try:
                self._events.write(line.encode("ascii") + b"\n")
                self._events.flush()
            except (OSError, ValueError):
                self.broken = True

    def send_error(self, identifier: Any, error: LandmarkingError) -> None:
        """Send an error event with a stable code, what happened and what to do."""
        self.send("error", identifier, code=error.code, message=one_line(error.message), hint=one_line(error.hint))

    def requests(self) -> Iterator[Mapping[str, Any] | ProtocolError]:
        """Yield the requests until the other side closes the line.

        Yields
        ------
        mapping or ProtocolError
            A line that is no request comes as the error to answer it with.
        """
        while True:
            try:
                line = self._requests.readline(LONGEST_REQUEST + 1)
            except (OSError, ValueError):
                return
            if not line:
                return
            if len(line) > LONGEST_REQUEST:
                while line and not line.endswith(b"\n"):
                    line = self._requests.readline(LONGEST_REQUEST)
                yield _refused("The request is too long.", "protocol.too_long")
            elif line.strip():
                yield _parsed(line)


def _parsed(line: bytes) -> Mapping[str, Any] | ProtocolError:
    try:
        request = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return _refused("The request is not JSON.", "protocol.json")
    if not isinstance(request, dict) or not isinstance(request.get("command"), str):
        return _refused("The request has no command.", "protocol.command")
    if not isinstance(request.get("id"), (int, str, type(None))):
        return _refused("The request's id is neither a number nor text.", "protocol.id")
    return request


def _refused(message: str, code: str) -> ProtocolError:
    return ProtocolError(message, "This is a fault of the program that uses the engine.", code=code)


@contextlib.contextmanager
def standard_channel() -> Iterator[Channel]:
    """Take standard input and output for the channel; everything else that is printed goes to standard error.

    Yields
    ------
    Channel
    """
    sys.stdout.flush()
    requests, events = os.dup(0), os.dup(1)
    before = sys.stdout
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # no library and no child process reads our requests
    os.close(nothing)
    sys.stdout = sys.stderr
    try:
        with open(requests, "rb", closefd=False) as source, open(events, "wb", buffering=0, closefd=False) as sink:
            yield Channel(source, sink)
    finally:
        sys.stdout = before
        os.dup2(requests, 0)
        os.dup2(events, 1)
        os.close(requests)
        os.close(events)
