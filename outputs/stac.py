"""The STAC item of a processed scene: what was analysed, when, with what, and where the results lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import geopandas as gpd
import numpy as np
import pystac
import shapely
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.sar import FrequencyBand, Polarization, SarExtension
from pystac.extensions.sat import OrbitState, SatExtension
from pystac.extensions.table import Column, TableExtension
from shapely.geometry.base import BaseGeometry

from ingest.errors import UnreadableInput
from ingest.files import write_bytes
from ingest.scene import scene_from_name
from outputs.attributes import ATTRIBUTES, Kind
from outputs.coordinates import DECIMALS, bounding_box
from outputs.coverage import Coverage
from outputs.rasters import NO_PROBABILITY, STEPS
from outputs.record import software_version
from outputs.stac_collection import COLLECTION_FILE, COLLECTION_ID
from preprocess.grid import Grid
from preprocess.pipeline import CalibratedScene

PROCESSING_EXTENSION = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
RASTER_EXTENSION = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
_PRODUCTS = "https://catalogue.dataspace.copernicus.eu/odata/v1/Products?$filter="
_TYPES: Mapping[Kind, str] = {
    "text": "string", "integer": "int64", "real": "float64", "flag": "boolean", "time": "datetime",
}  # fmt: skip
_CENTRE_FREQUENCY = 5.405  # GHz
_OUTLINE_TOLERANCE = 5e-4  # degrees, some 50 m; a footprint needs no vertex every 2 km


@dataclass(frozen=True)
class _Kind:
    """The kind of a result file, from its name."""

    key: str
    title: str
    media_type: str
    roles: tuple[str, ...]


_KINDS: Mapping[str, _Kind] = {
    "slicks.geojson": _Kind("slicks", "Slicks, GeoJSON", "application/geo+json", ("data",)),
    "candidates.geojson": _Kind("candidates", "Rejected candidates, GeoJSON", "application/geo+json", ("data",)),
    "slicks.gpkg": _Kind("slicks_gpkg", "Slicks, GeoPackage with its style", pystac.MediaType.GEOPACKAGE, ("data",)),
    "sigma_nought.tif": _Kind("sigma_nought", "Sigma nought in dB", pystac.MediaType.COG, ("data",)),
    "class_probability.tif": _Kind("class_probability", "Class probabilities", pystac.MediaType.COG, ("data",)),
    "quicklook.png": _Kind("quicklook", "Quick look", pystac.MediaType.PNG, ("overview",)),
    "report.html": _Kind("report", "Report", "text/html", ("overview",)),
    "report.pdf": _Kind("report_pdf", "Report, PDF", "application/pdf", ("overview",)),
    "slicks.qgs": _Kind("project", "QGIS project of the layers", "application/xml", ("metadata",)),
    "slicks.qml": _Kind("style", "QGIS style of the slicks", "application/xml", ("metadata",)),
    "class_probability.qml": _Kind(
        "class_probability_style", "QGIS style of the class probabilities", "application/xml", ("metadata",)
    ),
    "run.json": _Kind("run", "Record of the run", pystac.MediaType.JSON, ("metadata",)),
}


def scene_item(
    calibrated: CalibratedScene,
    slicks: gpd.GeoDataFrame,
    files: Sequence[str],
    *,
    model_id: str,
    processed_at: datetime,
    class_names: Sequence[str],
    coverage: Coverage | None = None,
    flags: Sequence[str] | None = None,
) -> pystac.Item:
    """The STAC item of one scene; `files` are the names of its result files beside item.json, which become assets.

    The footprint is that of the image at sea level. `class_names` name the bands of the probability raster; `flags`
    are those of the run, by default those of the calibration.
    Raises `KeyError` for a file that is not one of a scene's results.
    """
    scene = calibrated.scene
    footprint = _footprint(calibrated.grid)
    item = pystac.Item(
        id=scene.id,
        geometry=shapely.geometry.mapping(footprint),
        bbox=bounding_box(footprint),
        datetime=scene.acquired_start,
        start_datetime=scene.acquired_start,
        end_datetime=scene.acquired_end,
        properties=_properties(calibrated, slicks, model_id, processed_at)
        | {"slickwatch:flags": list(calibrated.flags if flags is None else flags)}
        | ({f"slickwatch:{name}": value for name, value in coverage.as_dict().items()} if coverage else {}),
        stac_extensions=[PROCESSING_EXTENSION],
    )
    _describe_radar(item, calibrated)
    _link(item)
    for name in files:
        kind = _KINDS[name]
        asset = pystac.Asset(f"./{name}", kind.title, media_type=kind.media_type, roles=list(kind.roles))
        item.add_asset(kind.key, asset)
    for key in ("slicks", "slicks_gpkg"):
        if key in item.assets:
            _describe_table(item.assets[key], len(slicks))
    if "class_probability" in item.assets:
        _describe_raster(item, calibrated.grid.shape, class_names)
    return item


def write_item(item: pystac.Item, path: Path) -> None:
    """Write an item as JSON, its assets linked relative to it. Raises `StorageError`."""
    text = json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False), indent=2, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def _link(item: pystac.Item) -> None:
    """To the collection of the results folder, and to the product that the scene's name is the name of."""
    item.collection_id = COLLECTION_ID
    for rel in ("root", "parent", "collection"):
        item.add_link(pystac.Link(rel, f"../{COLLECTION_FILE}", pystac.MediaType.JSON))
    with suppress(UnreadableInput):  # a product may have been renamed
        name = f"{scene_from_name(item.id).id}.SAFE"
        title = f"{name} in the Copernicus Data Space"
        item.add_link(pystac.Link("derived_from", _PRODUCTS + quote(f"Name eq '{name}'"), "application/json", title))


