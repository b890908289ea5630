"""Oil slicks: discharges of moving ships, drifting broken trails, patches, and weathered patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.simulator.curves import Curve, Ribbon, centreline, ribbon
from models.simulator.fields import Array, Grid, Texture, Window, rotated, smoothstep, swirled, wander

FULL_DAMPING_DB = (5.0, 12.0)  # of VV at C-band at a favourable wind (Gade et al. 1998, doi 10.1029/97JC01915)
VISIBLE_DAMPING_DB = 1.5  # less is not drawn into the truth
OUTLINE = 1 / 3  # of the local peak damping: where a person would draw the edge


@dataclass(frozen=True)
class Slick:
    """One slick on its window: damping in dB (positive, at a favourable wind) and the outline's 0..1 profile."""

    window: Window
    damping_db: Array
    profile: Array
    source: tuple[float, float] | None = None  # metres; a ship or platform at its fresh end


@dataclass(frozen=True)
class Setting:
    """What a slick is drawn in: the grid, noise, and where the wind blows to (radians from range to azimuth)."""

    grid: Grid
    texture: Texture  # rough
    smooth: Texture
    wind_direction: float


def wind_visibility(speed: Array) -> Array:
    """Share of its full damping that oil shows at a wind speed in m/s.

    Nothing below about 1.5 m/s, where the sea is dark too; all from 3 to 8 m/s; little above 13 m/s, where
    waves mix it down (Brekke and Solberg 2005, doi 10.1016/j.rse.2004.11.015).
    """
    rise = smoothstep((speed - np.float32(1.2)) / np.float32(1.8))
    fall = smoothstep((speed - np.float32(8)) / np.float32(6.5))
    return np.asarray(rise * (1 - np.float32(0.9) * fall), np.float32)


def draw_slicks(setting: Setting, rng: np.random.Generator, count: int) -> list[Slick]:
    """Draw `count` slicks, some of several parts; those that miss the grid are left out."""
    drawn: list[Slick] = []
    for _ in range(count):
        kind = KINDS[int(rng.choice(len(KINDS), p=_WEIGHTS))]
        middle = (rng.uniform(0, setting.grid.width), rng.uniform(0, setting.grid.height))
        parts = int(rng.integers(2, 5)) if rng.random() < 0.15 else 1
        for _ in range(parts):
            slick = kind(setting, rng, middle)
            if slick is not None:
                drawn.append(slick)
            middle = (middle[0] + rng.normal(0, 1500), middle[1] + rng.normal(0, 1500))
    return drawn


def discharge(setting: Setting, rng: np.random.Generator, middle: tuple[float, float]) -> Slick | None:
    """A ship's discharge: a long narrow line, fresh and thin at one end, old, wide and feathered at the other."""
    length = float(np.exp(rng.uniform(np.log(2.5e3), np.log(20e3))))
    heading = rng.uniform(0, 2 * np.pi)
    hook = float(rng.choice([-1, 1]) * rng.uniform(0.7, 2.4)) if rng.random() < 0.2 else 0.0
    curve = centreline(rng, middle, heading, length, rng.uniform(0.02, 0.5), setting.grid.spacing / 2, hook)
    age = curve.along / curve.length
    fresh, old = rng.uniform(25, 70), np.exp(rng.uniform(np.log(60), np.log(700)))
    half = (fresh + (old - fresh) * age ** rng.uniform(0.6, 2.0)) * np.exp(0.3 * wander(rng, length, 500, curve.along))
    half = half * np.clip(np.minimum(curve.along / 300 + 0.3, (curve.length - curve.along) / (0.15 * length)), 0.15, 1)
    strength = rng.uniform(*FULL_DAMPING_DB) * (1 - rng.uniform(0, 0.35) * age)
    strength = strength * np.clip(0.85 + 0.15 * wander(rng, length, 1500, curve.along), 0.5, 1.15)
    slick = _along(setting, rng, curve, half, strength, np.ones_like(age), rng.uniform(0.4, 2.5))
    if slick is None or rng.random() > 0.4:
        return slick
    return Slick(slick.window, slick.damping_db, slick.profile, (float(curve.x[0]), float(curve.y[0])))


