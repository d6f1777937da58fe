"""What a check of a data set leaves behind: two tables, and one page with pictures that needs nothing but itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from PALNetLandmarksLib import __version__
from PALNetLandmarksLib.engine.reading import read_scan
from PALNetLandmarksLib.errors import LandmarkingError
from PALNetLandmarksLib.landmarks import utc_text
from PALNetLandmarksLib.protocol import Protocol
from PALNetLandmarksLib.report_html import Picture, Row, element, figures, listing, page, table
from PALNetLandmarksLib.spreadsheet import number_text
from training_tools.datasets.examining import DOUBT, LEVELS, PROBLEM, Examined, Finding
from training_tools.datasets.judging import Judgement
from training_tools.datasets.picture import draw_subject
from training_tools.datasets.reader import Reader

Table = tuple[list[str], list[list[str]]]

CONTACT_PICTURES = 12
_LEGEND = "Red: the subject's right; blue: the left; green: the midline; orange ring: named above."
_WORDS = {"problem": "to be put right", "doubt": "to be looked at", "note": "good to know"}


def subject_table(subjects: Sequence[Examined], judgement: Judgement, labels: Sequence[str]) -> Table:
    """Make the table with a row for each subject.

    Parameters
    ----------
    subjects : sequence of Examined
    judgement : Judgement
    labels : sequence of str
        The protocol's.

    Returns
    -------
    header : list of str
    rows : list of list of str
        Cells; empty where something is not known.
    """
    header = ["subject", "verdict", "landmarks", "placed", "predicted", "missing", "vertices", "size_mm",
              "off_surface_median_mm", "off_surface_max_mm", "from_common_shape_median_mm", "from_common_shape_max_mm",
              "furthest_landmark", "matrix", "scan_sha256", "findings"]  # fmt: skip
    by_subject = _by_subject(judgement.findings)
    rows = []
    for subject, distance in zip(subjects, judgement.distance, strict=True):
        known = np.isfinite(subject.landmarks).all(axis=1)
        off, apart = _finite(subject.off_surface_mm), _finite(distance)
        furthest = labels[int(np.nanargmax(distance))] if len(apart) else ""
        found = by_subject.get(subject.subject, [])
        rows.append([
            subject.subject, worst_level(found), str(int(known.sum())), str(subject.placed), str(subject.predicted),
            str(int((~known).sum())), str(subject.vertices or ""), number_text(subject.size_mm, 1),
            *_numbers(off), *_numbers(apart), furthest, "yes" if subject.matrix is not None else "no",
            subject.scan_sha256, " ".join(sorted({finding.code for finding in found})),
        ])  # fmt: skip
    return header, rows


def finding_table(findings: Sequence[Finding]) -> Table:
    """Make the table with a row for each finding; the subject is empty for what concerns all."""
    return ["subject", "level", "code", "landmarks", "message"], [
        [finding.subject, finding.level, finding.code, " ".join(finding.labels), finding.message]
        for finding in findings
    ]


def worst_level(findings: Sequence[Finding]) -> str:
    """Give the gravest level among findings; ``good`` without a problem or doubt."""
    levels = {finding.level for finding in findings}
    return PROBLEM if PROBLEM in levels else DOUBT if DOUBT in levels else "good"


def check_page(
    reader: Reader, protocol: Protocol, subjects: Sequence[Examined], judgement: Judgement, pictures: int
) -> str:
    """Make the page.

    Parameters
    ----------
    reader : Reader
    protocol : Protocol
    subjects : sequence of Examined
    judgement : Judgement
    pictures : int
        How many flagged subjects are shown at most; 0 for no pictures at all.

    Returns
    -------
    str
        HTML without scripts and without links to elsewhere; subjects appear by their ids only.
    """
    by_subject = _by_subject(judgement.findings)
    verdicts = Counter(worst_level(by_subject.get(subject.subject, [])) for subject in subjects)
    flagged = [place for place, subject in enumerate(subjects)
               if worst_level(by_subject.get(subject.subject, [])) != "good"]  # fmt: skip
    flagged.sort(key=lambda place: worst_level(by_subject[subjects[place].subject]) != PROBLEM)
    rest = [place for place in range(len(subjects)) if place not in set(flagged) and subjects[place].vertices]
    some = np.linspace(0, len(rest) - 1, min(CONTACT_PICTURES, len(rest))).round().astype(int)
    chosen = [rest[i] for i in some] if pictures else []
    shown = [finding for finding in judgement.findings if finding.level != "note"]
    notes = Counter(finding.code for finding in judgement.findings if finding.level == "note")
    parts = [
        element("h1", "Check of an annotated data set"),
        element("p", f"Checked {utc_text(None)} with PALNetLandmarks {__version__}", "note"),
        listing([
            ("Subjects", str(len(subjects))),
            ("Layout", reader.format),
            ("Landmarks", f"{len(protocol)} of protocol {protocol.id} {protocol.version}"),
            ("With problems, doubts, neither", ", ".join(str(verdicts[key]) for key in (PROBLEM, DOUBT, "good"))),
            *((f"Notes: {code}", str(count)) for code, count in sorted(notes.items())),
        ]),
        element("h2", "What was found"),
        table(["subject", "level", "what"],
              [Row((f.subject or "(all)", f.level, f.message), "doubt" if f.level == PROBLEM else "") for f in shown])
        if shown else element("p", "Nothing."),
        element("p", "; ".join(f"{level}: {_WORDS[level]}" for level in LEVELS) + ". findings.csv has all.", "note"),
    ]  # fmt: skip
    for heading, places in (("Subjects to look at", flagged[:pictures]), ("Some of the others", chosen)):
        if places:
            parts.append(element("h2", heading))
            parts.append(element("p", _LEGEND, "note"))
            parts.append(figures([_picture(subjects[i], judgement, i, reader, protocol, by_subject) for i in places]))
        if heading.startswith("Subjects") and len(flagged) > len(places):
            more = f"{len(flagged) - len(places)} more are not shown; --pictures {len(flagged)} shows all."
            parts.append(element("p", more, "alarm"))
    parts += [element("h2", "Landmarks"), _landmark_rows(subjects, judgement, protocol)]
    return page("Check of an annotated data set", "\n".join(parts))


def _picture(
    subject: Examined,
    judgement: Judgement,
    place: int,
    reader: Reader,
    protocol: Protocol,
    by_subject: Mapping[str, Sequence[Finding]],
) -> Picture:
    found = by_subject.get(subject.subject, [])
    vertices = triangles = None
    if subject.vertices:
        try:
            scan = read_scan(reader.scan(subject.place), "auto", texture=False)
            vertices, triangles = scan.vertices, scan.triangles
        except LandmarkingError:  # it could be read a moment ago; the landmarks alone are drawn
            pass
    flagged = [label for finding in found if finding.level != "note" for label in finding.labels]
    png = draw_subject(vertices, triangles, subject.landmarks, protocol, judgement.transforms[place], flagged)
    codes = sorted({finding.code for finding in found if finding.level != "note"})
    return Picture(f"{subject.subject}{': ' if codes else ''}{', '.join(codes)}", png)


def _landmark_rows(subjects: Sequence[Examined], judgement: Judgement, protocol: Protocol) -> str:
    rows = []
    there = np.stack([np.isfinite(subject.landmarks).all(axis=1) for subject in subjects])
    off = np.stack([subject.off_surface_mm for subject in subjects])
    for place, landmark in enumerate(protocol.landmarks):
        cells = [landmark.label, landmark.name, str(int(there[:, place].sum()))]
        cells += [*_numbers(_finite(off[:, place])), *_numbers(_finite(judgement.distance[:, place]))]
        rows.append(Row(tuple(cells)))
    header = ["label", "name", "annotated", "off surface: median", "largest", "from common shape: median", "largest"]
    return table(header, rows, numbers=(2, 3, 4, 5, 6))


def _by_subject(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    result: dict[str, list[Finding]] = {}
    for finding in findings:
        result.setdefault(finding.subject, []).append(finding)
    return result


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _numbers(values: np.ndarray) -> tuple[str, str]:
    """Give median and largest value as text; empty without any."""
    return (number_text(float(np.median(values)), 2), number_text(float(values.max()), 2)) if len(values) else ("", "")
