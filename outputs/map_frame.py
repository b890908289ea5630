"""The frame of a picture of a scene: a page to scale with north up, a north arrow and a scale bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray

from preprocess.grid import Grid

DPI = 100
LONGEST = 14.0  # inches of the image; with title and legend the picture stays below 1600 pixels
NARROWEST = 8.5  # inches that title and legend need
HALO: list[AbstractPathEffect] = [withStroke(linewidth=2.6, foreground="white", alpha=0.8)]
NO_DATA_COLOUR = "#dfe6ec"
_STEPS = (20, 10, 5, 2, 1, 0.5, 1 / 3, 1 / 6, 1 / 12, 1 / 30, 1 / 60)  # degrees between lines of the graticule
_LABEL = (56.0, 14.0)  # points, more than the widest label of the graticule takes
_HEADER, _FOOTER, _SIDE = 1.35, 0.5, 0.15  # inches around the image


@dataclass(frozen=True)
class Frame:
    """A grid as a picture: its size on the ground, and how it is turned so that north is up."""

    rows: int
    columns: int
    spacing: tuple[float, float]  # m between rows, between columns
    rows_upwards: bool
    columns_rightwards: bool
    north: tuple[float, float]  # on the picture, rightwards and upwards, length 1

    @classmethod
    def of(cls, grid: Grid) -> Frame:
        """Turn a grid so that north is up and the picture is no mirror image of the map."""
        down, right = (np.array(axis) for axis in grid.axes)  # metres east and north
        upwards = bool(down[1] > 0.0)
        rightwards = upwards if right[0] * down[1] > right[1] * down[0] else not upwards
        north = np.array([right[1] / np.hypot(*right), down[1] / np.hypot(*down)])
        north *= (1.0 if rightwards else -1.0, 1.0 if upwards else -1.0)
        north /= np.hypot(*north)
        return cls(*grid.shape, grid.spacing, upwards, rightwards, (float(north[0]), float(north[1])))

    @property
    def height(self) -> float:
        """Metres along columns."""
        return self.rows * self.spacing[0]

    @property
    def width(self) -> float:
        """Metres along rows."""
        return self.columns * self.spacing[1]

    @property
    def inches_per_metre(self) -> float:
        """The scale of the picture."""
        return LONGEST / max(self.width, self.height)

    def places(self, corners: NDArray[np.floating]) -> NDArray[np.floating]:
        """Columns and rows, (n, 2), as shares of the picture's width and height, from its lower left corner."""
        shares = corners / (self.columns, self.rows)
        flipped = np.array([not self.columns_rightwards, not self.rows_upwards])
        return np.where(flipped, 1.0 - shares, shares)

    @property
    def dots_per_cell(self) -> tuple[float, float]:
        """Pixels of the picture across and along a cell."""
        dots = DPI * self.inches_per_metre
        return dots * self.spacing[1], dots * self.spacing[0]


def canvas(frame: Frame) -> tuple[Figure, Axes]:
    """A figure with axes for the image, true to scale on the ground."""
    width, height = frame.width * frame.inches_per_metre, frame.height * frame.inches_per_metre
    page = max(width + 2 * _SIDE, NARROWEST), height + _HEADER + _FOOTER
    figure = Figure(figsize=page, facecolor="white")
    place = (0.5 - width / 2 / page[0], _FOOTER / page[1], width / page[0], height / page[1])
    return figure, figure.add_axes(place, facecolor=NO_DATA_COLOUR, xticks=[], yticks=[])


def turn(axes: Axes, frame: Frame) -> None:
    axes.set_xlim((0, frame.columns) if frame.columns_rightwards else (frame.columns, 0))
    axes.set_ylim((0, frame.rows) if frame.rows_upwards else (frame.rows, 0))


