"""The module's dealings with the MRML scene: nodes, surfaces, cameras. Needs slicer and vtk, no Qt."""
