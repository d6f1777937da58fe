"""What a scene remembers of the module: the panel's choices, kept in a parameter node."""

# No `from __future__ import annotations` here: the wrapper reads the annotations as types, in Slicer 5.6 too.

import enum

from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLModelNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import parameterNodeWrapper


class Device(enum.Enum):
    """Where the network runs; names for the user, values for the engine."""

    Automatic = "auto"
    GPU = "cuda"
    CPU = "cpu"


@parameterNodeWrapper
class Parameters:
    """The panel's choices.

    A name that is not declared here is silently accepted by the wrapper and never saved: a test holds every use
    against this class.
    """

    scan: vtkMRMLModelNode
    landmarks: vtkMRMLMarkupsFiducialNode
    measurements_table: vtkMRMLTableNode
    asymmetry_table: vtkMRMLTableNode

    model_id: str
    device: Device = Device.Automatic

    labels_visible: bool = True
    landmarks_locked: bool = False

    case_id: str
    export_folder: str
    training_folder: str

    norms_path: str
    norms_sex: str
    norms_age: float = 0.0  # years; 0: not given

    compare_first: vtkMRMLMarkupsFiducialNode
    compare_second: vtkMRMLMarkupsFiducialNode
    compare_first_folder: str
    compare_second_folder: str

    batch_input: str
    batch_output: str
