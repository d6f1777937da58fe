"""List, show, verify and import model bundles."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from PALNetLandmarksLib.engine.commands.console import Console, Outcome
from PALNetLandmarksLib.errors import BundleError

HELP = "list, show, verify and import models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from PALNetLandmarksLib.engine.commands.common import add_talk_arguments

    actions = parser.add_subparsers(title="what to do", metavar="ACTION", dest="action", required=True)
    for name, text in (
        ("list", "the models that come with the program"),
        ("show", "a model's card: data, figures, licence, intended use"),
        ("verify", "check a model's files against their SHA-256 and its weights against its network"),
        ("import", "unpack a model from a .zip archive, after looking through it, and verify it"),
    ):
        action = actions.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".", allow_abbrev=False)
        if name == "import":
            action.add_argument("archive", metavar="ARCHIVE", help="a .zip file with one model")
            action.add_argument(
                "--output", metavar="DIR", default=".", help="where the model's folder is made (default: here)"
            )
        elif name != "list":
            action.add_argument("model", metavar="BUNDLE", nargs="?", help="folder or id (default: the default model)")
        add_talk_arguments(action)


def run(options: argparse.Namespace, console: Console) -> Outcome:
    """Do what was asked."""
    action = {"list": _list, "show": _show, "verify": _verify, "import": _import}[options.action]
    return action(options, console)


def _list(options: argparse.Namespace, console: Console) -> Outcome:
    from PALNetLandmarksLib.resources import bundled_models

    models = []
    for folder in bundled_models():
        facts = _description(folder)
        models.append(facts)
        console.print(f"{facts['id']}\t{facts['version']}\t{facts['title']}")
    if not models:
        console.print("No model comes with this copy of the program.")
    return Outcome(0, {"models": models})


def _description(folder: Path) -> dict[str, Any]:
    """Read who a bundle says it is, without loading PyTorch."""
    try:
        data = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        return {key: str(data[key]) for key in ("id", "version", "title", "licence")}
    except (OSError, ValueError, KeyError, TypeError):
        return {"id": folder.name, "version": "", "title": "(damaged: see 'models verify')", "licence": ""}


def _show(options: argparse.Namespace, console: Console) -> Outcome:
    from PALNetLandmarksLib.engine.bundle import load_bundle

    bundle = load_bundle(options.model)
    console.print(bundle.card.rstrip("\n"))
    return Outcome(
        0,
        {
            "id": bundle.id,
            "version": bundle.version,
            "title": bundle.title,
            "licence": bundle.licence,
            "network": {"name": bundle.network, "parameters": bundle.parameters},
            "protocol": {"id": bundle.protocol.id, "version": bundle.protocol.version},
            "training_data": bundle.training_data,
            "metrics": bundle.metrics,
            "weights_sha256": bundle.weights_sha256,
            "card": bundle.card,
        },
    )


def _verify(options: argparse.Namespace, console: Console) -> Outcome:
    from PALNetLandmarksLib.engine.bundle import load_bundle, verify_bundle

    # A folder that is no bundle at all is an error of its own; from here on the bundle's files are looked at.
    path = options.model if options.model is not None else load_bundle(None).path
    problems = verify_bundle(path)
    if problems:
        raise BundleError(" ".join(problems), code="bundle.damaged")
    console.summary("The model's files are whole and its weights fit its network.")
    return Outcome(0, {"problems": []})


def _import(options: argparse.Namespace, console: Console) -> Outcome:
    from PALNetLandmarksLib.engine.bundle import load_bundle
    from PALNetLandmarksLib.engine.bundle_archive import import_bundle
    from PALNetLandmarksLib.engine.commands.common import model_facts

    bundle = load_bundle(import_bundle(options.archive, options.output))
    console.summary(f"Model {bundle.id} {bundle.version} is whole: use it with --model {bundle.path}.")
    return Outcome(0, {**model_facts(bundle), "path": str(bundle.path)})
