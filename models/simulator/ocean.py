"""A stretch of ocean: everything drawn from a seed and composed into mean backscatter and truth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UsageError
from models.classes import LAND, LOOK_ALIKE, OIL, SEA, SHIP
from models.simulator import lookalikes, sea, slicks, targets
from models.simulator.fields import Array, Grid, Texture, Window, without_crumbs

_LEE_DAMPING_DB = 3.0  # water sheltered by land is dark without question of oil until it is this dark
_LEAST_SIZE = 16  # pixels a side; fields need some wavenumbers
_LEAST_PIXELS = 6  # smaller specks are not drawn into the truth


class _Stream(IntEnum):
    """Each part draws from its own random stream, so that leaving one out does not change the others."""

    WEATHER = 0
    LAND = 1
    LOOK_ALIKES = 2
    SLICKS = 3
    SHIPS = 4
    BORDER = 5
    NOISE = 6
    TEXTURE = 7
    SMOOTH_TEXTURE = 8


@dataclass(frozen=True)
class OceanOptions:
    """What an ocean may contain; ranges are drawn from uniformly, densities are means of Poisson numbers."""

    spacing: float = 40.0  # metres between pixels, both ways
    incidence_near_far: tuple[float, float] = (30.0, 46.0)  # degrees at the first and last column
    wind_speed: tuple[float, float] = (2.5, 11.0)  # m/s
    slicks_per_100_km2: float = 0.15
    lookalikes_per_100_km2: float = 0.12
    ships_per_100_km2: float = 0.4
    wake_probability: float = 0.15  # of a ship
    land_probability: float = 0.3
    land_fraction: tuple[float, float] = (0.03, 0.35)
    border_probability: float = 0.0  # of a no-data border
    noise_floor_db: tuple[float, float] = (-29.0, -25.0)  # noise-equivalent sigma nought in mid sub-swath
    noise_scallop_db: tuple[float, float] = (1.5, 4.0)  # its rise towards the edges of a sub-swath
    polarisations: tuple[str, ...] = ("VV", "VH")
    clean: bool = False  # no oil at all; everything else unchanged


@dataclass(frozen=True)
class Ocean:
    """A simulated ocean, without speckle or thermal noise; arrays are (rows, cols) or (cols,)."""

    sigma_nought: dict[str, NDArray[np.float32]]  # mean backscatter by polarisation, m2 m-2, never NaN
    noise_equivalent: dict[str, NDArray[np.float32]]  # noise-equivalent sigma nought by column, m2 m-2
    truth: NDArray[np.uint8]  # 0 sea, 1 oil, 2 look-alike, 3 ship, 4 land; 0 where not valid
    valid: NDArray[np.bool_]  # False in no-data borders
    incidence_angle: NDArray[np.float32]  # degrees by column
    spacing: float  # m


@dataclass
class _Surface:
    """The ocean while it is composed: ln(wind), decibel changes, and the truth."""

    log_speed: Array
    change_db: Array
    truth: NDArray[np.uint8]


def simulate_ocean(shape: tuple[int, int], seed: int, options: OceanOptions = OceanOptions()) -> Ocean:
    """Simulate an ocean of `shape` (rows, cols), at least 16 x 16.

    The same shape, seed (>= 0) and options give the same bytes; `options.clean` leaves everything but the oil and the
    ships at its fresh end as it is. Raises `UsageError` for a smaller shape, a negative seed, or a polarisation other
    than VV and VH.
    """
    _check(shape, seed, options)
    grid = Grid(*shape, options.spacing)
    weather = sea.draw_weather(grid, _generator(seed, _Stream.WEATHER), options.wind_speed)
    tile = 256 if max(shape) <= 512 else 512
    texture = Texture(_generator(seed, _Stream.TEXTURE), tile)
    smooth = Texture(_generator(seed, _Stream.SMOOTH_TEXTURE), tile, exponent=5.0)
    incidence = sea.incidence_angles(*options.incidence_near_far, grid.cols)
    setting = slicks.Setting(grid, texture, smooth, weather.direction)
    surface = _Surface(weather.log_speed, weather.swell_db, np.zeros(shape, np.uint8))
    land = _draw_land(setting, _generator(seed, _Stream.LAND), options)
    ships = _draw_ships(setting, _generator(seed, _Stream.SHIPS), options)
    _add_lookalikes(surface, setting, incidence, seed, options, weather.mean_speed)
    if land is not None:
        _change_wind(surface, _everything(grid), land.log_wind, incidence, _LEE_DAMPING_DB)
    for _, wake in ships:
        if wake is not None:
            _change_backscatter(surface, wake)
    oil_db = np.zeros(shape, np.float32)
    sources = [] if options.clean else _add_oil(surface, oil_db, setting, seed, options)
    power = _mean_power(surface, oil_db, incidence, weather, options)
    _add_ships(power, surface, [ship for ship, _ in ships] + sources)
    if land is not None:
        _add_land(power, surface, land)
    valid = _border(grid, _generator(seed, _Stream.BORDER), options.border_probability)
    surface.truth[~valid] = SEA
    noise = _noise_equivalent(incidence, _generator(seed, _Stream.NOISE), options)
    return Ocean(power, noise, surface.truth, valid, incidence, options.spacing)


def _check(shape: tuple[int, int], seed: int, options: OceanOptions) -> None:
    if min(shape) < _LEAST_SIZE:
        raise UsageError("ocean", f"a shape of {shape} is too small", f"request at least {_LEAST_SIZE} x {_LEAST_SIZE}")
    if seed < 0:
        raise UsageError("ocean", f"the seed {seed} is negative", "give 0 or more")
    if not options.polarisations or not set(options.polarisations) <= {"VV", "VH"}:
        raise UsageError("ocean", f"polarisations {options.polarisations} are not simulated", "choose from VV and VH")


def _generator(seed: int, stream: _Stream) -> np.random.Generator:
    return np.random.default_rng([seed, int(stream)])


def _count(rng: np.random.Generator, grid: Grid, per_100_km2: float) -> int:
    return int(rng.poisson(per_100_km2 * grid.height * grid.width / 1e8))


def _everything(grid: Grid) -> Window:
    window = grid.window((0, grid.width), (0, grid.height))
    assert window is not None, "a grid has pixels"
    return window


def _draw_land(setting: slicks.Setting, rng: np.random.Generator, options: OceanOptions) -> targets.Land | None:
    if rng.random() >= options.land_probability:
        return None
    fraction = float(rng.uniform(*options.land_fraction))
    return targets.draw_land(setting.grid, setting.texture, rng, fraction, setting.wind_direction)


def _draw_ships(
    setting: slicks.Setting, rng: np.random.Generator, options: OceanOptions
) -> list[tuple[targets.Ship, lookalikes.LookAlike | None]]:
    ships: list[tuple[targets.Ship, lookalikes.LookAlike | None]] = []
    for _ in range(_count(rng, setting.grid, options.ships_per_100_km2)):
        place = (float(rng.uniform(0, setting.grid.width)), float(rng.uniform(0, setting.grid.height)))
        ship = targets.draw_ship(setting.grid, rng, place)
        if ship is None:
            continue
        wakes = rng.random() < options.wake_probability
        length = float(rng.uniform(1000, 4000))
        ships.append((ship, lookalikes.wake(setting, rng, place, ship.heading, length) if wakes else None))
    return ships


def _add_lookalikes(
    surface: _Surface, setting: slicks.Setting, incidence: Array, seed: int, options: OceanOptions, speed: float
) -> None:
    rng = _generator(seed, _Stream.LOOK_ALIKES)
    count = _count(rng, setting.grid, options.lookalikes_per_100_km2)
    for found in lookalikes.draw_lookalikes(setting, rng, count, speed):
        if found.log_wind is not None:
            _change_wind(surface, found.window, found.log_wind, incidence)
        else:
            _change_backscatter(surface, found)


def _change_wind(
    surface: _Surface,
    window: Window,
    log_wind: Array,
    incidence: Array,
    least_db: float = lookalikes.VISIBLE_DAMPING_DB,
) -> None:
    """Weaken the wind, and mark as look-alike where that alone darkens the sea visibly."""
    place = (window.rows, window.cols)
    before = surface.log_speed[place]
    angle = incidence[None, window.cols]
    change = sea.backscatter_vv_db(np.exp(before + log_wind), angle) - sea.backscatter_vv_db(np.exp(before), angle)
    surface.log_speed[place] = before + log_wind
    _mark(surface, window, change, least_db)


def _change_backscatter(surface: _Surface, found: lookalikes.LookAlike) -> None:
    assert found.change_db is not None, "a look-alike changes wind or backscatter"
    surface.change_db[found.window.rows, found.window.cols] += found.change_db
    _mark(surface, found.window, found.change_db)


def _mark(surface: _Surface, window: Window, change_db: Array, least_db: float = lookalikes.VISIBLE_DAMPING_DB) -> None:
    """Mark a look-alike's dark part: deeper than `least_db` and than a third of its depth."""
    limit = max(least_db, float(-change_db.min()) * slicks.OUTLINE)
    visible = without_crumbs(change_db < -limit, _LEAST_PIXELS)
    surface.truth[window.rows, window.cols][visible] = LOOK_ALIKE


