"""Render a face with landmark spheres off screen: the child process of :mod:`picture`.

VTK ends the whole process where the machine has no OpenGL library. The picture is therefore made by a process of its
own: ``python -m PALNetLandmarksLib.engine.picture_render`` takes one NumPy archive on its standard input and writes
one to its standard output. Nothing is left on the disk.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

#: Colour of the surface and of the background (the labels' page), red, green, blue from 0 to 1.
SKIN = (0.91, 0.81, 0.745)
BACKGROUND = (1.0, 1.0, 1.0)
RIM = (0.10, 0.10, 0.12)
#: Radius of the dark rim round a sphere, as a multiple of the sphere's.
RIM_FACTOR = 1.28
#: How far a sphere is moved towards the viewer, as a multiple of its radius.
LIFT = 1.4
#: Each pixel is the mean of this many squared.
SUPERSAMPLING = 2
#: Direction each light shines from (viewer's right, up, towards the viewer) and its intensity: key, fill, rim, front.
_LIGHTS = (((-0.6, 0.7, 0.8), 0.62), ((0.9, 0.1, 0.7), 0.34), ((0.0, 0.9, -0.4), 0.16), ((0.0, -0.2, 1.0), 0.30))


def render(request: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Render each view.

    Parameters
    ----------
    request : dict
        ``vertices`` (n, 3) float and ``triangles`` (m, 3) int of the surface in the reference frame, mm; ``centres``
        (k, 3), ``colours`` (k, 3) uint8 and ``radius`` of the spheres; ``views``, JSON text: a list of objects with
        ``from`` and ``up`` (directions), ``focus`` (3), ``width`` and ``height`` (pixels), ``mm_per_pixel``,
        ``spheres`` (indices).

    Returns
    -------
    dict
        ``image0``, ``image1`` … (h, w, 3) uint8, first row on top, and ``depth0`` … (h, w) float32: distance in mm of
        what is seen from the plane through ``focus``, positive towards the viewer, -inf where there is nothing.
    """
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkRenderingCore import (
        vtkActor,
        vtkPolyDataMapper,
        vtkRenderer,
        vtkRenderWindow,
        vtkWindowToImageFilter,
    )

    # These two register the OpenGL implementation.
    __import__("vtkmodules.vtkRenderingOpenGL2")
    __import__("vtkmodules.vtkRenderingUI")

    surface = _surface(request["vertices"], request["triangles"])
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(surface)
    mapper.ScalarVisibilityOff()
    face = vtkActor()
    face.SetMapper(mapper)
    material = face.GetProperty()
    material.SetColor(*SKIN)
    material.SetAmbient(0.16)
    material.SetDiffuse(0.86)
    material.SetSpecular(0.10)
    material.SetSpecularPower(18.0)
    material.SetInterpolationToPhong()

    answer: dict[str, npt.NDArray[Any]] = {}
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    for number, view in enumerate(json.loads(str(request["views"]))):
        renderer = vtkRenderer()
        renderer.SetBackground(*BACKGROUND)
        renderer.AddActor(face)
        for place in view["spheres"]:
            # Moved towards the viewer, out of the skin: where it is seen stays the same in a parallel projection.
            centre = request["centres"][place] + LIFT * float(request["radius"]) * np.array(view["from"])
            for actor in _sphere(centre, float(request["radius"]), request["colours"][place]):
                renderer.AddActor(actor)
        near, far = _aim(renderer, view, request["vertices"])
        _light(renderer, view)
        window.AddRenderer(renderer)
        width, height = view["width"] * SUPERSAMPLING, view["height"] * SUPERSAMPLING
        window.SetSize(width, height)
        window.Render()
        grab = vtkWindowToImageFilter()
        grab.SetInput(window)
        grab.ReadFrontBufferOff()
        grab.ShouldRerenderOff()
        grab.SetInputBufferTypeToRGB()
        grab.Update()
        fine = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, 3)[::-1]
        blocks = fine.reshape(view["height"], SUPERSAMPLING, view["width"], SUPERSAMPLING, 3)
        answer[f"image{number}"] = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
        grab = vtkWindowToImageFilter()
        grab.SetInput(window)
        grab.ShouldRerenderOff()
        grab.SetInputBufferTypeToZBuffer()
        grab.Update()
        buffer = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width)[::-1]
        buffer = buffer[::SUPERSAMPLING, ::SUPERSAMPLING].astype(np.float32)
        # Parallel projection: the depth buffer is linear in the distance from the camera, which stands at `far / 2`.
        distance = near + buffer * (far - near)
        answer[f"depth{number}"] = np.where(buffer >= 1.0, -np.inf, 0.5 * far - distance).astype(np.float32)
        window.RemoveRenderer(renderer)
    window.Finalize()
    return answer