def _footprint(grid: Grid) -> BaseGeometry:
    outline = grid.geolocation.footprint(*grid.image_shape)
    simple = shapely.orient_polygons(shapely.simplify(outline, _OUTLINE_TOLERANCE))
    return shapely.set_coordinates(simple, np.round(shapely.get_coordinates(simple), DECIMALS))


def _properties(
    calibrated: CalibratedScene, slicks: gpd.GeoDataFrame, model_id: str, processed_at: datetime
) -> dict[str, Any]:
    scene = calibrated.scene
    properties: dict[str, Any] = {
        "title": f"Slicks in {scene.id}",
        "created": pystac.utils.datetime_to_str(processed_at),
        "platform": f"sentinel-1{scene.platform[-1].lower()}",
        "constellation": "sentinel-1",
        "instruments": ["c-sar"],
        "processing:datetime": pystac.utils.datetime_to_str(processed_at),
        "processing:lineage": "Sigma nought from ground range digital numbers; class probabilities; slicks",
        "slickwatch:model_id": model_id,
        "slickwatch:slick_count": len(slicks),
        "slickwatch:slick_area_m2": float(slicks.area_m2.sum()),
    }
    version = software_version()
    return properties | ({"processing:software": {"slickwatch": version}} if version else {})


def _describe_radar(item: pystac.Item, calibrated: CalibratedScene) -> None:
    scene = calibrated.scene
    polarisations = [Polarization(str(p)) for p in calibrated.sigma_nought.polarisation.values]
    SarExtension.ext(item, add_if_missing=True).apply(
        instrument_mode=scene.mode,
        frequency_band=FrequencyBand.C,
        polarizations=polarisations,
        product_type=scene.product_type,
        center_frequency=_CENTRE_FREQUENCY,
    )
    SatExtension.ext(item, add_if_missing=True).apply(
        orbit_state=_orbit_state(calibrated.grid),
        relative_orbit=scene.relative_orbit,
        absolute_orbit=scene.absolute_orbit,
    )


def _orbit_state(grid: Grid) -> OrbitState:
    """Ascending where later lines lie further north."""
    _, (first, last) = grid.lonlat([0, grid.shape[0]], grid.shape[1] / 2)
    return OrbitState.ASCENDING if last > first else OrbitState.DESCENDING


def _describe_table(asset: pystac.Asset, rows: int) -> None:
    """The attributes of slicks, with their units; types as tables of other formats name them."""
    table = TableExtension.ext(asset, add_if_missing=True)
    columns = [Column({"name": one.name, "description": one.sentence, "type": _TYPES[one.kind]}) for one in ATTRIBUTES]
    table.columns = columns
    table.row_count = rows


def _describe_raster(item: pystac.Item, shape: tuple[int, ...], class_names: Sequence[str]) -> None:
    """The probability raster has ground control points and hence no projection code, only a shape."""
    asset = item.assets["class_probability"]
    ProjectionExtension.add_to(item)
    item.stac_extensions.append(RASTER_EXTENSION)
    asset.extra_fields |= {
        "proj:code": None,
        "proj:shape": list(shape),
        "data_type": "uint8",
        "nodata": NO_PROBABILITY,
        "raster:scale": 1.0 / STEPS,
        "raster:offset": 0.0,
        "bands": [{"name": name} for name in class_names],
    }
