"""The report of a scene: what it says of slicks, of a clean scene and of one where nothing could be seen."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pypdfium2
import pytest

from outputs.options import SlickOptions
from outputs.quicklook import write_quicklook
from outputs.reports.document import Gallery, Table, picture_from
from outputs.reports.page import write_page
from outputs.reports.pdf import write_pdf
from outputs.reports.scene import SHOWN, scene_report
from outputs.slicks import candidate_table, find_slicks
from outputs.survey import measure_coverage
from tests.support.catalogue_results import record
from tests.support.slick_scenes import NAME, PROCESSED_AT, probabilities, scene

CARD = """# m

## Trained on

- secret sauce

## Scores

On [real seas](x.md) ([results](y.md)):

| region | AUC |
|---|---|
| GBR | 0.938 |

## Know before use

- In *very* weak wind it rejects
  oil.
"""


def report(tmp_path, oil, land=None, name=NAME, card=CARD, flags=()):
    """A scene with dark oil where the model sees it, and its report."""
    power = np.where(oil > 0.5, 0.005, 0.05) * np.random.default_rng(3).gamma(20, 0.05, oil.shape)
    classes = probabilities(oil=oil, **({} if land is None else {"land": land}))
    calibrated = scene(power)
    calibrated = replace(calibrated, scene=replace(calibrated.scene, id=name))
    slicks = find_slicks(
        classes, calibrated, land=None, options=SlickOptions(), model_id="m", processed_at=PROCESSED_AT
    )
    coverage = measure_coverage(calibrated, classes, None)
    write_quicklook(calibrated, classes, slicks, tmp_path / "quicklook.png", coverage=coverage)
    run = record("run-1", calibrated.scene, len(slicks), coverage=coverage, flags=flags)
    picture = picture_from(tmp_path / "quicklook.png", "Map")
    return scene_report(calibrated, slicks, candidate_table(slicks[:0]), run, picture, card), slicks


def patches(count, shape=(240, 300)):
    """So many squares of oil, sure ones."""
    oil = np.full(shape, 0.02)
    columns = int(np.ceil(np.sqrt(count)))
    for i in range(count):
        row, column = 8 + i // columns * (shape[0] // columns), 8 + i % columns * (shape[1] // columns)
        oil[row : row + 9, column : column + 9] = 0.95
    return oil


def pages(path):
    document = pypdfium2.PdfDocument(path)
    return document, [page.get_textpage().get_text_bounded().replace("\r\n", "\n") for page in document]


class Page(HTMLParser):
    """The text of a page, its images and whatever it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.words, self.images, self.fetched = [], [], []
        self.feed(text)

    def handle_data(self, data):
        self.words.append(data.strip())

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href", "srcset", "data", "action"):
                (self.images if value.startswith("data:image/jpeg;base64,") else self.fetched).append(value)
        assert tag not in ("script", "link", "iframe")


def test_page_and_pdf_say_the_same_of_each_slick(tmp_path):
    document, slicks = report(tmp_path, patches(4))
    write_page(document, tmp_path / "report.html")
    write_pdf(document, tmp_path / "report.pdf")
    page = Page((tmp_path / "report.html").read_text())
    assert page.fetched == []
    assert len(page.images) == 1 + 4  # the map and a clip each
    pdf, texts = pages(tmp_path / "report.pdf")
    area = slicks.area_m2.sum() / 1e6
    for text in (" ".join(page.words), " ".join(texts)):
        assert f"4 oil slicks, {area:.3g} km²" in text
        assert all(slick in text for slick in slicks["id"])
        assert f"{slicks.centroid_lat.iloc[2]:.4f}" in text
        assert "Wind and possible sources are not known." in text
        assert "0.938" in text
        assert "In very weak wind it rejects oil." in text
        assert "secret sauce" not in text
    assert pdf.get_metadata_dict()["Title"] == f"Slicks in a Sentinel-1 scene: {NAME}"
    for number, text in enumerate(texts, 1):
        assert f"page {number} of {len(texts)}" in text
    width, height = pdf[0].get_size()
    assert (width, height) == pytest.approx((210 / 25.4 * 72, 297 / 25.4 * 72), abs=1)