def _add_oil(
    surface: _Surface, oil_db: Array, setting: slicks.Setting, seed: int, options: OceanOptions
) -> list[targets.Ship]:
    """Put oil on the sea; returns the ships and platforms at the fresh ends."""
    rng = _generator(seed, _Stream.SLICKS)
    sources = []
    for slick in slicks.draw_slicks(setting, rng, _count(rng, setting.grid, options.slicks_per_100_km2)):
        place = (slick.window.rows, slick.window.cols)
        damping = slick.damping_db * slicks.wind_visibility(np.exp(surface.log_speed[place]))
        visible = (slick.profile > slicks.OUTLINE) & (damping >= slicks.VISIBLE_DAMPING_DB)
        visible = without_crumbs(visible, _LEAST_PIXELS)
        oil_db[place] = np.maximum(oil_db[place], damping)
        surface.truth[place][visible] = OIL
        if slick.source is not None:
            source = targets.draw_ship(setting.grid, rng, slick.source)
            sources += [source] if source is not None else []
    return sources


def _mean_power(
    surface: _Surface, oil_db: Array, incidence: Array, weather: sea.Weather, options: OceanOptions
) -> dict[str, Array]:
    """Linear backscatter of the sea with all that darkens it, by polarisation."""
    speed = np.exp(surface.log_speed)
    power = {}
    for polarisation in options.polarisations:
        if polarisation == "VV":
            # The radar looks along range, so the wind's direction is its azimuth to the look.
            level = sea.backscatter_vv_db(speed, incidence[None, :], weather.direction)
            level = level + surface.change_db - oil_db
        else:
            # Slicks and films are fainter in cross-polarisation, where little comes from Bragg waves alone.
            level = sea.backscatter_vh_db(speed) + np.float32(0.5) * (surface.change_db - oil_db)
        power[polarisation] = np.exp(level * np.float32(np.log(10) / 10))
    return power


