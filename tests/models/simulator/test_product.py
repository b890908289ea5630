"""Simulated products: what the reader decodes is what the ocean was, and the truth lies on it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely import Point

from ingest.errors import UsageError
from ingest.ledger.supersession import ProductName
from ingest.safe.product import SafeProduct
from models.classes import LAND, OIL, SHIP
from models.simulator import GRD_CORRELATION, GRD_LOOKS, OceanOptions, simulate_ocean
from models.simulator.product import MONITORED, NO_DATA, TRUTH_COLOURS, SimulatedProduct, row_speckle, simulate_product
from preprocess.calibrate import calibrate, calibration_table
from preprocess.noise import noise_table

SIZE = (1021, 1538)  # no multiples of the ocean's pixels
PLAIN = OceanOptions(land_probability=0.0, ships_per_100_km2=0.0, slicks_per_100_km2=0.0, wind_speed=(7.0, 8.0))


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> SimulatedProduct:
    options = OceanOptions(slicks_per_100_km2=3.0, ships_per_100_km2=3.0, land_probability=1.0, border_probability=1.0)
    return simulate_product(tmp_path_factory.mktemp("busy"), 3, SIZE, options=options)


def read(path: str | Path) -> NDArray[np.generic]:
    with rasterio.open(path) as source:
        return np.asarray(source.read(1))


def coarse(values: NDArray[np.floating], shape: tuple[int, int], factor: int = 4) -> NDArray[np.float64]:
    """Means of whole ocean pixels."""
    rows, columns = shape[0] // factor, shape[1] // factor
    blocks = values[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64))


@pytest.mark.parametrize("polarisation", ["VV", "VH"])
def test_decoded_sigma_nought_is_the_oceans(tmp_path: Path, polarisation: str) -> None:
    """Mean over a plain sea within 0.1 dB, signal and thermal noise apart, whole and by quarters of the range."""
    found = SafeProduct.open(simulate_product(tmp_path, 11, (1024, 2048), options=PLAIN).safe)
    metadata = found.image(polarisation)
    numbers = np.asarray(read(found.measurement(polarisation)), np.uint16)
    lines = np.arange(1024)
    table = calibration_table(metadata.calibration).band(0, 1024, 2048).at(lines)
    noise = noise_table(metadata.noise)
    assert noise is not None
    thermal = noise.band(0, 1024, 2048).at(lines)
    # Where noise exceeds signal, clipping at 0 would bias the mean: subtract the noise afterwards
    power = calibrate(numbers, table) - thermal / table**2
    ocean = simulate_ocean((256, 512), 11, PLAIN).sigma_nought[polarisation]
    ratio = coarse(power, (1024, 2048)).mean(axis=0), ocean.mean(axis=0, dtype=np.float64)
    for part in np.array_split(np.arange(512), 4):
        assert abs(10 * np.log10(ratio[0][part].mean() / ratio[1][part].mean())) < 0.1  # dB
    assert abs(10 * np.log10(ratio[0].mean() / ratio[1].mean())) < 0.05


def test_the_truth_lies_on_the_image(busy: SimulatedProduct) -> None:
    found = SafeProduct.open(busy.safe)
    numbers, truth = read(found.measurement("VV")).astype(float), read(busy.truth)
    assert truth.shape == numbers.shape == SIZE
    np.testing.assert_array_equal(truth == NO_DATA, numbers == 0)
    assert {0, OIL, SHIP, LAND, NO_DATA} <= set(np.unique(truth).tolist())
    amplitude = {kind: np.median(numbers[truth == kind]) for kind in (0, OIL, SHIP, LAND)}
    assert amplitude[OIL] < 0.8 * amplitude[0]
    assert amplitude[SHIP] > 2 * amplitude[0]
    assert amplitude[LAND] > 1.2 * amplitude[0]


def test_the_truth_is_the_oceans_at_full_resolution(busy: SimulatedProduct) -> None:
    truth = read(busy.truth)
    blocks = truth[: 255 * 4, : 384 * 4].reshape(255, 4, 384, 4)
    np.testing.assert_array_equal(blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3)))


def test_the_truth_is_a_tiled_georeferenced_class_map(busy: SimulatedProduct) -> None:
    assert busy.truth.name == busy.safe.name.replace(".SAFE", ".truth.tif")
    found = SafeProduct.open(busy.safe)
    with rasterio.open(found.measurement("VV")) as image, rasterio.open(busy.truth) as source:
        assert source.dtypes == ("uint8",)
        assert source.nodata == NO_DATA
        assert source.block_shapes == [(256, 256)]
        assert source.compression.name == "deflate"
        colours = source.colormap(1)
        assert [(p.row, p.col, p.x, p.y) for p in source.gcps[0]] == [(p.row, p.col, p.x, p.y) for p in image.gcps[0]]
    assert {kind: colours[kind][:3] for kind in TRUTH_COLOURS} == {k: c[:3] for k, c in TRUTH_COLOURS.items()}


def test_a_clean_scene_is_the_same_without_oil(busy: SimulatedProduct, tmp_path: Path) -> None:
    options = OceanOptions(slicks_per_100_km2=3.0, ships_per_100_km2=3.0, land_probability=1.0, border_probability=1.0)
    clean = simulate_product(tmp_path, 3, SIZE, options=options, clean=True)
    truth, before = read(clean.truth), read(busy.truth)
    assert not (truth == OIL).any()
    assert (before == OIL).any()
    far = before != OIL
    same = read(SafeProduct.open(clean.safe).measurement("VV")) == read(SafeProduct.open(busy.safe).measurement("VV"))
    assert same[far].mean() > 0.7  # thin films around slicks and ships at their ends change too
    assert same.mean() < 1


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (simulate_product(tmp_path / name, 5, (300, 400)) for name in ("one", "two"))
    other = simulate_product(tmp_path / "other", 6, (300, 400))
    assert one.safe.name == two.safe.name != other.safe.name
    for path in sorted(path for path in one.safe.rglob("*") if path.is_file()):
        assert path.read_bytes() == (two.safe / path.relative_to(one.safe)).read_bytes()
    assert one.truth.read_bytes() == two.truth.read_bytes() != other.truth.read_bytes()


@pytest.mark.parametrize("mode", ["IW", "EW", "SM"])
def test_modes_and_places_reach_the_product(tmp_path: Path, mode: str) -> None:
    made = simulate_product(
        tmp_path, 1, (200, 240), mode=mode, platform="S1C", polarisations=("VV",), centre_lonlat=(-20.0, 40.0)
    )
    found = SafeProduct.open(made.safe)
    assert (found.scene.platform, found.scene.mode, found.polarisations) == ("S1C", mode, ("VV",))
    centre = found.scene.footprint.centroid if found.scene.footprint else None
    assert centre is not None
    assert abs(centre.x + 20) < 0.02
    assert abs(centre.y - 40) < 0.02


def test_the_place_is_a_monitored_sea(tmp_path: Path) -> None:
    places = set()
    for seed in range(6):
        footprint = SafeProduct.open(simulate_product(tmp_path, seed, (80, 80)).safe).scene.footprint
        assert footprint is not None
        centre = footprint.centroid
        near = [n for n, (lon, lat) in MONITORED.items() if max(abs(centre.x - lon), abs(centre.y - lat)) < 0.25]
        assert len(near) == 1
        places.add(near[0])
    assert len(places) > 1


def test_products_of_different_seeds_are_scenes_of_their_own(tmp_path: Path) -> None:
    made = [simulate_product(tmp_path, seed, (80, 80)) for seed in range(6)]
    scenes = [SafeProduct.open(one.safe).scene for one in made]
    names = [ProductName.read(scene.id) for scene in scenes]
    assert len({name.datatake for name in names}) == len({scene.acquired_start for scene in scenes}) == 6
    assert len({scene.relative_orbit for scene in scenes}) > 3
    for one, scene in zip(made, scenes, strict=True):
        assert scene.acquired_start == one.start
        assert scene.footprint is not None
        assert scene.footprint.centroid.distance(Point(one.centre)) < 0.05
        local = (one.start.hour + one.start.minute / 60 + one.centre[0] / 15) % 12
        assert abs(local - 6) < 0.6  # the passes' local time, in the morning and in the evening


def test_a_place_and_a_time_can_be_given(tmp_path: Path) -> None:
    time = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    made = simulate_product(tmp_path, 1, (80, 80), centre_lonlat=(-179.99, -75.0), start=time)
    assert SafeProduct.open(made.safe).scene.acquired_start == time
    assert made.where == "75.00 S, 179.99 W, 2031-02-03 04:05 UTC"


@pytest.mark.parametrize("place", [(181.0, 0.0), (0.0, 76.0), (float("nan"), 0.0)])
def test_places_that_are_not_imaged_are_refused(tmp_path: Path, place: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="latitude -75 to 75"):
        simulate_product(tmp_path, 0, (80, 80), centre_lonlat=place)
    with pytest.raises(UsageError, match="2015 to 2099"):
        simulate_product(tmp_path, 0, (80, 80), start=datetime(1999, 1, 1, tzinfo=UTC))


def test_other_polarisations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose from VV and VH"):
        simulate_product(tmp_path, 0, (80, 80), polarisations=("HH",))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**63), st.integers(0, 60), st.integers(1, 30), st.integers(20, 90))
def test_speckle_does_not_depend_on_the_bands(key: int, first: int, count: int, samples: int) -> None:
    whole = row_speckle(0, 90, samples, key)
    np.testing.assert_array_equal(row_speckle(first, first + count, samples, key), whole[first : first + count])


def test_speckle_has_the_instruments_statistics() -> None:
    field = row_speckle(0, 1000, 1000, 9).astype(float)
    assert abs(field.mean() - 1) < 0.01
    assert abs(1 / field.var() - GRD_LOOKS) < 0.1
    centred = field - field.mean()
    half = GRD_CORRELATION / 2
    expected = {lag: 0.5 ** ((lag / half) ** 2) for lag in (1, 2, 4)}  # Gaussian of that full width at half maximum
    for lag, value in expected.items():
        along = (centred[lag:] * centred[:-lag]).mean() / field.var()
        across = (centred[:, lag:] * centred[:, :-lag]).mean() / field.var()
        assert abs(along - value) < 0.03
        assert abs(across - value) < 0.03
