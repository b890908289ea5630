from dataclasses import replace

import numpy as np
import pytest
import shapely
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyproj import Geod
from rasterio import features
from scipy import ndimage

from ingest.errors import UsageError
from outputs.attributes import ATTRIBUTES, slick_table
from outputs.measurements import ring_around
from outputs.options import SlickOptions
from outputs.outlines import polygonise
from outputs.slicks import candidate_table, find_slicks
from tests.support.slick_scenes import PROCESSED_AT, coordinates, image_grid, probabilities, scene

CELL = 40.0  # m
SHAPE = (90, 120)
SMALL = SlickOptions(minimum_area_m2=0.0)


def find(probability, calibrated=None, *, land=None, options=SMALL, model_id="model", **more):
    if calibrated is None:
        calibrated = scene(np.full(probability.shape[1:], 0.05))
    return find_slicks(
        probability, calibrated, land=land, options=options, model_id=model_id, processed_at=PROCESSED_AT, **more
    )


def cells_of(slicks, calibrated, shape=SHAPE) -> np.ndarray:
    """Number of slicks on each cell, from their lon/lat outlines."""
    line, pixel = np.meshgrid(*coordinates(shape).values(), indexing="ij")
    points = shapely.points(*calibrated.grid.geolocation.lonlat(line, pixel))
    return sum((shapely.contains(outline, points).astype(int) for outline in slicks.geometry), np.zeros(shape, int))


@given(hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))), st.integers(1, 5), st.integers(1, 5))
def test_rasterising_the_polygons_gives_the_cells_back(cells, a, r):
    transform = Affine(r, 0, 3 * r - 0.5, 0, a, 5 * a - 0.5)
    outline = polygonise(cells, transform)
    assert outline.is_valid
    assert outline.area == cells.sum() * a * r
    assert len(outline.geoms) == ndimage.label(cells)[1]
    shapes = [(outline, 1)] if cells.any() else [(shapely.box(-9, -9, -8, -8), 1)]
    assert np.array_equal(features.rasterize(shapes, cells.shape, transform=transform).astype(bool), cells)


@settings(deadline=None, max_examples=25)
@given(
    hnp.arrays(np.float32, (12, 16), elements=st.sampled_from([0.0, 0.2, 0.35, 0.55, 0.8, np.nan])),
    hnp.arrays(bool, (12, 16)),
)
def test_slicks_are_the_hysteresis_groups_away_from_land_and_missing_data(oil, land):
    calibrated = scene(np.full(oil.shape, 0.05))
    slicks = find(probabilities(oil=oil), calibrated, land=land)
    groups, count = ndimage.label((oil >= 0.3) & ~land, np.ones((3, 3)))
    expected = [
        cells
        for k in range(1, count + 1)
        if ((groups == k) & (oil >= 0.7)).any() and (cells := (groups == k) & (oil >= 0.5)).any()
    ]
    assert len(slicks) == len(expected)
    assert slicks.geometry.is_valid.all()
    assert set(slicks.geom_type) <= {"MultiPolygon"}
    assert np.array_equal(cells_of(slicks, calibrated, oil.shape), sum(expected, np.zeros(oil.shape, int)))
    assert slicks.area_m2.sum() == pytest.approx(sum(c.sum() for c in expected) * CELL**2, rel=2e-3)


@settings(deadline=None, max_examples=20)
@given(hnp.arrays(bool, (9, 14)), st.sampled_from([(3.0, 58.0), (180.0, 10.0), (-70.0, -64.0)]))
def test_published_outlines_are_smooth_and_areas_those_of_the_cells(cells, centre):
    calibrated = scene(np.full(cells.shape, 0.05), centre=centre)
    slicks = find(probabilities(oil=np.where(cells, 0.9, 0.0)), calibrated)
    assert len(slicks) == ndimage.label(cells, np.ones((3, 3)))[1]
    assert slicks.geometry.is_valid.all()
    assert slicks.area_m2.sum() == pytest.approx(cells.sum() * CELL**2, rel=2e-3)
    places = shapely.get_coordinates(slicks.geometry.to_numpy())
    np.testing.assert_array_equal(places, np.round(places, 6))
    for outline in slicks.geometry:
        row, column = calibrated.grid.row_column(*shapely.get_coordinates(outline).T)
        edge = np.minimum(np.abs(row - np.round(row)), np.abs(column - np.round(column)))
        assert edge.max() < 0.3  # vertices lie near the middles of edges


