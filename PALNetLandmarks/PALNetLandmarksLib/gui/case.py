"""The one model behind the panels: a scan, its landmarks, what of them is chosen, and how to undo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import slicer

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.landmarks import LandmarkSet, utc_text
from PALNetLandmarksLib.protocol import Protocol

from .edits import different, moved_text
from .history import History
from .scene import landmarks_node as nodes
from .scene.frames import from_world
from .scene.mesh import world_polydata
from .scene.node_link import NodeLink
from .scene.observing import Observers
from .scene.scan_follower import ScanFollower
from .scene.surface import Surface
from .signals import Signal
from .text import _

_Markups = slicer.vtkMRMLMarkupsNode
_CHANGES = (
    _Markups.PointModifiedEvent,
    _Markups.PointAddedEvent,
    _Markups.PointRemovedEvent,
    _Markups.PointPositionDefinedEvent,
    _Markups.PointPositionUndefinedEvent,
)
_MOVED_BY_TRANSFORM = slicer.vtkMRMLTransformableNode.TransformModifiedEvent


class Case:
    """A scan and its landmarks in the scene, and the one way to change them.

    The truth is a :class:`LandmarkSet` in memory, in the point list's own frame; the point list is its picture in the
    scene. What the mouse or another module does to the picture is taken over into the truth, as an edit that can be
    undone.

    Parameters
    ----------
    scene : vtkMRMLScene
    protocol : Protocol
    """

    def __init__(self, scene: Any, protocol: Protocol) -> None:
        self.scene = scene
        self.protocol = protocol
        self.scan_changed = Signal()
        """Another scan, or none."""
        self.surface_changed = Signal()
        """The scan's mesh or transform is another one: ask for ``surface()`` again."""
        self.landmarks_changed = Signal()
        """Another point list, or none, or all of it new."""
        self.points_changed = Signal()
        """(labels): positions, statuses or notes of these landmarks changed; see ``dragging``."""
        self.selection_changed = Signal()
        """(label or None)."""
        self.history_changed = Signal()
        """There is more or less to undo or redo."""
        self.dragging = False
        """The mouse holds a point: the view must not be turned now."""
        self.selected: str | None = None
        self._scan: Any = None
        self._link: NodeLink | None = None
        self._before_drag: LandmarkSet | None = None
        self._surface: tuple[Any, Surface] | None = None
        self._follower: ScanFollower | None = None
        self._history = History()
        self._observers = Observers()
        self._observers.add(scene, [slicer.vtkMRMLScene.NodeRemovedEvent, scene.EndCloseEvent], self._scene_changed)

    # The scan ---------------------------------------------------------------------------------------------------

    @property
    def scan(self) -> Any:
        """The scan's vtkMRMLModelNode, or None."""
        return self._scan

    def set_scan(self, node: Any) -> None:
        """Work on another scan; None for none. The landmarks stay: they are set by ``set_landmarks_node``."""
        if node is self._scan:
            return
        if self._scan is not None:
            self._observers.drop(self._scan)
        self._scan, self._surface, self._follower = node, None, None
        if node is not None:
            events = [slicer.vtkMRMLModelNode.MeshModifiedEvent, node.TransformModifiedEvent]
            self._observers.add(node, events, self._scan_modified)
            self._follower = ScanFollower(node)
        self.scan_changed.emit()
        self.surface_changed.emit()

    def surface(self) -> Surface | None:
        """Give the scan's surface in world RAS, mm, kept until mesh or transform change; None without a usable scan."""
        if self._scan is None:
            return None
        mesh, parent = self._scan.GetPolyData(), self._scan.GetParentTransformNode()
        if mesh is None or mesh.GetNumberOfPolys() + mesh.GetNumberOfStrips() == 0:
            return None
        # A transform node tells the time of the newest change among itself and all its parents.
        moved = (parent.GetID(), parent.GetTransformToWorldMTime()) if parent is not None else None
        key = (mesh.GetAddressAsString(""), mesh.GetMTime(), moved)
        if self._surface is None or self._surface[0] != key:
            self._surface = (key, Surface(world_polydata(self._scan)))
        return self._surface[1]

    def find_landmarks_node(self) -> Any:
        """Give the newest point list in the scene that was made for this scan; None when there is none."""
        found = nodes.lists_of(self._scan)
        return found[-1] if found else None

    # The landmarks ----------------------------------------------------------------------------------------------

    @property
    def landmarks_node(self) -> Any:
        """The landmarks' vtkMRMLMarkupsFiducialNode, or None."""
        return None if self._link is None else self._link.node

    def set_landmarks_node(self, node: Any) -> None:
        """Work on another point list; None for none. One from elsewhere gets the protocol's order and all its points.

        Raises
        ------
        InputError
            When it holds anything but landmarks of the protocol; then the list is left as it is, and the case without
            landmarks.
        """
        if node is self.landmarks_node:
            return
        self._let_go_of_landmarks()
        try:
            if node is not None:
                local = nodes.read_set(node, self.protocol)
                if not node.GetAttribute(nodes.PROTOCOL_ATTRIBUTE) or not nodes.is_ours(node, self.protocol):
                    nodes.write_set(node, local)
                    nodes.style(node)
                    if self._scan is not None and not node.GetNodeReferenceID(nodes.SCAN_ROLE):
                        node.SetNodeReferenceID(nodes.SCAN_ROLE, self._scan.GetID())
                self._hold(node, local)
        finally:
            self._tell_of_new_landmarks()

    def landmarks(self) -> LandmarkSet | None:
        """Give the landmarks in world RAS, mm; None when there is no point list."""
        return None if self._link is None else self._link.world()

    def predicted(self) -> LandmarkSet | None:
        """Give the landmarks as the model had placed them, in world RAS, mm; None when nothing was predicted."""
        if self._link is None:
            return None
        stored = nodes.read_predicted(self._link.node, self.protocol)
        return None if stored is None else self._link.in_world(stored)

    def show_prediction(self, landmarks: LandmarkSet, scan_to_reference: np.ndarray | None = None) -> None:
        """Show landmarks that a model placed; they replace those of this scan. What was before cannot be undone.

        Parameters
        ----------
        landmarks : LandmarkSet
            World coordinates, LPS or RAS.
        scan_to_reference : (4, 4) float, optional
            The registration, from the scan in world LPS to the reference; it is kept with the point list.
        """
        self._show(landmarks, predicted=True, registration=scan_to_reference)

    def scan_to_reference(self) -> np.ndarray | None:
        """Give the registration (4, 4) from the scan in world LPS to the reference; None where it is not known."""
        return None if self._link is None else self._link.registration()

    def start_empty(self) -> None:
        """Start a set in which no landmark is placed yet; a list that holds positions is left alone, a new one made."""
        if self._link is not None and not self._link.local.missing.all():
            self.set_landmarks_node(None)
        empty = LandmarkSet.from_positions(
            self.protocol,
            np.full((len(self.protocol), 3), np.nan),
            coordinate_system="RAS",
            provenance={"software_version": f"PALNetLandmarks {__version__}", "created_utc": utc_text()},
        )
        self._show(empty, predicted=False)

    def change(self, landmarks: LandmarkSet, what: str) -> None:
        """Make one edit that can be undone.

        Parameters
        ----------
        landmarks : LandmarkSet
            World coordinates; what it shares with ``landmarks()`` stays untouched.
        what : str
            Name of the edit for the user, for example "Mark Prn as missing".
        """
        if self._link is None:
            raise ValueError("there is no point list to change")
        self._end_drag()
        before, after = self._link.local, self._link.in_own_frame(landmarks)
        changed = different(before, after)
        if changed or after.provenance != before.provenance:
            self._history.push(before, what)
            self._link.write(after)
            self.points_changed.emit(changed)
            self.history_changed.emit()

    # Undo -------------------------------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._history.undo_text)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to redo."""
        return bool(self._history.redo_text)

    @property
    def undo_text(self) -> str:
        """What would be undone."""
        return self._history.undo_text

    @property
    def redo_text(self) -> str:
        """What would be redone."""
        return self._history.redo_text

    def undo(self) -> None:
        """Take the last edit back; nothing happens when there is none."""
        self._end_drag()
        if self._link is not None:
            self._restore(self._history.undo(self._link.local))

    def redo(self) -> None:
        """Do again what was undone; nothing happens when there is nothing."""
        self._end_drag()
        if self._link is not None:
            self._restore(self._history.redo(self._link.local))

    # Selection --------------------------------------------------------------------------------------------------

    def select(self, label: str | None) -> None:
        """Choose a landmark; None for none."""
        if label is not None and label not in self.protocol:
            raise ValueError(f"the protocol has no landmark {label}")
        if label != self.selected:
            self.selected = label
            self.selection_changed.emit(label)

    def cleanup(self) -> None:
        """Let go of the scene; the case is of no use afterwards."""
        self._observers.drop()
        self._scan = self._link = self._surface = self._follower = None
        self._history.clear()
        for signal in (self.scan_changed, self.surface_changed, self.landmarks_changed, self.points_changed):
            signal.clear()
        self.selection_changed.clear()
        self.history_changed.clear()

    # What happens in the scene ----------------------------------------------------------------------------------

    def _scene_changed(self, _caller: Any, _event: Any) -> None:
        if self._link is not None and self._link.node.GetScene() is None:
            self.set_landmarks_node(None)
        if self._scan is not None and self._scan.GetScene() is None:
            self.set_scan(None)

    def _scan_modified(self, _caller: Any, _event: Any) -> None:
        if self._follower is not None:
            self._follower.update(self.landmarks_node if self._belongs_to_scan() else None)
        self.surface_changed.emit()

    def _belongs_to_scan(self) -> bool:
        """Say whether the point list was made for this scan, or for none in particular."""
        if self._link is None or self._scan is None:
            return False
        return self._link.node.GetNodeReferenceID(nodes.SCAN_ROLE) in (None, self._scan.GetID())

    def _drag_started(self, _caller: Any, _event: Any) -> None:
        if self._link is None:
            return
        self._end_drag()
        self._before_drag, self.dragging = self._link.local, True
        display = self._link.node.GetDisplayNode()
        index = display.GetActiveComponentIndex() if display is not None else -1
        if 0 <= index < len(self.protocol):
            self.select(self.protocol.labels[index])

    def _drag_ended(self, caller: Any, event: Any) -> None:
        self._node_modified(caller, event)
        self._end_drag()

    def _end_drag(self) -> None:
        """Make one undo step of all that happened since the mouse took hold of a point."""
        before, self._before_drag, self.dragging = self._before_drag, None, False
        if before is not None and self._link is not None and before is not self._link.local:
            self._tell_of_edit_by_hand(before)

    def _node_modified(self, _caller: Any, _event: Any) -> None:
        """Take over what the mouse or another module did to the point list."""
        if self._link is None or self._link.busy:
            return
        before, placing = self._link.local, not self.dragging and self._placing()
        if not self._link.take_over(self.surface() if placing or self.dragging else None, placing):
            return
        if self.dragging:
            self.points_changed.emit(different(before, self._link.local))
        else:
            self._tell_of_edit_by_hand(before)

    def _node_transformed(self, _caller: Any, _event: Any) -> None:
        if self._link is not None and not self._link.busy:
            self._link.transform_changed(self._history.change_all)
            self.points_changed.emit(self.protocol.labels)

    def _tell_of_edit_by_hand(self, before: LandmarkSet) -> None:
        if self._link is not None:
            changed = different(before, self._link.local)
            self._history.push(before, moved_text(before, self._link.local, changed))
            self.points_changed.emit(changed)
            self.history_changed.emit()

    def _placing(self) -> bool:
        interaction = self.scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
        return interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place

    # Holding and letting go -------------------------------------------------------------------------------------

    def _show(self, landmarks: LandmarkSet, *, predicted: bool, registration: np.ndarray | None = None) -> None:
        node = self.landmarks_node if self._scan is None or self._belongs_to_scan() else None
        self._let_go_of_landmarks()
        if node is None:
            name = _("{scan} landmarks").format(scan=self._scan.GetName()) if self._scan is not None else _("Landmarks")
            node = nodes.create_node(self.scene, self.protocol, name)
        if self._scan is not None:
            node.SetAndObserveTransformNodeID(self._scan.GetTransformNodeID())
            node.SetNodeReferenceID(nodes.SCAN_ROLE, self._scan.GetID())
        world = landmarks.in_coordinate_system("RAS")
        local = replace(world, positions=from_world(node, world.positions))
        nodes.write_set(node, local)
        nodes.write_predicted(node, local if predicted else None)
        nodes.write_registration(node, None)
        link = self._hold(node, local)
        if registration is not None:
            link.keep_registration(registration)
        self._tell_of_new_landmarks()

    def _hold(self, node: Any, local: LandmarkSet) -> NodeLink:
        self._link = NodeLink(node, local)
        nodes.show_alone(node)
        self._observers.add(node, _CHANGES, self._node_modified)
        self._observers.add(node, [_MOVED_BY_TRANSFORM], self._node_transformed)
        self._observers.add(node, [_Markups.PointStartInteractionEvent], self._drag_started)
        self._observers.add(node, [_Markups.PointEndInteractionEvent], self._drag_ended)
        return self._link

    def _let_go_of_landmarks(self) -> None:
        if self._link is not None:
            self._observers.drop(self._link.node)
        self._link = self._before_drag = None
        self.dragging = False
        self._history.clear()

    def _tell_of_new_landmarks(self) -> None:
        self.landmarks_changed.emit()
        self.history_changed.emit()
        if self._link is None:
            self.select(None)

    def _restore(self, local: LandmarkSet | None) -> None:
        if local is None or self._link is None:
            return
        changed = different(self._link.local, local)
        self._link.write(local)
        self.points_changed.emit(changed)
        self.history_changed.emit()
