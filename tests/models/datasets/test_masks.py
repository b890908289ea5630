"""Masks and chips as data sets are really published: every arrangement of bands reads the same, or is refused."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from ingest.errors import UnreadableInput
from models.classes import IGNORE, NOT_OIL, OIL
from models.datasets.catalogue import open_dataset
from models.datasets.fingerprint import fingerprint
from models.datasets.folder import image_mask_folder
from models.datasets.masks import mask_labels
from models.datasets.osd import colour_labels
from models.datasets.pairs import read_grey

CASES = Path(__file__).parents[4] / "shared" / "data" / "cases"
OIL_THERE = np.zeros((32, 40), bool)
OIL_THERE[8:20, 5:30] = True
ONES, WHITE = OIL_THERE.astype(np.uint8), OIL_THERE.astype(np.uint8) * np.uint8(255)
OPAQUE = np.full_like(WHITE, 255)


def colours(oil: tuple[int, int, int]) -> np.ndarray:
    return (OIL_THERE[..., None] * np.array(oil)).astype(np.uint8)


def palette(*entries: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(ONES, "P")
    image.putpalette([value for entry in entries for value in entry])
    return image


def tiff(*bands: np.ndarray, colormap: dict[int, tuple[int, ...]] | None = None, **options):
    """What writes a TIFF at a path."""

    def write(path: Path) -> None:
        shape = dict(zip(("height", "width"), bands[0].shape, strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(
                path, "w", driver="GTiff", count=len(bands), dtype=bands[0].dtype, **shape, **options
            ) as file:
                file.write(np.stack(bands))
                if colormap is not None:
                    file.write_colormap(1, colormap)

    return write


def written(folder: Path, content) -> Path:
    """A file of an image, an array of pixels, or a function that writes a TIFF."""
    if callable(content):
        path = folder / "a.tif"
        content(path)
    else:
        path = folder / "a.png"
        (content if isinstance(content, Image.Image) else Image.fromarray(content)).save(path)
    return path


BLACK, PAPER, RED, CYAN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 255)
GOOD = {
    "grey": WHITE,
    "one bit": Image.fromarray(OIL_THERE),
    "16 bit": ONES.astype(np.uint16) * np.uint16(65535),
    "16 bit of 255": WHITE.astype(np.uint16),
    "RGB": colours(PAPER),
    "opaque RGBA": np.dstack([WHITE] * 3 + [OPAQUE]),
    "grey with opaque alpha": Image.fromarray(np.dstack([WHITE, OPAQUE]), "LA"),
    "palette of black and white": palette(BLACK, PAPER),
    "TIFF": tiff(WHITE),
    "TIFF whose black is no data": tiff(WHITE, nodata=0),
    "TIFF of one bit": tiff(ONES, nbits=1),
    "TIFF in real numbers": tiff(WHITE.astype(np.float32)),
    "TIFF RGBA": tiff(WHITE, WHITE, WHITE, OPAQUE, photometric="rgb", alpha="yes"),
    "TIFF with a palette": tiff(ONES, photometric="palette", colormap={0: (*BLACK, 255), 1: (*PAPER, 255)}),
}
BAD = {
    "0 and 1": (ONES, "holds 0 and 1;"),
    "class indices": (ONES + 4 * np.uint8(np.arange(32)[:, None] > 25), "holds 0, 1 and 4;"),
    "0 and 100": (ONES * np.uint8(100), "holds 0 and 100;"),
    "0 and 127": (ONES * np.uint8(127), "holds 0 and 127;"),
    "three greys": (np.where(OIL_THERE, 255, 127 * (np.arange(40) > 35)).astype(np.uint8), "holds 0, 127 and 255;"),
    "many greys": (np.arange(40, dtype=np.uint8)[None].repeat(32, 0), "holds 0, 1, 2, 3, 4, 5 and 34 more;"),
    "16 bit of 0 and 1": (ONES.astype(np.uint16), "holds 0 and 1;"),
    "red": (colours(RED), r"holds the colours \(0, 0, 0\) and \(255, 0, 0\);"),
    "blue": (colours((0, 0, 255)), r"holds the colours \(0, 0, 0\) and \(0, 0, 255\);"),
    "cyan": (colours(CYAN), r"\(0, 255, 255\);"),
    "palette of black and red": (palette(BLACK, RED), r"\(255, 0, 0\);"),
    "palette of black and dark red": (palette(BLACK, (128, 0, 0)), r"\(128, 0, 0\);"),
    "palette of white and black": (palette(PAPER, BLACK), "its palette"),
    "palette of black alone": (palette(BLACK, BLACK), "its palette"),
    "white, oil in alpha": (np.dstack([OPAQUE] * 3 + [WHITE]), "partly transparent"),
    "black, oil in alpha": (np.dstack([0 * WHITE] * 3 + [WHITE]), "partly transparent"),
    "TIFF of 0 and 1 whose 0 is no data": (tiff(ONES, nodata=0), "holds 0 and 1;"),
    "TIFF whose white is no data": (tiff(WHITE, nodata=255), "declared no data"),
    "TIFF in real numbers of 0 to 1": (tiff(ONES.astype(np.float32)), "holds 0 and 1;"),
    "TIFF with not a number": (tiff(np.where(OIL_THERE, 255, np.nan).astype(np.float32)), "holds 255 and nan;"),
    "TIFF with a red palette": (
        tiff(ONES, photometric="palette", colormap={0: (*BLACK, 255), 1: (*RED, 255)}),
        r"\(255, 0, 0\);",
    ),
    "TIFF in red": (tiff(WHITE, 0 * WHITE, 0 * WHITE, photometric="rgb"), r"\(255, 0, 0\);"),
    "TIFF of two bands": (tiff(WHITE, WHITE), "2 bands that are no colours"),
}


@pytest.mark.parametrize("name", GOOD)
def test_white_on_black_is_oil_however_it_is_stored(name: str, tmp_path: Path) -> None:
    labels = mask_labels(written(tmp_path, GOOD[name]))
    np.testing.assert_array_equal(labels, np.where(OIL_THERE, OIL, NOT_OIL))


@pytest.mark.parametrize("name", BAD)
def test_any_other_mask_is_refused_with_what_it_holds(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    with pytest.raises(UnreadableInput, match=rf"a\.(png|tif): .*{message}"):
        mask_labels(written(tmp_path, content))


@pytest.mark.parametrize("level", [1, 60, 100, 150])
def test_greys_are_no_compressed_black_and_white(level: int, tmp_path: Path) -> None:
    Image.fromarray(ONES * np.uint8(level)).save(tmp_path / "a.jpg", quality=90)
    with pytest.raises(UnreadableInput, match=r"a\.jpg: holds 0, 1"):
        mask_labels(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("table", "content"),
    [
        ({"sea": 0, "oil": 1}, ONES),
        ({"sea": 0, "oil": 100, "land": 4}, ONES * np.uint8(100)),
        ({"sea": 0, "oil": 1}, palette(RED, BLACK)),
        ({"sea": [0, 0, 0], "oil": [255, 0, 0], "look-alike": [0, 255, 0]}, palette(BLACK, RED)),
        ({"sea": [0, 0, 0], "oil": [0, 255, 255]}, colours(CYAN)),
        ({"not oil": 0, "oil": 1}, tiff(ONES, nodata=0)),
    ],
)
def test_a_class_table_says_what_values_and_colours_mean(table, content, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "test" / kind).mkdir(parents=True)
    written(tmp_path / "test" / "images", WHITE)
    written(tmp_path / "test" / "masks", content)
    (tmp_path / "classes.json").write_text(json.dumps(table))
    images = open_dataset(str(tmp_path)).test
    np.testing.assert_array_equal(images.grey(0)[1] == OIL, OIL_THERE)
    assert fingerprint(images) != fingerprint(image_mask_folder(tmp_path / "test"))


def test_what_a_class_table_does_not_name_is_refused_and_no_data_is_ignored(tmp_path: Path) -> None:
    labels = (ONES + 2 * np.uint8(np.arange(32)[:, None] > 25)).astype(np.uint8)
    path = written(tmp_path, labels)
    with pytest.raises(UnreadableInput, match=r"holds 2; .*classes\.json"):
        mask_labels(path, (((0,), NOT_OIL), ((1,), OIL)))
    with pytest.raises(UnreadableInput, match=r"holds the colours \(1, 1, 1\) and \(2, 2, 2\);"):
        mask_labels(path, (((0, 0, 0), NOT_OIL),))
    read = mask_labels(path, (((0,), NOT_OIL), ((1,), OIL), ((2,), IGNORE)))
    np.testing.assert_array_equal(read == IGNORE, labels == 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a table"),
        ("[1]", "not a table"),
        ('{"slick": 1}', "unknown class 'slick'; choose from sea, oil"),
        ('{"sea": 1, "oil": 1}', "not all different"),
        ('{"sea": 0, "oil": [0, 1, 2]}', "or all colours"),
        ('{"sea": 0, "oil": "red"}', "not all different integers"),
        ("{}", "not all different integers"),
    ],
)
def test_bad_class_tables(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    written(tmp_path / "images", WHITE)
    (tmp_path / "masks").mkdir()
    written(tmp_path / "masks", WHITE)
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(UnreadableInput, match=rf"classes\.json: .*{message}"):
        image_mask_folder(tmp_path)


def test_transparent_labels_in_the_colours_of_osd_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, np.dstack([colours(CYAN), WHITE]))
    with pytest.raises(UnreadableInput, match="partly transparent"):
        colour_labels(path)


GREY = np.random.default_rng(0).integers(1, 200, OIL_THERE.shape).astype(np.uint8)
RAMP = {index: (index, index, index, 255) for index in range(256)}
CHIPS = {
    "grey": GREY,
    "grey and alpha": Image.fromarray(np.dstack([GREY, OPAQUE]), "LA"),
    "RGB": np.dstack([GREY] * 3),
    "RGBA": np.dstack([GREY] * 3 + [OPAQUE]),
    "palette": Image.fromarray(GREY).convert("P"),
    "TIFF": tiff(GREY),
    "TIFF RGB": tiff(GREY, GREY, GREY, photometric="rgb"),
    "TIFF RGBA": tiff(GREY, GREY, GREY, OPAQUE, photometric="rgb", alpha="yes"),
    "TIFF grey and alpha": tiff(GREY, OPAQUE, alpha="yes"),
    "TIFF palette": tiff(GREY, photometric="palette", colormap=RAMP),
    "TIFF with white as 0": tiff(255 - GREY, photometric="miniswhite"),
    "TIFF in real numbers": tiff(GREY.astype(np.float32)),
}


@pytest.mark.parametrize("name", CHIPS)
def test_every_arrangement_of_bands_is_the_same_image(name: str, tmp_path: Path) -> None:
    grey, eight_bits = read_grey(written(tmp_path, CHIPS[name]))
    np.testing.assert_array_equal(grey, GREY)
    assert eight_bits == ("real numbers" not in name)


@pytest.mark.parametrize(
    "content",
    [
        np.dstack([GREY] * 3 + [WHITE]),
        Image.fromarray(np.dstack([GREY, WHITE]), "LA"),
        tiff(GREY, GREY, GREY, WHITE, photometric="rgb", alpha="yes"),
        tiff(GREY, WHITE, alpha="yes"),
        tiff(np.where(OIL_THERE, GREY, 0), nodata=0),
    ],
)
def test_what_is_transparent_is_no_data(content, tmp_path: Path) -> None:
    grey, _ = read_grey(written(tmp_path, content))
    np.testing.assert_array_equal(grey, np.where(OIL_THERE, GREY, np.nan))


def test_a_transparent_grey_of_16_bits_is_no_data(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * np.uint16(257)).save(
        tmp_path / "a.png", transparency=257 * int(GREY[3, 4])
    )
    grey, eight_bits = read_grey(tmp_path / "a.png")
    np.testing.assert_array_equal(np.isnan(grey), GREY[3, 4] == GREY)
    assert not eight_bits


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.dstack([GREY, GREY // 2, GREY // 4]), "is in colours"),
        (palette(BLACK, RED), "is in colours"),
        (tiff(GREY, GREY // 2, GREY // 4, photometric="rgb"), "is in colours"),
        (tiff(GREY, photometric="palette", colormap={1: (*RED, 255)}), "is in colours"),
        (tiff(*[GREY.astype(np.float32) / part for part in (1, 4, 9)]), "has 3 bands that are no colours"),
        (tiff(GREY, GREY // 2), "has 2 bands that are no colours"),
        (tiff(*[GREY.astype(np.uint16)] * 4, photometric="minisblack"), "has 4 bands that are no colours"),
    ],
)
def test_colours_and_bands_of_something_else_are_refused(content, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match=rf"a\.(png|tif): {message}"):
        read_grey(written(tmp_path, content))


def test_grey_compressed_in_colours_is_grey(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([GREY] * 3)).save(tmp_path / "a.jpg", quality=60)
    grey, _ = read_grey(tmp_path / "a.jpg")
    assert np.abs(grey - GREY).mean() < 20


@pytest.mark.skipif(not CASES.is_dir(), reason="no cases at ../shared/data/cases")
def test_the_images_at_hand_are_one_image_and_its_mask_is_read() -> None:
    folder = CASES / "02-masks-and-images"
    images = [read_grey(folder / name)[0] for name in ("grey.png", "rgba.png", "tgrey.tif", "trgba.tif")]
    for image in images[1:]:
        np.testing.assert_array_equal(image, images[0])
    labels = mask_labels(folder / "truth.png")
    assert set(np.unique(labels)) == {OIL, NOT_OIL}
