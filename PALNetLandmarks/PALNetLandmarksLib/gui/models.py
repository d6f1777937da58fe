"""Which trained models there are: those that come with the extension and those the user added."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BundleError, LandmarkingError
from ..files import read_text
from ..protocol import Protocol
from ..resources import bundled_models
from .text import _

_LARGEST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Model:
    """A model bundle, as far as the panel needs to know it.

    The engine checks the bundle's files against their hashes before it uses them; nothing of that is done here.

    Parameters
    ----------
    id : str
    version : str
    title : str
    training_data : str
        What it was trained on, in words.
    folder : Path
    protocol : Protocol
        The landmarks it places.
    mean_error_mm : float or None
        Mean point error that its maker measured.
    own : bool
        Whether the user added it.
    """

    id: str
    version: str
    title: str
    training_data: str
    folder: Path
    protocol: Protocol
    mean_error_mm: float | None
    own: bool = False

    @property
    def key(self) -> str:
        """What a scene remembers of the choice: no path, since a scene may be handed on."""
        return f"{self.id} {self.version}"

    def card(self) -> str:
        """Give the model card, Markdown.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        return read_text(self.folder / "MODEL_CARD.md", what="model card")


def read_model(folder: Path, own: bool = False) -> Model:
    """Read what a bundle says of itself.

    Parameters
    ----------
    folder : Path
        Folder with ``bundle.json``.
    own : bool
        Whether the user added it.

    Raises
    ------
    BundleError
        If it is no bundle.
    """
    hint = _("Choose the folder that `python -m training_tools export` wrote: it holds bundle.json and the weights.")
    try:
        text = read_text(folder / "bundle.json", what="model description", max_bytes=_LARGEST_BYTES)
        data: dict[str, Any] = json.loads(text)
        error = data.get("metrics", {}).get("mean_mm")
        return Model(
            str(data["id"]),
            str(data["version"]),
            str(data.get("title", data["id"])),
            str(data.get("training_data", "")),
            folder,
            Protocol.from_dict(data["protocol"], name="bundle.json"),
            None if error is None else float(error),
            own,
        )
    except LandmarkingError as problem:
        raise BundleError(_("This folder holds no model bundle."), hint, code="bundle.unreadable") from problem
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        message = _("The description of this model cannot be read.")
        raise BundleError(message, hint, code="bundle.unreadable") from problem


class ModelList:
    """The models to choose from.

    Parameters
    ----------
    settings : mapping of str to str
        The user's settings, where the folders of added models are kept.
    """

    _KEY = "ModelFolders"

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def own_folders(self) -> list[Path]:
        """Give the folders that the user added, in their order."""
        text = str(self._settings.get(self._KEY, "") or "[]")
        try:
            entries: Sequence[Any] = json.loads(text)
        except ValueError:
            return []
        return [Path(entry) for entry in entries if isinstance(entry, str)]

    def models(self) -> list[Model]:
        """List the models: the default first, then the others that come with the extension, then the user's.

        A folder that is gone or damaged is left out: the disk it lies on may only be away.
        """
        found = []
        for folder, own in [(folder, False) for folder in reversed(bundled_models())] + [
            (folder, True) for folder in self.own_folders()
        ]:
            try:
                found.append(read_model(folder, own))
            except BundleError:
                continue
        return found

    def add(self, folder: Path) -> Model:
        """Add a model of the user's.

        Raises
        ------
        BundleError
            If the folder is no bundle.
        """
        model = read_model(folder, own=True)
        folders = [kept for kept in self.own_folders() if kept != folder]
        self._settings[self._KEY] = json.dumps([str(kept) for kept in [*folders, folder]])
        return model