def _add_ships(power: dict[str, Array], surface: _Surface, ships: list[targets.Ship]) -> None:
    for ship in ships:
        place = (ship.window.rows, ship.window.cols)
        around = float(np.median(power[next(iter(power))][place]))
        visible = ship.ratio * around > power[next(iter(power))][place]
        surface.truth[place][visible] = SHIP
        for polarisation, values in power.items():
            # Cross-polarised returns of ships are about 8 dB below co-polarised ones.
            values[place] += ship.ratio * np.float32(around * (1 if polarisation == "VV" else 0.16))


def _add_land(power: dict[str, Array], surface: _Surface, land: targets.Land) -> None:
    surface.truth[land.mask] = LAND
    for polarisation, values in power.items():
        # Vegetation and soil return about 7 dB less in cross-polarisation.
        level = land.sigma_db[land.mask] - np.float32(0 if polarisation == "VV" else 7)
        values[land.mask] = 10 ** (level / 10)


def _noise_equivalent(incidence: Array, rng: np.random.Generator, options: OceanOptions) -> dict[str, Array]:
    floor, scallop = float(rng.uniform(*options.noise_floor_db)), float(rng.uniform(*options.noise_scallop_db))
    profile = sea.noise_equivalent_sigma(incidence, floor, scallop)
    return {polarisation: profile.copy() for polarisation in options.polarisations}


def _border(grid: Grid, rng: np.random.Generator, probability: float) -> NDArray[np.bool_]:
    """False beyond a slightly slanted edge at one side of the grid, as at the edge of a swath."""
    valid = np.ones(grid.shape, np.bool_)
    if rng.random() >= probability:
        return valid
    side = int(rng.integers(4))
    length, depth = (grid.rows, grid.cols) if side < 2 else (grid.cols, grid.rows)
    start, slant = rng.uniform(0.02, 0.3) * depth, rng.normal(0, 0.1)
    edge = start + slant * (np.arange(length) - length / 2)
    beyond = np.arange(depth)[None, :] < edge[:, None]
    if side % 2:
        beyond = beyond[:, ::-1]
    valid[beyond if side < 2 else beyond.T] = False
    return valid