def _surface(vertices: npt.NDArray[Any], triangles: npt.NDArray[Any]) -> Any:
    """Make the surface with smooth normals."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
    from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(vertices, dtype=np.float32), deep=True))
    cells = vtkCellArray()
    count = len(triangles)
    cells.SetData(
        numpy_to_vtkIdTypeArray(np.arange(0, 3 * count + 1, 3, dtype=np.int64), deep=True),
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(triangles, dtype=np.int64).ravel(), deep=True),
    )
    data = vtkPolyData()
    data.SetPoints(points)
    data.SetPolys(cells)
    normals = vtkPolyDataNormals()
    normals.SetInputData(data)
    normals.SplittingOff()
    normals.ConsistencyOff()
    normals.Update()
    return normals.GetOutput()


def _sphere(centre: npt.NDArray[Any], radius: float, colour: npt.NDArray[Any]) -> tuple[Any, Any]:
    """Make a lit sphere and a dark rim round it (a larger sphere of which only the inside is drawn)."""
    from vtkmodules.vtkFiltersSources import vtkSphereSource
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper

    actors = []
    for factor in (1.0, RIM_FACTOR):
        source = vtkSphereSource()
        source.SetRadius(radius * factor)
        source.SetCenter(*(float(x) for x in centre))
        source.SetThetaResolution(32)
        source.SetPhiResolution(24)
        mapper = vtkPolyDataMapper()
        mapper.SetInputConnection(source.GetOutputPort())
        actor = vtkActor()
        actor.SetMapper(mapper)
        actors.append(actor)
    body, rim = actors
    # Mostly its own light, so that the colour can be compared with the scale.
    body.GetProperty().SetColor(*(float(x) / 255.0 for x in colour))
    body.GetProperty().SetAmbient(0.72)
    body.GetProperty().SetDiffuse(0.34)
    rim.GetProperty().SetColor(*RIM)
    rim.GetProperty().LightingOff()
    rim.GetProperty().FrontfaceCullingOn()
    return body, rim


def _aim(renderer: Any, view: dict[str, Any], vertices: npt.NDArray[Any]) -> tuple[float, float]:
    """Set the camera of a view; gives the distances of its near and far planes in mm."""
    focus, direction = np.array(view["focus"], float), np.array(view["from"], float)
    reach = float(np.abs((vertices - focus) @ direction).max()) + 50.0
    camera = renderer.GetActiveCamera()
    camera.ParallelProjectionOn()
    camera.SetParallelScale(0.5 * view["height"] * view["mm_per_pixel"])
    camera.SetFocalPoint(*focus)
    camera.SetPosition(*(focus + direction * reach))
    camera.SetViewUp(*view["up"])
    near, far = 0.0, 2.0 * reach
    camera.SetClippingRange(max(near, 1e-3), far)
    return near, far


def _light(renderer: Any, view: dict[str, Any]) -> None:
    """Light the face the same way in every view."""
    from vtkmodules.vtkRenderingCore import vtkLight

    forward, up = np.array(view["from"], float), np.array(view["up"], float)
    right = np.cross(up, forward)
    renderer.AutomaticLightCreationOff()
    for (across, above, towards), intensity in _LIGHTS:
        light = vtkLight()
        light.SetLightTypeToSceneLight()
        light.PositionalOff()
        light.SetFocalPoint(*view["focus"])
        light.SetPosition(*(np.array(view["focus"]) + 1000.0 * (across * right + above * up + towards * forward)))
        light.SetIntensity(intensity)
        renderer.AddLight(light)


def main() -> int:
    """Answer one request from standard input on standard output."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Whatever a library prints must not get into the answer.
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as archive:
        request = {name: archive[name] for name in archive.files}
    answer = io.BytesIO()
    np.savez(answer, allow_pickle=False, **render(request))
    with channel:
        channel.write(answer.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
