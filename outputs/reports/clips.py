"""Clips of a scene: the radar image around each slick, with its outline, its number and a scale bar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from shapely.geometry.base import BaseGeometry

from outputs.map_frame import NO_DATA_COLOUR, Frame
from outputs.quicklook import reduced
from outputs.reports.document import UNKNOWN, Picture, picture_of
from outputs.style import look_of
from preprocess.grid import Grid
from preprocess.pipeline import CalibratedScene

_SIDE = 360  # pixels
_FINE = 2  # times as many to draw on, so that lines are smooth
_LEAST = 4000.0  # m that a clip is wide at least
_ROOM = 1.5  # times the extent of the slick
_STRETCH = (1.0, 99.0)  # percentiles of the decibels
_MISSING = tuple(int(NO_DATA_COLOUR[i : i + 2], 16) for i in (1, 3, 5))


def clips(calibrated: CalibratedScene, slicks: gpd.GeoDataFrame) -> Iterator[Picture]:
    """A picture of each slick, in the order of the table, its caption with number, area, confidence and id."""
    frame = Frame.of(calibrated.grid)
    for number, one in enumerate(slicks.to_dict("records"), start=1):
        colour = look_of(one["class"], one["confidence_level"]).colour
        image = _clip(calibrated, frame, one["geometry"], colour, str(number))
        area = f"{one['area_m2'] / 1e6:.2f} km²"
        confidence = UNKNOWN if np.isnan(one["confidence_mean"]) else f"{one['confidence_mean']:.2f}"
        caption = f"{number}: {one['class']}, {area}, confidence {confidence} ({one['confidence_level']}). {one['id']}"
        yield picture_of(image, f"Radar image around slick {number}, with its outline", caption)


def _clip(calibrated: CalibratedScene, frame: Frame, outline: BaseGeometry, colour: str, number: str) -> Image.Image:
    on_grid = calibrated.grid.from_lonlat(outline)
    (left, top), (columns, rows) = _window(calibrated.grid, on_grid)
    step = max(1, max(columns, rows) // _SIDE)
    image = _radar(calibrated, left, top, columns, rows, step)
    size = (_SIDE * _FINE, _SIDE * _FINE)
    if frame.rows_upwards:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if not frame.columns_rightwards:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for ring in shapely.get_rings(shapely.get_parts(on_grid)):
        x, y = (shapely.get_coordinates(ring) - (left, top)).T / [[columns], [rows]]
        places = np.column_stack([x if frame.columns_rightwards else 1 - x, 1 - y if frame.rows_upwards else y])
        line: Any = [tuple(place) for place in (places * size).tolist()]
        draw.line(line, fill="white", width=7, joint="curve")
        draw.line(line, fill=colour, width=4, joint="curve")
    _write(draw, (14, 8), number, 34)
    _draw_scale(draw, columns * frame.spacing[1])
    return image.reduce(_FINE)


def _window(grid: Grid, outline: BaseGeometry) -> tuple[tuple[int, int], tuple[int, int]]:
    """Column and row of the first cell of a square around an outline, and how many columns and rows it has."""
    west, south, east, north = outline.bounds
    down, across = grid.spacing
    side = max(_LEAST, _ROOM * (east - west) * across, _ROOM * (north - south) * down)
    columns, rows = max(1, round(side / across)), max(1, round(side / down))
    return (round((west + east - columns) / 2), round((south + north - rows) / 2)), (columns, rows)


def _radar(calibrated: CalibratedScene, left: int, top: int, columns: int, rows: int, step: int) -> Image.Image:
    """The decibels of a window in grey, every `step` x `step` cells averaged; beyond the image there are no data."""
    height, width = calibrated.grid.shape
    inside = slice(max(top, 0), min(top + rows, height)), slice(max(left, 0), min(left + columns, width))
    cells = calibrated.sigma_nought[0][inside]
    part = np.asarray(cells) if step == 1 else reduced(cells, step)
    shape = -(-rows // step), -(-columns // step)
    first = (inside[0].start - top) // step, (inside[1].start - left) // step
    power = np.full(shape, np.nan, np.float32)
    room = power[first[0] : first[0] + part.shape[0], first[1] : first[1] + part.shape[1]]
    room[:] = part[: room.shape[0], : room.shape[1]]
    return Image.fromarray(_grey(power))


def _grey(power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(row, column) of linear power as (row, column, 3) of bytes."""
    known = np.isfinite(power)
    decibels = 10 * np.log10(np.maximum(np.where(known, power, 1.0), 1e-6))
    low, high = np.percentile(decibels[known], _STRETCH) if known.any() else (0.0, 1.0)
    level = np.clip((decibels - low) / max(high - low, 1e-3), 0, 1)
    grey = np.repeat((255 * level).astype(np.uint8)[..., None], 3, axis=2)
    grey[~known] = _MISSING
    return grey


def _draw_scale(draw: ImageDraw.ImageDraw, width: float) -> None:
    """A bar of 1, 2 or 5 times a power of ten metres, lower left."""
    power = 10.0 ** np.floor(np.log10(width / 3))
    length = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= width / 3)
    end, foot = 16 + length / width * _SIDE * _FINE, _SIDE * _FINE - 18
    draw.line([(14, foot), (end + 2, foot)], fill="white", width=12)
    draw.line([(16, foot), (end, foot)], fill="black", width=6)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    _write(draw, (16, foot - 40), text, 26)


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int) -> None:
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans:bold"), size)
    draw.text(place, text, fill="black", font=font, stroke_width=4, stroke_fill="white")
