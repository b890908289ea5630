import struct
import xml.etree.ElementTree as ET
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from rasterio.transform import GCPTransformer
from rasterio.vrt import WarpedVRT

from ingest.errors import StorageError
from outputs.rasters import (
    control_points,
    probability_to_byte,
    write_backscatter_cog,
    write_probability_cog,
    write_probability_style,
    write_sigma_nought,
)
from tests.support.full_disk import full_after
from tests.support.slick_scenes import CLASSES, NAME, coordinates, image_grid, probabilities, scene

SHAPE = (700, 1100)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A probability COG with what went into it."""
    rng = np.random.default_rng(3)
    oil = np.kron(rng.random((70, 110)), np.ones((10, 10))) * 0.8
    oil[:, :30] = np.nan
    classes = probabilities(oil=oil, ship=oil * 0.1)
    calibrated = scene(np.full(SHAPE, 0.05))
    path = tmp_path_factory.mktemp("cog") / "class_probability.tif"
    write_probability_cog(classes, calibrated, path)
    return path, classes, calibrated


def test_backscatter_is_what_was_analysed_in_decibels(tmp_path):
    rng = np.random.default_rng(4)
    power = 10 ** (rng.uniform(-39, 9, SHAPE) / 10)
    power[:50], power[60:70] = np.nan, 0.0
    write_backscatter_cog(scene(power), tmp_path / "s.tif")
    with rasterio.open(tmp_path / "s.tif") as file:
        assert file.descriptions == ("sigma nought VV",)
        assert file.overviews(1)
        stored = file.read(1)
        decibels = stored * file.scales[0] + file.offsets[0]
    assert (stored[:50] == 255).all()
    assert (decibels[60:70] == -40).all()
    np.testing.assert_allclose(decibels[70:], 10 * np.log10(power[70:]), atol=0.101)


def directories(path):
    """Offset, width and offsets of the tiles of every image directory of a little-endian classic TIFF."""
    content = path.read_bytes()
    order, magic, offset = struct.unpack_from("<2sHI", content)
    assert (order, magic) == (b"II", 42)
    found = []
    while offset:
        (entries,) = struct.unpack_from("<H", content, offset)
        tags = {}
        for i in range(entries):
            tag, kind, count, value = struct.unpack_from("<HHII", content, offset + 2 + 12 * i)
            size = {3: "H", 4: "I"}.get(kind)
            if size:
                where = value if count * struct.calcsize(size) > 4 else offset + 2 + 12 * i + 8
                tags[tag] = struct.unpack_from(f"<{count}{size}", content, where)
        found.append((offset, tags[256][0], tags[324]))
        (offset,) = struct.unpack_from("<I", content, offset + 2 + 12 * entries)
    return found, content


def test_the_cog_has_its_directories_first_and_its_overviews_before_the_image(written):
    found, content = directories(written[0])
    assert b"LAYOUT=IFDS_BEFORE_DATA" in content[:400]
    offsets, widths, tiles = zip(*found, strict=True)
    assert widths == (1100, 550, 275)
    assert list(offsets) == sorted(offsets)
    data = [offset for some in tiles for offset in some if offset]
    assert max(offsets) < min(data)
    for finer, coarser in pairwise(tiles):
        assert max(coarser) < min(finer)


def test_bands_carry_the_probabilities_of_the_classes(written):
    path, classes, _ = written
    with rasterio.open(path) as raster:
        assert raster.descriptions == CLASSES
        assert raster.nodata == 255
        assert raster.dtypes == ("uint8",) * 5
        assert raster.scales == pytest.approx((0.004,) * 5)
        assert raster.offsets == (0.0,) * 5
        assert raster.block_shapes == [(512, 512)] * 5
        assert raster.tags()["SCENE_ID"] == NAME
        read = raster.read(masked=True)
        values = read.astype(np.float64).filled(np.nan) * np.array(raster.scales)[:, None, None]
    assert np.array_equal(np.isnan(values), np.isnan(classes.values))
    assert np.nanmax(np.abs(values - classes.values)) <= 0.002 + 1e-6


def test_overviews_average_what_is_there_and_leave_no_data_out(written):
    path, classes, _ = written
    with rasterio.open(path, overview_level=0) as raster:
        half = raster.read(2, masked=True).filled(255).astype(float)
    fine = probability_to_byte(classes.values[1]).astype(float)
    expected = fine.reshape(350, 2, 550, 2).mean(axis=(1, 3))
    assert np.abs(half - expected).max() <= 0.51


@given(st.floats(0.0, 1.0) | st.just(np.nan))
def test_a_byte_is_within_half_a_step_of_its_probability(probability):
    (byte,) = probability_to_byte(np.array([probability]))
    if np.isnan(probability):
        assert byte == 255
    else:
        assert byte <= 250
        assert abs(byte / 250 - probability) <= 0.002 + 1e-12


@pytest.mark.parametrize(
    ("centre", "projection"),
    [
        ((3.0, 58.0), "EPSG:32631"),
        ((3.0, 76.0), "EPSG:32631"),
        ((-91.0, -25.0), "EPSG:32715"),
        ((180.0, -40.0), "EPSG:4326"),
        ((-179.999, 10.0), "EPSG:4326"),
        ((20.0, 85.0), "EPSG:32661"),
        ((180.0, 86.0), "EPSG:32661"),
        ((150.0, -81.0), "EPSG:32761"),
    ],
)
def test_control_points_put_the_raster_where_the_geolocation_does(tmp_path, centre, projection):
    calibrated = scene(np.full((60, 80), 0.05), centre=centre)
    path = tmp_path / "s.tif"
    write_sigma_nought(calibrated.sigma_nought[0], path, calibrated.grid)
    row, column = np.array([0.0, 30.0, 59.0]), np.array([0.0, 17.0, 79.0])
    with rasterio.open(path) as raster:
        points, crs = raster.gcps
        assert crs == projection
        with GCPTransformer(points) as transformer:
            x, y = transformer.xy(row, column, offset="center")
    line, pixel = coordinates((60, 80)).values()
    longitude, latitude = calibrated.grid.geolocation.lonlat(line[row.astype(int)], pixel[column.astype(int)])
    x, y = Transformer.from_crs(projection, "EPSG:4326", always_xy=True).transform(x, y)
    away = Geod(ellps="WGS84").inv(np.array(x), np.array(y), longitude, latitude)[2]
    assert away.max() < 1.0


@pytest.mark.parametrize("latitude", [0.0, 60.0, 76.0])
def test_a_second_order_polynomial_fits_a_whole_swath(latitude):
    """In degrees, the polynomial that readers lay through the points is over 100 m off in the Barents Sea."""
    grid = image_grid(16_700, 25_400, (30.0, latitude))
    assert grid.shape == (4175, 6350)
    points, projection = control_points(grid)
    rng = np.random.default_rng(7)
    row, column = rng.uniform(0, 4175, 300), rng.uniform(0, 6350, 300)
    longitude, latitudes = grid.geolocation.lonlat(row * 4 - 0.5, column * 4 - 0.5)
    x, y = Transformer.from_crs("EPSG:4326", projection, always_xy=True).transform(longitude, latitudes)
    with GCPTransformer(points) as transformer:
        east, north = map(np.array, transformer.xy(list(row), list(column), offset="ul"))
    assert np.hypot(east - x, north - y).max() < 20.0


def test_a_gis_that_warps_by_control_points_shows_the_slick_in_place(written):
    path, classes, calibrated = written
    with rasterio.open(path) as raster, WarpedVRT(raster, crs="EPSG:4326", src_crs=raster.gcps[1]) as warped:
        shown = warped.read(2)
        rows, columns = np.nonzero(shown != 255)
        some = np.random.default_rng(0).choice(len(rows), 500, replace=False)
        x, y = map(np.array, warped.xy(rows[some], columns[some]))
    line, pixel = calibrated.grid.geolocation.line_pixel(x, y)
    i, j = np.rint((line - 1.5) / 4).astype(int), np.rint((pixel - 1.5) / 4).astype(int)
    inside = (i >= 0) & (i < SHAPE[0]) & (j >= 0) & (j < SHAPE[1])
    expected = probability_to_byte(classes.values[1])[i[inside], j[inside]]
    assert np.mean(shown[rows[some], columns[some]][inside] == expected) > 0.8  # the rest are at borders of cells


def test_sigma_nought_is_written_strip_by_strip(tmp_path):
    rng = np.random.default_rng(1)
    values = rng.gamma(4, 0.01, (333, 128)).astype(np.float32)
    values[10:20, 5:9] = np.nan
    computed = []

    def strip(block_info=None):
        (first, last), _ = block_info[None]["array-location"]
        computed.append(first)
        return values[first:last]

    lazy = da.map_blocks(strip, chunks=((100, 100, 100, 33), (128,)), dtype="f4", meta=np.empty((0, 0), "f4"))
    grid = xr.DataArray(lazy, dims=("line", "pixel"), coords=coordinates(values.shape, (1, 1)))
    path = tmp_path / "sigma_nought.tif"
    grid = grid.assign_coords(polarisation="VH").assign_attrs(flags=("no noise table", "odd"))
    write_sigma_nought(grid, path, image_grid(333, 128, looks=(1, 1)))
    assert computed == [0, 100, 200, 300]
    with rasterio.open(path) as raster:
        assert raster.tags()["FLAGS"] == "no noise table; odd"
        assert np.isnan(raster.nodata)
        assert raster.units == ("m2 m-2",)
        assert raster.descriptions == ("sigma nought VH",)
        assert np.array_equal(raster.read(1), values, equal_nan=True)


@pytest.mark.parametrize("room", [0, 3000, 100_000])
def test_a_full_disk_is_a_storage_error_and_leaves_nothing(tmp_path, room):
    rng = np.random.default_rng(1)
    calibrated = scene(np.full((300, 400), 0.05))
    classes = probabilities(oil=rng.random((300, 400)))
    with full_after(room), pytest.raises(StorageError):
        write_probability_cog(classes, calibrated, tmp_path / "p.tif")
    # GDAL's own reason is to be shown, not rasterio's "See previous exception for details".
    with full_after(room), pytest.raises(StorageError, match=r"^((?!previous exception).)*$"):
        write_sigma_nought(calibrated.sigma_nought[0], tmp_path / "s.tif", calibrated.grid)
    assert [*tmp_path.iterdir()] == []


def test_the_style_shows_the_probability_of_oil_over_its_range(tmp_path):
    write_probability_style(CLASSES, tmp_path / "class_probability.qml")
    (renderer,) = ET.fromstring((tmp_path / "class_probability.qml").read_text().partition("\n")[2]).iter(
        "rasterrenderer"
    )
    assert int(renderer.get("band")) == CLASSES.index("oil") + 1
    items = [(float(item.get("value")), int(item.get("alpha"))) for item in renderer.iter("item")]
    assert items == sorted(items)
    assert (items[0], items[-1]) == ((0.0, 0), (1.0, 255))
