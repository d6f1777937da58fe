"""``python -m training_tools reference``: build the reference face from the parametric model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PALNetLandmarksLib.engine.registration import Reference
from training_tools.reference_file import write_reference
from training_tools.simulation.face_model import LANDMARKS_FILE, load_face_model
from training_tools.simulation.reference import build_reference


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training_tools reference", description=__doc__)
    parser.add_argument("--face-model", required=True, type=Path, help="ict_face_model.npz or ICT-FaceKit's FaceXModel")
    parser.add_argument("--output", required=True, type=Path, help="the reference.safetensors to write")
    options = parser.parse_args(arguments)
    face = build_reference(load_face_model(options.face_model, LANDMARKS_FILE))
    write_reference(options.output, Reference(face.points, face.normals, face.extent), face.mean_landmarks)
    print(f"{len(face.points)} points, {len(face.mean_landmarks)} landmarks")
    return 0
