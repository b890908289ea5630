"""The tiles and documents of the map."""

import gzip
import hashlib
import io
import json

import mapbox_vector_tile
import numpy as np
import pytest
from PIL import Image
from pyproj import Transformer
from shapely.geometry import shape

from service.assets import FOLDER, PACKED
from service.mercator import Tile
from service.radar_tiles import picture_tile
from tests.support.catalogue_results import SCENE
from tests.support.map_images import EAST, NORTH, SOUTH, SPOT, WEST, write_images

MERCATOR = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
HALF = 20037508.342789244  # m, half of the world's width in Web Mercator


def tile_of(longitude, latitude, zoom):
    """The tile of a place, and where in it the place lies, 0 to 1, by PROJ."""
    x, y = MERCATOR.transform(longitude, latitude)
    across, down = (x + HALF) / (2 * HALF) * 2**zoom, (HALF - y) / (2 * HALF) * 2**zoom
    return Tile.of(zoom, int(across), int(down)), (across % 1, down % 1)


def path(layer, tile, kind="mvt"):
    return f"/map/{layer}/{tile.zoom}/{tile.x}/{tile.y}.{kind}"


@pytest.mark.parametrize("place", [SPOT, (-179.99, -60.0), (0.0, 0.0), (100.0, 84.9)])
@pytest.mark.parametrize("zoom", [1, 9, 18])
def test_a_tile_lies_where_web_mercator_says(place, zoom):
    tile, at = tile_of(*place, zoom)
    assert tile.places(np.array([place]))[0] == pytest.approx(at, abs=1e-4)
    assert np.array(tile.lonlat(*at)) == pytest.approx(np.array(place), abs=1e-6)


def pixels(picture, tile, folder):
    return np.asarray(Image.open(io.BytesIO(picture_tile(picture, tile, [folder]))).convert("RGBA")).astype(int)


def test_pictures_lie_where_their_control_points_say(tmp_path):
    write_images(tmp_path)
    tile, (across, down) = tile_of(*SPOT, 9)
    column, row = int(across * 256), int(down * 256)
    radar = pixels("radar", tile, tmp_path)
    dark = radar[..., 0] < 60
    rows, columns = np.nonzero(dark & (radar[..., 3] == 255))
    assert (rows.mean(), columns.mean()) == (pytest.approx(row, abs=2), pytest.approx(column, abs=2))
    x, _ = MERCATOR.transform([0, 41 * 0.005], [0, 0])
    assert np.ptp(columns) == pytest.approx((x[1] - x[0]) / (2 * HALF) * 2**9 * 256, abs=4)
    oil = pixels("probability", tile, tmp_path)
    assert oil[row, column, 3] > 150
    assert oil[row, column, 2] > oil[row, column, 1]
    assert np.mean(oil[..., 3][~dark] > 0) < 0.02  # at the block's edge


def test_beyond_the_image_and_without_data_a_picture_is_clear(tmp_path):
    write_images(tmp_path)
    tile, (_, down) = tile_of(3.0, SOUTH + 0.1, 8)
    shown = pixels("radar", tile, tmp_path)
    assert shown[int(down * 256), 128, 3] == 0
    assert picture_tile("radar", tile_of(EAST + 3, NORTH - 1, 9)[0], [tmp_path]) is None
    assert picture_tile("radar", tile, [tmp_path / "gone"]) is None


def test_slicks_of_a_tile_have_their_outlines_and_attributes(ask):
    tile, _ = tile_of(20.005, 57.005, 12)
    answer = ask(path("slicks", tile))
    assert answer.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    layer = mapbox_vector_tile.decode(answer.content, default_options={"y_coord_down": True})["slicks"]
    (feature,) = [one for one in layer["features"] if one["properties"]["id"] == "east"]
    places = np.array(shape(feature["geometry"]).exterior.coords) / layer["extent"]
    longitude, latitude = tile.lonlat(places[:, 0], places[:, 1])
    assert (longitude.min(), longitude.max()) == pytest.approx((20, 20.01), abs=1e-4)
    assert (latitude.min(), latitude.max()) == pytest.approx((57, 57.01), abs=1e-4)
    assert feature["properties"]["class"] == "oil"


