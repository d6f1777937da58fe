"""The whole command line on bad scans: exit code, what is said, what is written, time and memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.landmark_files import read_landmarks
from Testing.corpus.damage import READ, REFUSED, Case
from Testing.corpus.isolated import DOCUMENTED, MEMORY, SECONDS, Outcome

ROOT = Path(__file__).parents[2]
#: Two predictions on one surface that a file format rounded: farther apart is another answer.
SAME_MM = 2.0
#: Where every second triangle is turned round, nothing tells which way small patches between branching edges faced, as
#: in the folds of an ear: a landmark there may move as far as it does on another sample of the surface.
UNDECIDED_MM = {"mixed orientation": 5.0}


def predicted(case: Case, folder: Path, truth: np.ndarray | None = None, seconds: float = SECONDS) -> Outcome:
    """Run ``palnet-landmarks predict`` on a case and judge it.

    Parameters
    ----------
    case : Case
    folder : Path
        Empty.
    truth : (n, 3) float, optional
        Landmarks of the undamaged scan, mm; a prediction on a readable case must be as these.
    seconds : float
        Most processor time; ten times as much on the clock.
    """
    scans, written, temporary = folder / "scans", folder / "out", folder / "tmp"
    for place in (scans, written, temporary):
        place.mkdir()
    path = case.make(scans)  # a large one in this process: the memory of another is measured
    outputs = {"--output": "a.mrk.json", "--csv": "b.csv", "--measurements": "c.csv"}
    command = ["predict", str(path), *(word for key, name in outputs.items() for word in (key, str(written / name)))]
    code, said, spent, memory = run_measured(command, temporary, seconds)

    def outcome(kind: str, detail: str) -> Outcome:
        return Outcome(case.name, kind, detail, spent, memory)

    left = sorted(item.name for item in written.iterdir())
    if code == -signal.SIGKILL or spent > seconds:
        return outcome("hang", f"more than {seconds:.0f} s")
    if code < 0:
        return outcome("killed", f"signal {-code}")
    if "Traceback" in said or "Warning: " in said or 'File "' in said:
        return outcome("crash", said.strip()[-200:])
    if memory > MEMORY:
        return outcome("memory", f"{memory / 1e9:.1f} GB")
    if any(temporary.iterdir()):
        return outcome("half-written", "temporary files are left")
    if code == 0:
        if [name for name in left if not name.endswith(".manifest.json")] != sorted(outputs.values()):
            return outcome("half-written", f"only {', '.join(left)}")
        if case.expected == REFUSED:
            return outcome("silent", "landmarks were placed")
        if truth is not None and case.expected == READ:
            apart = np.linalg.norm(read_landmarks(written / "a.mrk.json").positions - truth, axis=1)
            if not np.nanmax(apart) <= UNDECIDED_MM.get(case.damage, SAME_MM):
                return outcome("silent", f"landmarks {np.nanmax(apart):.1f} mm from those of the undamaged scan")
        return outcome("accepted", "0")
    if left:
        return outcome("half-written", f"exit code {code}, and {', '.join(left)}")
    lines = [line for line in said.splitlines() if "error:" in line]
    if code not in DOCUMENTED or len(lines) != 1:
        return outcome("exit code", f"{code}: {said.strip()[-200:]}")
    if case.expected == READ and truth is not None:
        return outcome("silent", f"refused although it can be used: {lines[0][:150]}")
    return outcome("refused", str(code))


def run_measured(words: Sequence[str], temporary: Path, seconds: float) -> tuple[int, str, float, int]:
    """Run the program; return its exit code, what it said, its processor time (s) and most memory (bytes)."""
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": f"{ROOT / 'PALNetLandmarks'}:{ROOT}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "PALNetLandmarksLib.engine.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    timer = threading.Timer(10 * seconds, lambda: os.killpg(process.pid, signal.SIGKILL))
    timer.start()
    try:
        assert process.stdout is not None
        said = process.stdout.read().decode("utf-8", "replace")
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return process.returncode, said, usage.ru_utime + usage.ru_stime, memory
