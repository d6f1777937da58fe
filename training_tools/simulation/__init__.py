"""Simulated stereophotogrammetry scans of random heads of a parametric face model."""
