"""Models of the engine process: loaded once, kept warm, and described without loading PyTorch."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PALNetLandmarksLib.resources import bundled_models

if TYPE_CHECKING:
    from PALNetLandmarksLib.engine.predictor import Predictor

#: Models kept in memory at the same time; the one not used for longest goes first.
KEPT = 2
_FACTS = ("id", "version", "title", "licence", "training_data")


class ModelShelf:
    """Predictors by model and device.

    Parameters
    ----------
    load : callable, optional
        Makes a predictor of a model's name and a device; tests give another one.
    """

    def __init__(self, load: Callable[[str, str], Predictor] | None = None) -> None:
        self._load = load or _load
        self._predictors: OrderedDict[tuple[Any, ...], Predictor] = OrderedDict()

    def predictor(self, model: str, device: str) -> Predictor:
        """Return the predictor, loaded now if it is not there or if the bundle on the disk is another one since.

        Parameters
        ----------
        model : str
            Folder or id of a bundle; empty for the default one.
        device : str
            ``auto``, ``cpu`` or ``cuda``.
        """
        key = (model, device, _stamp(model))
        if key not in self._predictors:
            while len(self._predictors) >= KEPT:
                self._predictors.popitem(last=False)
            self._predictors[key] = self._load(model, device)
        self._predictors.move_to_end(key)
        return self._predictors[key]


def _load(model: str, device: str) -> Predictor:
    from PALNetLandmarksLib.engine.bundle import load_bundle
    from PALNetLandmarksLib.engine.predictor import Predictor

    return Predictor(load_bundle(model or None), device)


def _stamp(model: str) -> tuple[int, int] | None:
    try:
        status = (Path(model) / "bundle.json").stat() if model else None
    except (OSError, ValueError):
        return None
    return (status.st_mtime_ns, status.st_size) if status else None


def describe_models() -> list[dict[str, Any]]:
    """Describe the models that come with the program, the default one first, with their model cards."""
    return [_description(folder, default=place == 0) for place, folder in enumerate(bundled_models())]


def describe_model(model: str) -> dict[str, Any]:
    """Describe a user's own model after checking all of its files and its weights.

    Raises
    ------
    BundleError
        If it cannot be used.
    """
    from PALNetLandmarksLib.engine.bundle import load_bundle

    bundle = load_bundle(model)
    bundle.network_with_weights()
    return _description(bundle.path, default=False)


def _description(folder: Path, *, default: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {"path": str(folder), "default": default, "damaged": False, "card": ""}
    try:
        data = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        facts.update({key: str(data[key]) for key in _FACTS})
        facts["protocol"] = {key: str(data["protocol"][key]) for key in ("id", "version")}
        facts["card"] = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError):
        facts.update({key: facts.get(key, "") for key in _FACTS}, damaged=True)
        facts["id"] = facts["id"] or folder.name
    return facts
