import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ingest.errors import StorageError
from outputs.map_frame import Frame, canvas, degree_text, draw_graticule, turn
from outputs.options import SlickOptions
from outputs.quicklook import write_comparison, write_quicklook
from outputs.slicks import find_slicks
from outputs.style import LOOKS
from tests.support.full_disk import full_after
from tests.support.slick_scenes import PROCESSED_AT, probabilities, scene

SHAPE = (400, 600)


def draw(path, *, heading=193.0, shape=SHAPE, oil=True, centre=(3.0, 58.0)):
    """A quick look of a scene with one slick near its first line and pixel; returns its RGB."""
    rng = np.random.default_rng(2)
    plane, ground = np.zeros((2, *shape))
    if oil:
        plane[shape[0] // 10 : shape[0] // 4, shape[1] // 10 : shape[1] // 4] = 0.95
    ground[-shape[0] // 5 :, -shape[1] // 5 :] = 0.99
    power = np.where(plane > 0, 0.005, 0.05) * rng.gamma(20, 0.05, shape)
    power[:, shape[1] // 2 : shape[1] // 2 + 5] = np.nan
    classes = probabilities(oil=np.where(np.isnan(power), np.nan, plane), land=ground)
    calibrated = scene(power, heading=heading, centre=centre)
    slicks = find_slicks(
        classes, calibrated, land=None, options=SlickOptions(), model_id="m", processed_at=PROCESSED_AT
    )
    write_quicklook(calibrated, classes, slicks, path)
    return image.imread(path)[..., :3]


def outlined(picture):
    """Centre (right, down), 0..1, of the pixels in the colour of oil found with high confidence."""
    colour = LOOKS[0].colour
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    rows, columns = np.nonzero(np.abs(picture - (red, green, blue)).max(axis=2) < 0.02)
    above_legend = rows < picture.shape[0] - 60
    return columns[above_legend].mean() / picture.shape[1], rows[above_legend].mean() / picture.shape[0]


@pytest.mark.parametrize(
    ("heading", "right", "down"),
    [(-13.0, 0.17, 0.81), (193.0, 0.83, 0.27)],  # ascending: first line in the south, near range in the west
)
def test_north_is_up_and_east_is_right(tmp_path, heading, right, down):
    assert outlined(draw(tmp_path / "q.png", heading=heading)) == pytest.approx((right, down), abs=0.03)


@pytest.mark.parametrize("shape", [(400, 600), (3100, 500), (60, 90), (500, 1500)])
def test_the_picture_is_at_most_1600_pixels(tmp_path, shape):
    picture = draw(tmp_path / "q.png", shape=shape)
    assert 800 <= max(picture.shape) <= 1600


def test_a_clean_scene_has_a_picture_without_outlines(tmp_path):
    picture = draw(tmp_path / "q.png", oil=False)
    with np.errstate(invalid="ignore"), pytest.warns(RuntimeWarning):
        assert np.isnan(outlined(picture)).all()


def test_a_scene_across_the_antimeridian_is_drawn_whole(tmp_path):
    here, there = draw(tmp_path / "a.png"), draw(tmp_path / "b.png", centre=(180.0, 58.0))
    assert outlined(there) == pytest.approx(outlined(here), abs=0.005)


def test_the_same_scene_gives_the_same_bytes(tmp_path):
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_full_disk_is_a_storage_error(tmp_path):
    with full_after(5000), pytest.raises(StorageError):
        draw(tmp_path / "q.png")
    assert [*tmp_path.iterdir()] == []


def test_what_was_found_missed_and_falsely_found_is_told_apart(tmp_path):
    oil, published = np.zeros((2, *SHAPE), bool)
    oil[50:150, 100:300], published[50:150, 200:400] = True, True
    calibrated = scene(np.full(SHAPE, 0.05))
    slicks = find_slicks(
        probabilities(oil=np.where(published, 0.9, 0.0)), calibrated, land=None, options=SlickOptions(), model_id="m",
        processed_at=PROCESSED_AT,
    )  # fmt: skip
    write_comparison(calibrated, slicks, oil, published, "found 1 of 1", tmp_path / "c.png")
    red, green, blue = np.moveaxis(image.imread(tmp_path / "c.png")[..., :3], -1, 0)
    upper = slice(0, -60)  # above the legend
    areas = [
        np.count_nonzero(one[upper] - np.maximum(two, three)[upper] > 0.15)
        for one, two, three in ((green, red, blue), (blue, red, green), (red, green, blue))
    ]
    assert min(areas) > 1000
    assert max(areas) < 1.3 * min(areas)


@pytest.mark.parametrize(
    ("value", "letters", "text"),
    [
        (12.5, "EW", "12\N{DEGREE SIGN}30'E"),
        (-0.25, "NS", "0\N{DEGREE SIGN}15'S"),
        (181, "EW", "179\N{DEGREE SIGN}00'W"),
    ],
)
def test_degrees_are_written_with_minutes_and_hemisphere(value, letters, text):
    assert degree_text(value, letters) == text


@pytest.mark.parametrize(("centre", "heading"), [((3.0, 58.0), 193.0), ((3.0, 75.0), 150.0), ((180.0, -20.0), -13.0)])
def test_labels_of_the_graticule_are_in_the_picture_and_on_no_other(centre, heading):
    grid = scene(np.full((400, 500), 0.05), centre=centre, heading=heading).grid
    frame = Frame.of(grid)
    figure, axes = canvas(frame)
    draw_graticule(axes, frame, grid)
    turn(axes, frame)
    FigureCanvasAgg(figure).draw()
    assert {text.get_text()[-1] for text in axes.texts} >= {"E", "N" if centre[1] > 0 else "S"}
    boxes = [text.get_window_extent() for text in axes.texts]
    picture = axes.get_window_extent()
    for number, box in enumerate(boxes):
        assert picture.x0 <= box.x0 < box.x1 <= picture.x1
        assert picture.y0 <= box.y0 < box.y1 <= picture.y1
        assert not any(box.overlaps(other) for other in boxes[:number])
