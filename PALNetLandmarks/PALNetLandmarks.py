"""Anatomical landmarks and measurements on 3D face scans: the Slicer module. The work is done in PALNetLandmarksLib."""

import sys

import slicer
from slicer.i18n import tr as _, translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class PALNetLandmarks(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("PALNet Landmarks")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Shape Analysis")]
        parent.dependencies = []
        parent.contributors = ["PALNetLandmarks contributors"]
        parent.helpText = _(
            "Places 50 anatomical landmarks on a 3D face scan, lets you correct them on the surface, and exports "
            "anthropometric measurements. Research use only, not for diagnosis. "
            '<a href="https://github.com/PALNetLandmarks/PALNetLandmarks#readme">Tutorial and documentation</a>.'
        )
        parent.acknowledgementText = _(
            "The landmarking network follows the method of PAL-Net (arXiv 2510.00910); the second network follows "
            "2S-SGCN (Burger, Blandano, Facchi, Lanzarotti: Computer Vision and Image Understanding, 2024). The code "
            "is our own. The default model was trained on scans simulated from the ICT-FaceKit Face Model Light (USC "
            "Institute for Creative Technologies, MIT licence)."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offer the sample scan in the Sample Data module."""
    from PALNetLandmarksLib.gui.sample_data import register

    register()


class PALNetLandmarksWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panels = None

    def setup(self):
        """Build the panel, when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        from PALNetLandmarksLib.gui.widget import ModulePanels

        self.logic = PALNetLandmarksLogic()
        self.panels = ModulePanels(self.layout, self.resourcePath)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()

    def cleanup(self):
        """Let go of the scene and the engine, when Slicer ends or the module is reloaded."""
        self.removeObservers()
        if self.panels is not None:
            self.panels.cleanup()
            self.panels = None

    def enter(self):
        """Take up the scene's parameters, when the user comes to the module."""
        self.initializeParameterNode()
        self.panels.enter()

    def exit(self):
        """Give up the keys, when the user goes to another module."""
        if self.panels is not None:
            self.panels.exit()

    def onSceneStartClose(self, caller, event):
        """Let go of the scene's nodes before they go."""
        self.panels.set_parameters(None)

    def onSceneEndClose(self, caller, event):
        """Begin anew, when the panel is shown."""
        if self.panels.entered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event):
        """Take up what a loaded scene brought."""
        self.panels.scene_loaded()
        if self.panels.entered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Work with the scene's parameter node, which is made where there is none."""
        self.panels.set_parameters(self.logic.getParameterNode())

    def onReload(self):
        """Reload the library with the module; only the developer's button calls this."""
        self.cleanup()
        for name in [name for name in sys.modules if name.split(".")[0] == "PALNetLandmarksLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class PALNetLandmarksLogic(ScriptedLoadableModuleLogic):
    """What scripts can use without the panel."""

    def getParameterNode(self):
        """Give the choices that the scene remembers, `PALNetLandmarksLib.gui.parameters.Parameters`."""
        from PALNetLandmarksLib.gui.parameters import Parameters

        return Parameters(super().getParameterNode())

    def placeLandmarks(self, model, modelBundle="", device="auto", timeout=120.0):
        """Place the landmarks on a model node and wait for them.

        Parameters
        ----------
        model : vtkMRMLModelNode
        modelBundle : str
            Folder of a model bundle; the default one when empty.
        device : str
            ``auto``, ``cpu`` or ``cuda``.
        timeout : float
            Seconds.

        Returns
        -------
        vtkMRMLMarkupsFiducialNode
        """
        from PALNetLandmarksLib.gui.scripting import place_landmarks

        return place_landmarks(model, modelBundle, device, timeout)


class PALNetLandmarksTest(ScriptedLoadableModuleTest):
    """The module's self-test, in the real application."""

    def runTest(self):
        """Run all of it; fails with the name of what failed."""
        from PALNetLandmarksLib.gui.self_test import run_self_test

        run_self_test(self)
