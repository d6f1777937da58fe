"""Landmarks and measurements on 3D faces: the library behind the PALNetLandmarks module of 3D Slicer."""

__version__ = "0.1.0"