def test_a_faint_bridge_makes_one_slick_of_two_patches_and_a_gap_makes_two():
    bridged, apart = np.zeros((2, *SHAPE))
    for plane in (bridged, apart):
        plane[20:30, 20:40] = 0.9
        plane[20:30, 50:70] = 0.6
    bridged[25, 40:50] = 0.35
    assert find(probabilities(oil=bridged)).part_count.tolist() == [2]
    assert find(probabilities(oil=apart)).part_count.tolist() == [1]  # the weaker one never reaches `keep`
    apart[22, 60] = 0.75
    assert len(find(probabilities(oil=apart))) == 2


def test_patches_that_touch_by_a_corner_are_one_slick():
    plane = np.zeros(SHAPE)
    plane[10:20, 10:20] = plane[20:30, 20:30] = 0.9
    slicks = find(probabilities(oil=plane))
    assert slicks.part_count.tolist() == [2]
    assert slicks.geometry[0].is_valid


def test_holes_stay_holes():
    plane = np.zeros(SHAPE)
    plane[20:50, 20:60] = 0.9
    plane[30:40, 30:50] = 0.1
    slick = find(probabilities(oil=plane)).iloc[0]
    assert len(slick.geometry.geoms[0].interiors) == 1
    assert slick.area_m2 == pytest.approx((30 * 40 - 10 * 20) * CELL**2, rel=2e-3)
    assert slick.perimeter_m == pytest.approx((2 * 70 + 2 * 30) * CELL, rel=2e-3)


def test_the_smallest_area_counts_geodesic_square_metres():
    plane = np.zeros(SHAPE)
    plane[10:20, 10:20] = 0.9
    area = find(probabilities(oil=plane)).area_m2[0]
    assert len(find(probabilities(oil=plane), options=replace(SMALL, minimum_area_m2=area * 0.999))) == 1
    assert len(find(probabilities(oil=plane), options=replace(SMALL, minimum_area_m2=area * 1.001))) == 0


def test_what_the_model_calls_land_is_no_slick():
    plane, ground = np.zeros((2, *SHAPE))
    plane[20:40, 20:60] = 0.75
    plane[20:40, 40:60], ground[20:40, 40:60] = 0.45, 0.55
    plane[20:40, 60:70], ground[20:40, 60:70] = 0.45, 0.40  # likelier oil than land, but too weak for the outline
    calibrated = scene(np.full(SHAPE, 0.05))
    slicks = find(probabilities(oil=plane, land=ground), calibrated)
    assert np.array_equal(cells_of(slicks, calibrated) > 0, plane == 0.75)
    assert slicks.edge_touching.tolist() == [True]


def test_the_last_cells_do_not_reach_beyond_the_image():
    plane = np.full((20, 30), 0.9)
    calibrated = replace(scene(np.full(plane.shape, 0.05)), grid=image_grid(78, 117))
    slick = find(probabilities(oil=plane), calibrated).iloc[0]
    image = calibrated.grid.geolocation.footprint(78, 117)
    assert image.buffer(1e-6).covers(slick.geometry)
    assert shapely.hausdorff_distance(slick.geometry, image) < 20 / 55_000  # half a cell, in degrees of longitude
    assert slick.area_m2 == pytest.approx(78 * 117 * 10**2, rel=2e-3)


