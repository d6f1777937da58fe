"""Tables of norms that a user brings, and z-scores."""

import math
from pathlib import Path

import numpy as np
import pytest

from PALNetLandmarksLib.errors import InputError
from PALNetLandmarksLib.measurements import measure
from PALNetLandmarksLib.norms import NOT_STATED, parse_norms, read_norms, z_scores
from PALNetLandmarksLib.protocol import load_protocol

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = load_protocol()
FACE = np.loadtxt(ROOT / "Testing/data/symmetric_face50.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
HEADER = "measurement,sex,age_min,age_max,mean,SD,n,source,method"


def parse(*rows, header=HEADER):
    return parse_norms("\n".join([header, *rows]), "norms.csv", PROTOCOL)


def place(name):
    return [item.id for item in PROTOCOL.measurements].index(name)


def test_z_is_the_distance_from_the_mean_in_standard_deviations():
    values = measure(FACE, PROTOCOL)
    value = values.value("N-Gn")
    norms = parse(f"N-Gn,female,18,25,{value - 6.0},4,50,Own 2020,scan")
    score = z_scores(values, norms, "female", 20.0)[place("N-Gn")]
    assert score.z == pytest.approx(1.5)
    assert (score.mean, score.sd, score.source, score.method, score.norm.count) == (
        value - 6.0,
        4.0,
        "Own 2020",
        "scan",
        50,
    )
    assert score.reason == "" and score.norm.people == "female, 18 to 25 years, n = 50"


@pytest.mark.parametrize(
    ("sex", "age", "mean", "reason"),
    [
        ("female", 18.0, 100.0, ""),
        ("female", 25.9, 100.0, ""),
        ("female", 26.0, 110.0, ""),
        ("female", 17.99, None, "the norms file has none for this age"),
        ("female", None, None, "the age is not given"),
        ("female", 0.0, None, "the age is not given"),
        ("female", math.nan, None, "the age is not given"),
        ("", 20.0, None, "the sex is not given"),
        ("male", 20.0, None, "the norms file has none for this sex"),
    ],
)
def test_the_norm_of_the_person(sex, age, mean, reason):
    norms = parse("N-Gn,f,18,25,100,5,,A,", "N-Gn,f,26,40,110,5,,A,")
    norm, why = norms.find("N-Gn", sex, age)
    assert (norm.mean if norm else None, why) == (mean, reason)


def test_a_norm_for_the_sex_goes_before_one_for_both():
    norms = parse("N-Gn,any,,,100,5,,A,", "N-Gn,male,18,,120,5,,A,")
    assert norms.find("N-Gn", "male", 30.0)[0].mean == 120.0
    assert norms.find("N-Gn", "male", 10.0)[0].mean == 100.0
    assert norms.find("N-Gn", "female", 30.0)[0].mean == 100.0
    assert norms.find("N-Gn", "", None)[0].mean == 100.0
    assert norms.find("N-Sn", "", None) == (None, "the norms file does not have it")


def test_a_missing_value_has_no_z():
    face = FACE.copy()
    face[PROTOCOL.index("Gn")] = np.nan
    score = z_scores(measure(face, PROTOCOL), parse("N-Gn,,,,100,5,,A,"), "", None)[place("N-Gn")]
    assert math.isnan(score.z) and score.reason == "the measurement is missing" and score.source == "A"


def test_without_norms_there_is_no_z_and_nothing_to_explain():
    scores = z_scores(measure(FACE, PROTOCOL), None, "female", 20.0)
    assert len(scores) == 93 and all(math.isnan(score.z) and not score.reason for score in scores)


@pytest.mark.parametrize(
    "text",
    [
        "Measurement;Sex;Age min (years);Age max (years);Mean (mm);Std. Dev.;N;Source;Method\n"
        "n-gn;F;18;25;100,5;5,25;40;A;B",
        "source\tMETHOD\tGender\tage range\tmean\tStandard deviation\tsample size\tmeasurement\n"
        "A\tB\twomen\t18–25 years\t100.5\t5.25\t40\tN – Gn",
        'measurement,sex,age,mean,sd,n,source,method,remark\nN-Gn,f,18 to 25,"100,5","5,25",40,A,B,x',
        "\ufeffmeasurement,sex,age_min,age_max,mean,SD,n,source,method,unit\r\nN-Gn,female,18,25,100.5,5.25,40,A,B,mm\r\n",
    ],
)
def test_spellings(text, tmp_path):
    file = tmp_path / "n.csv"
    file.write_bytes(text.encode("utf-8"))
    (norm,) = read_norms(file, PROTOCOL).rows
    assert (norm.measurement, norm.sex, norm.age_from, norm.age_below) == ("N-Gn", "female", 18.0, 26.0)
    assert (norm.mean, norm.sd, norm.count, norm.source, norm.method) == (100.5, 5.25, 40, "A", "B")


def test_names_that_differ_in_more_than_their_spelling_stay_apart():
    norms = parse("tr-n,,,,60,5,,A,", "t_r-n,,,,110,5,,A,")
    assert norms.find("Tr-N", "", None)[0].mean == 60.0
    assert norms.find("T_R-N", "", None)[0].mean == 110.0


@pytest.mark.parametrize(
    ("age", "holds", "fails"),
    [
        ("60+", (60.0, 99.0), (59.9,)),
        (">= 60", (60.0,), (59.0,)),
        ("30", (30.0, 30.9), (29.9, 31.0)),
        ("0.5-1.5", (0.5, 1.49), (0.4, 1.5)),
        ("all", (0.1, 99.0), ()),
        ("5 yrs", (5.5,), (6.0,)),
    ],
)
def test_ages_in_one_column(age, holds, fails):
    norms = parse(f"N-Gn,f,{age},1,2,A", header="measurement,sex,age,mean,sd,source")
    assert all(norms.find("N-Gn", "female", years)[0] for years in holds)
    assert not any(norms.find("N-Gn", "female", years)[0] for years in fails)


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("N-Gn,female,18,25,abc,5,50,A,B", "'abc' is not a number"),
        ("N-Gn,female,18,25,100,0,50,A,B", "the SD is 0"),
        ("N-Gn,female,18,25,100,-2,50,A,B", "the SD is -2"),
        ("N-Gn,female,18,25,,5,50,A,B", "mean or the SD is empty"),
        ("N-Gn,x,18,25,100,5,50,A,B", "the sex 'x'"),
        ("N-Gn,female,25,18,100,5,50,A,B", "25 to 18 is no range"),
        ("N-Gn,female,-5,18,100,5,50,A,B", "-5 to 18 is no range"),
        ("N-Gn,female,18,25,100,5,2.5,A,B", "n is 2.5"),
        ("N-Gn,female,18,25,100,5,0,A,B", "n is 0"),
        ("N-Gn,female,18,25,100,5,50,,B", "no source"),
        (",female,18,25,100,5,50,A,B", "no measurement"),
        ("N-Gn,female,young,25,100,5,50,A,B", "'young' is not a number"),
        ("N-Gn,female,18,25,100", "5 cells"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(row, word):
    with pytest.raises(InputError) as caught:
        parse("N-Sn,,,,50,4,,A,", row)
    assert word in caught.value.message and "line 3" in caught.value.message and caught.value.hint


def test_a_unit_that_is_not_the_measurements_is_refused():
    header = "measurement,mean,sd,source,unit"
    assert parse("N-Gn,110,6,A,mm", header=header).rows
    assert parse("facial index,86,5,A,%", header=header).rows
    with pytest.raises(InputError, match="unit of N-Gn is mm, not 'cm'"):
        parse("N-Gn,11,0.6,A,cm", header=header)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("N-Gn,f,18,25,100,5,,A,", "N-Gn,f,25,35,100,5,,A,"),
        ("N-Gn,f,18,,100,5,,A,", "N-Gn,f,30,35,100,5,,A,"),
        ("N-Gn,,,,100,5,,A,", "n-gn,both,30,35,100,5,,B,"),
        ("N-Gn,f,18,25,100,5,,A,", "N-Gn,f,18,25,100,5,,A,"),
    ],
)
def test_two_rows_for_the_same_person_are_refused(one, other):
    with pytest.raises(InputError, match="lines 2 and 3 overlap") as caught:
        parse(one, other)
    assert caught.value.code == "norms.overlap"


