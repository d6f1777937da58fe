"""What needs Qt or 3D Slicer: panels, the scene, the engine's process. Never imports the engine itself."""
