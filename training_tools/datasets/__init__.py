"""Annotated data sets as laboratories keep them: one small reader for each layout on disk."""

from training_tools.datasets.opening import Dataset, open_dataset, reader_at
from training_tools.datasets.reader import Annotation, Layout, Reader, read_annotation, read_matrix

__all__ = ["Annotation", "Dataset", "Layout", "Reader", "open_dataset", "read_annotation", "read_matrix", "reader_at"]
