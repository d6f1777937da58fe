"""Show the photograph that belongs to an OBJ scan: Slicer's core reads the surface only (SlicerIGT/SlicerIGT#200)."""

from __future__ import annotations

import itertools
import shlex
import zlib
from pathlib import Path
from typing import Any

import slicer
import vtk

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.files import read_text

from ..text import _

#: Node reference from the model to the volume that holds its picture, so that a saved scene has it.
TEXTURE_ROLE = "PALNet.texture"
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_MAX_PIXELS = 16384 * 16384
_MAX_CHUNK = 1 << 30
# Options of a map statement that stand between the keyword and the file's name, and how many values follow each.
_OPTIONS = {"-blendu": 1, "-blendv": 1, "-boost": 1, "-clamp": 1, "-texres": 1, "-imfchan": 1, "-bm": 1, "-type": 1}
_OPTIONS.update({"-mm": 2, "-cc": 1})
_VECTORS = ("-o", "-s", "-t")


def apply_texture(model: Any, path: str) -> str:
    """Show an OBJ's picture on its model.

    Parameters
    ----------
    model : vtkMRMLModelNode
        As loaded from the file.
    path : str
        The OBJ file. Its material file, and the picture which that names, must lie in the same folder.

    Returns
    -------
    str
        A sentence for the user when there should be a picture and it cannot be shown; empty when all is well.
    """
    file = Path(path)
    if file.suffix.lower() != ".obj":
        return ""
    named = named_pictures(file)
    if not named:
        return ""
    picture = beside(file, named[0])
    if picture is None:
        return _("The picture {name} of this scan is not in its folder: the surface is shown without it.").format(
            name=Path(named[0].replace("\\", "/")).name
        )
    if not _has_texture_coordinates(model):
        return _("This scan does not say how its picture {name} lies on it: the surface is shown without it.").format(
            name=picture.name
        )
    image = read_picture(picture)
    if image is None:
        return _("The picture {name} of this scan cannot be read: the surface is shown without it.").format(
            name=picture.name
        )
    remove_texture(model)
    volume = slicer.vtkMRMLVectorVolumeNode()
    volume.SetName(_("{scan} picture").format(scan=model.GetName()))
    volume.SetAndObserveImageData(image)
    model.GetScene().AddNode(volume)
    model.SetNodeReferenceID(TEXTURE_ROLE, volume.GetID())
    _connect(model, volume)
    if len(named) > 1:
        return _("This scan has {n} pictures; only the first, {name}, is shown.").format(
            n=len(named), name=picture.name
        )
    return ""


def remove_texture(model: Any) -> None:
    """Show a model without its picture, and remove the picture from the scene."""
    volume = model.GetNodeReference(TEXTURE_ROLE)
    if volume is None:
        return
    display = model.GetDisplayNode()
    if display is not None:
        display.SetTextureImageDataConnection(None)
    model.SetNodeReferenceID(TEXTURE_ROLE, None)
    if volume.GetScene() is not None:
        volume.GetScene().RemoveNode(volume)


def restore_textures(scene: Any) -> None:
    """Show the pictures of all models again, after a scene was loaded: it stores them, but not that they are shown."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLModelNode")):
        model = scene.GetNthNodeByClass(index, "vtkMRMLModelNode")
        volume = model.GetNodeReference(TEXTURE_ROLE)
        if volume is not None and volume.GetImageData() is not None:
            _connect(model, volume)


def named_pictures(file: Path) -> list[str]:
    """List the pictures that an OBJ file's materials name, each once, in the order of the file; as spelled there."""
    names: list[str] = []
    for library in _statements(file, "mtllib"):
        materials = beside(file, library)
        for text in _statements(materials, "map_Kd") if materials is not None else ():
            name = _without_options(text)
            if name and name not in names:
                names.append(name)
    return names


def beside(file: Path, name: str) -> Path | None:
    """Find a file in the same folder as another by its name, whatever its case; None when it is not there.

    Folders in the name are left out: they are those of the machine that wrote the scan.
    """
    wanted = Path(name.strip().strip('"').replace("\\", "/")).name
    if not wanted:
        return None
    exact = file.with_name(wanted)
    if exact.is_file():
        return exact
    try:
        others = sorted(file.parent.iterdir())
    except OSError:
        return None
    return next((other for other in others if other.name.lower() == wanted.lower() and other.is_file()), None)


