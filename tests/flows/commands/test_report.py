"""`slickwatch report`: an area and a period, in page, PDF, table and figures."""

import csv
import json
import re
from datetime import UTC, datetime

import pypdfium2
import pytest
from shapely.geometry import MultiPolygon, box

from outputs.catalogue import Catalogue
from outputs.coverage import Coverage
from tests.support.catalogue_results import FOOTPRINT, SCENE, record, scene_number, squares, table

NOW = datetime(2021, 1, 20, 12, 0, tzinfo=UTC)
DAY = 24 * 60
SEA = Coverage(1000.0, 20.0, 3.0, 0.1)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """Three days: two slicks of oil and a look-alike, a clean scene, one of land; and one on the antimeridian."""
    path = tmp_path_factory.mktemp("of all") / "catalogue.gpkg"
    opened = Catalogue.open(path)
    first = table("run-1", squares(4, west=2.2, south=57.5))
    first["class"] = ["oil", "oil", "look-alike", "oil"]
    opened.publish(record("run-1", slick_count=4, coverage=SEA), SCENE, FOOTPRINT, first, now=NOW)
    opened.review("s3", "rejected", "Ada", "an algal bloom", now=NOW)
    for number, coverage in ((1, SEA), (2, Coverage(0.0, 900.0, 0.0, None))):
        scene = scene_number(number * DAY)
        run = f"run-{number + 1}"
        opened.publish(record(run, scene, coverage=coverage), scene, FOOTPRINT, table(run, {}, scene), now=NOW)
    far = scene_number(3 * DAY)
    across = {"far": MultiPolygon([box(179.9, 10, 180, 10.1), box(-180, 10, -179.95, 10.1)])}
    print_ = MultiPolygon([box(178, 9, 180, 12), box(-180, 9, -178, 12)])
    opened.publish(record("run-4", far, 1, coverage=SEA), far, print_, table("run-4", across, far), now=NOW)
    return path


@pytest.fixture
def report(cli, catalogue, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, area="2,57,4.5,59", since="2021-01-19", to="2021-01-21"):
        given = ("--area", area, "--from", since, "--to", to, "--out", tmp_path / "out", "--catalogue", catalogue)
        return cli("report", *given, *arguments)

    return run


def texts(folder):
    """Of the page and of the PDF."""
    page = re.sub(r"<style>.*?</style>|<[^>]*>", " ", (folder / "report.html").read_text(), flags=re.DOTALL)
    pdf = pypdfium2.PdfDocument(folder / "report.pdf")
    return " ".join(page.split()), " ".join(" ".join(p.get_textpage().get_text_bounded().split()) for p in pdf)


def test_an_area_is_counted_by_class_and_day(report, tmp_path):
    code, out, err = report("--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["slicks"] == {"oil": 2, "look-alike": 1}
    assert told["slick_area_km2"] == {"oil": 2.0, "look-alike": 1.0}
    assert (told["scenes"], told["scenes_with_nothing_to_see"], told["rejected"]) == (3, 1, 1)
    assert told["share_of_area_looked_at"] == pytest.approx(1.0, abs=0.02)
    assert sorted(told["files"]) == sorted(str(path) for path in (tmp_path / "out").iterdir())
    rows = list(csv.DictReader((tmp_path / "out" / "slicks.csv").read_text().splitlines()))
    assert sorted(row["id"] for row in rows) == ["s0", "s1", "s2", "s3"]
    for text in texts(tmp_path / "out"):
        assert "2 oil slicks, 2 km²; 1 look-alike slick, 1 km² in 2 scenes, which saw 100 % of the area" in text
        assert "2021-01-19 1 2 2.00 1 1.00" in text
        assert "2021-01-20 1 0 0.00 0 0.00" in text
        assert "nothing to see: 100 % land" in text
        assert "2.0 times on average, 2 at most" in text


def test_a_larger_area_was_seen_in_part(report):
    _, out, _ = report("--json", area="2,57,7,59")
    assert json.loads(out)["share_of_area_looked_at"] == pytest.approx(0.5, abs=0.03)


def test_a_day_ends_at_its_end(report):
    assert json.loads(report("--json", to="2021-01-19")[1])["scenes"] == 1
    assert json.loads(report("--json", to="2021-01-19T02:00")[1])["scenes"] == 0


@pytest.mark.parametrize(
    ("area", "since", "to", "sentence"),
    [
        ("2,57,4.5,59", "2021-01-20", "2021-01-20", "Clean: no slick in 1 scene, which saw 100 % of the area."),
        ("2,57,4.5,59", "2021-01-21", "2021-01-21", "Could not be looked at: in 1 scene no slick could have shown."),
        ("30,-20,31,-19", "2021-01-19", "2021-01-21", "Not looked at: no scene of this area was analysed"),
    ],
)
def test_clean_blind_and_empty_are_three_things(report, tmp_path, area, since, to, sentence):
    code, out, _ = report(area=area, since=since, to=to)
    assert code == 0
    assert out.startswith(sentence)
    for text in texts(tmp_path / "out"):
        assert sentence in text
        assert ("Clean" in text) == sentence.startswith("Clean")
    assert (tmp_path / "out" / "slicks.csv").read_text().count("\n") == 1


def test_an_area_across_the_antimeridian(report):
    told = json.loads(report("--json", area="178,9,-178,12", to="2021-01-22")[1])
    assert told["slicks"] == {"oil": 1, "look-alike": 0}
    assert told["share_of_area_looked_at"] == pytest.approx(1.0, abs=0.05)


def test_an_area_from_a_file_or_a_watch(report, tmp_path):
    (tmp_path / "bay.wkt").write_text(box(2.19, 57.49, 2.215, 57.6).wkt)
    assert json.loads(report("--json", area="bay.wkt")[1])["slicks"]["oil"] == 1
    (tmp_path / "slickwatch.toml").write_text(
        '[sources.inbox]\nfolder = "in"\n[[watch]]\nname = "bay"\nsource = "inbox"\narea = "bay.wkt"\n'
    )
    assert json.loads(report("--json", area="bay")[1])["slicks"]["oil"] == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"area": "nowhere"}, "'nowhere' is no watch of the settings, no box and no file"),
        ({"area": "1,2,3"}, "no box"),
        ({"area": "2,59,4,57"}, "invalid latitudes"),
        ({"since": "yesterday"}, "not a time"),
        ({"since": "2021-02-01"}, "is after"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(report, tmp_path, options, told):
    code, out, err = report(**options)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
