"""From a scan to landmarks: registration, surface cloud, network, projection, missing regions, confidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from PALNetLandmarksLib.engine.bundle import Bundle
from PALNetLandmarksLib.engine.cloud import SurfaceCloud, face_cloud
from PALNetLandmarksLib.engine.devices import choose_device, device_errors
from PALNetLandmarksLib.engine.locating import Located, locator_for
from PALNetLandmarksLib.engine.missing_regions import missing_regions
from PALNetLandmarksLib.engine.mouth import OPEN_MOUTH_ERROR_MM, open_mouth
from PALNetLandmarksLib.engine.projection import CENTROID_VERTICES, prepare_surface, project
from PALNetLandmarksLib.engine.provenance import prediction_provenance, prediction_sha256
from PALNetLandmarksLib.engine.registration import Registration, register, register_from_landmarks
from PALNetLandmarksLib.engine.rigid import apply_transform, invert_rigid
from PALNetLandmarksLib.engine.scan import Scan, ScanWarning
from PALNetLandmarksLib.engine.shape_regression import ShapeRegression, widened
from PALNetLandmarksLib.errors import InputError, RegistrationError
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.protocol import Landmark

FloatArray = NDArray[np.float64]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Prediction:
    """Landmarks of a scan and how they came about.

    Parameters
    ----------
    landmarks : LandmarkSet
        In the scan's own frame, mm; missing ones are NaN with a reason.
    registration : Registration
    scan_to_reference : (4, 4) float64
        The registration re-aligned by the landmarks.
    located : Located
        What the network said before projection.
    warnings : tuple of ScanWarning
        Those of the scan and those of the prediction.
    stage_seconds : mapping
        Seconds of each stage.
    device : str
    """

    landmarks: LandmarkSet
    registration: Registration
    scan_to_reference: FloatArray
    located: Located
    warnings: tuple[ScanWarning, ...]
    stage_seconds: Mapping[str, float]
    device: str


class Predictor:
    """A model in memory, ready for one scan after another.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    threads : int, optional
        Threads of the CPU for the network; all by default.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", threads: int | None = None) -> None:
        self.bundle = bundle
        self.device = choose_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        with device_errors():
            self._network = bundle.network_with_weights().to(self.device)
        self._locate = locator_for(bundle.network)

    def predict(
        self,
        scan: Scan,
        *,
        initial: LandmarkSet | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Prediction:
        """Place the landmarks on a scan.

        Parameters
        ----------
        scan : Scan
        initial : LandmarkSet, optional
            Three or more picked landmarks in the scan's frame, to start from instead of searching for the face.
        seed : int
            The same scan, seed and machine give the same bits.
        progress : callable, optional
            Called with a stage's name and the share done.

        Raises
        ------
        RegistrationError
            If no trustworthy alignment is found.
        DeviceError
            If memory or the device fails.
        """
        report = progress or (lambda stage, share: None)
        seconds: dict[str, float] = {}
        bundle = self.bundle
        with device_errors():
            report("registration", 0.05)
            started = time.perf_counter()
            registration = self._register(scan, initial, seed, lambda _, share: report("registration", 0.6 * share))
            seconds["registration"] = time.perf_counter() - started
            report("patches", 0.6)
            started = time.perf_counter()
            cloud = self.cloud(scan, registration.scan_to_reference, seed)
            seconds["patches"] = time.perf_counter() - started
            report("network", 0.75)
            started = time.perf_counter()
            located = self.locate(cloud, registration.scan_to_reference)
            if bundle.shape is not None:
                located = corrected_by_shape(located, cloud, bundle.shape, bundle.protocol.mirror)
            seconds["network"] = time.perf_counter() - started
            report("projection", 0.9)
            started = time.perf_counter()
            mouth = self._open_mouth(scan, located)
            landmarks = self._finish(scan, located, bool(mouth))
            landmarks = self._recorded(landmarks, scan, registration, initial, seed)
            seconds["projection"] = time.perf_counter() - started
        warnings = scan.warnings + _warnings(registration, landmarks, mouth)
        report("done", 1.0)
        return Prediction(
            landmarks, registration, located.scan_to_reference, located, warnings, seconds, str(self.device)
        )

    def cloud(self, scan: Scan, scan_to_reference: FloatArray, seed: int = 0) -> SurfaceCloud:
        """Sample the face of a registered scan as the network takes it, in the scan's frame."""
        return face_cloud(
            scan.vertices,
            scan.triangles,
            scan_to_reference,
            self.bundle.mean_landmarks,
            cells=scan.cells,
            facet_normals=getattr(self._network, "facet_normals", False) is True,
            seed=seed,
        )

    def locate(self, cloud: SurfaceCloud, scan_to_reference: FloatArray) -> Located:
        """Ask the network alone: nothing is corrected by the shape, nor projected."""
        bundle = self.bundle
        return self._locate(self._network, cloud, scan_to_reference, bundle.mean_landmarks, bundle.protocol)

    def _register(self, scan: Scan, initial: LandmarkSet | None, seed: int, progress: Progress) -> Registration:
        if initial is None:
            return register(scan, self.bundle.reference, seed=seed, progress=progress)
        protocol = self.bundle.protocol
        known = [
            (protocol.index(label), position)
            for label, position in zip(initial.protocol.labels, initial.positions, strict=True)
            if label in protocol and np.isfinite(position).all()
        ]
        if len(known) < 3:
            raise InputError(
                "The initial points hold fewer than three landmarks of this model's protocol.",
                "Pick at least Prn, Ex_R and Ex_L.",
                code="initial.few",
            )
        index = [i for i, _ in known]
        picked = np.array([position for _, position in known])
        return register_from_landmarks(scan, self.bundle.reference, picked, self.bundle.mean_landmarks[index])

    def _finish(self, scan: Scan, located: Located, mouth_open: bool) -> LandmarkSet:
        bundle = self.bundle
        kind = bundle.projection["kind"]
        surface = prepare_surface(scan.vertices, scan.triangles)
        projected = project(
            surface, located.landmarks, kind, count=int(bundle.projection.get("count", CENTROID_VERTICES))
        )
        check = missing_regions(
            surface,
            located.landmarks,
            [_called(landmark) for landmark in bundle.protocol.landmarks],
            structures=[_structure(landmark) for landmark in bundle.protocol.landmarks],
            projection=projected if kind == "surface" else None,
            maximum_distance_mm=bundle.missing["distance_mm"],
            border_margin_mm=bundle.missing["border_margin_mm"],
        )
        reasons = list(check.reasons)
        for i, landmark in enumerate(bundle.protocol.landmarks):
            if not reasons[i] and located.visible[i] < bundle.missing["visible_probability"]:
                reasons[i] = f"The {_called(landmark)} seems to be covered or not captured."
        missing = np.array([bool(reason) for reason in reasons])
        if missing.mean() > 0.6:
            raise RegistrationError(
                "Most landmarks would lie where the scan has no surface.",
                "Check that the scan shows a face, or give three picked points (Prn, Ex_R, Ex_L) with --init.",
                code="registration.implausible",
            )
        expected = located.raw_error * bundle.confidence_scale
        if mouth_open:
            least = [OPEN_MOUTH_ERROR_MM.get(label, 0.0) for label in bundle.protocol.labels]
            expected = np.maximum(expected, least)
        return LandmarkSet(
            protocol=bundle.protocol,
            positions=np.where(missing[:, None], np.nan, projected.points),
            status=tuple("missing" if gone else "predicted" for gone in missing),
            expected_error_mm=np.where(missing, np.nan, expected),
            notes=tuple(reason or warning for reason, warning in zip(reasons, check.warnings, strict=True)),
            coordinate_system="LPS",
        )

    def _open_mouth(self, scan: Scan, located: Located) -> str:
        if "Sn" not in self.bundle.protocol:
            return ""
        subnasale = located.landmarks[self.bundle.protocol.index("Sn")]
        return open_mouth(scan.vertices, scan.triangles, located.scan_to_reference, subnasale)

    def _recorded(
        self, landmarks: LandmarkSet, scan: Scan, registration: Registration, initial: LandmarkSet | None, seed: int
    ) -> LandmarkSet:
        """Add how the landmarks came about."""
        facts = prediction_provenance(
            self.bundle,
            scan,
            registration,
            device=self.device,
            seed=seed,
            initial=initial,
        )
        return replace(landmarks, provenance={**facts, "prediction_sha256": prediction_sha256(landmarks)})


def corrected_by_shape(
    located: Located, cloud: SurfaceCloud, shape: ShapeRegression, mirror: NDArray[np.int64]
) -> Located:
    """Correct what the network said by the shape of the whole face.

    Parameters
    ----------
    located : Located
    cloud : SurfaceCloud
    shape : ShapeRegression
    mirror : (l,) int64
        Index of each landmark's partner on the other side.

    Returns
    -------
    Located
        With the expected error changed to fit.
    """
    transform = located.scan_to_reference
    before = apply_transform(transform, located.landmarks)
    after = shape.refine(
        apply_transform(transform, cloud.points), cloud.normals @ transform[:3, :3].T, before, located.look_again
    )
    return replace(
        located,
        landmarks=apply_transform(invert_rigid(transform), widened(after, mirror, shape.asymmetry_gain)),
        raw_error=shape.expected_error(located.raw_error, np.linalg.norm(after - before, axis=1)),
    )


def _called(landmark: Landmark) -> str:
    return landmark.name if landmark.side == "midline" else f"{landmark.side} {landmark.name}"


def _structure(landmark: Landmark) -> str:
    """Name what a scan lacks if it does not show the landmark, as far as that can be said."""
    if landmark.region == "ear":
        return f"{landmark.side} ear"
    return "hairline" if landmark.label == "Tr" else ""


def _warnings(registration: Registration, landmarks: LandmarkSet, mouth: str) -> tuple[ScanWarning, ...]:
    found = []
    if registration.verdict != "good":
        found.append(
            ScanWarning(
                "registration.doubtful",
                "The alignment to the reference face is doubtful: look at all landmarks before you use them.",
            )
        )
    if registration.second_face:
        found.append(
            ScanWarning(
                "registration.second_face",
                "The scan seems to show two faces; the landmarks lie on one. If it is the wrong one, cut the other out "
                "of the scan, or start from three points picked on the right one (Prn, Ex_R, Ex_L).",
            )
        )
    if mouth:
        found.append(
            ScanWarning(
                "face.open_mouth",
                f"{mouth} The models have learnt closed mouths: if it is open, do not trust landmarks of lips and "
                "chin.",
            )
        )
    gone = [
        label for label, status in zip(landmarks.protocol.labels, landmarks.status, strict=True) if status == "missing"
    ]
    if gone:
        found.append(ScanWarning("landmarks.missing", f"No usable surface for {', '.join(gone)}: left empty."))
    return tuple(found)
