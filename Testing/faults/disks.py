"""Disks, folders and clocks that fail: a clear error with its exit code, whole files, and a run that goes on later."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from Testing.faults.scenes import (
    Ended,
    Outcome,
    batch_words,
    contents,
    differences,
    environment,
    finish,
    run,
    start,
    training_words,
    write_scans,
    write_training_set,
)

INPUT = 3  # exit code for what cannot be read or written
USAGE = 2


@contextlib.contextmanager
def small_disk(folder: Path, size: str, *, read_only: bool = False) -> Iterator[bool]:
    """Mount a small disk on a folder; says whether this system lets us."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        yield False
        return
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}" + (",ro" if read_only else ""), "tmpfs", str(folder)]
    mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def file_limit(size: int) -> Callable[[], None]:
    """Return what limits the size of files in a new process, where no disk can be mounted."""

    def limit() -> None:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return limit


class Undisturbed:
    """A batch and a training without any fault, to hold the others against."""

    def __init__(self, folder: Path) -> None:
        self.scans, self.data, self.epochs = folder / "scans", folder / "data", 4
        write_scans(self.scans, 3)
        write_training_set(self.data, 6)
        ended = run(batch_words(self.scans, folder / "batch"))
        assert ended.code == 0, ended.errors
        self.batch_seconds = ended.seconds
        self.batch = contents(folder / "batch")
        ended = run(self.training_words(folder / "training" / "run"))
        assert ended.code == 0, ended.errors
        self.training_seconds = ended.seconds
        self.training = contents(folder / "training" / "run")
        files = (path for path in (folder / "training").rglob("*") if path.is_file())
        self.training_kilobytes = sum(-(-path.stat().st_size // 4096) * 4 for path in files)

    def training_words(self, place: Path) -> list[str]:
        """Return the command for the training."""
        return training_words(self.data, place, self.epochs)


def full_disk_batch(folder: Path, right: Undisturbed, sizes: tuple[int, ...] = (4, 40, 70, 120, 200)) -> Outcome:
    """Run a batch on disks that fill up at different places, then go on with it where there is room."""
    outcome = Outcome("disk full, batch", remark="exit 3 at once or its cases failed; goes on later")
    for size in sizes:
        output, roomy = folder / f"disk{size}" / "output", folder / f"roomy{size}"
        output.mkdir(parents=True)
        with small_disk(output, f"{size}k") as mounted:
            limit = {} if mounted else {"preexec_fn": file_limit(size * 256)}
            problems = run(batch_words(right.scans, output), **limit).problems([INPUT])
            # What is there must be whole: it is taken to another disk and gone on with.
            shutil.copytree(output, roomy)
        problems += _cut(roomy)
        problems += run(batch_words(right.scans, roomy, "--resume")).problems([0])
        outcome.count([*problems, *differences(right.batch, roomy)], f"{size} kB")
    return outcome


def _cut(folder: Path) -> list[str]:
    """Say which files of a batch do not end as whole ones do."""
    ends = {path.name: path.read_bytes()[-2:] for path in sorted(folder.iterdir())}
    return [f"{name} is cut" for name, end in ends.items() if not end.endswith(b"}\n" if ".json" in name else b"\n")]


def full_disk_training(folder: Path, right: Undisturbed, sizes: tuple[int, ...] = (4, 300)) -> Outcome:
    """Train on disks that fill up, then go on with the training where there is room.

    Beside the sizes given, in kB, which are too small for the prepared scans, two that the first and the second
    checkpoint do not fit on.
    """
    outcome = Outcome("disk full, training", remark="exit 3, the last whole checkpoint stays")
    first, second = right.training_kilobytes - 700, right.training_kilobytes + 500
    for size in (*sizes, first, second):
        place, roomy = folder / f"disk{size}", folder / f"roomy{size}"
        with small_disk(place, f"{size}k") as mounted:
            if not mounted and size in (first, second):
                continue  # a limit on files meets the prepared scans first: they are larger than a checkpoint
            limit = {} if mounted else {"preexec_fn": file_limit(size * 256)}
            problems = run(right.training_words(place / "run"), **limit).problems([INPUT])
            shutil.copytree(place, roomy)
        kept = (roomy / "run" / "checkpoint.safetensors").exists()
        problems += [] if kept == (size == second) else ["the disk was not full where it should have been"]
        problems += run(right.training_words(roomy / "run")).problems([0])
        outcome.count([*problems, *differences(right.training, roomy / "run")], f"{size} kB")
    return outcome


def read_only(folder: Path, right: Undisturbed) -> Outcome:
    """Write to a folder that cannot be written to: refused before any work, with exit code 3."""
    outcome = Outcome("read-only folder")
    for name, words in (("batch", batch_words), ("training", lambda _, place: right.training_words(place))):
        place = folder / name
        with small_disk(place, "100k", read_only=True) as mounted:
            if not mounted:
                place.chmod(0o555)
            try:
                ended = run(words(right.scans, place / "output"))
                problems = ended.problems([INPUT])
                problems += ["something was written"] if list(place.iterdir()) else []
            finally:
                if not mounted:
                    place.chmod(0o755)
        outcome.count(problems, name)
    return outcome


def vanishing(folder: Path, right: Undisturbed) -> Outcome:
    """Take the scans or the output away while a batch or a training works; then do it anew."""
    outcome = Outcome("folder vanishes")
    for share in (0.4, 0.75):
        for name in ("output of batch", "scans of batch", "folder of training"):
            place = folder / f"{name} {share}"
            scans, output = place / "scans", place / "output"
            shutil.copytree(right.scans, scans)
            if name.endswith("batch"):
                words, seconds, expected = batch_words(scans, output), right.batch_seconds, right.batch
            else:
                words, seconds, expected = right.training_words(output), right.training_seconds, right.training
            process = start(words)
            _until(process, lambda output=output: output.exists(), seconds * 4)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds * share * 0.6)
            gone = scans if name.startswith("scans") else output
            with contextlib.suppress(OSError):
                gone.rename(place / "elsewhere")
            ended = finish(process)
            # Cases whose scans are gone fail one by one, and so say the exit code and the table. A file that is
            # made anew in the moment of the removal is no fault: only an end without words or a traceback is.
            problems = ended.problems([0, INPUT])
            if name.startswith("scans"):
                (place / "elsewhere").rename(scans)
                words = batch_words(scans, output, "--resume")
            elif (place / "elsewhere").exists():
                shutil.rmtree(output, ignore_errors=True)
                (place / "elsewhere").rename(output)
                words = batch_words(scans, output, "--resume") if name.endswith("batch") else words
            again = run(words)
            outcome.count([*problems, *again.problems([0]), *differences(expected, output)], f"{name}, {share:.0%}")
    return outcome


def _until(process: subprocess.Popen[str], done: Callable[[], bool], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not done() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)


def two_batches(folder: Path, right: Undisturbed, rounds: int = 3) -> Outcome:
    """Start two batches on the same output folder: one works, the other is refused with exit code 2.

    Both may go on with an earlier batch, so that nothing but the first one's being at work keeps the other out.
    """
    outcome = Outcome("two batches, one folder")
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(rounds):
        output = folder / f"output{number}"
        both = [start(batch_words(right.scans, output, "--resume")) for _ in range(2)]
        ended: list[Ended] = [finish(process) for process in both]
        problems = [] if sorted(end.code for end in ended) == [0, USAGE] else [f"ended with {[e.code for e in ended]}"]
        problems += [problem for end in ended for problem in end.problems([0, USAGE])]
        problems += [] if any("Another batch is writing" in end.errors for end in ended) else ["it does not say why"]
        outcome.count([*problems, *differences(right.batch, output)], f"round {number + 1}")
    return outcome


def clock_library(folder: Path) -> Path | None:
    """Build what sets a process's clock back; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "clock_back.so"
    source = Path(__file__).with_name("clock_back.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def clock_back(folder: Path, right: Undisturbed) -> Outcome:
    """Set the clock back by an hour every second: the results are the same, and no duration is negative."""
    outcome = Outcome("clock jumps back", remark="by an hour every second")
    folder.mkdir(parents=True)
    library = clock_library(folder)
    if library is None:
        outcome.remark = "not run: no C compiler"
        return outcome
    disturbed = environment(LD_PRELOAD=str(library))
    ended = run(batch_words(right.scans, folder / "batch"), environment_=disturbed)
    seconds = [line.split(",")[11] for line in (folder / "batch" / "status.csv").read_text().splitlines()[1:]]
    negative = ["a negative duration"] if any(value.startswith("-") for value in seconds) else []
    outcome.count([*ended.problems([0]), *negative, *differences(right.batch, folder / "batch")], "batch")
    ended = run(right.training_words(folder / "training" / "run"), environment_=disturbed)
    outcome.count([*ended.problems([0]), *differences(right.training, folder / "training" / "run")], "training")
    return outcome


def all_trials(folder: Path) -> Iterator[Outcome]:
    """Run the trials of this file one after the other."""
    right = Undisturbed(folder / "right")
    for trial in (full_disk_batch, full_disk_training, read_only, vanishing, two_batches, clock_back):
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:
            yield trial(Path(place) / "trial", right)