def test_ranges_that_touch_and_other_sexes_do_not_overlap():
    assert len(parse("N-Gn,f,18,25,1,1,,A,", "N-Gn,f,26,35,1,1,,A,", "N-Gn,m,18,35,1,1,,A,").rows) == 3
    rows = parse("N-Gn,f,0.5,1.5,1,1,,A,", "N-Gn,f,1.5,2.5,1,1,,A,").rows
    assert len(rows) == 2 and rows[0].people == "female, 0.5 to below 1.5 years"


def test_names_that_the_protocol_does_not_have_are_listed():
    norms = parse("N-Gn,,,,100,5,,A,", "head length,,,,180,7,,A,")
    assert (len(norms.rows), norms.unknown) == (1, ("head length",))
    with pytest.raises(InputError, match="has no norm for a measurement") as caught:
        parse("head length,,,,180,7,,A,")
    assert caught.value.code == "norms.empty"


def test_missing_and_double_columns():
    with pytest.raises(InputError, match="no column sd, source"):
        parse("N-Gn,100", header="measurement,mean")
    with pytest.raises(InputError, match="'SD' and 'Std dev' mean the same"):
        parse("N-Gn,100,1,1,A", header="measurement,mean,SD,Std dev,source")
    assert parse("N-Gn,100,5,A", header="measurement,mean,sd,source").rows[0].method == NOT_STATED


def test_the_example_in_the_docs_reads_and_says_that_it_is_made_up():
    norms = read_norms(ROOT / "docs/norms-example.csv", PROTOCOL)
    assert len(norms.rows) == 8 and not norms.unknown
    assert all("MADE-UP" in row.source for row in norms.rows)
    scores = z_scores(measure(FACE, PROTOCOL), norms, "female", 22.0)
    assert sum(math.isfinite(score.z) for score in scores) == 4
