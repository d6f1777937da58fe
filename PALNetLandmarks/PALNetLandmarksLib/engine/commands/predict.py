"""Place the landmarks on a face scan.

Without an output option the landmarks are printed as a table. Coordinates are those of the scan, in mm.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import TYPE_CHECKING, Any

from PALNetLandmarksLib.engine.commands.common import (
    LAYOUTS,
    add_model_arguments,
    add_overwrite_argument,
    case_name,
    check_ending,
    check_landmark_ending,
    check_outputs,
    model_facts,
    read_initial,
    set_threads,
)
from PALNetLandmarksLib.engine.commands.console import Console, Outcome
from PALNetLandmarksLib.errors import LandmarkingError

if TYPE_CHECKING:
    from pathlib import Path

    from PALNetLandmarksLib.engine.bundle import Bundle
    from PALNetLandmarksLib.engine.predictor import Prediction
    from PALNetLandmarksLib.engine.scan import Scan
    from PALNetLandmarksLib.landmarks import LandmarkSet

HELP = "place the landmarks on a scan"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scan", metavar="SCAN", help="OBJ, PLY, STL, VTP, VTK, OFF, GLB or glTF file")
    group = parser.add_argument_group("what to write")
    group.add_argument(
        "--output", metavar="F.mrk.json", help="landmarks: .mrk.json (3D Slicer), .txt (LAFAS), .csv or .tps"
    )
    group.add_argument("--csv", metavar="F.csv", help="landmarks as a table")
    group.add_argument("--measurements", metavar="F.csv", help="distances, angles and indices")
    group.add_argument(
        "--measurements-layout",
        choices=LAYOUTS,
        default="long",
        help="one row per measurement, or one row per case (default: long)",
    )
    group.add_argument("--asymmetry", metavar="F.csv", help="differences of right and left")
    group.add_argument("--image", metavar="F.png", help="picture of the face with its landmarks")
    group.add_argument(
        "--case",
        type=case_name,
        default="case",
        metavar="ID",
        help="your name for the case in tables and picture; not the name of a person",
    )
    add_overwrite_argument(group)
    add_model_arguments(parser)
    parser.add_argument(
        "--init",
        metavar="F.mrk.json",
        help="3 or more landmarks picked on this scan, to start from instead of searching for the face",
    )


def run(options: argparse.Namespace, console: Console) -> Outcome:
    """Predict and write what was asked for."""
    check_landmark_ending(options.output)
    for option, text, ending in (
        ("--csv", options.csv, ".csv"),
        ("--measurements", options.measurements, ".csv"),
        ("--asymmetry", options.asymmetry, ".csv"),
        ("--image", options.image, ".png"),
    ):
        check_ending(option, text, ending)
    outputs = check_outputs(
        {
            "--output": options.output,
            "--csv": options.csv,
            "--measurements": options.measurements,
            "--asymmetry": options.asymmetry,
            "--image": options.image,
        },
        inputs=(options.scan, options.init),
        overwrite=options.overwrite,
    )
    set_threads(options.threads)
    started = time.perf_counter()
    console.progress("loading", 0.0)
    from PALNetLandmarksLib.engine.reading import read_scan

    scan = read_scan(options.scan, options.unit, texture=False)
    from PALNetLandmarksLib.engine.bundle import load_bundle
    from PALNetLandmarksLib.engine.predictor import Predictor

    bundle = load_bundle(options.model)
    initial = read_initial(options.init, bundle)
    prediction = Predictor(bundle, options.device, options.threads).predict(
        scan, initial=initial, seed=options.seed, progress=console.progress
    )
    console.clear()
    for warning in prediction.warnings:
        console.warning(warning.message)
    landmarks = prediction.landmarks
    if not outputs:
        console.print(_table(landmarks))
    _write(outputs, options, scan, prediction, bundle, console)
    _summarise(console, prediction, bundle, outputs)
    seconds = {**prediction.stage_seconds, "total": time.perf_counter() - started}
    return Outcome(0, _facts(prediction, bundle, outputs, seconds, options.case))


def _write(
    outputs: dict[str, Path],
    options: argparse.Namespace,
    scan: Scan,
    prediction: Prediction,
    bundle: Bundle,
    console: Console,
) -> None:
    """Write the outputs; the picture last, because it is the one that a machine may be unable to make."""
    from PALNetLandmarksLib.export import write_asymmetry, write_measurements
    from PALNetLandmarksLib.landmark_files import write_landmarks
    from PALNetLandmarksLib.manifest import write_manifests

    landmarks, case = prediction.landmarks, options.case
    written = [path for option, path in outputs.items() if option != "--image"]
    if "--output" in outputs:
        write_landmarks(outputs["--output"], landmarks, case=case)
    if "--csv" in outputs:
        write_landmarks(outputs["--csv"], landmarks, case=case)
    if "--measurements" in outputs:
        write_measurements(outputs["--measurements"], landmarks, case=case, layout=options.measurements_layout)
    if "--asymmetry" in outputs:
        write_asymmetry(outputs["--asymmetry"], landmarks, case=case)
    if "--image" in outputs:
        console.progress("picture", 0.97)
        from PALNetLandmarksLib.engine.picture import write_picture

        try:
            write_picture(
                outputs["--image"],
                scan.vertices,
                scan.triangles,
                landmarks,
                prediction.scan_to_reference,
                model=f"{bundle.id} {bundle.version}",
                case="" if case == "case" else case,
                remark=registration_words(prediction),
            )
        except LandmarkingError as error:
            if written:
                error.hint = f"{error.hint} The other files were written.".strip()
                write_manifests({case: landmarks}, written, command="predict")
            raise
        written.append(outputs["--image"])
    write_manifests({case: landmarks}, written, command="predict")


def registration_words(prediction: Prediction) -> str:
    """Say how well the scan met the reference face, for the picture and the summary."""
    found = prediction.registration
    return f"registration {found.verdict}, inlier RMS {found.inlier_rms_mm:.1f} mm, fitness {found.fitness:.2f}"


def _table(landmarks: LandmarkSet) -> str:
    """Write the landmarks as a table for people and for ``cut``: columns with tabs between."""
    lines = ["label\tx_mm\ty_mm\tz_mm\texpected_error_mm\tstatus"]
    for place, label in enumerate(landmarks.protocol.labels):
        numbers = [*landmarks.positions[place], landmarks.expected_error_mm[place]]
        cells = ["" if math.isnan(value) else f"{value:.2f}" for value in numbers]
        lines.append("\t".join([label, *cells, landmarks.status[place]]))
    return "\n".join(lines)


def _summarise(console: Console, prediction: Prediction, bundle: Bundle, outputs: dict[str, Path]) -> None:
    landmarks = prediction.landmarks
    found, missing = landmarks.count("predicted"), landmarks.count("missing")
    if not outputs:
        return
    console.summary(f"{found} landmarks placed, {missing} missing ({registration_words(prediction)}).")
    console.summary(f"Model {bundle.id} {bundle.version}, on {prediction.device}. Research use only.")
    for option, path in outputs.items():
        console.summary(f"  {option[2:]:13s} {path}")


def _facts(
    prediction: Prediction, bundle: Bundle, outputs: dict[str, Path], seconds: dict[str, float], case: str
) -> dict[str, Any]:
    """Give what ``--json`` prints."""
    landmarks, registration = prediction.landmarks, prediction.registration
    points = [
        {
            "label": label,
            "status": landmarks.status[place],
            "position_mm": None if landmarks.missing[place] else landmarks.positions[place],
            "expected_error_mm": landmarks.expected_error_mm[place],
            "note": landmarks.notes[place],
        }
        for place, label in enumerate(landmarks.protocol.labels)
    ]
    return {
        "case": case,
        "model": model_facts(bundle),
        "protocol": {"id": landmarks.protocol.id, "version": landmarks.protocol.version},
        "device": prediction.device,
        "coordinate_system": landmarks.coordinate_system,
        "registration": {
            "verdict": registration.verdict,
            "fitness": registration.fitness,
            "inlier_rms_mm": registration.inlier_rms_mm,
            "score": registration.score,
            "attempts": registration.attempts,
            "scan_to_reference": prediction.scan_to_reference,
        },
        "warnings": [{"code": item.code, "message": item.message} for item in prediction.warnings],
        "landmarks": points,
        "outputs": {option[2:]: str(path) for option, path in outputs.items()},
        "seconds": seconds,
    }
