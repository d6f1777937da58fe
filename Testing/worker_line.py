"""A test's end of the line to an engine process."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from typing import Any


class WorkerLine:
    """Requests to a process that speaks the engine's protocol, and what it says.

    Parameters
    ----------
    process : subprocess.Popen
        With pipes for its standard input and output.

    Attributes
    ----------
    lines : list of bytes
        All that it said, as it said it.
    events : queue
        The same, read; None when the process has closed its end or said something that is no JSON.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.lines: list[bytes] = []
        self.events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                self.lines.append(line)
                self.events.put(json.loads(line))
        except (ValueError, OSError):
            pass
        self.events.put(None)

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, command: str, **facts: Any) -> int:
        """Send a request; returns its number."""
        self._number += 1
        self.raw(json.dumps({"id": self._number, "command": command, **facts}).encode() + b"\n")
        return self._number
