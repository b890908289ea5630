"""From class probabilities to the table of slicks: their outlines and attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon

from outputs.attributes import SCHEMA_VERSION, slick_table
from outputs.measurements import Progress, confidence_attributes, measurements
from outputs.options import SlickOptions
from outputs.outlines import Groups, Slick, blocked_cells, slicks_among
from outputs.probability import Mask, class_plane
from outputs.record import software_version
from outputs.surroundings import ship_attributes, ship_positions
from preprocess.pipeline import CalibratedScene

CoastDistances = Callable[[Sequence[MultiPolygon]], NDArray[np.float64]]


def find_slicks(
    class_probability: xr.DataArray,
    calibrated: CalibratedScene,
    *,
    land: Mask | None,
    options: SlickOptions,
    model_id: str,
    oil_probability: NDArray[np.floating] | None = None,
    oil: NDArray[np.floating] | None = None,
    weights_sha256: str | None = None,
    config_hash: str | None = None,
    run_id: str | None = None,
    processed_at: datetime | None = None,
    coast_distances: CoastDistances | None = None,
    progress: Progress = lambda done, total: None,
) -> gpd.GeoDataFrame:
    """Slicks of a scene with their attributes, one row each, in EPSG:4326; the columns are `ATTRIBUTES`.

    `class_probability` is (class, line, pixel), NaN where there is no data; only single class planes of it
    are read, so it may be a memory map larger than the memory. `land` is True on land, (line, pixel);
    `oil_probability` is the judgement of an object stage on each slick, on its cells, NaN where it has none; it becomes
    the slick's confidence. `oil` takes the place of the class plane of oil. `coast_distances` is that of
    `outputs.surroundings`; without it the distance to the coast is null. `progress` takes, class by class, the slicks
    measured and all.
    Outlines are smoothed for display (`outputs.smoothing`); attributes are those of the cells.
    Rows are ordered by class, then by first line. Raises `UsageError` for a class the model does not know.
    """
    moment = processed_at or datetime.now(UTC)
    common = {
        **_scene_attributes(calibrated, moment),
        "model_id": model_id,
        "weights_sha256": weights_sha256,
        "config_hash": config_hash,
        "software_version": software_version(),
        "run_id": run_id,
        "thresholds": options.thresholds(),
        "schema_version": SCHEMA_VERSION,
        "status": "unreviewed",
    }
    rows: list[dict[str, object]] = []
    outlines: list[MultiPolygon] = []
    displays: list[MultiPolygon] = []
    taken = np.zeros(class_probability.shape[1:], dtype=bool)
    blocked = blocked_cells(class_probability, land)
    ships = ship_positions(class_probability, blocked, calibrated.grid)
    for name in options.classes:
        plane = class_plane(class_probability, name) if oil is None or name != "oil" else oil
        groups = Groups.of(plane, blocked, taken, options.grow, calibrated.grid)
        slicks = list(slicks_among(groups, options))
        measured_slicks = measurements(slicks, groups, class_probability, calibrated, options, progress)
        for slick, measured in zip(slicks, measured_slicks, strict=True):
            identity = _identity(calibrated.scene.id, model_id, weights_sha256, name, slick.image_outline)
            said = {} if oil_probability is None or name != "oil" else _judged(slick, groups, oil_probability, options)
            rows.append({**common, **measured, **said, "id": identity, "class": name})
            outlines.append(slick.outline)
            displays.append(slick.display)
            taken[slick.window] |= groups.cells(slick.group, slick.window, options.outline)
    for row, near in zip(rows, ship_attributes(outlines, ships), strict=True):
        row |= near
    if coast_distances is not None:
        for row, distance in zip(rows, coast_distances(outlines), strict=True):
            row["distance_to_coast_m"] = distance
    return slick_table(rows, displays)


def candidate_table(rejected: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Rejected candidates with the attributes of slicks, who rejected them, and their calibrated probability of oil."""
    return rejected.assign(rejected_by="object stage", oil_probability=1 - rejected["lookalike_probability"])


def _judged(
    slick: Slick, groups: Groups, oil_probability: NDArray[np.floating], options: SlickOptions
) -> dict[str, object]:
    """What the object stage says of a slick of oil, in place of what its pixels say.

    A slick out of several candidates is as probable as the likeliest.
    """
    said = oil_probability[slick.window][groups.cells(slick.group, slick.window, options.outline)]
    said = said[np.isfinite(said)]
    if not said.size:
        return {}
    oil = said.max(keepdims=True)
    return {
        **confidence_attributes(oil, options.medium, options.high),
        "lookalike_probability": 1 - float(oil[0]),
    }


def _scene_attributes(calibrated: CalibratedScene, processed_at: datetime) -> dict[str, object]:
    scene = calibrated.scene
    return {
        "scene_id": scene.id,
        "platform": scene.platform,
        "mode": scene.mode,
        "polarisation": "+".join(str(p) for p in calibrated.sigma_nought.polarisation.values),
        "relative_orbit": scene.relative_orbit,
        "acquired_start": scene.acquired_start,
        "acquired_end": scene.acquired_end,
        "processed_at": processed_at,
        "latency_s": (processed_at - scene.acquired_end).total_seconds(),
    }


def _identity(scene_id: str, model_id: str, weights: str | None, name: str, image_outline: MultiPolygon) -> str:
    """A short id that every rerun reproduces.

    Made of image coordinates, which are multiples of one half, not of degrees, whose last digits differ
    between versions of a projection library.
    """
    digest = hashlib.blake2b(digest_size=8)
    for text in (scene_id, model_id, weights or "", name):
        digest.update(text.encode() + b"\0")
    digest.update(shapely.to_wkb(image_outline.normalize(), byte_order=1))
    return digest.hexdigest()
