"""What all tests share: tests that need a GPU or Slicer's libraries skip where there is none."""

from __future__ import annotations

import importlib.util

import pytest


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _has_slicer() -> bool:
    return importlib.util.find_spec("slicer") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and say why."""
    for marker, available, reason in (
        ("gpu", _has_gpu, "no CUDA device"),
        ("slicer", _has_slicer, "slicer-core is not installed"),
    ):
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and not available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))
