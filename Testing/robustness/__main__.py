"""Report how often things without a face are accepted and faces refused, and what becomes of faces in part.

    python -m Testing.robustness FOLDER --seed 1 --face-model ict_face_model.npz

FOLDER holds scans in LAFAS layout with ``transformation_matrix.npy``, as ``training_tools simulate`` writes them. What
counts as right for each kind is defined in docs/robustness.md. Exit code 1 if a rate is above 2 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.engine.processes import as_completed
from Testing.robustness.faces import CHANGED
from Testing.robustness.objects import NO_FACES
from Testing.robustness.trials import FACE, Outcome, attempt, prepare, tasks

LIMIT = 0.02


def _row(kind: str, chosen: Sequence[Outcome]) -> str:
    answered = [outcome for outcome in chosen if not outcome.refused]
    flagged = [outcome for outcome in answered if outcome.flags]
    means = [outcome.mean_mm for outcome in answered if np.isfinite(outcome.mean_mm)]
    reported = [outcome.reported for outcome in answered]
    return (
        f"{kind:22s} {len(chosen):5d} {len(chosen) - len(answered):8d} {len(flagged):8d} "
        f"{len(answered) - len(flagged):8d} {sum(not outcome.right for outcome in chosen):6d}  "
        + (f"{np.median(means):6.1f} {max(means):6.1f}" if means else f"{'':13s}")
        + (f" {np.median(reported):5.0f}" if reported else "")
    )


def report(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Print the table and return the rates of false acceptance and false refusal."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome.number)
    print(f"{'kind':22s} {'tried':>5s} {'refused':>8s} {'flagged':>8s} {'silent':>8s} {'wrong':>6s}  "
          f"{'mean error, mm':>13s} {'shown':>5s}")  # fmt: skip
    for kind in (*NO_FACES, FACE, *CHANGED):
        chosen = [outcome for outcome in outcomes if outcome.kind == kind]
        if chosen:
            print(_row(kind, chosen))
    objects = [outcome for outcome in outcomes if outcome.kind in NO_FACES]
    faces = [outcome for outcome in outcomes if outcome.kind == FACE]
    accepted, refused = sum(outcome.silent for outcome in objects), sum(bool(outcome.refused) for outcome in faces)
    rates = accepted / max(len(objects), 1), refused / max(len(faces), 1)
    print(f"\nfalse accept: {accepted} of {len(objects)} ({100 * rates[0]:.1f} %), "
          f"and {sum(not o.refused and bool(o.flags) for o in objects)} accepted with a warning")  # fmt: skip
    print(f"false refuse: {refused} of {len(faces)} ({100 * rates[1]:.1f} %); "
          f"of those accepted {sum(bool(o.flags) for o in faces)} with a warning, "
          f"{sum(o.silent and not o.close for o in faces)} wrong without one")  # fmt: skip
    return rates


def _outcome(line: str) -> Outcome:
    fields = json.loads(line)
    return Outcome(**{**fields, "flags": tuple(fields["flags"])})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="scans in LAFAS layout with the true alignment")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--objects", type=int, default=200, help="things without a face (default 200)")
    parser.add_argument("--faces", type=int, default=200, help="faces as they are (default 200)")
    parser.add_argument("--changed", type=int, default=20, help="changed faces of each kind (default 20)")
    parser.add_argument("--face-model", type=Path, help="for mouths wide open, which are left out otherwise")
    parser.add_argument("--model", help="bundle (default: the project's)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON lines, one outcome each; a run goes on from what is there")
    options = parser.parse_args()

    folders = sorted(path.parent for path in options.folder.glob("*/transformation_matrix.npy"))
    if not folders:
        parser.error(f"no scans with a transformation_matrix.npy in {options.folder}")
    todo = tasks(options.seed, folders, options.face_model, options.objects, options.faces, options.changed)
    outcomes = []
    if options.output and options.output.exists():
        outcomes = [_outcome(line) for line in options.output.read_text(encoding="utf-8").splitlines()]
    done = {(outcome.kind, outcome.number) for outcome in outcomes}
    todo = [task for task in todo if (task.kind, task.number) not in done]
    if not todo:
        return int(max(report(outcomes)) > LIMIT)
    with options.output.open("a", encoding="utf-8") if options.output else nullcontext() as written:
        for outcome in as_completed(
            attempt, todo, options.jobs, initializer=prepare, initargs=(options.model,), hint="Use fewer --jobs.",
            code="robustness.process",
        ):  # fmt: skip
            outcomes.append(outcome)
            if written is not None:
                print(json.dumps(asdict(outcome)), file=written, flush=True)
            if sys.stderr.isatty():
                print(f"\r{len(outcomes)} of {len(done) + len(todo)}", end="", file=sys.stderr)
    return int(max(report(outcomes)) > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
