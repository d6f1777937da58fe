"""The window with a model's card."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from ..models import Model
from ..text import _


def show_model_card(model: Model) -> Any:
    """Show what a model was trained on, how well it does, and its limits.

    Parameters
    ----------
    model : Model

    Returns
    -------
    QDialog
        The open window, to be kept as long as it is shown.

    Raises
    ------
    InputError
        If the card cannot be read.
    """
    text = model.card()
    dialog = qt.QDialog(slicer.util.mainWindow())
    dialog.setWindowTitle(_("Model {name}").format(name=model.key))
    dialog.resize(760, 620)
    layout = qt.QVBoxLayout(dialog)
    browser = qt.QTextBrowser()
    browser.openExternalLinks = True
    browser.setMarkdown(text)
    layout.addWidget(browser)
    dialog.show()
    return dialog