def read_picture(path: Path) -> Any:
    """Read a picture as vtkImageData with three 8-bit components, the lowest row first; None when it cannot be read."""
    if path.suffix.lower() not in _PICTURES:
        return None
    if path.suffix.lower() == ".png" and not is_whole_png(path):
        return None
    reader = vtk.vtkImageReader2Factory.CreateImageReader2(str(path))
    if reader is None:
        return None
    if reader.IsA("vtkTIFFReader"):
        reader.SetOrientationType(4)  # else its rows come the other way round than those of all other readers
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    extent = reader.GetDataExtent()
    pixels = (extent[1] - extent[0] + 1) * (extent[3] - extent[2] + 1)
    if reader.GetErrorCode() or not 1 <= pixels <= _MAX_PIXELS:
        return None
    reader.Update()
    image = reader.GetOutput()
    if reader.GetErrorCode() or image.GetNumberOfPoints() < 1 or image.GetPointData().GetScalars() is None:
        return None
    if image.GetScalarType() == vtk.VTK_UNSIGNED_SHORT:
        narrow = vtk.vtkImageShiftScale()
        narrow.SetInputData(image)
        narrow.SetScale(1.0 / 257.0)
        narrow.SetOutputScalarTypeToUnsignedChar()
        narrow.Update()
        image = narrow.GetOutput()
    chosen = vtk.vtkImageExtractComponents()
    chosen.SetInputData(image)
    if image.GetNumberOfScalarComponents() >= 3:
        chosen.SetComponents(0, 1, 2)
    else:
        chosen.SetComponents(0, 0, 0)
    chosen.Update()
    return chosen.GetOutput()


def is_whole_png(path: Path) -> bool:
    """Say whether a PNG file has all its parts, by their check sums: VTK's reader crashes on one that is damaged."""
    try:
        with open(path, "rb") as stream:
            if stream.read(8) != b"\x89PNG\r\n\x1a\n":
                return False
            for number in itertools.count():
                head = stream.read(8)
                length, kind = int.from_bytes(head[:4], "big"), head[4:]
                if len(head) < 8 or length > _MAX_CHUNK or (number == 0) != (kind == b"IHDR"):
                    return False
                data, check = stream.read(length), stream.read(4)
                if len(data) < length or zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(check, "big"):
                    return False
                if kind == b"IEND":
                    return True
    except OSError:
        pass
    return False


def _connect(model: Any, volume: Any) -> None:
    if model.GetDisplayNode() is None:
        model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    was_modifying = display.StartModify()
    display.SetTextureImageDataConnection(volume.GetImageDataConnection())
    display.SetInterpolateTexture(True)
    display.SetScalarVisibility(False)
    display.SetColor(1.0, 1.0, 1.0)  # any other would tint the picture
    display.EndModify(was_modifying)


def _has_texture_coordinates(model: Any) -> bool:
    polydata = model.GetPolyData()
    coordinates = polydata.GetPointData().GetTCoords() if polydata is not None else None
    if coordinates is None or coordinates.GetNumberOfTuples() == 0:
        return False
    # Where a file has none, VTK's reader may fill in the same ones for all vertices.
    return any(low < high for low, high in (coordinates.GetRange(part) for part in range(2)))


def _statements(file: Path, keyword: str) -> list[str]:
    """Give what follows a keyword in the lines of an OBJ or MTL file; nothing when the file cannot be read."""
    try:
        # Large files are geometry: the library is named before it begins, and read_text would refuse the size.
        text = _head(file) if file.suffix.lower() == ".obj" else read_text(file, what="material file")
    except (InputError, OSError):
        return []
    found = []
    for line in text.splitlines():
        words = line.strip().split(None, 1)
        if len(words) == 2 and words[0].lower() == keyword.lower():
            found.append(words[1].strip())
    return found


def _head(file: Path) -> str:
    """Read an OBJ file's first lines, and those of its end, where some programs put the materials."""
    size, part = file.stat().st_size, 1 << 18
    with open(file, "rb") as stream:
        data = stream.read(part)
        if size > 2 * part:
            stream.seek(size - part)
            data += b"\n"
        data += stream.read(part)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _without_options(text: str) -> str:
    """Take the options off a map statement; what remains is the file's name, spaces and all."""
    if not text.startswith("-"):
        return text
    try:
        words = shlex.split(text, posix=False)
    except ValueError:
        words = text.split()
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in _VECTORS:
            for _number in range(3):
                if words and _is_number(words[0]):
                    words.pop(0)
        else:
            del words[: _OPTIONS.get(option, 1)]
    return " ".join(words)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
