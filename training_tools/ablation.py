"""The ablations of the paper's table 6, or of a table of one's own, each cross-validated on the same folds."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PALNetLandmarksLib.errors import InputError, UsageError
from PALNetLandmarksLib.files import read_text
from training_tools.cross_validation import CrossValidation, cross_validate
from training_tools.presets import preset_named
from training_tools.recipes import Recipe, recipe_for, same_training
from training_tools.results_file import RESULTS, Evaluation, read_results
from training_tools.training import TrainingSettings
from training_tools.training_job import NetworkChoice

logger = logging.getLogger(__name__)

SETTINGS_FILE = Path(__file__).with_name("ablation_settings.csv")
COLUMNS = ("id", "title", "preset", "network", "parameters")


@dataclass(frozen=True)
class Setting:
    """One row of the table: what is trained and what to call it."""

    id: str
    title: str
    preset: str
    network: str
    parameters: dict[str, Any]


def read_settings(path: Path = SETTINGS_FILE) -> list[Setting]:
    """Read a table of settings.

    Raises
    ------
    InputError
        Naming the row that cannot be used.
    """
    rows = csv.DictReader(read_text(path, what="table of settings").splitlines())
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise InputError(
            f"{path.name} does not have the columns {', '.join(COLUMNS)}.",
            f"Take {SETTINGS_FILE.name} of the training tools as a pattern.",
            code="ablation.table",
        )
    settings: list[Setting] = []
    for row in rows:
        try:
            parameters = json.loads(row["parameters"])
            preset_named(row["preset"])
            unfit = not isinstance(parameters, dict) or not row["id"] or row["id"] in {s.id for s in settings}
        except (TypeError, ValueError, UsageError):
            unfit = True
        if unfit or Path(row["id"]).name != row["id"]:
            raise InputError(
                f"{path.name}: line {rows.line_num} cannot be used.",
                "Each row needs an id of its own, a preset, a network, and parameters as a JSON object.",
                code="ablation.row",
            )
        settings.append(Setting(row["id"], row["title"], row["preset"], row["network"], parameters))
    if not settings:
        raise InputError(f"{path.name} holds no settings.", "Add a row.", code="ablation.table")
    return settings


def chosen_settings(settings: Sequence[Setting], only: Sequence[str] | None) -> list[Setting]:
    """Return the settings of these ids in the table's order; all without a choice.

    Raises
    ------
    UsageError
        If an id is not in the table.
    """
    known = [setting.id for setting in settings]
    unknown = [name for name in only or () if name not in known]
    if unknown:
        raise UsageError(
            f"There is no setting '{unknown[0]}'.", f"Known are: {', '.join(known)}.", code="ablation.setting"
        )
    return [setting for setting in settings if only is None or setting.id in only]


def ablate(
    plan: CrossValidation,
    settings: Sequence[Setting],
    settings_for: Callable[[str], TrainingSettings],
    only_fold: int | None = None,
) -> list[Evaluation]:
    """Cross-validate every setting; finished folds are kept.

    A setting that trains the same network as one before it, and only makes something else of its output, takes the
    trainings of that one.

    Parameters
    ----------
    plan : CrossValidation
        Scans, folds and machine; each setting has a folder of its own in its output.
    settings : sequence of Setting
    settings_for : callable
        From the name of a preset to how it is trained on this machine.
    only_fold : int, optional

    Returns
    -------
    list of Evaluation
        Those whose folds are all finished; with ``only_fold``, of that fold alone while others are missing.
    """
    finished: list[Evaluation] = []
    trained: list[tuple[Setting, Recipe]] = []
    mirror = [int(i) for i in plan.protocol.mirror]
    for setting in settings:
        logger.info("setting '%s': %s", setting.id, setting.title)
        recipe = recipe_for(setting.network, len(plan.protocol), mirror, setting.parameters)
        like = [one for one, other in trained if one.preset == setting.preset and same_training(recipe, other)]
        if not like:
            trained.append((setting, recipe))
        one = replace(
            plan,
            name=setting.id,
            output=plan.output / setting.id,
            network=NetworkChoice(setting.network, setting.parameters),
            settings=settings_for(setting.preset),
            trained=plan.output / like[0].id if like else None,
        )
        evaluation = cross_validate(one, only_fold)
        if evaluation is None and only_fold is not None:
            evaluation = replace(read_results(one.output / f"fold{only_fold}" / RESULTS), name=setting.id)
        if evaluation is not None:
            finished.append(evaluation)
    return finished
