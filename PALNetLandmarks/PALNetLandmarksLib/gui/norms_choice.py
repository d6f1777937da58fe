"""The norms that the user chose, and for whom."""

from __future__ import annotations

from PALNetLandmarksLib.errors import LandmarkingError
from PALNetLandmarksLib.measurements import Measurements
from PALNetLandmarksLib.norms import Norms, ZScore, read_norms, z_scores
from PALNetLandmarksLib.protocol import Protocol


class NormsChoice:
    """A table of norms, and the sex and age of the person.

    Parameters
    ----------
    protocol : Protocol
        The measurements it may name.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self.norms: Norms | None = None
        self.problem = ""
        """What is wrong with the table; empty when it is good, or when there is none."""
        self.sex = ""
        """``female``, ``male``, or empty where not given."""
        self.age = 0.0
        """Years; 0 where not given."""

    def read(self, path: str) -> None:
        """Read a table; an empty path means no norms. What is wrong with it is kept in ``problem``."""
        self.norms, self.problem = None, ""
        if path.strip():
            try:
                self.norms = read_norms(path.strip(), self._protocol)
            except LandmarkingError as error:
                self.problem = str(error)

    def scores(self, measurements: Measurements) -> tuple[ZScore, ...]:
        """Give a z-score for each measurement; none at all without norms."""
        return z_scores(measurements, self.norms, self.sex, self.age) if self.norms is not None else ()
