"""The report: what it says, that it holds nothing private, and that nothing in it is run or fetched."""

import base64
import getpass
import html.parser
import re
import socket
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.landmarks import LandmarkSet
from PALNetLandmarksLib.measurements import measure
from PALNetLandmarksLib.norms import parse_norms, z_scores
from PALNetLandmarksLib.protocol import load_protocol
from PALNetLandmarksLib.report import RESEARCH_USE, Picture, report_html, write_report

DATA = Path(__file__).resolve().parents[1] / "data"
PROTOCOL = load_protocol()
FACE = np.loadtxt(DATA / "symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
PNG = b"\x89PNG\r\n\x1a\nnot really"
VOID = {"meta", "col", "img", "br", "hr", "link", "input"}


class Page(html.parser.HTMLParser):
    """Tags, attributes, text, and whether every element is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.rows, self.words = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([dict(attrs).get("class", "")])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def row(self, first):
        return next(row for row in self.rows if row[1] == first)


def example(missing=("Sn",), errors=None, provenance=None, notes=()):
    positions = FACE.copy()
    positions[PROTOCOL.index("Ch_L"), 2] += 8.0
    for label in missing:
        positions[PROTOCOL.index(label)] = np.nan
    expected = np.full(50, 2.0)
    expected[PROTOCOL.index("Tr")] = 6.5
    landmarks = LandmarkSet.from_positions(
        PROTOCOL,
        positions,
        "predicted",
        expected_error_mm=expected if errors is None else errors,
        notes=notes,
        provenance={
            "model_id": "face50-simulated-2",
            "model_sha256": "cd" * 32,
            "model_training_data": "simulated scans",
            "registration_verdict": "good",
            "warnings": "few points",
        }
        if provenance is None
        else provenance,
    )
    return landmarks.with_point("Prn", FACE[PROTOCOL.index("Prn")], "corrected")


def test_what_a_reader_finds():
    page = Page(report_html(example(), case="P01", now=NOW, pictures=[Picture("From the front", PNG)]))
    assert not page.open
    assert "Case P01" in page.text and "2026-03-04T05:06:07Z" in page.text and RESEARCH_USE in page.text
    assert "48 predicted, 1 corrected, 0 placed, 1 missing" in page.text
    assert (
        "Expected error above 4 mm: Tr." in page.text
        and "Missing: Sn." in page.text
        and "Warnings: few points" in page.text
    )
    assert "Alignment to the reference face: good." in page.text and "simulated scans" in page.text
    assert "cd" * 32 in page.text and "face50-simulated-2" in page.text
    value = measure(example()).value("N-Gn")
    assert page.row("N-Gn") == ["", "N-Gn", f"{value:.1f} mm", "1.4 mm", ""]
    assert page.row("Tr-N")[0] == "doubt" and page.row("Tr-N")[-1] == "low confidence"
    assert page.row("N-Sn") == ["gone", "N-Sn", "\u2014", "", "missing"]
    assert page.row("T_R-N-T_L")[2].endswith("\u00b0") and page.row("facial index")[2].endswith(" %")
    assert page.row("Sn")[:5] == ["gone", "Sn", "subnasale", "midline", "missing"]
    assert page.row("Prn")[4:6] == ["corrected", ""]
    headings = re.findall("<h3>(.*?)</h3>", report_html(example(), case="P01", now=NOW))
    assert headings[:3] == ["Frontal", "Horizontal", "Sagittal right"] and "Indices" in headings


def test_every_measurement_and_every_landmark_is_in_it():
    page = Page(report_html(example(), case="P01", now=NOW))
    firsts = [row[1] for row in page.rows]
    assert all(item.id in firsts for item in PROTOCOL.measurements)
    assert all(label in firsts for label in PROTOCOL.labels)


def test_asymmetry_within_the_landmarks_own_error_is_said_to_say_nothing():
    page = Page(report_html(example(), case="P01", now=NOW))
    mouth = page.row("cheilion (Ch_R, Ch_L)")
    assert mouth[-1] == "distinguishable" and mouth[0] == "" and float(mouth[5]) > 7
    eye = page.row("exocanthion (Ex_R, Ex_L)")
    assert eye[-1] == "not distinguishable" and eye[0] == "same"
    assert "least-squares midplane" in page.text and "Frankfurt horizontal" in page.text and "residual" in page.text
    unknown = Page(report_html(example(errors=np.full(50, np.nan)), case="P01", now=NOW))
    assert unknown.row("cheilion (Ch_R, Ch_L)")[-1] == "error not known"


def test_asymmetry_that_cannot_be_computed_says_why():
    few = example(missing=[label for label in PROTOCOL.labels if label not in ("N", "Gn", "Prn")])
    page = Page(report_html(few, case="P01", now=NOW))
    assert "Not computed: no pair is complete" in page.text


def test_z_scores_with_their_source():
    landmarks = example()
    value = measure(landmarks).value("N-Gn")
    text = (
        "measurement;sex;age;mean;sd;n;source;method\n"
        f"N-Gn;f;18-25;{value - 12:.4f};6;80;Own <lab> 2020;calliper\nN-Sn;;;50;4;;B;\nEn_R-En_L;m;;30;3;;C;"
    )
    scores = z_scores(measure(landmarks), parse_norms(text, "n.csv", PROTOCOL), "female", 20.0)
    page = Page(report_html(landmarks, case="P01", now=NOW, scores=scores, sex="female", age=20.0))
    row = page.row("N-Gn")
    assert row[4] == "+2.0 [1]" and row[5] == f"{value - 12:.1f} \u00b1 6.0 (female, 18 to 25 years, n = 80)"
    assert "[1] Own <lab> 2020. Method: calliper." in page.text and "female, 20 years" in page.text
    assert page.row("N-Sn")[4] == ""
    assert "Without a z: 1, the measurement is missing" in page.text
    assert "Without a z: 1, the norms file has none for this sex" in page.text
    assert "Norm: mean" not in Page(report_html(landmarks, case="P01", now=NOW)).text


def test_nothing_is_run_or_fetched():
    text = report_html(
        example(), case="P01", now=NOW, pictures=[Picture("front", PNG)], charts=[Picture("bars", PNG, True)]
    )
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "form", "a", "base"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in ("src", "href", "action", "srcset", "data")]
    assert sources == ["data:image/png;base64," + base64.b64encode(PNG).decode()] * 2
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import|file:", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    "word", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a & b < c", "\x00\x07nul"]
)
def test_everything_is_escaped(word):
    landmarks = example(notes=[word] + [""] * 49, provenance={"warnings": word, "settings": word, "model_id": word})
    text = report_html(landmarks, case=word, now=NOW, sex=word, pictures=[Picture(word, PNG)])
    page = Page(text)
    clean = word.replace("\x00", "").replace("\x07", "")
    assert page.tags.count("script") == 0 and page.tags.count("img") == 1 and not page.open
    assert f"Case {clean}" in page.text and f"Warnings: {clean}" in page.text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)


def test_nothing_private_is_in_it(tmp_path):
    text = report_html(example(), case="P01", now=NOW)
    words = (str(tmp_path), str(Path.home()), socket.gethostname(), "Testing", "/work", "\\")
    assert not [word for word in words if len(word) > 1 and word in text.split("</style>")[1]]
    name = getpass.getuser()
    assert len(name) < 3 or not re.search(rf"\b{re.escape(name)}\b", text)


def test_the_same_input_gives_the_same_report():
    assert report_html(example(), case="P01", now=NOW) == report_html(example(), case="P01", now=NOW)


def test_a_set_without_anything():
    nothing = LandmarkSet.from_positions(PROTOCOL, np.full((50, 3), np.nan))
    page = Page(report_html(nothing, case="P01", now=NOW))
    assert "0 of 93 measurements have a value" in page.text and "No model is recorded" in page.text and not page.open


def test_a_protocol_without_measurements_and_pairs():
    from PALNetLandmarksLib.protocol import Protocol

    tiny = Protocol.from_dict(
        {"id": "t", "version": "1.0", "title": "t", "landmarks": [{"label": "N", "side": "midline"}]}
    )
    page = Page(report_html(LandmarkSet.from_positions(tiny, np.zeros((1, 3))), case="P01", now=NOW))
    assert "Landmarks: 0 predicted, 0 corrected, 1 placed" in page.text and "Not computed" in page.text


def test_it_is_written_whole_or_not_at_all(tmp_path):
    write_report(tmp_path / "r.html", "äöü \u2014")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == "äöü \u2014"
    with pytest.raises(InputError):
        write_report(tmp_path / "none" / "r.html", "x")


def test_scores_must_fit_the_measurements():
    with pytest.raises(ValueError, match="93"):
        report_html(example(), case="P01", scores=z_scores(measure(example()), None, "", None)[:3])
