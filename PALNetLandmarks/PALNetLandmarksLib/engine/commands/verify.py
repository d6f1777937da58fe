"""Check exported files against their manifest, and whether their prediction can be done again with the same result.

RESULT is an exported file, a manifest (.manifest.json) or the output folder of a batch. SCAN is the scan, or a folder
with it; without it, it is looked for beside the result. Scans and models are known by their SHA-256, whatever they are
called. Landmarks that a person corrected, placed or removed are left out of the comparison.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PALNetLandmarksLib.engine.commands.common import DEVICES, positive_integer, set_threads
from PALNetLandmarksLib.engine.commands.console import Console, Outcome
from PALNetLandmarksLib.errors import BundleError, InputError, RegistrationError

if TYPE_CHECKING:
    from PALNetLandmarksLib.engine.reproduction import Comparison, NotDoneError, Reproducer
    from PALNetLandmarksLib.engine.traces import Trace

HELP = "check exported files, and whether their prediction reproduces"
#: Exit code when a file was changed or is gone, or the prediction does not reproduce.
NOT_VERIFIED = 7
TOLERANCE_MM = 0.01
#: Of several files of a case, the one that tells most comes first; of several cases, the worst one.
_TELLING = ("different", "within tolerance", "identical", "undecided", "not recomputed")
_WORST = ("different", "undecided", "not recomputed", "within tolerance", "identical")
_WORDS = {
    "identical": "reproduces to the last bit",
    "within tolerance": "reproduces within {tolerance:g} mm, not to the last bit",
    "different": "does not reproduce",
    "undecided": "does not reproduce to the last bit",
    "not recomputed": "not recomputed",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("result", metavar="RESULT", help="exported file, manifest, or output folder of a batch")
    parser.add_argument("scan", metavar="SCAN", nargs="?", help="the scan, or a folder in which it is looked for")
    parser.add_argument("--case", metavar="ID", help="only this case, of a result with several")
    parser.add_argument(
        "--tolerance",
        type=_tolerance,
        default=TOLERANCE_MM,
        metavar="MM",
        help=f"how far a landmark may be off where the bits differ (default: {TOLERANCE_MM:g} mm)",
    )
    parser.add_argument("--no-recompute", action="store_true", help="check the files only")
    parser.add_argument(
        "--model",
        metavar="BUNDLE",
        action="append",
        help="folder of a model that may be the one recorded, beside those that come with the program; may be repeated",
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to compute (default: as recorded, where possible)"
    )
    parser.add_argument("--threads", type=positive_integer, metavar="N", help="threads of the CPU (default: recorded)")


def _tolerance(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a distance")
    return value


def run(options: argparse.Namespace, console: Console) -> Outcome:
    """Check, compute again and compare."""
    result = Path(options.result)
    if not result.exists():
        raise InputError(f"There is no '{result.name}'.", "Check the name.", code="file.read")
    set_threads(options.threads)
    folder = result if result.is_dir() else result.parent
    files, problems, listed = _check_files(result, console)
    traces = _traces(files, options, console)
    if not traces and not problems and not listed:
        raise InputError(
            f"{result.name} does not say how it came about, and no manifest lists it.",
            "Give a file that this program exported.",
            code="verify.nothing",
        )
    cases: dict[str, Any] = {}
    if not options.no_recompute and traces:
        cases = _recompute(folder, traces, options, console)
    worst = _first(_WORST, (case["verdict"] for case in cases.values()))
    for case, facts in cases.items():
        _say(case, facts, options.tolerance, console)
    if files and not problems:
        known = "as their manifest lists them" if listed == len(files) else f"{listed} of them listed in a manifest"
        console.summary(f"{len(files)} file{'s' if len(files) != 1 else ''} checked, {known}.")
    good = not problems and worst not in ("different", "undecided")
    facts = {
        "files": len(files),
        "files_in_manifest": listed,
        "problems": problems,
        "tolerance_mm": options.tolerance,
        "cases": cases,
        "verdict": worst or "not recomputed",
        "verified": good,
    }
    return Outcome(0 if good else NOT_VERIFIED, facts)


def _check_files(result: Path, console: Console) -> tuple[list[Path], list[dict[str, str]], int]:
    """Compare files with manifests: the files that are there, what is wrong, and how many a manifest lists."""
    from PALNetLandmarksLib.manifest import MANIFEST, read_manifest, state_of

    folder = result if result.is_dir() else result.parent
    one_file = result.is_file() and not result.name.lower().endswith(MANIFEST)
    if one_file or result.is_dir():
        manifests = sorted(path for path in folder.iterdir() if path.name.lower().endswith(MANIFEST))
    else:
        manifests = [result]
    entries = {}
    for path in manifests:
        try:
            exports = read_manifest(path)
        except InputError as error:
            if path == result:
                raise
            console.warning(str(error))
            continue
        entries.update({file.name: file for export in exports for file in export.files})
    if one_file:
        entries = {name: file for name, file in entries.items() if name == result.name}
    problems, files = [], []
    for name, file in entries.items():
        state = state_of(folder, file)
        if state != "missing":
            files.append(folder / name)
        if state != "whole":
            problems.append({"file": name, "state": state})
            words = {"changed": "was changed since it was written", "missing": "is not there any more"}
            console.print(f"{name} {words[state]}")
    if one_file and not entries:
        files = [result]
    elif result.is_dir():
        unlisted = sorted(path for path in folder.iterdir() if path.name.lower().endswith(".mrk.json"))
        files += [path for path in unlisted if path.name not in entries]
    return files, problems, len(entries)


def _traces(files: list[Path], options: argparse.Namespace, console: Console) -> dict[str, list[tuple[str, Trace]]]:
    """Read what each file says of each case; gives name and trace by case."""
    from PALNetLandmarksLib.engine.traces import READABLE, read_traces
    from PALNetLandmarksLib.protocol import load_protocol

    protocols = [load_protocol()]
    if options.model:
        from PALNetLandmarksLib.engine.bundle import load_bundle

        protocols += [load_bundle(path).protocol for path in options.model]
    cases: dict[str, list[tuple[str, Trace]]] = {}
    nameless: list[tuple[Path, Trace]] = []
    for path in files:
        if not path.name.lower().endswith(READABLE) or path.name.lower().endswith(".record.json"):
            continue
        try:
            traces = read_traces(path, protocols)
        except InputError as error:
            console.warning(f"{path.name} cannot be read: {error}")
            continue
        if path.name.lower().endswith((".mrk.json", ".txt")):  # formats that hold no identifier
            nameless += [(path, trace) for trace in traces.values()]
            continue
        for case, trace in traces.items():
            cases.setdefault(case, []).append((path.name, trace))
    for path, trace in nameless:
        cases.setdefault(_case_of(path, trace, cases), []).append((path.name, trace))
    return {case: found for case, found in cases.items() if options.case in (None, case)}


def _case_of(path: Path, trace: Trace, cases: dict[str, list[tuple[str, Trace]]]) -> str:
    """Name the case of a file that holds no identifier: as in a batch, or by the same prediction in other files."""
    stem = path.name[: -len(".mrk.json" if path.name.lower().endswith(".json") else ".txt")]
    digest = trace.record.get("prediction_sha256")
    if stem in cases or not digest:
        return stem
    for case, found in cases.items():
        if any(other.record.get("prediction_sha256") == digest for _, other in found):
            return case
    return stem


def _recompute(
    folder: Path, cases: dict[str, list[tuple[str, Trace]]], options: argparse.Namespace, console: Console
) -> dict[str, Any]:
    """Do the prediction of each case again and compare it with each of its files."""
    from PALNetLandmarksLib.engine.reproduction import NOT_DONE

    reproducer = _reproducer(folder, options, len(cases))
    facts: dict[str, Any] = {}
    hindrances: list[NotDoneError] = []
    for number, (case, traces) in enumerate(cases.items()):
        console.progress(f"{number} of {len(cases)} cases", number / len(cases))
        found = {name: _compare(reproducer, trace, options.tolerance, hindrances) for name, trace in traces}
        verdict = _first(_TELLING, (item.verdict for item in found.values()))
        chosen = next(item for item in found.values() if item.verdict == verdict)
        facts[case] = {**vars(chosen), "files": {name: item.verdict for name, item in found.items()}}
    console.clear()
    if options.scan is not None and hindrances and all(item["verdict"] == NOT_DONE for item in facts.values()):
        # The user gave what should have been enough.
        first = hindrances[0]
        kind = {"model": BundleError, "scan": InputError}.get(first.code)
        if kind is not None:
            raise kind(first.reason, code=f"verify.{first.code}")
    return facts


def _reproducer(folder: Path, options: argparse.Namespace, cases: int) -> Reproducer:
    from PALNetLandmarksLib.engine.reading import EXTENSIONS
    from PALNetLandmarksLib.engine.reproduction import Reproducer

    scan, scans = None, []
    if options.scan is None:
        scans = sorted(path for path in folder.iterdir() if path.name.lower().endswith(EXTENSIONS) and path.is_file())
    elif Path(options.scan).is_dir():
        from PALNetLandmarksLib.engine.batch import find_scans

        scans = [Path(options.scan) / name for name in find_scans(Path(options.scan))]
    elif cases > 1:
        scans = [Path(options.scan)]  # which of the cases it is of, its digest tells
    else:
        scan = Path(options.scan)
    models = [Path(path) for path in options.model or ()]
    return Reproducer(models, scan=scan, scans=scans, device=options.device, threads=options.threads)


def _compare(reproducer: Reproducer, trace: Trace, tolerance_mm: float, hindrances: list[NotDoneError]) -> Comparison:
    from PALNetLandmarksLib.engine.reproduction import NOT_DONE, Comparison, NotDoneError, compare, failed

    try:
        return compare(trace, reproducer.again(trace.record), tolerance_mm)
    except NotDoneError as error:
        hindrances.append(error)
        return Comparison(NOT_DONE, error.reason)
    except RegistrationError as error:
        return failed(error)


def _first(order: Sequence[str], verdicts: Iterable[str]) -> str:
    found = set(verdicts)
    return next((verdict for verdict in order if verdict in found), "")


def _say(case: str, facts: dict[str, Any], tolerance: float, console: Console) -> None:
    words = _WORDS[facts["verdict"]].format(tolerance=tolerance)
    detail = []
    if facts["compared"]:
        detail.append(f"{facts['compared']} values compared, largest difference {facts['largest']:.3g}")
    if facts["left_out"]:
        detail.append(f"left out, by hand: {' '.join(facts['left_out'])}")
    console.print(f"{case}: {words}{' (' + '; '.join(detail) + ')' if detail else ''}. {facts['reason']}".rstrip())
    if facts["verdict"] != "identical":
        for text in facts["circumstances"]:
            console.print(f"  not as it was: {text}")
