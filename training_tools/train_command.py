"""``python -m training_tools train``: train a network on annotated scans."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from PALNetLandmarksLib.protocol import load_protocol
from training_tools.dataset import canonical_subject, list_subjects, mean_landmarks, symmetric
from training_tools.reference_file import read_reference, write_reference

logger = logging.getLogger(__name__)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training_tools train", description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help="training scans in LAFAS layout")
    parser.add_argument("--validation", required=True, type=Path, help="scans of others, to choose the best epoch")
    parser.add_argument("--reference", required=True, type=Path, help="reference.safetensors, of a bundle or your own")
    parser.add_argument("--run", required=True, type=Path, help="folder of this training; an interrupted one goes on")
    parser.add_argument("--network", default="patch_transformer", choices=("patch_transformer", "palnet"))
    parser.add_argument("--protocol", type=Path, help="your own protocol instead of the 50 landmarks")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="threads for the network (default 1)")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare the faces (default 1)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--cache", type=Path, help="folder for prepared scans (default: cache beside the run)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    options.run.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(), logging.FileHandler(options.run / "train.log", encoding="utf-8")],
    )
    protocol = load_protocol(options.protocol)
    start = read_reference(options.reference)
    training, validation = list_subjects(options.data), list_subjects(options.validation)
    mean = symmetric(mean_landmarks(training, protocol, start.landmarks), protocol)
    write_reference(options.run / "reference.safetensors", start.reference, mean)
    prepare = partial(
        canonical_subject, protocol=protocol, mean=mean, cache=options.cache or options.run.parent / "cache"
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(max_workers=options.workers + options.threads) as pool:
        faces = list(pool.map(prepare, training, chunksize=8))
        unseen = list(pool.map(prepare, validation, chunksize=8))
    logger.info("%d training and %d validation scans ready", len(faces), len(unseen))

    from training_tools.recipes import recipe_for
    from training_tools.training import TrainingSettings, train

    recipe = recipe_for(options.network, len(protocol), [int(i) for i in protocol.mirror])
    settings = TrainingSettings(
        epochs=options.epochs,
        seed=options.seed,
        workers=options.workers,
        threads=options.threads,
        device=options.device,
    )
    description = {
        "network": {"name": recipe.name, "parameters": recipe.parameters},
        "protocol": protocol.to_dict(),
        "training_scans": len(faces),
        "validation_scans": len(unseen),
        "epochs": options.epochs,
        "seed": options.seed,
    }
    (options.run / "run.json").write_text(json.dumps(description, indent=1, ensure_ascii=False), encoding="utf-8")
    best = train(options.run, recipe, faces, unseen, mean, np.asarray(protocol.mirror), settings)
    logger.info("best weights: %s", best)
    return 0