@pytest.mark.parametrize("heading", [-13.0, 193.0, 60.0])
def test_size_and_bearing_of_a_rectangle(heading):
    plane = np.zeros(SHAPE)
    plane[15:75, 50:65] = 0.9  # 2400 m along the flight, 600 m across
    calibrated = scene(np.full(SHAPE, 0.05), heading=heading)
    slick = find(probabilities(oil=plane), calibrated).iloc[0]
    assert slick.length_m == pytest.approx(2400, abs=5)
    assert slick.width_m == pytest.approx(600, abs=3)
    assert abs((slick.orientation_deg - heading + 90) % 180 - 90) < 0.2
    assert slick.fill_factor == pytest.approx(1.0, abs=2e-3)
    assert slick.aspect_ratio == pytest.approx(4.0, abs=0.02)
    assert slick.polsby_popper == pytest.approx(4 * np.pi * 2400 * 600 / 6000**2, rel=5e-3)
    longitude, latitude = calibrated.grid.geolocation.lonlat((15 + 75) * 2 - 0.5, (50 + 65) * 2 - 0.5)
    assert Geod(ellps="WGS84").inv(slick.centroid_lon, slick.centroid_lat, longitude, latitude)[2] < 1.0
    expected = calibrated.grid.geolocation.incidence_angle((15 + 75) * 2 - 0.5, (50 + 65) * 2 - 0.5)
    assert slick.incidence_angle_deg == pytest.approx(float(expected), abs=1e-6)


def test_a_slick_across_the_antimeridian_is_split_but_measured_whole():
    plane = np.zeros(SHAPE)
    plane[40:50, 10:110] = 0.9
    here = find(probabilities(oil=plane)).iloc[0]
    there = find(probabilities(oil=plane), scene(np.full(SHAPE, 0.05), centre=(180.0, 58.0))).iloc[0]
    assert len(there.geometry.geoms) == 2
    assert there.geometry.bounds[0] == -180.0
    assert there.geometry.bounds[2] == 180.0
    assert there.part_count == 1
    assert abs(abs(there.centroid_lon) - 180.0) < 0.02
    for name in ("area_m2", "perimeter_m", "length_m", "width_m", "orientation_deg"):
        assert there[name] == pytest.approx(here[name], rel=1e-4), name


def test_contrast_is_against_clean_sea_only():
    plane, ship, ground, lookalike = np.zeros((4, *SHAPE))
    power = np.full(SHAPE, 0.05)
    plane[40:50, 40:70] = 0.9
    power[40:50, 40:70] = 0.01
    power[38:40, 38:72] = 1.0  # within the gap: a smeared rim
    plane[54:58, 40:60], power[54:58, 40:60] = 0.6, 1e-4  # another dark patch in the ring, not kept
    ship[52:54, 66:68], power[52:54, 66:68] = 0.9, 30.0
    power[30:36, 40:70] = np.nan
    plane[42:46, 30:36], power[42:46, 30:36] = 0.35, 1e-3  # a faint one, below the outline
    ground[40:50, 76:82], power[40:50, 76:82] = 0.95, 3.0
    island = np.zeros(SHAPE, bool)
    island[56:60, 62:66], power[56:60, 62:66] = True, 2.0  # known to the land mask only
    classes = probabilities(oil=plane, ship=ship, land=ground, look_alike=lookalike)
    slick = find(classes, scene(power), land=island).iloc[0]
    assert slick.sigma0_vv_db == pytest.approx(-20.0, abs=0.01)
    assert slick.contrast_db == pytest.approx(10 * np.log10(0.01 / 0.05), abs=0.01)


def test_contrast_is_null_without_enough_sea_and_sigma_nought_is_null_without_vv():
    plane = np.full((20, 20), 0.9)
    slick = find(probabilities(oil=plane), scene(np.full(plane.shape, 0.02), ("HH", "HV"))).iloc[0]
    assert np.isnan(slick.contrast_db)
    assert np.isnan(slick.sigma0_vv_db)
    assert slick.polarisation == "HH+HV"


def test_no_power_left_after_noise_removal_is_null_not_minus_infinity():
    plane = np.zeros(SHAPE)
    plane[40:50, 40:70] = 0.9
    slick = find(probabilities(oil=plane), scene(np.where(plane > 0, 0.0, 0.05))).iloc[0]
    assert np.isnan(slick.sigma0_vv_db)
    assert np.isnan(slick.contrast_db)


