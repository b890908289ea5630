"""Images of a scene as results have them, simple enough to know what a map must show."""

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint

WEST, SOUTH, EAST, NORTH = 2.0, 57.0, 4.5, 59.0
HEIGHT, WIDTH = 400, 500  # cells of 0.005 degrees
SPOT = (3.2525, 58.2475)  # longitude and latitude of the middle of a dark block of 41 x 41 cells
_ROW, _COLUMN = 150, 250


def write_images(folder):
    """Grey sea with a dark block, no data in the lowest tenth; probability of oil 0.8 in the block."""
    folder.mkdir(parents=True, exist_ok=True)
    radar = np.random.default_rng(1).integers(118, 124, (HEIGHT, WIDTH)).astype(np.uint8)
    radar[_ROW - 20 : _ROW + 21, _COLUMN - 20 : _COLUMN + 21] = 60
    radar[HEIGHT * 9 // 10 :] = 255
    oil = np.zeros((HEIGHT, WIDTH), np.uint8)
    oil[_ROW - 20 : _ROW + 21, _COLUMN - 20 : _COLUMN + 21] = 200
    _write(folder / "sigma_nought.tif", [radar], ["sigma nought VV"])
    _write(folder / "class_probability.tif", [np.zeros_like(oil), oil], ["sea", "oil"])


def _write(path, bands, names):
    points = [
        GroundControlPoint(
            row=HEIGHT * down, col=WIDTH * along, x=WEST + (EAST - WEST) * along, y=NORTH - (NORTH - SOUTH) * down
        )
        for down in np.linspace(0, 1, 5)
        for along in np.linspace(0, 1, 5)
    ]
    shape = {"height": HEIGHT, "width": WIDTH, "count": len(bands), "dtype": "uint8", "nodata": 255}
    with rasterio.open(path, "w", driver="GTiff", gcps=points, crs="EPSG:4326", **shape) as target:
        for number, (band, name) in enumerate(zip(bands, names, strict=True), start=1):
            target.write(band, number)
            target.set_band_description(number, name)
