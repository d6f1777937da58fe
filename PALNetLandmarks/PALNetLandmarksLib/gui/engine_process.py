"""A process of ours, run by Qt: lines that it writes, how it ended, and an end that takes its children along."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import qt

from .signals import Signal, connect

#: A line longer than this is not one of ours; it is cut.
LONGEST_LINE = 16 * 1024 * 1024


#: Runs a Python module in a process group of its own, so that it can be ended with all its children, and says which.
_IN_GROUP = (
    "import os, sys, runpy\n"
    "if hasattr(os, 'setsid'):\n"
    "    try: os.setsid()\n"
    "    except OSError: pass\n"
    "    if os.getpgrp() == os.getpid(): print('palnet-group', os.getpid(), flush=True)\n"
    "sys.path.pop(0)\n"  # the working folder
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
)
_GROUP_WORD = "palnet-group "


def in_own_group(python: Sequence[str], module: str, arguments: Sequence[str]) -> list[str]:
    """Give the command that runs a Python module so that `ChildProcess.kill` reaches all of it.

    Slicer's Python is started by a launcher: killing the process that Qt knows would leave the real one running.
    """
    return [*python, "-c", _IN_GROUP, module, *arguments]


class LineReader:
    """Put lines together from pieces: a read may bring half a line, or several.

    Examples
    --------
    >>> reader = LineReader()
    >>> reader.feed(b'one' + bytes([10]) + b'tw'), reader.feed(b'o' + bytes([13, 10]))
    (['one'], ['two'])
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> list[str]:
        """Take what was read and give the lines that are whole now."""
        *whole, rest = data.split(b"\n")
        lines = []
        for piece in whole:
            lines.append(b"".join([*self._pieces, piece]).rstrip(b"\r").decode("utf-8", "replace"))
            self._pieces, self._length = [], 0
        if rest and self._length < LONGEST_LINE:
            self._pieces.append(rest)
            self._length += len(rest)
        return lines

    def rest(self) -> list[str]:
        """Give the last line, which nobody ended."""
        lines = [b"".join(self._pieces).decode("utf-8", "replace")] if self._pieces else []
        self._pieces, self._length = [], 0
        return lines


class ChildProcess:
    """A process with its output as lines.

    Signals: ``output_line(text)``, ``error_line(text)``, ``ended(reason, exit_code)`` with the reason ``finished``,
    ``crashed`` or ``not_started``; exactly once, and never after `kill`.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    environment : mapping of str to str
    folder : str
        Working folder.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
        self.output_line, self.error_line, self.ended = Signal(), Signal(), Signal()
        self._program, self._arguments = str(command[0]), [str(word) for word in command[1:]]
        self._output, self._errors = LineReader(), LineReader()
        self._over = False
        self._leader: Optional[int] = None
        self._process = qt.QProcess()
        self._process.setProcessChannelMode(qt.QProcess.SeparateChannels)
        self._process.setEnvironment(_environment_list(environment))
        self._process.setWorkingDirectory(folder)
        connect(self._process, "readyReadStandardOutput()", self._read_output)
        connect(self._process, "readyReadStandardError()", self._read_errors)
        connect(self._process, "finished(int,QProcess::ExitStatus)", self._finished)
        connect(self._process, "errorOccurred(QProcess::ProcessError)", self._failed)

    def start(self) -> None:
        """Start it; a failure comes by the signal `ended`."""
        self._process.start(self._program, self._arguments)

    @property
    def running(self) -> bool:
        """Whether it is started and has not ended."""
        return not self._over

    @property
    def pid(self) -> int:
        """Number of the process that Qt started; 0 before and after."""
        return int(self._process.processId())

    def led_by(self, pid: int) -> None:
        """Remember the process that leads the group of all that belongs to it.

        Slicer's Python is started by a launcher, so it is not the process that Qt knows.
        """
        if pid > 1 and pid != os.getpid():
            self._leader = pid

    def write_line(self, text: str) -> None:
        """Send a line; one that it cannot take any more is dropped."""
        if not self._over:
            self._process.write(text.encode("utf-8") + b"\n")

    def kill(self, wait_ms: int = 0) -> None:
        """End it at once with its children; nothing is signalled any more.

        Parameters
        ----------
        wait_ms : int
            How long to wait for it to be gone; only for the end of the application.
        """
        if self._over:
            return
        self._over = True
        _DYING.append(self)
        self._process.closeWriteChannel()
        self._kill_tree()
        if wait_ms:
            self._process.waitForFinished(wait_ms)

    def _kill_tree(self) -> None:
        own = int(self._process.processId())
        if os.name == "nt":
            if own:
                # It ends grandchildren too, and waits for nothing here.
                with contextlib.suppress(OSError):
                    subprocess.Popen(
                        ["taskkill", "/F", "/T", "/PID", str(own)],
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                    )
            return
        self._kill_group()
        if own:
            with contextlib.suppress(OSError):
                if os.getpgid(own) == own:  # it leads a group already, though it has not told us
                    os.killpg(own, signal.SIGKILL)
        self._process.kill()

    def _kill_group(self) -> None:
        if self._leader is not None and os.name != "nt":
            with contextlib.suppress(OSError):
                os.killpg(self._leader, signal.SIGKILL)
        self._leader = None

    # --- Qt's signals

    def _read_output(self) -> None:
        for line in self._output.feed(_bytes(self._process.readAllStandardOutput())):
            if line.startswith(_GROUP_WORD) and self._leader is None:
                self.led_by(int(line[len(_GROUP_WORD) :]))
            else:
                self._tell(self.output_line, line)

    def _read_errors(self) -> None:
        for line in self._errors.feed(_bytes(self._process.readAllStandardError())):
            self._tell(self.error_line, line)

    def _finished(self, exit_code: int, status: int) -> None:
        if self in _DYING:
            _DYING.remove(self)
        if self._over:
            return
        self._read_output()
        self._read_errors()
        for line in self._errors.rest():
            self._tell(self.error_line, line)
        if self._over:
            return
        self._over = True
        self._kill_group()  # children that a crash left behind
        reason = "crashed" if status == qt.QProcess.CrashExit else "finished"
        self._tell(self.ended, reason, int(exit_code), over=True)

    def _failed(self, error: int) -> None:
        if error == qt.QProcess.FailedToStart and not self._over:
            self._over = True
            self._tell(self.ended, "not_started", -1, over=True)

    def _tell(self, signal_: Signal, *arguments: Any, over: bool = False) -> None:
        if self._over and not over:
            return
        try:
            signal_.emit(*arguments)
        except Exception:  # noqa: BLE001 - a slot must not raise into Qt
            logging.exception("What a process said could not be dealt with")


#: Processes that were killed and are not gone yet: destroying them earlier would block.
_DYING: list[ChildProcess] = []


def _bytes(data: Any) -> bytes:
    return bytes(data.data())


def _environment_list(environment: Mapping[str, str]) -> list[str]:
    """Give an environment as Qt takes it; what is no text, Qt could not pass on."""
    pairs = []
    for name, value in environment.items():
        pair = f"{name}={value}"
        with contextlib.suppress(UnicodeEncodeError):
            pair.encode("utf-8")
            pairs.append(pair)
    return pairs
