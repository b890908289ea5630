"""The ocean simulator: physics within published ranges, statistics of the speckle, and truth that fits the image."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ingest.errors import UsageError
from models.classes import LAND, LOOK_ALIKE, OIL, SEA, SHIP
from models.simulator import (
    CHIP_OPTIONS,
    GRD_CORRELATION,
    GRD_LOOKS,
    Ocean,
    OceanOptions,
    multilooked_speckle,
    observed,
    simulate_chip,
    simulate_ocean,
    speckled,
)
from models.simulator.curves import Curve, ribbon
from models.simulator.fields import Grid, swirled, without_crumbs
from models.simulator.sea import SUBSWATH_LIMITS, backscatter_vv_db, incidence_angles, noise_equivalent_sigma
from models.simulator.slicks import wind_visibility
from models.simulator.targets import draw_ship

OPEN_SEA = OceanOptions(
    slicks_per_100_km2=0, lookalikes_per_100_km2=0, ships_per_100_km2=0, land_probability=0, border_probability=0
)
SEEDS = st.integers(0, 2**63)


def decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power)


def enl(power: np.ndarray) -> float:
    return float(power.mean() ** 2 / power.var())


def lag_one(power: np.ndarray, axis: int) -> float:
    centred = power - power.mean()
    ahead, behind = np.delete(centred, 0, axis), np.delete(centred, -1, axis)
    return float((ahead * behind).mean() / centred.var())


def _touches_edge(mask: np.ndarray) -> bool:
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


# Determinism and form


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, size=st.integers(16, 70))
def test_a_chip_is_the_same_bytes_for_the_same_seed_and_is_well_formed(seed: int, size: int) -> None:
    sigma, truth = simulate_chip(seed, size)
    again, truth_again = simulate_chip(seed, size)
    assert sigma.tobytes() == again.tobytes()
    assert truth.tobytes() == truth_again.tobytes()
    assert sigma.shape == truth.shape == (size, size)
    assert sigma.dtype == np.float32
    assert truth.dtype == np.uint8
    assert set(np.unique(truth)) <= {SEA, OIL, LOOK_ALIKE, SHIP, LAND}
    assert np.all(sigma[~np.isnan(sigma)] >= 0)
    assert np.all(truth[np.isnan(sigma)] == SEA)


def test_different_seeds_give_different_chips() -> None:
    chips = {simulate_chip(seed, 64)[0].tobytes() for seed in range(20)}
    assert len(chips) == 20


def test_all_five_classes_occur_in_a_balance_that_one_can_train_on() -> None:
    counts = np.array([np.bincount(simulate_chip(seed)[1].ravel(), minlength=5) for seed in range(150)])
    holds = (counts > 0).mean(axis=0)
    assert 0.45 <= holds[OIL] <= 0.72
    assert 0.28 <= holds[LOOK_ALIKE] <= 0.58
    assert 0.12 <= holds[SHIP] <= 0.36
    assert 0.07 <= holds[LAND] <= 0.26
    assert 0.015 <= counts[:, OIL].sum() / counts.sum() <= 0.08


def test_a_chip_takes_less_than_sixty_milliseconds_of_processor_time() -> None:
    times = []
    for seed in range(20):
        begun = time.process_time()
        simulate_chip(seed)
        times.append(time.process_time() - begun)
    assert np.median(times) < 0.06


@pytest.mark.parametrize(
    ("shape", "seed", "options"),
    [
        ((8, 64), 0, OceanOptions()),
        ((64, 64), -1, OceanOptions()),
        ((64, 64), 0, OceanOptions(polarisations=("HH",))),
        ((64, 64), 0, OceanOptions(polarisations=())),
    ],
)
def test_what_cannot_be_simulated_is_refused(shape: tuple[int, int], seed: int, options: OceanOptions) -> None:
    with pytest.raises(UsageError):
        simulate_ocean(shape, seed, options)


def test_the_mean_field_of_a_scene_is_finite_in_both_polarisations_at_odd_shapes() -> None:
    ocean = simulate_ocean((131, 97), 5, replace(OceanOptions(), border_probability=1.0))
    assert set(ocean.sigma_nought) == {"VV", "VH"}
    for polarisation, power in ocean.sigma_nought.items():
        assert power.shape == (131, 97)
        assert power.dtype == np.float32
        assert np.all(np.isfinite(power))
        assert np.all(power > 0)
        assert ocean.noise_equivalent[polarisation].shape == (97,)
    assert np.median(ocean.sigma_nought["VV"]) > 5 * np.median(ocean.sigma_nought["VH"])


# The sea


@settings(deadline=None)
@given(slow=st.floats(0.5, 24), more=st.floats(0.05, 10), angle=st.floats(20, 50))
def test_backscatter_grows_with_wind(slow: float, more: float, angle: float) -> None:
    speeds = np.array([slow, slow + more], np.float32)
    low, high = backscatter_vv_db(speeds, np.float32(angle))
    assert high > low or high == pytest.approx(-36)


@settings(deadline=None)
@given(speed=st.floats(4, 12), angle=st.floats(30, 45))
def test_backscatter_falls_by_about_half_a_decibel_per_degree(speed: float, angle: float) -> None:
    near, far = backscatter_vv_db(np.full(2, speed, np.float32), np.array([angle, angle + 1], np.float32))
    assert -0.62 <= far - near <= -0.36


@pytest.mark.parametrize(("speed", "weakest", "strongest"), [(5.0, -17.0, -14.0), (10.0, -13.5, -10.5)])
def test_backscatter_has_the_published_magnitude_at_35_degrees(speed: float, weakest: float, strongest: float) -> None:
    directions = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    values = [float(backscatter_vv_db(np.float32([speed]), np.float32([35]), angle)[0]) for angle in directions]
    mean = decibels(np.mean(10 ** (np.array(values) / 10)))
    assert weakest <= mean <= strongest
    assert values[0] > values[36] > values[18]  # upwind over downwind over crosswind


def test_a_scene_darkens_with_range_as_its_incidence_grows() -> None:
    slopes = []
    for seed in range(12):
        ocean = simulate_ocean((64, 1024), seed, replace(OPEN_SEA, wind_speed=(6, 10)))
        profile = decibels(ocean.sigma_nought["VV"].mean(axis=0))
        slopes.append(np.polyfit(ocean.incidence_angle, profile, 1)[0])
    assert -0.6 <= np.mean(slopes) <= -0.35


def test_more_wind_makes_a_brighter_ocean() -> None:
    calm, fresh = (simulate_ocean((96, 96), 3, replace(OPEN_SEA, wind_speed=(u, u))) for u in (3.0, 9.0))
    gain = decibels(fresh.sigma_nought["VV"].mean()) - decibels(calm.sigma_nought["VV"].mean())
    assert 4 <= gain <= 9


def test_incidence_runs_from_near_to_far_with_a_tangent_linear_in_range() -> None:
    angles = incidence_angles(30, 46, 501)
    assert angles[[0, -1]] == pytest.approx([30, 46], abs=1e-3)
    assert np.ptp(np.diff(np.tan(np.radians(angles.astype(np.float64))))) < 1e-6


def test_thermal_noise_is_a_bowl_in_each_sub_swath() -> None:
    angles = np.linspace(29.2, 46, 2000, dtype=np.float32)
    noise = decibels(noise_equivalent_sigma(angles, -27.0, 3.0))
    assert -30 < noise.min() < noise.max() < -22
    for near, far in itertools.pairwise(SUBSWATH_LIMITS):
        inside = noise[(angles > near) & (angles < far)]
        assert inside[0] - inside[len(inside) // 2] == pytest.approx(3, abs=0.3)
        assert inside[-1] - inside[len(inside) // 2] == pytest.approx(3, abs=0.3)


# Speckle


@pytest.mark.parametrize("looks", [1.0, 4.4, 20.0])
@pytest.mark.parametrize("correlation", [0.0, 1.08, 2.1])
def test_speckle_is_gamma_of_unit_mean_with_the_looks_and_correlation_asked_for(
    looks: float, correlation: float
) -> None:
    speckle = speckled(np.ones((700, 700), np.float32), looks, correlation, np.random.default_rng(7))
    assert speckle.dtype == np.float32
    assert speckle.mean() == pytest.approx(1, abs=0.01)
    assert enl(speckle) == pytest.approx(looks, rel=0.05)
    centred = speckle - speckle.mean()
    assert (centred**3).mean() / speckle.std() ** 3 == pytest.approx(2 / np.sqrt(looks), rel=0.12)
    wanted = 0.0 if correlation == 0 else 0.5 ** ((2 / correlation) ** 2)
    for axis in (0, 1):
        # The copula loses a little correlation where the gamma is very skewed.
        assert lag_one(speckle, axis) == pytest.approx(wanted, abs=0.07 if looks < 2 else 0.03)


def test_speckle_follows_the_mean_power() -> None:
    mean = np.where(np.arange(512) < 256, 0.01, 0.1).astype(np.float32)[None, :].repeat(512, 0)
    speckle = speckled(mean, 4.4, 2.1, np.random.default_rng(1))
    assert speckle[:, :256].mean() == pytest.approx(0.01, rel=0.02)
    assert speckle[:, 256:].mean() == pytest.approx(0.1, rel=0.02)


def test_direct_40_m_speckle_equals_10_m_speckle_averaged_four_by_four() -> None:
    fine = speckled(np.ones((2048, 2048), np.float32), GRD_LOOKS, GRD_CORRELATION, np.random.default_rng(3))
    averaged = fine.reshape(512, 4, 512, 4).mean(axis=(1, 3))
    looks, correlation = multilooked_speckle(GRD_LOOKS, GRD_CORRELATION, 4)
    direct = speckled(np.ones((512, 512), np.float32), looks, correlation, np.random.default_rng(4))
    assert 16 <= looks <= 25
    assert enl(direct) == pytest.approx(enl(averaged), rel=0.15)
    assert enl(averaged) == pytest.approx(looks, rel=0.05)
    for axis in (0, 1):
        assert lag_one(averaged, axis) > 0.03
        assert lag_one(direct, axis) == pytest.approx(lag_one(averaged, axis), abs=0.1)


@given(looks=st.floats(1, 30), correlation=st.floats(0, 5), factor=st.integers(1, 8))
def test_averaging_gains_looks_but_no_more_than_pixels(looks: float, correlation: float, factor: int) -> None:
    gained, _ = multilooked_speckle(looks, correlation, factor)
    assert looks * (1 - 1e-9) <= gained <= looks * factor**2 * (1 + 1e-9)


def test_subtracting_the_noise_floor_leaves_the_mean_backscatter() -> None:
    shape, signal, noise = (600, 600), 0.01, np.linspace(0.001, 0.004, 600, dtype=np.float32)
    ocean = Ocean(
        {"VV": np.full(shape, signal, np.float32)},
        {"VV": noise},
        np.zeros(shape, np.uint8),
        np.ones(shape, np.bool_),
        np.full(shape[1], 35, np.float32),
        40.0,
    )
    seen = observed(ocean, "VV", np.random.default_rng(2))
    assert seen.mean() == pytest.approx(signal, rel=0.005)
    assert seen[:, 500:].mean() == pytest.approx(signal, rel=0.01)
    assert seen[:, 500:].std() > 1.2 * seen[:, :100].std()  # noise leaves its variance behind


# Oil


def test_a_clean_ocean_has_no_oil_and_is_otherwise_the_same() -> None:
    found = 0
    for seed in range(8):
        options = replace(CHIP_OPTIONS, slicks_per_100_km2=3.0, ships_per_100_km2=0.0, border_probability=0.0)
        oily, clean = (simulate_ocean((200, 200), seed, replace(options, clean=clean)) for clean in (False, True))
        assert not np.any(clean.truth == OIL)
        found += int(np.sum(oily.truth == OIL))
        sea = ~ndimage.binary_dilation((oily.truth == OIL) | (oily.truth == SHIP), iterations=3)
        assert np.array_equal(oily.truth[sea], clean.truth[sea])
        # Away from oil and from the ships that spill it, nothing is brighter or much darker than in the clean ocean.
        change = decibels(clean.sigma_nought["VV"] / oily.sigma_nought["VV"])[sea]
        assert np.median(change) == pytest.approx(0, abs=0.02)
        assert np.percentile(change, 99) < 4
    assert found > 5000


def test_oil_darkens_the_sea_beside_it_by_three_to_twelve_decibels() -> None:
    contrasts = []
    options = replace(CHIP_OPTIONS, wind_speed=(3.5, 7.5), land_probability=0.0, lookalikes_per_100_km2=0.0)
    for seed in range(40):
        ocean = simulate_ocean((256, 256), seed, options)
        power = ocean.sigma_nought["VV"]
        labels, count = ndimage.label(ocean.truth == OIL, np.ones((3, 3)))
        for label in range(1, count + 1):
            slick = labels == label
            near = ndimage.binary_dilation(slick, iterations=3)
            beside = ndimage.binary_dilation(near, iterations=4) & ~near & (ocean.truth == SEA)
            if slick.sum() >= 40 and beside.sum() >= 40:
                contrasts.append(decibels(np.median(power[beside]) / np.median(power[slick])))
    values = np.array(contrasts)
    assert len(values) >= 25
    assert 4 <= np.median(values) <= 8
    assert values.max() <= 12.5
    assert np.mean(values >= 3) >= 0.85
    assert values.min() >= 1.0


def test_oil_shows_between_two_and_twelve_metres_per_second_only() -> None:
    speeds = np.array([0.5, 1.0, 3.0, 5.0, 8.0, 15.0, 25.0], np.float32)
    shown = wind_visibility(speeds)
    assert np.all(shown[:2] < 0.05)
    assert np.all(shown[2:5] > 0.95)
    assert np.all(shown[5:] < 0.15)


def test_oil_is_scarce_in_a_storm() -> None:
    options = replace(CHIP_OPTIONS, slicks_per_100_km2=2.0, land_probability=0.0)
    moderate, storm = (
        sum(
            int(np.sum(simulate_ocean((128, 128), seed, replace(options, wind_speed=(u, u))).truth == OIL))
            for seed in range(12)
        )
        for u in (5.0, 16.0)
    )
    assert moderate > 1000
    assert storm < moderate / 10


# Look-alikes, ships, land, borders


def test_lookalikes_are_darker_than_the_sea() -> None:
    options = replace(
        CHIP_OPTIONS, slicks_per_100_km2=0, lookalikes_per_100_km2=2.0, land_probability=0, ships_per_100_km2=0
    )
    contrasts = []
    for seed in range(15):
        ocean = simulate_ocean((256, 256), seed, options)
        power, dark = ocean.sigma_nought["VV"], ocean.truth == LOOK_ALIKE
        assert not np.any(ocean.truth == OIL)
        if 100 < dark.sum() < 0.6 * dark.size:
            contrasts.append(decibels(np.median(power[ocean.truth == SEA]) / np.median(power[dark])))
    assert len(contrasts) >= 10
    assert min(contrasts) > 0.5
    assert 2 <= np.median(contrasts) <= 9


def test_ships_are_bright_stars() -> None:
    grid = Grid(65, 65, 40.0)
    for seed in range(30):
        ship = draw_ship(grid, np.random.default_rng(seed), (32 * 40.0, 32 * 40.0))
        assert ship is not None
        image = np.zeros(grid.shape)
        image[ship.window.rows, ship.window.cols] = ship.ratio
        assert np.unravel_index(image.argmax(), image.shape) == (32, 32)
        assert 10 <= decibels(image.max()) <= 31
        arms = [image[32, 32 + 9], image[32, 32 - 9], image[32 + 9, 32], image[32 - 9, 32]]
        assert min(arms) > 10 * max(image[32 + 7, 32 + 7], image[32 - 7, 32 - 7], 1e-12)


def test_ships_in_an_ocean_are_labelled_where_they_outshine_the_sea() -> None:
    seen = 0
    for seed in range(10):
        empty = simulate_ocean((256, 256), seed, OPEN_SEA)
        ocean = simulate_ocean((256, 256), seed, replace(OPEN_SEA, ships_per_100_km2=2.0, wake_probability=0.0))
        ships = ocean.truth == SHIP
        gain = decibels(ocean.sigma_nought["VV"] / empty.sigma_nought["VV"])
        labels, count = ndimage.label(ships, np.ones((3, 3)))
        peaks = np.array([gain[labels == label].max() for label in range(1, count + 1)])
        # A star cut by the edge of the ocean may keep only an arm.
        whole = np.array([not _touches_edge(labels == label) for label in range(1, count + 1)], np.bool_)
        assert np.all(peaks[whole] > 8)
        assert np.all(gain[ships] > 2.9)
        assert ships.sum() < 120 * max(count, 1)
        seen += count
    assert seen >= 10


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, fraction=st.floats(0.05, 0.6))
@example(seed=321, fraction=0.5)
@example(seed=1177, fraction=0.5)
def test_land_covers_the_fraction_asked_for_and_is_bright(seed: int, fraction: float) -> None:
    options = replace(OPEN_SEA, land_probability=1.0, land_fraction=(fraction, fraction), wind_speed=(3.0, 6.0))
    ocean = simulate_ocean((128, 128), seed, options)
    land = ocean.truth == LAND
    assert land.mean() == pytest.approx(fraction, abs=0.01)
    assert -15 <= decibels(np.median(ocean.sigma_nought["VV"][land])) <= -3
    assert np.median(ocean.sigma_nought["VV"][land]) > np.median(ocean.sigma_nought["VV"][~land])


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_no_data_lies_at_one_border_only_and_is_sea_in_the_truth(seed: int) -> None:
    ocean = simulate_ocean((96, 120), seed, replace(CHIP_OPTIONS, border_probability=1.0))
    invalid = ~ocean.valid
    labels, count = ndimage.label(invalid)
    edge = np.ones_like(invalid)
    edge[1:-1, 1:-1] = False
    assert np.all(np.isin(np.arange(1, count + 1), labels[edge & invalid]))
    assert np.all(ocean.truth[invalid] == SEA)
    assert ocean.valid.mean() > 0.4
    # Along one direction every line is cut at one end only: one step at most.
    steps = [np.abs(np.diff(invalid.astype(int), axis=axis)).sum(axis=axis).max() for axis in (0, 1)]
    assert min(steps) <= 1


def test_borders_come_as_often_as_asked_for() -> None:
    assert simulate_ocean((64, 64), 1, OPEN_SEA).valid.all()
    cut = [
        not simulate_ocean((32, 32), seed, replace(OPEN_SEA, border_probability=0.5)).valid.all() for seed in range(80)
    ]
    assert 0.3 < np.mean(cut) < 0.7


# Geometry


@settings(deadline=None)
@given(heading=st.floats(0, 2 * np.pi), x=st.floats(600, 1900), y=st.floats(600, 1900))
def test_a_ribbon_about_a_straight_line_measures_along_and_across_it(heading: float, x: float, y: float) -> None:
    along = np.arange(100) * 10.0
    line = Curve(x + np.cos(heading) * along, y + np.sin(heading) * along, np.full(100, heading), along)
    found = ribbon(Grid(64, 64, 40.0), line, 200.0)
    assert found is not None
    dx, dy = found.window.x - x, found.window.y - y
    assert found.along == pytest.approx(dx * np.cos(heading) + dy * np.sin(heading), abs=0.05)
    assert found.across == pytest.approx(dy * np.cos(heading) - dx * np.sin(heading), abs=0.05)


def test_a_ribbon_far_from_the_grid_is_none() -> None:
    along = np.arange(50) * 20.0
    assert ribbon(Grid(64, 64, 40.0), Curve(along + 9e3, along + 9e3, np.full(50, 0.8), along), 200.0) is None


@given(x=st.floats(-5e3, 5e3), y=st.floats(-5e3, 5e3), turn=st.floats(-6, 6))
def test_an_eddy_keeps_distances_from_its_centre(x: float, y: float, turn: float) -> None:
    points = np.array([x], np.float32), np.array([y], np.float32)
    back = swirled(*points, (100.0, -200.0), 1500.0, turn)
    before, after = np.hypot(points[0] - 100, points[1] + 200), np.hypot(back[0] - 100, back[1] + 200)
    assert after == pytest.approx(before, rel=1e-4, abs=0.01)


def test_crumbs_go_and_large_parts_stay() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[2:6, 2:6], mask[10, 10], mask[15, 3:6] = True, True, True
    kept = without_crumbs(mask, 6)
    assert kept.sum() == 16
    assert kept[2:6, 2:6].all()
    assert not without_crumbs(np.zeros_like(mask), 6).any()