def trail(setting: Setting, rng: np.random.Generator, middle: tuple[float, float]) -> Slick | None:
    """A drifting trail broken into pieces of varying width."""
    length = float(np.exp(rng.uniform(np.log(2e3), np.log(14e3))))
    curve = centreline(rng, middle, rng.uniform(0, 2 * np.pi), length, rng.uniform(0.25, 0.8), setting.grid.spacing / 2)
    half = np.exp(rng.uniform(np.log(50), np.log(260))) * np.exp(0.55 * wander(rng, length, 500, curve.along))
    pieces = 0.7 * wander(rng, length, rng.uniform(400, 1500), curve.along) + 0.5 * wander(
        rng, length, 250, curve.along
    )
    gate = np.clip((pieces + rng.uniform(0.0, 0.7)) / 0.3, 0, 1)
    half = half * np.sqrt(gate)  # pieces end in rounded tips
    strength = rng.uniform(*FULL_DAMPING_DB) * np.clip(0.8 + 0.2 * wander(rng, length, 700, curve.along), 0.5, 1.1)
    return _along(setting, rng, curve, half, strength, gate, rng.uniform(0.5, 3.0))


def _along(
    setting: Setting,
    rng: np.random.Generator,
    curve: Curve,
    half: np.ndarray,
    strength: np.ndarray,
    gate: np.ndarray,
    feather: float,
) -> Slick | None:
    """Oil along a curve: half width (m), strength (dB) and gate (0..1) by point; `feather` in half widths.

    Oil piles up at its downwind side, which is sharp, and thins out in streaks to the upwind side.
    """
    pixel = setting.grid.spacing
    reach = float(half.max()) * (1.5 + feather) + 3 * pixel
    found = ribbon(setting.grid, curve, reach)
    if found is None:
        return None
    # Narrower than a pixel is a pixel wide with the damping diluted.
    dilution = np.clip(half / (0.6 * pixel), 0.2, 1)
    rough = setting.texture.draw(rng, found.window.x / np.float32(90), found.window.y / np.float32(90))
    # Reading the profile a little before or after frays its edges and ends.
    frayed = found.index + (rough * np.float32(0.25 * half.max() / (0.5 * pixel))).astype(np.intp)
    frayed = np.clip(frayed, 0, len(half) - 1)
    wide = np.maximum(half, 0.6 * pixel).astype(np.float32)[frayed]
    upwind = _upwind_side(found, curve, setting.wind_direction)
    streaks = _streaks(setting, rng, found.window, 70.0)
    across = np.abs(found.across) + wide * np.float32(0.3) * rough
    sharp = np.float32(0.7 * pixel)
    soft = np.where(upwind > 0, sharp + wide * np.float32(feather) * upwind, sharp)
    edge = wide + np.where(upwind > 0, wide * upwind * (np.float32(0.3) + np.float32(0.45) * streaks), 0)
    profile = smoothstep((edge - across) / soft + np.float32(0.5))
    ends = smoothstep(found.along / np.float32(pixel) + 1)
    ends *= smoothstep((np.float32(curve.length) - found.along) / np.float32(pixel) + 1)
    profile *= ends * gate.astype(np.float32)[frayed]
    thickness = np.clip(np.float32(0.88) + np.float32(0.12) * streaks, 0.6, 1.1)
    return Slick(found.window, profile * thickness * (strength * dilution).astype(np.float32)[frayed], profile)


def _upwind_side(found: Ribbon, curve: Curve, wind_direction: float) -> Array:
    """How much the pixel's side of the curve is the upwind one: 1 straight upwind, negative downwind."""
    normal_to_wind = np.sin(curve.heading - wind_direction).astype(np.float32)[found.index]
    return np.asarray(np.sign(found.across) * normal_to_wind, np.float32)


