"""Layers of segmented chips that lie somewhere on Earth."""

import re

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from pyproj import Geod
from rasterio.crs import CRS

from outputs.chips import Place, place_of, write_chip_slicks, write_class_map

PLACE = Place(Affine(40, 0, 500_000, 0, -40, 4_000_000), CRS.from_epsg(32631))
CLASSES = np.zeros((60, 80), np.uint8)
CLASSES[10:20, 30:60] = 1
CLASSES[40:45, 5:10] = 1
CLASSES[50:, 70:] = 255


def test_a_class_map_lies_where_its_image_does(tmp_path):
    write_class_map(CLASSES, PLACE, {0: (1, 2, 3), 1: (200, 10, 10)}, tmp_path / "a.tif")
    assert place_of(tmp_path / "a.tif") == PLACE
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(1), CLASSES)
        assert file.nodata == 255
        assert file.colormap(1)[1][:3] == (200, 10, 10)


def test_oil_becomes_polygons_in_longitude_and_latitude(tmp_path):
    assert write_chip_slicks(CLASSES == 1, PLACE, tmp_path / "a.geojson") == 2
    decimals = [len(number) for number in re.findall(r"\d\.(\d+)", (tmp_path / "a.geojson").read_text())]
    assert max(decimals) == 6
    slicks = gpd.read_file(tmp_path / "a.geojson")
    assert slicks.cells.tolist() == [300, 25]
    area = abs(Geod(ellps="WGS84").geometry_area_perimeter(slicks.geometry[0])[0])
    assert area == pytest.approx(300 * 1600, rel=0.002)  # UTM's scale is 0.9996 at its meridian
    west, south, east, north = slicks.total_bounds
    assert (west, north) == pytest.approx((3.0022, 36.1420), abs=0.002)
    assert east > west
    assert south < north


def test_no_oil_gives_a_valid_empty_layer(tmp_path):
    assert write_chip_slicks(CLASSES == 7, PLACE, tmp_path / "a.geojson") == 0
    assert gpd.read_file(tmp_path / "a.geojson").empty


def test_a_plain_picture_lies_nowhere(tmp_path):
    Image.fromarray(CLASSES).save(tmp_path / "a.png")
    assert place_of(tmp_path / "a.png") is None