@pytest.mark.parametrize("polarisation", ["VV", "HH"])
def test_the_margin_above_the_noise_floor_is_that_of_the_mean_powers(polarisation):
    plane = np.zeros(SHAPE)
    plane[40:50, 40:70] = 0.9
    power, floor = np.where(plane > 0, 0.02, 0.05), np.full(SHAPE, 1.0)
    floor[40:50, 40:55], floor[40:50, 55:70] = 0.001, 0.003
    other = "HV" if polarisation == "HH" else "VH"
    calibrated = scene(power, (polarisation, other))
    floors = calibrated.sigma_nought.copy(data=np.stack([floor, floor * 50]).astype(np.float32))
    slick = find(probabilities(oil=plane), replace(calibrated, noise_floor=floors)).iloc[0]
    assert slick.noise_floor_margin_db == pytest.approx(10 * np.log10(0.02 / 0.002), abs=0.01)
    assert np.isnan(find(probabilities(oil=plane), calibrated).noise_floor_margin_db[0])
    unknown = replace(calibrated, noise_floor=floors * np.float32(np.nan))
    assert np.isnan(find(probabilities(oil=plane), unknown).noise_floor_margin_db[0])


def test_confidence_is_that_of_the_cells_inside_the_outline():
    plane, lookalike = np.zeros((2, *SHAPE))
    plane[10:20, 10:30], plane[10:20, 30:40], plane[20:25, 10:40] = 0.9, 0.6, 0.4
    lookalike[10:20, 10:30] = 0.06
    slick = find(probabilities(oil=plane, look_alike=lookalike)).iloc[0]
    assert slick.confidence_mean == pytest.approx(0.8, abs=1e-6)
    assert slick.confidence_median == pytest.approx(0.9, abs=1e-6)
    assert slick.confidence_max == pytest.approx(0.9, abs=1e-6)
    assert slick.confidence_level == "Medium"
    assert slick.lookalike_probability == pytest.approx(0.04, abs=1e-6)


def test_the_confidence_of_a_judged_slick_is_the_calibrated_one():
    plane, judged = np.zeros(SHAPE), np.full(SHAPE, np.nan)
    plane[10:20, 10:40], judged[10:20, 10:40] = 0.75, 0.91
    slick = find(probabilities(oil=plane), oil_probability=judged).iloc[0]
    assert slick[["confidence_mean", "confidence_median", "confidence_max"]].tolist() == pytest.approx([0.91] * 3)
    assert slick.confidence_level == "High"
    assert slick.lookalike_probability == pytest.approx(0.09)


def test_rejected_candidates_are_a_layer_with_their_reason():
    rejected, judged = np.zeros(SHAPE, np.float32), np.full(SHAPE, np.nan)
    rejected[10:20, 10:40], judged[10:20, 10:40] = 0.8, 0.2
    found = find(probabilities(look_alike=rejected), oil=rejected, oil_probability=judged)
    candidate = candidate_table(found).iloc[0]
    assert candidate.rejected_by == "object stage"
    assert candidate.oil_probability == pytest.approx(0.2)
    assert candidate["class"] == "oil"
    empty = candidate_table(found[:0])
    assert len(empty) == 0
    assert {"rejected_by", "oil_probability"} <= set(empty)


@pytest.mark.parametrize(
    ("rows", "columns", "touching"),
    [((0, 9), (40, 50), True), ((1, 9), (40, 50), False), ((40, 50), (60, 70), True), ((40, 50), (111, 120), True)],
)
def test_edges_of_swath_land_and_missing_data_are_noticed(rows, columns, touching):
    plane = np.zeros(SHAPE)
    plane[slice(*rows), slice(*columns)] = 0.9
    plane[50:54, 71:75] = np.nan
    plane[50:53, 70:72] = np.nan  # touches one slick by a corner
    assert find(probabilities(oil=plane)).edge_touching.tolist() == [touching]


def test_the_identity_is_that_of_scene_model_and_outline():
    plane = np.zeros(SHAPE)
    plane[10:20, 10:30], plane[40:60, 20:60] = 0.9, 0.8
    first, again = find(probabilities(oil=plane)), find(probabilities(oil=plane), run_id="another")
    assert first.id.tolist() == again.id.tolist()
    assert first.id.is_unique
    assert not set(first.id) & set(find(probabilities(oil=plane), model_id="other").id)
    assert not set(first.id) & set(find(probabilities(oil=plane), weights_sha256="ab").id)
    other = scene(np.full(SHAPE, 0.05))
    other = replace(other, scene=replace(other.scene, id="another scene"))
    assert not set(first.id) & set(find(probabilities(oil=plane), other).id)
    plane[10, 10] = 0.0
    assert (first.id == find(probabilities(oil=plane)).id).tolist() == [False, True]