def draw_graticule(axes: Axes, frame: Frame, grid: Grid) -> None:
    """Meridians, labelled where they leave the picture below, and parallels, on the left, at round degrees or minutes.

    None within a degree of a pole. A label that would lie on another is left out.
    """
    written: list[tuple[float, float]] = []
    rows, columns = np.linspace(0, grid.shape[0], 40), np.linspace(0, grid.shape[1], 40)
    line, pixel = np.meshgrid(rows * grid.looks[0] - 0.5, columns * grid.looks[1] - 0.5, indexing="ij")
    longitude, latitude = grid.geolocation.lonlat(line, pixel)
    if np.abs(latitude).max() > 89:
        return
    middle = longitude[20, 20]
    longitude = middle + (longitude - middle + 180) % 360 - 180  # without a jump at the antimeridian
    for degrees, letters in ((longitude, "EW"), (latitude, "NS")):
        step = next((s for s in _STEPS if np.ptp(degrees) / s >= 2), _STEPS[-1])
        levels = np.arange(np.ceil(degrees.min() / step), np.floor(degrees.max() / step) + 1) * step
        if not levels.size:
            continue
        lines = axes.contour(
            columns, rows, degrees, levels=levels, colors="#ffffff", linestyles="solid", linewidths=0.8, alpha=0.8
        )
        for level, pieces in zip(lines.levels, lines.allsegs, strict=True):
            if pieces:
                ends = frame.places(np.concatenate(pieces))
                end = ends[int(np.argmin(ends[:, 0 if letters == "NS" else 1]))]
                _write_degrees(axes, frame, degree_text(float(level), letters), (float(end[0]), float(end[1])), written)


def _write_degrees(
    axes: Axes, frame: Frame, text: str, place: tuple[float, float], written: list[tuple[float, float]]
) -> None:
    """Label a line at its end, a share of the picture's width and height, unless another label is in the way."""
    scale = 72 * frame.inches_per_metre
    size = np.array([frame.width * scale, frame.height * scale])
    label, low = np.array(_LABEL), np.array([4.0, 4.0])
    corner = np.clip(np.array(place) * size - label / 2, low, size - label - low)
    if any(np.all(np.abs(corner - other) < label) for other in written):
        return
    written.append((float(corner[0]), float(corner[1])))
    across, up = ((corner + label / 2) / size).tolist()
    axes.text(
        across, up, text, transform=axes.transAxes, ha="center", va="center", fontsize=9, fontweight="bold",
        path_effects=HALO,
    )  # fmt: skip


def degree_text(value: float, letters: str) -> str:
    """Degrees and minutes with the letter of the hemisphere: 12.5 of "EW" is 12°30'E."""
    value = (value + 180) % 360 - 180 if letters == "EW" else value
    degrees, minutes = divmod(round(abs(value) * 60), 60)
    return f"{degrees}°{minutes:02}'{letters[int(value < 0)]}"


def draw_north(axes: Axes, frame: Frame) -> None:
    """An arrow in the upper right corner."""
    east, up = frame.north
    inch = np.array([1.0, 1.0]) / (frame.width * frame.inches_per_metre, frame.height * frame.inches_per_metre)
    middle, half = 1.0 - 0.42 * inch, 0.25 * inch * (east, up)
    axes.annotate(
        "N",
        xy=tuple(middle + half),
        xytext=tuple(middle - half),
        xycoords="axes fraction",
        textcoords="axes fraction",
        ha="center",
        va="center",
        fontsize=11,
        fontweight="bold",
        path_effects=HALO,
        arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.6, "path_effects": HALO},
    )


def draw_scale_bar(figure: Figure, axes: Axes, frame: Frame) -> None:
    """A bar of 1, 2 or 5 times a power of ten metres under the image, on the left."""
    place = axes.get_position()
    longest = min(frame.width / 3.0, 1.8 / frame.inches_per_metre)
    power = 10.0 ** np.floor(np.log10(longest))
    length = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest)
    start = min(place.x0, (figure.get_figwidth() - NARROWEST) / 2 / figure.get_figwidth() + 0.015)
    end = start + length * frame.inches_per_metre / figure.get_figwidth()
    height = 0.27 / figure.get_figheight()
    figure.add_artist(Line2D([start, end], [height, height], color="black", linewidth=3, solid_capstyle="butt"))
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    figure.text(end, height, f"  {text}", va="center", fontsize=9)
