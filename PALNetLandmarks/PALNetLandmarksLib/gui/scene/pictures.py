"""Pictures of a scan with its landmarks, drawn off the screen: the user's views stay as they are.

The face is shown upright from the front and from both sides whatever the pose of the scan: the views follow the face's
own axes, found from the landmarks as for asymmetry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from PALNetLandmarksLib.asymmetry import asymmetry
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.report import Picture

from ..text import _
from .mesh import world_polydata
from .off_screen import off_screen_window, png_of
from .picture_labels import label_actors

VIEWS = ("front", "right", "left")
#: Left, up and front of a subject that sits upright in the scanner, RAS.
_UPRIGHT = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
#: Fewer landmarks than this do not say where the face is.
_ENOUGH = 6
_MARGIN = 1.22
_SPHERE_MM = 2.0
#: A landmark is hidden when something lies more than this nearer to the viewer, mm.
_HIDDEN_MM = 3.0
_FAR_MM = 1000.0
_SKIN = (0.85, 0.72, 0.63)


@dataclass(frozen=True)
class _Look:
    """From where a picture is taken: centre (3,), direction to the viewer (3,), up (3,), half height in mm."""

    centre: np.ndarray
    towards: np.ndarray
    up: np.ndarray
    half_height: float


def face_pictures(
    model: Any,
    landmarks: LandmarkSet,
    *,
    labels: bool = True,
    size: tuple[int, int] = (800, 900),
    colours: np.ndarray | None = None,
) -> tuple[Picture, ...]:
    """Take pictures of a scan with its landmarks from the front, the right and the left.

    Parameters
    ----------
    model : vtkMRMLModelNode
        The scan. Its texture or its vertices' colours are shown where it has them.
    landmarks : LandmarkSet
        World coordinates.
    labels : bool
        Whether to write the landmarks' names beside the face, with a line to each.
    size : (int, int)
        Width and height, pixels.
    colours : (L, 3) float, optional
        Colour of each landmark, 0 to 1.

    Returns
    -------
    tuple of Picture
        Front, right profile, left profile.

    Raises
    ------
    InputError
        If the scan has no surface.
    """
    points = landmarks.in_coordinate_system("RAS").positions
    axes = asymmetry(landmarks.in_coordinate_system("RAS")).axes
    found = not np.isnan(axes).any()
    left, up, front = axes if found else _UPRIGHT
    surface = _shaded(world_polydata(model))
    locator = vtk.vtkStaticCellLocator()
    locator.SetDataSet(surface)
    locator.BuildLocator()
    look = _looks(surface, points, {"front": front, "right": -left, "left": left}, up)
    captions = {"front": _("From the front"), "right": _("Right profile"), "left": _("Left profile")}
    note = "" if found else " " + _("(as the scan lies: too few landmarks to turn it upright)")
    tints = np.tile((0.96, 0.35, 0.1), (len(points), 1)) if colours is None else np.asarray(colours, dtype=float)
    pictures = []
    # Smoothing edges in the picture costs far less without a graphics card than several samples per pixel.
    with off_screen_window(*size, samples=0) as (window, renderer):
        renderer.UseFXAAOn()
        skin = _skin_actor(surface, model)
        renderer.AddActor(skin)
        _light(renderer)
        for view in VIEWS:
            _aim(renderer, look[view])
            seen = _visible(locator, points, look[view].towards) & _on_side(landmarks, view)
            # Moved towards the viewer, which does not move them in the picture, no mark is half sunk in the skin.
            raised = points[seen] + 2.0 * _HIDDEN_MM * look[view].towards
            extra = [_spheres(raised, tints[seen])] if seen.any() else []
            if labels and seen.any():
                names = [label for label, there in zip(landmarks.protocol.labels, seen) if there]
                extra += label_actors(names, _pixels(renderer, points[seen]), size)
            for actor in extra:
                renderer.AddViewProp(actor)
            pictures.append(Picture(captions[view] + note, png_of(window)))
            for actor in extra:
                renderer.RemoveViewProp(actor)
        renderer.RemoveAllViewProps()
        renderer.RemoveAllLights()
    return tuple(pictures)


def _on_side(landmarks: LandmarkSet, view: str) -> np.ndarray:
    """Say which landmarks (L,) belong into a view: no profile shows those of the other side."""
    other = {"front": "", "right": "left", "left": "right"}[view]
    return np.array([landmark.side != other for landmark in landmarks.protocol.landmarks], dtype=bool)


def _looks(surface: Any, points: np.ndarray, towards: dict[str, np.ndarray], up: np.ndarray) -> dict[str, _Look]:
    """Frame the landmarks; the whole scan where they are too few. All pictures show the same height."""
    known = points[~np.isnan(points).any(axis=1)]
    if len(known) >= _ENOUGH:
        corners = known
    else:
        low, high = np.array(surface.GetBounds()).reshape(3, 2).T
        corners = np.array([(low[0], y, z) for y in (low[1], high[1]) for z in (low[2], high[2])])
        corners = np.concatenate([corners, corners + ((high - low)[0], 0.0, 0.0)])
    heights = corners @ up
    half = 0.5 * _MARGIN * max(float(heights.max() - heights.min()), 1.0)
    looks = {}
    for view, direction in towards.items():
        side = np.cross(up, direction)
        middle = [0.5 * float((corners @ axis).min() + (corners @ axis).max()) for axis in (side, up, direction)]
        looks[view] = _Look(middle[0] * side + middle[1] * up + middle[2] * direction, direction, up, half)
    return looks


def _shaded(surface: Any) -> Any:
    """Give a surface normals where it has none, for smooth shading."""
    if surface.GetPointData().GetNormals() is not None:
        return surface
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputData(surface)
    normals.SplittingOff()
    # Turning triangles round takes long on large meshes and changes nothing that is seen: both sides are lit.
    normals.ConsistencyOff()
    normals.Update()
    return normals.GetOutput()


def _skin_actor(surface: Any, model: Any) -> Any:
    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputData(surface)
    mapper.ScalarVisibilityOff()
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    look = actor.GetProperty()
    look.SetColor(*_SKIN)
    look.SetAmbient(0.15)
    look.SetDiffuse(0.85)
    look.SetSpecular(0.0)
    display = model.GetDisplayNode()
    texture = display.GetTextureImageDataConnection() if display is not None else None
    if texture is not None and surface.GetPointData().GetTCoords() is not None:
        image = vtk.vtkTexture()
        image.SetInputConnection(texture)
        image.InterpolateOn()
        actor.SetTexture(image)
        look.SetColor(1.0, 1.0, 1.0)
        look.SetAmbient(0.35)
        look.SetDiffuse(0.7)
        return actor
    colours = _vertex_colours(surface)
    if colours is not None:
        shown = vtk.vtkPolyData()
        shown.ShallowCopy(surface)
        shown.GetPointData().SetScalars(colours)
        mapper.SetInputData(shown)
        mapper.ScalarVisibilityOn()
        mapper.SetColorModeToDirectScalars()
        mapper.SetScalarModeToUsePointData()
        look.SetAmbient(0.3)
        look.SetDiffuse(0.75)
    return actor


def _vertex_colours(surface: Any) -> Any:
    """Give the vertices' colours (n, 3 or 4) uint8 as readers of scans name them; None where there are none."""
    data = surface.GetPointData()
    for place in range(data.GetNumberOfArrays()):
        array = data.GetArray(place)
        if isinstance(array, vtk.vtkUnsignedCharArray) and array.GetNumberOfComponents() in (3, 4):
            return array
    return None