def test_classes_do_not_share_cells():
    oil, lookalike = np.zeros((2, *SHAPE))
    oil[20:40, 20:40], lookalike[20:40, 20:40] = 0.5, 0.4
    lookalike[20:40, 40:60] = 0.9
    calibrated = scene(np.full(SHAPE, 0.05))
    options = replace(SMALL, classes=("oil", "look-alike"), grow=0.3, outline=0.4, keep=0.45)
    slicks = find(probabilities(oil=oil, look_alike=lookalike), calibrated, options=options)
    assert slicks["class"].tolist() == ["oil", "look-alike"]
    assert cells_of(slicks, calibrated).max() == 1
    assert slicks.area_m2.tolist() == pytest.approx([400 * CELL**2] * 2, rel=2e-3)


def test_an_empty_scene_has_every_column_with_its_type():
    empty = find(probabilities(oil=np.zeros(SHAPE)))
    plane = np.zeros(SHAPE)
    plane[10:20, 10:30] = 0.9
    one = find(probabilities(oil=plane))
    assert len(empty) == 0
    assert empty.crs == "EPSG:4326"
    assert [*empty.columns] == [a.name for a in ATTRIBUTES] + ["geometry"]
    assert empty.dtypes.tolist() == one.dtypes.tolist()
    assert len(find(probabilities(oil=np.full(SHAPE, np.nan)))) == 0


def test_latency_counts_from_the_end_of_the_acquisition():
    plane = np.zeros(SHAPE)
    plane[10:20, 10:30] = 0.9
    assert find(probabilities(oil=plane)).latency_s[0] == 42 * 60 + 42  # 03:17:18 to 04:00:00


def test_probabilities_are_read_from_a_memory_map_without_a_copy(tmp_path):
    plane = np.zeros(SHAPE)
    plane[10:20, 10:30] = 0.9
    memory = probabilities(oil=plane)
    np.save(tmp_path / "p.npy", memory.data)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    on_disk = xr.DataArray(mapped, dims=memory.dims, coords=memory.coords)
    assert find(on_disk).equals(find(memory))
    assert find(memory.chunk({"line": 20})).equals(find(memory))


def test_sigma_nought_is_computed_only_where_slicks_are():
    plane = np.zeros((300, 60))
    plane[110:120, 10:30] = 0.9
    plane[5:9, 10:30] = 0.2
    read = []

    def block(values, block_info=None):
        read.append(block_info[0]["array-location"][0])
        return values

    calibrated = scene(np.full(plane.shape, 0.05))
    watched = calibrated.sigma_nought.copy(data=calibrated.sigma_nought[0].data.map_blocks(block, dtype="f4")[None])
    find(probabilities(oil=plane), replace(calibrated, sigma_nought=watched))
    assert sorted(set(map(tuple, read)) - {(0, 0)}) == [(64, 128), (128, 192)]


@pytest.mark.parametrize("thresholds", [(0.6, 0.5, 0.7), (0.3, 0.8, 0.7), (0.0, 0.5, 0.7), (0.3, 0.5, 1.1)])
def test_thresholds_out_of_order_are_refused(thresholds):
    with pytest.raises(UsageError, match="out of order"):
        SlickOptions(*thresholds)


def test_a_class_the_model_does_not_know_is_refused():
    with pytest.raises(UsageError, match="algae"):
        find(probabilities(oil=np.zeros(SHAPE)), options=replace(SMALL, classes=("algae",)))
    with pytest.raises(UsageError, match="no class is given"):
        replace(SMALL, classes=())


@given(hnp.arrays(bool, (15, 17)), st.integers(0, 3), st.integers(1, 4))
def test_the_ring_is_a_chessboard_distance(slick, gap, width):
    distance = (
        ndimage.distance_transform_cdt(np.pad(~slick, 0), "chessboard") if slick.any() else np.full(slick.shape, 99)
    )
    assert np.array_equal(ring_around(slick, gap, width), (distance > gap) & (distance <= gap + width))


def test_the_table_refuses_attributes_it_does_not_describe():
    with pytest.raises(KeyError, match="volume"):
        slick_table([{"volume": 1.0}], [shapely.MultiPolygon()])
