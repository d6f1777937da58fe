"""All tests. This file keeps pytest from putting this folder on the import path.

The ``slicer`` package looks along the import path for folders of its own name, and would import the tests in
``Testing/slicer`` as if they were parts of Slicer.
"""