def _streaks(setting: Setting, rng: np.random.Generator, window: Window, width: float) -> Array:
    """Noise drawn out along the wind, about `width` metres across."""
    along, across = rotated(window.x, window.y, setting.wind_direction)
    return setting.texture.draw(rng, along / np.float32(5 * width), across / np.float32(width))


def patch(setting: Setting, rng: np.random.Generator, middle: tuple[float, float]) -> Slick | None:
    """A patch: a noise-warped ellipse with fingers, sharp downwind and feathered upwind."""
    radius = float(np.exp(rng.uniform(np.log(600), np.log(4000))))
    window = setting.grid.around(*middle, 2.6 * radius)
    if window is None:
        return None
    scale = np.float32(radius / 14)
    x, y = window.x - np.float32(middle[0]), window.y - np.float32(middle[1])
    x = x + np.float32(0.25 * radius) * setting.smooth.draw(rng, window.x / scale, window.y / scale)
    y = y + np.float32(0.25 * radius) * setting.smooth.draw(rng, window.x / scale, window.y / scale)
    along, across = rotated(x, y, setting.wind_direction + rng.normal(0, 0.5))
    distance = np.hypot(along / np.float32(radius), across / np.float32(radius * rng.uniform(0.12, 0.6)))
    fingers = _streaks(setting, rng, window, max(60.0, radius / 12))
    downwind, _ = rotated(x, y, setting.wind_direction)
    upwind = smoothstep(np.float32(0.5) - downwind / np.float32(1.6 * radius))
    inside = 1 - distance + fingers * (np.float32(0.08) + np.float32(0.3) * upwind)
    sharp = 1.2 * setting.grid.spacing / (0.5 * radius)
    profile = smoothstep(inside / (np.float32(sharp) + np.float32(rng.uniform(0.1, 0.8)) * upwind) + np.float32(0.3))
    thick = setting.texture.draw(rng, window.x / np.float32(120), window.y / np.float32(120))
    thickness = np.clip(np.float32(0.82) + np.float32(0.16) * thick, 0.5, 1.15)
    return Slick(window, profile * thickness * np.float32(rng.uniform(*FULL_DAMPING_DB)), profile)


def weathered(setting: Setting, rng: np.random.Generator, middle: tuple[float, float]) -> Slick | None:
    """An old patch that eddies have drawn out into tongues and ribbons."""
    radius = float(np.exp(rng.uniform(np.log(1200), np.log(5000))))
    window = setting.grid.around(*middle, 2.2 * radius)
    if window is None:
        return None
    x, y = window.x - np.float32(middle[0]), window.y - np.float32(middle[1])
    scale = np.float32(radius / 10)
    for _ in range(int(rng.integers(1, 4))):
        centre = (rng.normal(0, 0.6 * radius), rng.normal(0, 0.6 * radius))
        x, y = swirled(x, y, centre, radius * rng.uniform(0.35, 0.9), rng.normal(0, 1.6))
    x = x + np.float32(0.15 * radius) * setting.smooth.draw(rng, window.x / scale, window.y / scale)
    along, across = rotated(x, y, rng.uniform(0, 2 * np.pi))
    distance = np.hypot(along / np.float32(radius), across / np.float32(radius * rng.uniform(0.2, 0.6)))
    grain = np.float32(rng.uniform(60, 140))
    fibres = setting.texture.draw(rng, along / (5 * grain), across / grain)
    inside = np.float32(0.7) - distance + np.float32(rng.uniform(0.35, 0.75)) * fibres
    profile = smoothstep(inside / np.float32(rng.uniform(0.2, 0.45)) + np.float32(0.2))
    profile *= smoothstep((2 - distance) * 2)
    return Slick(window, profile * np.float32(rng.uniform(*FULL_DAMPING_DB)), profile)


KINDS: tuple[Callable[[Setting, np.random.Generator, tuple[float, float]], Slick | None], ...] = (
    discharge,
    trail,
    patch,
    weathered,
)
_WEIGHTS = (0.36, 0.18, 0.22, 0.24)