def test_far_away_slicks_are_dots_that_count_those_near_by(ask):
    tile, _ = tile_of(2.5, 57.5, 3)
    layer = mapbox_vector_tile.decode(ask(path("slicks", tile)).content)["slicks"]
    assert {feature["geometry"]["type"] for feature in layer["features"]} == {"Point"}
    all_of_it = ask("/collections/slicks/items?bbox=0,40.98,44.99,66.5&limit=1").json()["numberMatched"]
    assert sum(feature["properties"]["count"] for feature in layer["features"]) == all_of_it


def test_tiles_take_the_filters_of_items(ask):
    tile, _ = tile_of(2.5, 57.5, 3)
    counted = mapbox_vector_tile.decode(ask(f"{path('slicks', tile)}?filter=area_m2>=1100000").content)["slicks"]
    wanted = ask("/collections/slicks/items?filter=area_m2>=1100000&bbox=0,40,45,67&limit=1").json()["numberMatched"]
    assert sum(feature["properties"]["count"] for feature in counted["features"]) == wanted > 0


def test_a_browser_keeps_a_tile_until_the_catalogue_changes(ask):
    tile, _ = tile_of(2.5, 57.5, 3)
    tag = ask(path("slicks", tile)).headers["etag"]
    assert ask(path("slicks", tile), {"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("/map/slicks/3/8/1.mvt", 404), ("/map/slicks/23/0/0.mvt", 404), ("/map/oil/3/1/1.mvt", 404),
        ("/map/slicks/3/1/1.mvt?filter=nonsense(", 400), ("/map/slicks/3/1/1.mvt?datetime=then", 400),
        ("/map/slicks/3/1/1.mvt?limit=3", 400), ("/map/picture/5/1/1.png", 404), ("/map/land/2/1/1.mvt", 404),
        ("/map/scenes?bbox=1,2,3", 400), ("/map?x=1", 400), ("/static/vendor/nothing.mjs", 404),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_told(ask, asked, status):
    assert ask(asked).status_code == status


def test_the_page_knows_colours_and_attributes_and_where_things_lie(ask):
    answer = ask("/map")
    assert answer.headers["content-type"].startswith("text/html")
    known = json.loads(answer.text.split('id="known">')[1].split("</script>")[0])
    assert {one["name"] for one in known["collections"]["slicks"]} >= {"area_m2", "confidence_mean", "status"}
    summary = ask("/map/summary").json()
    assert (summary["scenes"], summary["slicks"], summary["wind"]) == (3, 123, False)
    assert summary["bounds"] == [WEST, SOUTH, EAST, NORTH]
    assert ask(f"/map/scenes?scene={SCENE.id}").json()["scenes"][0]["slick_count"] == 120


def test_files_of_others_are_those_that_were_taken(ask):
    record = json.loads((FOLDER / "vendor" / "vendored.json").read_text())
    for name, one in record.items():
        packed = PACKED.get(f"vendor/{name}")
        content = (FOLDER / "vendor" / name).read_bytes() if packed is None else gzip.decompress(packed.read_bytes())
        assert hashlib.sha256(content).hexdigest() == one["sha256"]
    name = "maplibre-gl.mjs"
    plain = ask(f"/static/vendor/{name}", {"Accept-Encoding": "identity"})
    assert (
        hashlib.sha256(plain.content).hexdigest()
        == record[name]["sha256"]
        == hashlib.sha256(ask(f"/static/vendor/{name}", {"Accept-Encoding": "gzip"}).content).hexdigest()
    )
    assert plain.headers["content-type"].startswith("text/javascript")
