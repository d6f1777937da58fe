"""``python -m training_tools ablate``: the ablations of the paper's table 6, each cross-validated on the same folds."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training_tools.cross_validate_command import add_fold_arguments, plan_of
from training_tools.train_command import check_reference, log_to, settings_of

if TYPE_CHECKING:
    from training_tools.training import TrainingSettings


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training_tools ablate", description=__doc__)
    parser.add_argument("--table", type=Path, help="your own table of settings instead of the paper's")
    parser.add_argument("--only", nargs="+", metavar="ID", help="only these settings of the table")
    parser.add_argument("--list", action="store_true", help="show the settings and do nothing")
    add_fold_arguments(parser)
    for action in parser._actions:
        # --list needs neither scans nor a place for results; what is missing otherwise is said below.
        action.required = False
    options = parser.parse_args(arguments)

    from training_tools.ablation import SETTINGS_FILE, ablate, chosen_settings, read_settings

    settings = chosen_settings(read_settings(options.table or SETTINGS_FILE), options.only)
    if options.list:
        for setting in settings:
            print(f"{setting.id:14s} {setting.title}")
        return 0
    if options.data is None or options.output is None:
        parser.error("the following arguments are required: --data, --output")
    check_reference(options)
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))

    from training_tools.compare_command import write_comparison
    from training_tools.evaluate_command import write_evaluation
    from training_tools.recipes import recipe_for

    plan = plan_of(options, "", options.output)
    plan.splits()
    for setting in settings:  # refuses impossible folds and parameters before anything is written
        recipe_for(setting.network, len(plan.protocol), [int(i) for i in plan.protocol.mirror], setting.parameters)
    log_to(options.output, "ablation.log")

    def settings_for(preset: str) -> TrainingSettings:
        return settings_of(argparse.Namespace(**{**vars(options), "preset": preset}))

    finished = ablate(plan, settings, settings_for, options.only_fold)
    for evaluation in finished:
        write_evaluation(options.output / evaluation.name, evaluation, None)
    if len(finished) > 1:
        print(write_comparison(options.output, finished))
    missing = len(settings) - len(finished)
    print(f"{len(finished)} settings finished" + (f", {missing} still lack folds." if missing else "."))
    return 0
