"""The contact sheet shows what it is given, where it should be."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from ingest.errors import StorageError
from outputs.contact_sheet import Sample, outlined_tiles, pairs, write_pairs
from outputs.report import CLASS_COLOURS

NAMES = {0: "sea", 1: "oil", 254: "not oil"}


def sample(grey, label, probability=None):
    p = None if probability is None else np.full((8, 8), probability)
    return Sample("a", np.full((8, 8), grey, np.uint8), np.full((8, 8), label), p)


def share(picture, colour):
    return (picture == np.round(255 * np.array(to_rgb(colour)))).all(axis=-1).mean()


def test_images_labels_and_probabilities_are_there_once_each(tmp_path):
    sets = {"real": [sample(77, 0), sample(77, 0)], "synthetic": [sample(133, 1, 0.0), sample(133, 1, 1.0)]}
    write_pairs(tmp_path / "sheet.png", sets, NAMES, "title")
    with Image.open(tmp_path / "sheet.png") as file:
        picture = np.asarray(file.convert("RGB")).astype(float)
    panels = {colour: share(picture, colour) for colour in ("#4d4d4d", "#858585", CLASS_COLOURS["sea"], "#e31a1c")}
    two_panels = panels["#4d4d4d"]
    assert two_panels > 0.05
    assert panels["#858585"] == pytest.approx(two_panels, rel=0.05)
    # Three panels each: two labels, and one of the two probabilities; the legend is small.
    assert panels[CLASS_COLOURS["sea"]] == pytest.approx(1.5 * two_panels, rel=0.1)
    assert panels["#e31a1c"] == pytest.approx(1.5 * two_panels, rel=0.1)
    at = [np.flatnonzero((picture == grey).all(axis=-1).sum(axis=0) > 100) for grey in (77, 133)]  # text is smaller
    assert at[0].max() < at[1].min()


def test_without_soft_labels_there_is_no_column_for_them(tmp_path):
    for name, probability in (("hard", None), ("soft", 0.5)):
        write_pairs(tmp_path / f"{name}.png", {"one": [sample(9, 1, probability)]}, NAMES, "t")
    with Image.open(tmp_path / "hard.png") as hard, Image.open(tmp_path / "soft.png") as soft:
        assert hard.width < soft.width
        assert hard.height == soft.height


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_pairs(tmp_path / "file" / "sheet.png", {"one": [sample(9, 1)]}, NAMES, "t")


LONG = "S1A_IW_GRDH_1SDV_20240905T133917_20240905T133923_055504_2756E5_2747_0001"


def require_apart(figure):
    """All that is written is within the picture, and no text touches another."""
    figure.set_canvas(FigureCanvasAgg(figure))
    figure.canvas.draw()
    titles = [*figure.texts, *(text for panel in figure.axes for text in (panel.title, *panel.texts))]
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    texts = [one for one in (*titles, *legends) if one.get_text()]
    boxes = [one.get_window_extent() for one in texts]
    for one, box in zip(texts, boxes, strict=True):
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1, one
        touching = [other for other, at in zip(texts, boxes, strict=True) if at is not box and at.overlaps(box)]
        assert not touching, (one, touching)
    return [one.get_text() for one in texts]


@pytest.mark.parametrize("names", [(LONG, LONG), ("a", LONG), ("a", "b")])
def test_titles_of_pairs_do_not_overlap(names):
    sets = {
        f"{kind}: a data set of {name} and others": [replace(sample(77, 0, soft), name=name)] * 2
        for kind, name, soft in zip(("real", "synthetic"), names, (None, 0.5), strict=True)
    }
    require_apart(pairs(sets, NAMES, "Images and labels, drawn evenly from each set"))
    (first, *_) = sets.items()
    require_apart(pairs(dict([first]), NAMES, "Images and labels, drawn evenly from each set"))


@pytest.mark.parametrize(("count", "shape"), [(1, (8, 8)), (3, (4, 16)), (9, (16, 4)), (20, (8, 8))])
def test_titles_of_tiles_do_not_overlap_and_tell_the_images_apart(count, shape):
    image, slicks = np.arange(np.prod(shape), dtype=np.float32).reshape(shape), np.zeros(shape, bool)
    tiles = [(f"{LONG}{number:03}", "0.50", image, slicks) for number in range(count)]
    texts = require_apart(outlined_tiles(tiles, f"{count} worst oil-free images, {LONG}: probability of oil"))
    assert len({text for text in texts if text.endswith(" 0.50")}) == count
