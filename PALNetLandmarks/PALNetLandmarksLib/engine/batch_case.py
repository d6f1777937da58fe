"""One case of a batch: its settings, what does it, and how an error becomes its status."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PALNetLandmarksLib.batch_tables import LANDMARKS, PICTURE
from PALNetLandmarksLib.engine.batch_record import CaseStatus
from PALNetLandmarksLib.engine.commands.common import as_landmarking_error
from PALNetLandmarksLib.landmarks import utc_text

if TYPE_CHECKING:
    from PALNetLandmarksLib.engine.predictor import Prediction
    from PALNetLandmarksLib.engine.scan import Scan
    from PALNetLandmarksLib.protocol import Protocol


@dataclass(frozen=True)
class BatchSettings:
    """What a batch does.

    Parameters
    ----------
    folder, output : Path
        Where the scans are, and where the results go.
    model : str, optional
        Folder or id of a bundle; default: the default model.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    threads : int, optional
        Threads of the CPU for each process.
    unit : str
        Unit of the scans.
    seed : int
        Seed of the search for the face.
    images : bool
        Whether to make a picture of each case.
    layout : {"wide", "long"}
        Kind of the tables over all cases.
    case_from_name : bool
        Whether the scans' names become the cases' names.
    resume : bool
        Whether finished cases of an earlier run are kept.
    overwrite : bool
        Whether an earlier run is done again.
    jobs : int
        Processes that predict side by side.
    """

    folder: Path
    output: Path
    model: str | None = None
    device: str = "auto"
    threads: int | None = None
    unit: str = "auto"
    seed: int = 0
    images: bool = False
    layout: str = "wide"
    case_from_name: bool = False
    resume: bool = False
    overwrite: bool = False
    jobs: int = 1

    @property
    def fingerprint(self) -> str:
        """What, beside scan and model, decides a result."""
        return f"unit={self.unit} seed={self.seed}"


@dataclass(frozen=True)
class Job:
    """One case that is to be done."""

    case: str
    scan: Path
    name: str


class CaseRunner:
    """Does single cases with one model in memory.

    Parameters
    ----------
    settings : BatchSettings

    Raises
    ------
    BundleError, DeviceError
        When the model cannot be used; there is no point in going on then.
    """

    def __init__(self, settings: BatchSettings) -> None:
        from PALNetLandmarksLib.engine.bundle import load_bundle
        from PALNetLandmarksLib.engine.predictor import Predictor

        self.settings = settings
        self.bundle = load_bundle(settings.model)
        self.predictor = Predictor(self.bundle, settings.device, settings.threads)
        self.model = (self.bundle.id, self.bundle.weights_sha256, self.bundle.sha256)
        self.protocol: Protocol = self.bundle.protocol

    def predict(self, path: Path) -> tuple[Scan, Prediction]:
        """Read a scan and place its landmarks."""
        from PALNetLandmarksLib.engine.reading import read_scan

        scan = read_scan(path, self.settings.unit, texture=False)
        return scan, self.predictor.predict(scan, seed=self.settings.seed)

    def run(self, job: Job) -> CaseStatus:
        """Do one case and write its files; an error becomes its status."""
        status = CaseStatus(
            job.case,
            model_id=self.model[0],
            model_sha256=self.model[1],
            bundle_sha256=self.model[2],
            settings=self.settings.fingerprint,
        )
        started = time.perf_counter()
        try:
            scan, prediction = self.predict(job.scan)
            status = replace(status, scan_sha256=scan.sha256)
            self._write(job, scan, prediction)
        except Exception as error:  # noqa: BLE001 - one case must not stop the others
            return failed_status(status, error, job, time.perf_counter() - started)
        found = prediction.registration
        return replace(
            status,
            status="done",
            exit_code="0",
            verdict=found.verdict,
            fitness=f"{found.fitness:.3f}",
            inlier_rms_mm=f"{found.inlier_rms_mm:.2f}",
            missing_points=str(prediction.landmarks.count("missing")),
            warnings=";".join(warning.code for warning in prediction.warnings),
            seconds=f"{time.perf_counter() - started:.2f}",
            finished_utc=utc_text(),
        )

    def _write(self, job: Job, scan: Scan, prediction: Prediction) -> None:
        from PALNetLandmarksLib.landmark_files import write_landmarks

        if self.settings.images:
            from PALNetLandmarksLib.engine.commands.predict import registration_words
            from PALNetLandmarksLib.engine.picture import write_picture

            write_picture(
                self.settings.output / (job.case + PICTURE),
                scan.vertices,
                scan.triangles,
                prediction.landmarks,
                prediction.scan_to_reference,
                model=f"{self.bundle.id} {self.bundle.version}",
                case=job.case,
                remark=registration_words(prediction),
            )
        # Last, because a case counts as finished when this file is there.
        write_landmarks(self.settings.output / (job.case + LANDMARKS), prediction.landmarks, case=job.case)


def failed_status(status: CaseStatus, error: Exception, job: Job, seconds: float) -> CaseStatus:
    """Say in a case's status how it failed, without the name of its file."""
    known = as_landmarking_error(error)
    if known is None:
        message, hint = f"Unexpected error ({type(error).__name__}).", "Run predict --debug on this scan."
        code, number = "internal", 1
    else:
        message, hint, code, number = known.message, known.hint, known.code, known.exit_code
    for name in (str(job.scan), job.name, job.scan.name, job.scan.stem):
        message = message.replace(name, "the scan") if len(name) > 2 else message
    return replace(
        status,
        status="failed",
        exit_code=str(number),
        code=code,
        message=message,
        hint=hint,
        seconds=f"{seconds:.2f}",
        finished_utc=utc_text(),
    )
