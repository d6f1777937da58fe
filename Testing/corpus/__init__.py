"""A corpus of bad scans and other bad input, made by code, and what the program must do with each of them.

``python -m Testing.corpus`` runs all of it and prints figures; a fast part is in ``Testing/unit/test_corpus.py``.
"""
