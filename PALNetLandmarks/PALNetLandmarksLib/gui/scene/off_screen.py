"""A render window that nobody sees, for pictures: the user's views stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import vtk
from vtk.util.numpy_support import vtk_to_numpy


@contextmanager
def off_screen_window(width: int, height: int, *, samples: int = 8) -> Iterator[tuple[Any, Any]]:
    """Open a render window off the screen with one renderer on white, and close it again.

    Parameters
    ----------
    width, height : int
        Size in pixels.
    samples : int
        Samples per pixel, for smooth edges; 0 for none, which takes half the time without a graphics card.

    Yields
    ------
    vtkRenderWindow, vtkRenderer
    """
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetShowWindow(False)
    window.SetMultiSamples(samples)
    window.SetSize(width, height)
    renderer = vtk.vtkRenderer()
    renderer.SetBackground(1.0, 1.0, 1.0)
    window.AddRenderer(renderer)
    try:
        yield window, renderer
    finally:
        # Actors give back what they hold on the graphics card while its context is still there.
        renderer.ReleaseGraphicsResources(window)
        window.RemoveRenderer(renderer)
        window.Finalize()


def png_of(window: Any) -> bytes:
    """Render a window and give the picture as a PNG file.

    Parameters
    ----------
    window : vtkRenderWindow

    Returns
    -------
    bytes
    """
    window.Render()
    grabbed = vtk.vtkWindowToImageFilter()
    grabbed.SetInput(window)
    grabbed.SetInputBufferTypeToRGB()
    grabbed.ReadFrontBufferOff()
    grabbed.ShouldRerenderOff()
    writer = vtk.vtkPNGWriter()
    writer.WriteToMemoryOn()
    # The default level takes longer than drawing, for files hardly smaller.
    writer.SetCompressionLevel(2)
    writer.SetInputConnection(grabbed.GetOutputPort())
    writer.Write()
    return bytes(vtk_to_numpy(writer.GetResult()))
