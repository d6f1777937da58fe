"""Try inputs one after the other in a process of its own, with bounds on time and memory; what it does is judged."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PALNetLandmarksLib.engine.commands.console import one_line
from PALNetLandmarksLib.errors import LandmarkingError

#: Of processor time, children's included: what a quiet computer takes. A busy one takes longer, up to `_PATIENCE`.
SECONDS = 30.0
_PATIENCE = 10  # times as much on the clock
MEMORY = 4 * 1024**3  # bytes
_HARD_MEMORY = 6 * 1024**3  # bytes of address space beyond which the process is stopped
#: Exit codes that a file may lead to: input, registration, bundle, memory or device, and wrong usage.
DOCUMENTED = (2, 3, 4, 5, 6)
BAD = ("crash", "killed", "hang", "memory", "unclear", "silent", "exit code", "half-written")


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes
    ----------
    name : str
    kind : str
        ``accepted``, ``refused``, or one of `BAD`.
    detail : str
        The error's code, or what is bad.
    seconds : float
        Of processor time.
    memory : int
        Most memory of the process so far, bytes; 0 where it is not known.
    """

    name: str
    kind: str
    detail: str
    seconds: float = 0.0
    memory: int = 0

    @property
    def bad(self) -> bool:
        """Whether the program did what it never may."""
        return self.kind in BAD


def judged(name: str, attempt: Callable[[], str | None]) -> Outcome:
    """Try an input in this process.

    Parameters
    ----------
    name : str
    attempt : callable
        Returns None when all is well, or what is wrong with the result; raises what the program raises.
    """
    start = processor_seconds()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # else the user would read a line of our code, and where it lies
            wrong = attempt()
        kind, detail = ("accepted", "") if wrong is None else ("silent", wrong)
    except LandmarkingError as error:
        fault, hidden = unclear(error), slip(error)
        kind, detail = ("unclear", fault) if fault else ("crash", hidden) if hidden else ("refused", error.code)
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        frames = traceback.extract_tb(error.__traceback__)
        place = ([frame for frame in frames if "PALNetLandmarksLib" in frame.filename] or frames)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        kind, detail = "crash", f"{type(error).__name__}: {str(error)[:80]} ({where})"
    return Outcome(name, kind, detail, processor_seconds() - start)


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def unclear(error: LandmarkingError) -> str:
    """Return what is wrong with an error as a user sees it, "" if nothing."""
    if error.exit_code not in DOCUMENTED:
        return f"exit code {error.exit_code}"
    if not error.message or not error.hint or "." not in error.code:
        return f"no message, hint or code: {error.code} {error.message!r} {error.hint!r}"
    if len(one_line(str(error))) > 4000:
        return f"{error.code}: {len(str(error))} characters long"
    return ""


def slip(error: LandmarkingError) -> str:
    """Return what is wrong with our code behind an error that blames the file, "" if nothing.

    Whatever a reader does not foresee is called damage of the file, so that nobody sees a traceback. A slip in the
    reader itself, such as a name that is not there, would hide behind that for ever.
    """
    frames, cause = traceback.extract_tb(error.__traceback__), error.__cause__
    if frames[-1].name != "_parse" or not isinstance(cause, (TypeError, AttributeError, NameError, AssertionError)):
        return ""
    place = traceback.extract_tb(cause.__traceback__)[-1]
    return f"{type(cause).__name__}: {str(cause)[:80]} ({Path(place.filename).name}:{place.lineno})"


def isolated(attempts: Sequence[tuple[str, Callable[[], str | None]]], seconds: float = SECONDS) -> list[Outcome]:
    """Try inputs in forked processes; a new one takes over where one died or hung.

    Parameters
    ----------
    attempts : sequence of (name, callable)
        As for `judged`.
    seconds : float
        Most processor time for each.
    """
    outcomes: list[Outcome] = []
    while len(outcomes) < len(attempts):
        outcomes += _one_process(attempts[len(outcomes) :], seconds)
    return outcomes


def _one_process(attempts: Sequence[tuple[str, Callable[[], str | None]]], seconds: float) -> list[Outcome]:
    sys.stdout.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(attempts, writing, seconds)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        lines = stream.read().splitlines()
    status, usage = os.wait4(child, 0)[1:]
    scale = 1 if sys.platform == "darwin" else 1024
    memory = usage.ru_maxrss * scale
    found = [Outcome(*json.loads(line)) for line in lines]
    if len(found) == len(attempts):
        last = found[-1]
        kind = "memory" if memory > MEMORY else last.kind
        found[-1] = Outcome(last.name, kind, last.detail, last.seconds, memory)
    else:
        hung = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGPROF)
        detail = f"more than {seconds:.0f} s" if hung else f"status {status}"
        name = attempts[len(found)][0]
        found.append(Outcome(name, "hang" if hung else "killed", detail, seconds if hung else 0.0, memory))
    return found


def _work(attempts: Sequence[tuple[str, Callable[[], str | None]]], writing: int, seconds: float) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_HARD_MEMORY, _HARD_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    try:
        for name, attempt in attempts:
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE * seconds)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            outcome = judged(name, attempt)
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            line = json.dumps([outcome.name, outcome.kind, outcome.detail, outcome.seconds, _memory_now()])
            os.write(writing, line.encode() + b"\n")
    finally:
        os._exit(0)


def _memory_now() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
