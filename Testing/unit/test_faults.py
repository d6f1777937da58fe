"""A few faults of each kind, on the real program; ``python -m Testing.faults`` tries many more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from PALNetLandmarksLib.engine.commands.common import as_landmarking_error
from Testing.faults import disks, engine_line, kills
from Testing.faults.scenes import (
    Outcome,
    batch_words,
    contents,
    differences,
    end_group,
    environment,
    run,
    write_scans,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals and limits of Linux")


def all_survived(outcome: Outcome) -> None:
    assert outcome.tried > 0 and not outcome.failures, outcome.failures


def test_moments_are_spread_over_the_whole_duration() -> None:
    found = sorted(kills.moments(20, 10.0, seed=1))
    assert [int(moment * 2) for moment in found] == list(range(20))
    assert kills.moments(20, 10.0, seed=1) != kills.moments(20, 10.0, seed=2)


def test_what_is_lost_doubled_or_changed_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("case,seconds\nC1,3.1\n")
    expected = contents(tmp_path)
    (tmp_path / "a.csv").write_text("case,seconds\nC1,9.9\n")
    assert differences(expected, tmp_path) == []
    (tmp_path / "a.csv").write_text("case,seconds\nC1,9.9\nC1,9.9\n")
    (tmp_path / ".left.tmp").write_text("")
    assert differences({**expected, "b.csv": ""}, tmp_path) == [
        "b.csv is missing", ".left.tmp is left behind", "a.csv differs"
    ]  # fmt: skip


_POOL = """
import sys, time
from PALNetLandmarksLib.engine.processes import as_completed
def begin(): print("begun", flush=True)
def work(item): time.sleep(60)
if __name__ == "__main__":
    list(as_completed(work, [1, 2], 2, initializer=begin, initargs=(), hint="", code="x"))
"""


def test_no_process_of_a_pool_outlives_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(_POOL)
    parent = subprocess.Popen(
        [sys.executable, str(script)], env=environment(), stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout is not None
    assert [parent.stdout.readline() for _ in range(2)] == [b"begun\n"] * 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    left = end_group(parent.pid)
    parent.stdout.close()
    assert not left


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libx.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_lack_of_memory_is_known_by_its_words(error: Exception) -> None:
    known = as_landmarking_error(error)
    assert known is not None and known.code == "device.memory" and known.exit_code == 6
    assert as_landmarking_error(RuntimeError("something else")) is None


def test_the_engine_takes_garbage_and_goes_on(tmp_path: Path) -> None:
    all_survived(engine_line.garbage(tmp_path, 120, seed=2))


def test_the_engine_ends_when_nobody_listens(tmp_path: Path) -> None:
    all_survived(engine_line.closed_line(tmp_path, rounds=1))


def test_a_batch_killed_in_the_middle_is_gone_on_with(tmp_path: Path) -> None:
    write_scans(tmp_path / "scans", 2)
    whole = run(batch_words(tmp_path / "scans", tmp_path / "whole"))
    assert whole.code == 0, whole.errors
    output, first = tmp_path / "killed", tmp_path / "killed" / "C0001.mrk.json"
    process = subprocess.Popen(batch_words(tmp_path / "scans", output), env=environment(), stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not first.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (output / ".palnet-left.tmp").write_bytes(b"half a ta")  # as a kill in the middle of a write leaves it
    again = run(batch_words(tmp_path / "scans", output, "--resume"))
    assert again.problems([0]) == []
    assert differences(contents(tmp_path / "whole"), output) == []


@pytest.mark.slow
def test_kills_of_engine_batch_and_training(tmp_path: Path) -> None:
    all_survived(kills.engine(tmp_path / "engine", 3, seed=1))
    all_survived(kills.batch(tmp_path / "batch", 3, seed=1, jobs=2))
    all_survived(kills.training(tmp_path / "training", 3, seed=1, epochs=3))


@pytest.mark.slow
def test_the_engine_answers_many_requests_in_flat_memory(tmp_path: Path) -> None:
    all_survived(engine_line.many_requests(tmp_path, 1000, 20))


@pytest.mark.slow
def test_lack_of_memory_is_survived(tmp_path: Path) -> None:
    all_survived(engine_line.no_memory(tmp_path / "engine", (0, 60)))
    all_survived(engine_line.no_memory_command(tmp_path / "command", (500, 1000)))


@pytest.mark.slow
def test_disks_folders_and_clocks_that_fail(tmp_path: Path) -> None:
    for outcome in disks.all_trials(tmp_path):
        if outcome.remark != "not run: no C compiler":
            all_survived(outcome)