def _light(renderer: Any) -> None:
    """Light from the viewer and a little above: depth shows, nothing is dark."""
    renderer.RemoveAllLights()
    for place, strength in (((0.25, 0.5, 1.0), 0.8), ((-0.6, 0.0, 0.8), 0.3)):
        light = vtk.vtkLight()
        light.SetLightTypeToCameraLight()
        light.SetPosition(*place)
        light.SetFocalPoint(0.0, 0.0, 0.0)
        light.SetIntensity(strength)
        renderer.AddLight(light)


def _aim(renderer: Any, look: _Look) -> None:
    camera = renderer.GetActiveCamera()
    camera.ParallelProjectionOn()
    camera.SetFocalPoint(*look.centre)
    camera.SetPosition(*(look.centre + 500.0 * look.towards))
    camera.SetViewUp(*look.up)
    camera.SetParallelScale(look.half_height)
    renderer.ResetCameraClippingRange()


def _visible(locator: Any, points: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Say between which points (L,) and the viewer nothing of the surface lies."""
    seen = np.zeros(len(points), dtype=bool)
    share, piece = vtk.mutable(0.0), vtk.mutable(0)
    hit, inside = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    for place in np.flatnonzero(~np.isnan(points).any(axis=1)):
        start, end = points[place] + _HIDDEN_MM * towards, points[place] + _FAR_MM * towards
        seen[place] = not locator.IntersectWithLine(start.tolist(), end.tolist(), 0.0, share, hit, inside, piece)
    return seen


def _pixels(renderer: Any, points: np.ndarray) -> np.ndarray:
    """Project points (k, 3) to pixels (k, 2) from the lower left; NaN for NaN."""
    result = np.full((len(points), 2), np.nan)
    for place in np.flatnonzero(~np.isnan(points).any(axis=1)):
        renderer.SetWorldPoint(*points[place], 1.0)
        renderer.WorldToDisplay()
        result[place] = renderer.GetDisplayPoint()[:2]
    return result


def _spheres(points: np.ndarray, colours: np.ndarray) -> Any:
    cloud = vtk.vtkPolyData()
    positions = vtk.vtkPoints()
    positions.SetData(numpy_to_vtk(np.ascontiguousarray(points, dtype=np.float64), deep=1))
    cloud.SetPoints(positions)
    tints = numpy_to_vtk(np.round(255 * colours).astype(np.uint8), deep=1)
    cloud.GetPointData().SetScalars(tints)
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(_SPHERE_MM)
    sphere.SetThetaResolution(20)
    sphere.SetPhiResolution(16)
    mapper = vtk.vtkGlyph3DMapper()
    mapper.SetInputData(cloud)
    mapper.SetSourceConnection(sphere.GetOutputPort())
    mapper.ScalingOff()
    mapper.SetColorModeToDirectScalars()
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetAmbient(0.4)
    actor.GetProperty().SetDiffuse(0.6)
    return actor
