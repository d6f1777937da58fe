"""The module's self-test, run in the stand-in before the real application runs it."""

from __future__ import annotations

import sys
from typing import Any

import pytest


@pytest.fixture
def self_test(module: Any) -> Any:
    """The class that Slicer's test runner makes."""
    made = sys.modules[type(module.widget).__module__].PALNetLandmarksTest()
    made.said = []
    made.delayDisplay = lambda text, *_: made.said.append(text)
    return made


def test_self_test_without_an_engine_says_what_it_left_out(self_test: Any) -> None:
    self_test.runTest()
    assert any(text.startswith("Skipped: places landmarks") for text in self_test.said)
    assert len(self_test.said) == 11


@pytest.mark.slow
def test_self_test_with_the_engine(self_test: Any, module: Any) -> None:
    module.widget.panels.environment.set_external_python(sys.executable)
    try:
        self_test.runTest()
    finally:
        module.widget.panels.environment.set_external_python("")
    assert not any(text.startswith("Skipped") for text in self_test.said)


def test_failure_names_the_step(self_test: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from PALNetLandmarksLib.gui import self_test as steps

    monkeypatch.setattr(steps, "possible_units", lambda size: {"mm": 1.0})
    with pytest.raises(AssertionError, match="converts units.*unit found"):
        self_test.runTest()