def test_the_numbers_are_those_of_the_table(tmp_path):
    document, slicks = report(tmp_path, patches(5))
    (table,) = [one for one in document.blocks if isinstance(one, Table) and one.headers[:1] == ("No.",)]
    assert [row[0] for row in table.rows] == ["1", "2", "3", "4", "5"]
    assert [float(row[2]) for row in table.rows] == pytest.approx(slicks.area_m2 / 1e6, abs=0.006)
    (gallery,) = [one for one in document.blocks if isinstance(one, Gallery)]
    for number, (one, id) in enumerate(zip(gallery.pictures, slicks["id"], strict=True), 1):
        assert one.caption.startswith(f"{number}: oil")
        assert one.caption.endswith(id)


def test_a_clip_shows_the_slick_in_its_middle_with_its_outline(tmp_path):
    from io import BytesIO

    from PIL import Image

    document, _ = report(tmp_path, patches(1))
    (gallery,) = [one for one in document.blocks if isinstance(one, Gallery)]
    image = np.asarray(Image.open(BytesIO(gallery.pictures[0].jpeg)), float)
    middle = image.shape[0] // 2
    assert image[middle - 4 : middle + 4, middle - 4 : middle + 4].mean() < 60
    assert np.median(image) > 100
    red = (image[..., 0] - image[..., 1:].max(axis=2)) > 80
    rows, columns = np.nonzero(red)
    assert (rows.mean(), columns.mean()) == pytest.approx((middle, middle), abs=8)


def test_a_clean_scene_reads_as_clean(tmp_path):
    document, _ = report(tmp_path, np.full((120, 150), 0.02))
    assert document.verdict == "Clean: no slick in 29 km² of sea."
    assert document.tone == "clean"
    write_pdf(document, tmp_path / "report.pdf")
    assert "Clean: no slick" in " ".join(pages(tmp_path / "report.pdf")[1])


def test_a_scene_of_land_says_that_it_could_not_be_looked_at(tmp_path):
    shape = (120, 150)
    document, _ = report(tmp_path, np.full(shape, 0.001), np.full(shape, 0.98), flags=("border noise, 9 pixels wide",))
    assert document.verdict.startswith("Could not be looked at: 100 % land")
    assert "not a clean scene" in document.verdict
    assert document.tone == "unseen"
    write_page(document, tmp_path / "report.html")
    text = " ".join(Page((tmp_path / "report.html").read_text()).words)
    assert "Clean:" not in text
    assert "Border noise, 9 pixels wide: low numbers along the edges of the image were left out." in text


def test_a_name_is_text_and_not_markup(tmp_path):
    name = "<script>alert(1)</script>&<b>_Ölfeld_" + "x" * 180
    document, _ = report(tmp_path, patches(1), name=name, card="")
    write_page(document, tmp_path / "report.html")
    assert name in Page((tmp_path / "report.html").read_text()).words
    write_pdf(document, tmp_path / "report.pdf")
    pdf, texts = pages(tmp_path / "report.pdf")
    assert pdf.get_metadata_dict()["Title"].endswith(name)
    assert re.sub(r"\s", "", name) in re.sub(r"\s", "", texts[0])
    assert "no card with figures" in " ".join(texts)


def test_of_many_slicks_the_first_have_clips_and_all_are_in_the_table(tmp_path):
    document, slicks = report(tmp_path, patches(SHOWN + 21, (320, 320)))
    assert len(slicks) == SHOWN + 21
    (table,) = [one for one in document.blocks if isinstance(one, Table) and one.headers[:1] == ("No.",)]
    (gallery,) = [one for one in document.blocks if isinstance(one, Gallery)]
    assert (len(table.rows), len(gallery.pictures)) == (SHOWN + 21, SHOWN)
    write_pdf(document, tmp_path / "report.pdf")
    _, texts = pages(tmp_path / "report.pdf")
    assert len(texts) > 10
    assert sum("Longitude" in text for text in texts) > 1  # the header again on each page of the table


def test_coverage_that_was_not_measured_is_not_called_clean(tmp_path):
    document, slicks = report(tmp_path, np.full((60, 80), 0.02))
    run = record("run-1", coverage=None)
    again = scene_report(scene(np.full((60, 80), 0.05)), slicks, candidate_table(slicks), run, document.blocks[0], CARD)
    assert again.tone == "unseen"
    assert "Clean" not in again.verdict
