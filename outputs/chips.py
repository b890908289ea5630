"""Layers of segmented image chips that lie somewhere on Earth: a class map as GeoTIFF, and slicks as GeoJSON."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ingest.files import whole_file
from outputs.coordinates import DECIMALS
from outputs.outlines import polygonise
from outputs.probability import Mask


@dataclass(frozen=True)
class Place:
    """Where an image lies: the affine map from (column, row) to coordinates of a reference system."""

    transform: Affine
    crs: CRS


def place_of(path: Path) -> Place | None:
    """Read where an image lies, from the file, or a world file and .aux.xml beside it; None where that is unknown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                known = dataset.crs is not None and dataset.transform != Affine.identity()
                return Place(dataset.transform, dataset.crs) if known else None
    except RasterioError:
        return None  # an image that Pillow reads and GDAL does not


def write_class_map(
    classes: NDArray[np.uint8], place: Place, colours: dict[int, tuple[int, int, int]], path: Path
) -> None:
    """Write classes (H, W) as a GeoTIFF with a colour table, 255 = no data; raises `StorageError`."""
    profile = {
        "driver": "GTiff", "width": classes.shape[1], "height": classes.shape[0], "count": 1, "dtype": "uint8",
        "crs": place.crs, "transform": place.transform, "nodata": 255, "compress": "deflate",
    }  # fmt: skip
    with whole_file(path) as hidden, rasterio.open(hidden, "w", **profile) as file:
        file.write(classes, 1)
        file.write_colormap(1, colours)


def write_chip_slicks(oil: Mask, place: Place, path: Path) -> int:
    """Write the patches of oil (H, W) as GeoJSON (RFC 7946); returns their number. Raises `StorageError`."""
    parts = list(polygonise(oil, place.transform).geoms) if oil.any() else []
    cell = abs(place.transform.determinant)
    table = gpd.GeoDataFrame(
        {"class": ["oil"] * len(parts), "cells": [round(part.area / cell) for part in parts]},
        geometry=gpd.GeoSeries(parts, crs=place.crs.to_wkt()),
    )
    with whole_file(path) as hidden:
        pyogrio.write_dataframe(
            table.to_crs("EPSG:4326"),
            hidden,
            driver="GeoJSON",
            geometry_type="Polygon",
            layer_options={"RFC7946": "YES", "COORDINATE_PRECISION": str(DECIMALS)},
        )
    return len(parts)
