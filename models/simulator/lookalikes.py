"""Dark features that are not oil: low wind, biogenic films, rain cells, internal waves, wakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from models.simulator.curves import centreline, ribbon
from models.simulator.fields import Array, Window, rotated, smoothstep, swirled
from models.simulator.slicks import Setting

VISIBLE_DAMPING_DB = 2.0  # less is not marked in the truth


@dataclass(frozen=True)
class LookAlike:
    """One look-alike on its window: change of the backscatter in dB, and change of ln(wind speed)."""

    window: Window
    change_db: Array | None = None
    log_wind: Array | None = None


def draw_lookalikes(setting: Setting, rng: np.random.Generator, count: int, wind_speed: float) -> list[LookAlike]:
    """Draw `count` look-alikes of the kinds that the wind speed (m/s) allows."""
    drawn: list[LookAlike] = []
    for _ in range(count):
        # Films survive only in weak wind (Gade et al. 2013, doi 10.1016/j.jmarsys.2011.11.001).
        films = 0.45 if wind_speed < 6.5 else 0.0
        weights = np.array([0.4, films, 0.15, 0.15])
        kind = KINDS[int(rng.choice(len(KINDS), p=weights / weights.sum()))]
        middle = (rng.uniform(0, setting.grid.width), rng.uniform(0, setting.grid.height))
        found = kind(setting, rng, middle)
        if found is not None:
            drawn.append(found)
    return drawn


def low_wind(setting: Setting, rng: np.random.Generator, middle: tuple[float, float]) -> LookAlike | None:
    """A large calm area, irregular and diffuse, drawn out along the wind."""
    radius = float(np.exp(rng.uniform(np.log(2e3), np.log(10e3))))
    aspect = rng.uniform(0.3, 0.9)
    window = setting.grid.around(*middle, 2.5 * radius)
    if window is None:
        return None
    along, across = rotated(
        window.x - np.float32(middle[0]), window.y - np.float32(middle[1]), setting.wind_direction + rng.normal(0, 0.3)
    )
    distance = np.hypot(along / np.float32(radius), across / np.float32(radius * aspect))
    scale = np.float32(radius / 14)
    lobes = setting.smooth.draw(rng, along / (2 * scale), across / scale)
    lobes += np.float32(0.5) * setting.texture.draw(rng, along / np.float32(250), across / np.float32(110))
    inside = 1 - distance + np.float32(0.5) * lobes
    # From calm to full wind the air needs kilometres, unlike the edge of a film.
    calm = smoothstep(inside / np.float32(rng.uniform(1.0, 2.2)) + np.float32(0.2)) * smoothstep((2.4 - distance) * 1.2)
    return LookAlike(window, log_wind=np.float32(np.log(rng.uniform(0.2, 0.55))) * calm)


def biogenic(setting: Setting, rng: np.random.Generator, middle: tuple[float, float]) -> LookAlike | None:
    """Films of plankton: many thin parallel strands, curled by eddies."""
    radius = float(rng.uniform(2e3, 6.5e3))
    window = setting.grid.around(*middle, 1.3 * radius)
    if window is None:
        return None
    x, y = window.x - np.float32(middle[0]), window.y - np.float32(middle[1])
    distance = np.hypot(x, y) / np.float32(radius)
    for _ in range(int(rng.integers(1, 5))):
        centre = (rng.normal(0, 0.5 * radius), rng.normal(0, 0.5 * radius))
        x, y = swirled(x, y, centre, radius * rng.uniform(0.25, 0.6), float(rng.choice([-1, 1]) * rng.uniform(1, 4.5)))
    along, across = rotated(x, y, rng.uniform(0, 2 * np.pi))
    grain = np.float32(rng.uniform(25, 60))
    strands = setting.smooth.draw(rng, along / (12 * grain), across / grain)
    gate = setting.texture.draw(rng, window.x / np.float32(200), window.y / np.float32(200))
    ridge = smoothstep((1 - np.abs(strands) / np.float32(rng.uniform(0.12, 0.3))) * np.float32(1.4))
    film = ridge * smoothstep(gate + np.float32(0.6)) * smoothstep((np.float32(1.15) - distance) * np.float32(2.5))
    film = ndimage.gaussian_filter(film, 30 / setting.grid.spacing)
    return LookAlike(window, change_db=np.float32(-rng.uniform(3.5, 7.0)) * film)


def rain_cell(setting: Setting, rng: np.random.Generator, middle: tuple[float, float]) -> LookAlike | None:
    """A rain cell: a dark centre where drops damp the waves, a bright gust front around it (Atlas 1994)."""
    radius = float(rng.uniform(1.2e3, 4.5e3))
    window = setting.grid.around(*middle, 2.0 * radius)
    if window is None:
        return None
    x, y = window.x - np.float32(middle[0]), window.y - np.float32(middle[1])
    scale = np.float32(radius / 12)
    noise = setting.texture.draw(rng, window.x / scale, window.y / scale)
    # The wind carries the front on: it is far and strong downwind, near and faint upwind.
    downwind, _ = rotated(x, y, setting.wind_direction)
    drift = downwind / np.float32(radius)
    distance = np.hypot(x, y) / np.float32(radius) - np.float32(0.25) * drift + np.float32(0.12) * noise
    front = np.where(distance < 1, smoothstep((distance - np.float32(0.35)) / np.float32(0.6)), 0)
    front = front * smoothstep((np.float32(1.08) - distance) / np.float32(0.12)) * np.clip(0.5 + drift, 0.1, 1.2)
    core = smoothstep((np.float32(rng.uniform(0.45, 0.7)) - distance) / np.float32(0.35))
    change = np.float32(rng.uniform(1.5, 4)) * front - np.float32(rng.uniform(3, 7)) * core
    splash = smoothstep((noise - np.float32(0.9)) * 2) * core * np.float32(rng.uniform(0, 8))
    return LookAlike(window, change_db=np.asarray(change + splash, np.float32))


def internal_waves(setting: Setting, rng: np.random.Generator, middle: tuple[float, float]) -> LookAlike | None:
    """A packet of internal waves: curved bright and dark bands, closer and fainter towards the rear (Alpers 1985)."""
    depth, crest = float(rng.uniform(1.5e3, 5e3)), float(rng.uniform(3e3, 9e3))
    window = setting.grid.around(*middle, max(depth, crest) * 1.2)
    if window is None:
        return None
    along, across = rotated(
        window.x - np.float32(middle[0]), window.y - np.float32(middle[1]), rng.uniform(0, 2 * np.pi)
    )
    noise = setting.texture.draw(rng, window.x / np.float32(250), window.y / np.float32(250))
    bowed = along + across * across / np.float32(rng.uniform(8e3, 40e3)) + np.float32(90) * noise
    behind = -bowed  # metres behind the leading crest
    longest = rng.uniform(350, 1100)
    phase = np.where(behind > 0, behind / longest * (1 + behind / np.float32(2 * depth)), 0)
    decay = np.exp(-np.maximum(behind, 0) / np.float32(0.5 * depth)) * smoothstep(behind / np.float32(120))
    ends = smoothstep((1 - np.abs(across) / np.float32(crest)) * 2) * smoothstep((depth - behind) / np.float32(500))
    bands = np.sin(np.float32(2 * np.pi) * phase)
    return LookAlike(window, change_db=np.asarray(rng.uniform(2.5, 5) * bands * decay * ends, np.float32))


def wake(
    setting: Setting, rng: np.random.Generator, ship: tuple[float, float], heading: float, length: float
) -> LookAlike | None:
    """The dark turbulent wake behind a moving ship: short, straight, thin, fading."""
    step = setting.grid.spacing / 2
    middle = (ship[0] - np.cos(heading) * length / 2, ship[1] - np.sin(heading) * length / 2)
    curve = centreline(rng, middle, heading + np.pi, length, 0.01, step)
    found = ribbon(setting.grid, curve, 6 * setting.grid.spacing)
    if found is None:
        return None
    fading = 1 - found.along / np.float32(length)
    strip = smoothstep((np.float32(1.1) - np.abs(found.across) / np.float32(setting.grid.spacing)) + np.float32(0.5))
    dark = strip * np.clip(fading, 0, 1) * (found.along > 0)
    return LookAlike(found.window, change_db=np.asarray(-rng.uniform(2.5, 5) * dark, np.float32))


KINDS: tuple[Callable[[Setting, np.random.Generator, tuple[float, float]], LookAlike | None], ...] = (
    low_wind,
    biogenic,
    rain_cell,
    internal_waves,
)
