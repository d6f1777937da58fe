"""Life and death of the engine process: its own group, an eye on the parent, and an end that takes all along."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import NoReturn

#: Seconds between two signs of life.
HEARTBEAT = 1.0


def lead_own_group() -> bool:
    """Make this process the leader of a session of its own, so that it can be ended together with its children.

    Returns
    -------
    bool
        Whether it leads a process group; False on Windows, where the parent ends the tree by ``taskkill /T``.
    """
    if os.name != "posix":
        return False
    with contextlib.suppress(PermissionError):  # it leads a group already
        os.setsid()
    # end_process tells the whole group to end, us too: that must not hide our exit code.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    return os.getpgrp() == os.getpid()


def end_process(code: int) -> NoReturn:
    """End at once: children with us, without waiting for threads that compute."""
    if os.name == "posix" and os.getpgrp() == os.getpid():
        with contextlib.suppress(OSError):
            os.killpg(os.getpid(), signal.SIGTERM)
    os._exit(code)


class Heartbeat(threading.Thread):
    """Say every second that the process lives, and end it when its parent is gone.

    A parent's death closes the line of requests too; but a copy of that line may live on in a child of the parent.

    Parameters
    ----------
    beat : callable
        Called with the seconds of computing time used so far: a process that hangs uses none.
    orphaned : callable
        Called when the parent is gone.
    """

    def __init__(self, beat: Callable[[float], None], orphaned: Callable[[], object]) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._beat, self._orphaned = beat, orphaned
        self._parent = os.getppid()

    def run(self) -> None:
        """Beat until the process ends."""
        while True:
            time.sleep(HEARTBEAT)
            if os.name == "posix" and os.getppid() != self._parent:
                self._orphaned()
                return
            self._beat(time.process_time())
