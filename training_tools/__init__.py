"""Simulated scans, data sets, training, evaluation and model bundles (``python -m training_tools``)."""
