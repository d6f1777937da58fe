"""What the engine says to things that are no face, to faces as it expects them, and to faces that are not whole."""
