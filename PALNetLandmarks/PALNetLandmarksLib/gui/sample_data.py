"""The sample scan, in Slicer's Sample Data module and behind the panel's button."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import slicer

from ..errors import InputError
from ..resources import sample_scans
from .scene.scan_loading import show_surface
from .text import _

NAME = "PALNetFace01"
#: Of the file that comes with the extension: Slicer refuses another one.
SHA256 = "577966a45129665a51ffd7a872f2f59709ff01ae49c20c3983d343bb829790c9"


def sample_path() -> Path:
    """Give the sample scan's file.

    Raises
    ------
    InputError
        If the extension was installed without it, or the file is damaged.
    """
    scans = sample_scans()
    if not scans:
        raise InputError(_("The sample scan is not there."), _("Install the extension again."), code="sample.missing")
    if hashlib.sha256(scans[0].read_bytes()).hexdigest() != SHA256:
        raise InputError(_("The sample scan is damaged."), _("Install the extension again."), code="sample.damaged")
    return scans[0]


def load_sample() -> Any:
    """Load the sample scan, without going by the Sample Data module.

    Returns
    -------
    vtkMRMLModelNode
        Named as the Sample Data module names it.
    """
    node = slicer.util.loadModel(str(sample_path()))
    node.SetName(NAME)
    show_surface(node)
    return node


def register() -> None:
    """Tell the Sample Data module of the sample scan; quietly nothing where Slicer was built without that module."""
    try:
        import SampleData
    except ImportError:
        return
    scans = sample_scans()
    if not scans:
        return
    thumbnail = Path(__file__).resolve().parents[2] / "Resources" / "Icons" / "SampleFace01.png"
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="PALNetLandmarks",
        sampleName=NAME,
        thumbnailFileName=str(thumbnail),
        uris=scans[0].as_uri(),
        fileNames=NAME + scans[0].suffix,
        nodeNames=NAME,
        checksums="SHA256:" + SHA256,
        loadFileType="ModelFile",
    )
