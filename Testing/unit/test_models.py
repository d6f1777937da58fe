"""The list of models to choose from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from PALNetLandmarksLib.errors import BundleError
from PALNetLandmarksLib.gui.models import ModelList, read_model
from PALNetLandmarksLib.resources import bundled_models


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A bundle of the user's: the bundled one under another name."""
    folder = tmp_path / "mine ü"
    folder.mkdir()
    for name in ("bundle.json", "MODEL_CARD.md"):
        shutil.copy(bundled_models()[-1] / name, folder / name)
    text = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**text, "id": "mine", "version": "2"}))
    return folder


def test_default_model_comes_first_and_has_a_card() -> None:
    models = ModelList({}).models()
    assert models[0].folder == bundled_models()[-1] and not models[0].own
    assert len(models[0].protocol) == 50 and models[0].training_data and models[0].mean_error_mm > 0
    assert "not for diagnosis" in " ".join(models[0].card().split()).lower()


def test_added_model_is_remembered_once(own: Path) -> None:
    settings: dict[str, str] = {}
    models = ModelList(settings)
    assert models.add(own).key == "mine 2"
    models.add(own)
    listed = ModelList(settings).models()
    assert [model.key for model in listed if model.own] == ["mine 2"]


def test_folder_that_is_gone_is_left_out(own: Path) -> None:
    settings: dict[str, str] = {}
    ModelList(settings).add(own)
    shutil.rmtree(own)
    assert not any(model.own for model in ModelList(settings).models())


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"id": "x"}', '{"id": "x", "version": "1", "protocol": 3}'])
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "bundle.json").write_text(content)
    with pytest.raises(BundleError) as caught:
        read_model(tmp_path)
    assert caught.value.code == "bundle.unreadable" and str(tmp_path) not in str(caught.value)


def test_damaged_settings_do_no_harm() -> None:
    assert ModelList({"ModelFolders": "{broken"}).own_folders() == []
    assert ModelList({"ModelFolders": '["a", 3]'}).own_folders() == [Path("a")]
