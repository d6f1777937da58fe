"""SIGKILL at random moments: after a restart nothing is lost, nothing doubled, and the outputs are whole."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np

from Testing.faults.scenes import (
    Engine,
    Outcome,
    alive_in_group,
    batch_words,
    contents,
    differences,
    end_group,
    finish,
    run,
    start,
    training_words,
    write_scans,
    write_training_set,
)


def moments(count: int, duration: float, seed: int) -> list[float]:
    """Return moments spread over a duration, in seconds: one in each of as many equal parts, in random order."""
    rng = np.random.default_rng(seed)
    found = (np.arange(count) + rng.random(count)) * duration / count
    rng.shuffle(found)
    return [float(moment) for moment in found]


def _killed(words: list[str], moment: float) -> tuple[bool, list[str]]:
    """Kill a process, and only that one, at a moment; say whether it was still at work and what it left running."""
    process = start(words)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    orphans = end_group(process.pid)
    assert process.stderr is not None
    process.stderr.close()
    return process.returncode == -signal.SIGKILL, [f"{len(orphans)} processes run on"] if orphans else []


def _trial(words: list[str], resume: list[str], output: Path, moment: float, expected: dict[str, str]) -> tuple[
    bool, list[str]
]:  # fmt: skip
    at_work, problems = _killed(words, moment)
    ended = finish(start(resume))
    return at_work, [*problems, *ended.problems([0]), *differences(expected, output)]


def batch(folder: Path, kills: int, seed: int, jobs: int = 1) -> Outcome:
    """Kill a batch and go on with it."""
    outcome = Outcome(f"SIGKILL of batch, --jobs {jobs}")
    scans, undisturbed = folder / "scans", folder / "undisturbed"
    write_scans(scans, 3)
    further = ("--jobs", str(jobs))
    whole = run(batch_words(scans, undisturbed, *further))
    assert whole.code == 0, whole.errors
    expected = contents(undisturbed)
    running = 0
    for number, moment in enumerate(moments(kills, whole.seconds, seed)):
        output = folder / f"killed{number}"
        at_work, problems = _trial(
            batch_words(scans, output, *further), batch_words(scans, output, *further, "--resume"), output, moment,
            expected,
        )  # fmt: skip
        running += at_work
        outcome.count(problems, f"killed after {moment:.2f} s")
    outcome.remark = f"{running} killed at work, moments over {whole.seconds:.1f} s"
    return outcome


def training(folder: Path, kills: int, seed: int, epochs: int = 8) -> Outcome:
    """Kill a training and go on with it: the weights must be the same bits."""
    outcome = Outcome("SIGKILL of training")
    data = folder / "data"
    write_training_set(data, 6)
    # All have their own folder of prepared scans, so that a kill can hit the preparation too.
    whole = run(training_words(data, folder / "undisturbed" / "run", epochs))
    assert whole.code == 0, whole.errors
    expected = contents(folder / "undisturbed" / "run")
    running = 0
    for number, moment in enumerate(moments(kills, whole.seconds, seed)):
        output = folder / f"killed{number}" / "run"
        words = training_words(data, output, epochs)
        at_work, problems = _trial(words, words, output, moment, expected)
        running += at_work
        outcome.count(problems, f"killed after {moment:.2f} s")
    outcome.remark = f"{running} killed at work, moments over {whole.seconds:.1f} s"
    return outcome


def engine(folder: Path, kills: int, seed: int) -> Outcome:
    """Kill the engine in a prediction and start another one, which gives the same result."""
    outcome = Outcome("SIGKILL of engine")
    first = Engine(folder)
    started = time.monotonic()
    expected = first.ask("predict", mesh=first.mesh())
    duration = time.monotonic() - started
    assert expected["event"] == "result", expected
    first.end()
    running = 0
    for moment in moments(kills, duration, seed):
        killed = Engine(folder)
        number = killed.send("predict", mesh=killed.mesh())
        time.sleep(moment)
        answered = killed.process.poll() is not None
        killed.process.kill()
        killed.process.wait()
        problems = ["it ended by itself"] if answered else []
        events = killed.answers(number, 10)
        running += events[-1]["event"] == "ended"
        problems += ["a cut line was taken for an event"] if events[-1]["event"] == "silent" else []
        if left := alive_in_group(killed.process.pid):
            problems.append(f"{len(left)} processes run on")
        second = Engine(folder)
        answer = second.ask("predict", mesh=second.mesh())
        if answer["event"] != "result" or answer["positions"] != expected["positions"]:
            problems.append(f"the restarted engine answers otherwise: {str(answer)[:120]}")
        if second.end() != 0:
            problems.append("the restarted engine does not end well")
        for leftover in second.folder.glob("*.npz"):  # of the killed one; its user's side removes the folder
            leftover.unlink()
        outcome.count(problems, f"killed after {moment:.2f} s")
    outcome.remark = f"{running} killed at work, moments over {duration:.1f} s"
    return outcome
