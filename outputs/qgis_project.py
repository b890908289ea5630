"""A QGIS project of a results folder: slicks, candidates, radar image and probabilities, opened in one click.

Paths are relative: the folder can be moved, zipped and mailed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from pyproj import CRS

from ingest.files import write_bytes
from outputs.style import CANDIDATES_QML, QML, backscatter_qml, probability_qml

PROJECT = "slicks.qgs"
_DEGREES = "EPSG:4326"
_BODY = re.compile(r"<qgis[^>]*>\n?(.*)</qgis>", re.DOTALL)


@dataclass(frozen=True)
class _Layer:
    """A layer of the project: its style is the content of a QML file."""

    id: str
    title: str
    kind: str  # vector or raster
    source: str
    crs: str
    style: str
    shown: bool = True


def write_project(
    path: Path, title: str, bounds: tuple[float, float, float, float], raster_crs: str, oil_band: int
) -> None:
    """Write the project of a results folder into that folder.

    bounds: west, south, east, north of what it shows first, in degrees; raster_crs: EPSG code of the rasters;
    oil_band: of the probability raster, from 1. Raises `StorageError`.
    """
    layers = (
        _Layer("slickwatch_slicks", "Slicks", "vector", "./slicks.gpkg|layername=slicks", _DEGREES, QML),
        _Layer("slickwatch_candidates", "Rejected candidates", "vector", "./candidates.geojson", _DEGREES,
               CANDIDATES_QML),
        _Layer("slickwatch_probability", "Probability of oil", "raster", "./class_probability.tif", raster_crs,
               probability_qml(oil_band, "oil"), shown=False),
        _Layer("slickwatch_radar", "Radar image, sigma nought", "raster", "./sigma_nought.tif", raster_crs,
               backscatter_qml()),
    )  # fmt: skip
    write_bytes(path, _project(title, bounds, layers).encode())


def _project(title: str, bounds: tuple[float, float, float, float], layers: tuple[_Layer, ...]) -> str:
    west, south, east, north = bounds
    tree = "\n".join(
        f'    <layer-tree-layer id="{one.id}" name={quoteattr(one.title)} expanded="0" '
        f'checked="{"Qt::Checked" if one.shown else "Qt::Unchecked"}" source={quoteattr(one.source)} '
        f'providerKey="{_provider(one)}"/>'
        for one in layers
    )
    order = "\n".join(f'    <layer id="{one.id}"/>' for one in layers)
    return f"""<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis projectname={quoteattr(title)} version="3.22.0">
  <title>{escape(title)}</title>
  <projectCrs>{_system(_DEGREES)}</projectCrs>
  <layer-tree-group>
{tree}
  </layer-tree-group>
  <mapcanvas name="theMapCanvas">
    <units>degrees</units>
    <extent><xmin>{west}</xmin><ymin>{south}</ymin><xmax>{east}</xmax><ymax>{north}</ymax></extent>
    <destinationsrs>{_system(_DEGREES)}</destinationsrs>
  </mapcanvas>
  <projectlayers>
{"".join(map(_map_layer, layers))}  </projectlayers>
  <layerorder>
{order}
  </layerorder>
  <properties>
    <Paths><Absolute type="bool">false</Absolute></Paths>
    <SpatialRefSys><ProjectionsEnabled type="int">1</ProjectionsEnabled></SpatialRefSys>
  </properties>
</qgis>
"""


def _map_layer(layer: _Layer) -> str:
    body = _BODY.search(layer.style)
    assert body is not None
    geometry = ' geometry="Polygon" wkbType="MultiPolygon"' if layer.kind == "vector" else ""
    return f"""    <maplayer type="{layer.kind}"{geometry}>
      <id>{layer.id}</id>
      <datasource>{escape(layer.source)}</datasource>
      <layername>{escape(layer.title)}</layername>
      <srs>{_system(layer.crs)}</srs>
      <provider encoding="UTF-8">{_provider(layer)}</provider>
{body[1]}    </maplayer>
"""


def _system(code: str) -> str:
    """A reference system as QGIS writes it."""
    crs = CRS(code)
    kind = str(crs.is_geographic).lower()
    return (
        f'<spatialrefsys nativeFormat="Wkt"><wkt>{escape(crs.to_wkt())}</wkt><srid>{crs.to_epsg()}</srid>'
        f"<authid>{code}</authid><description>{escape(crs.name)}</description>"
        f"<geographicflag>{kind}</geographicflag></spatialrefsys>"
    )


def _provider(layer: _Layer) -> str:
    return "ogr" if layer.kind == "vector" else "gdal"
