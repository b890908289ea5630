"""The contact sheet shows what it is given, where it should be."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from ingest.errors import StorageError
from outputs.contact_sheet import Sample, write_contact_sheet
from outputs.report import CLASS_COLOURS

NAMES = {0: "sea", 1: "oil", 254: "not oil"}


def sample(grey, label, probability=None):
    p = None if probability is None else np.full((8, 8), probability)
    return Sample("a", np.full((8, 8), grey, np.uint8), np.full((8, 8), label), p)


def share(picture, colour):
    return (picture == np.round(255 * np.array(to_rgb(colour)))).all(axis=-1).mean()


def test_images_labels_and_probabilities_are_there_once_each(tmp_path):
    sets = {"real": [sample(77, 0), sample(77, 0)], "synthetic": [sample(133, 1, 0.0), sample(133, 1, 1.0)]}
    write_contact_sheet(tmp_path / "sheet.png", sets, NAMES, "title")
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
        write_contact_sheet(tmp_path / f"{name}.png", {"one": [sample(9, 1, probability)]}, NAMES, "t")
    with Image.open(tmp_path / "hard.png") as hard, Image.open(tmp_path / "soft.png") as soft:
        assert hard.width < soft.width
        assert hard.height == soft.height


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_contact_sheet(tmp_path / "file" / "sheet.png", {"one": [sample(9, 1)]}, NAMES, "t")
