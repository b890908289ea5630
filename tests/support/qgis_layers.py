"""What QGIS makes of a folder of layers, as JSON; run by the Python that QGIS belongs to: qgis_layers.py FOLDER."""

import json
import math
import sys
from pathlib import Path

from qgis.core import (
    NULL,
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsExpression,
    QgsExpressionContextUtils,
    QgsFeature,
    QgsGeometry,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsProject,
    QgsRasterLayer,
    QgsRasterProjector,
    QgsRectangle,
    QgsSingleBandGrayRenderer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize

STEP = 10.0  # m
MARGIN = 300.0  # m around a slick


def vector(path: str) -> dict:
    layer = QgsVectorLayer(path, "slicks", "ogr")
    features = list(layer.getFeatures())
    first = features[0]
    return {
        "valid": layer.isValid(),
        "crs": layer.crs().authid(),
        "count": len(features),
        "geometries_valid": all(feature.geometry().isGeosValid() for feature in features),
        "widest_part_deg": max(
            part.boundingBox().width() for f in features for part in f.geometry().asGeometryCollection()
        ),
        "types": {field.name(): field.typeName() for field in layer.fields()},
        "renderer": layer.renderer().type(),
        "legend": [item.label() for item in layer.renderer().legendSymbolItems()],
        "unstyled": sum(not styled(layer, feature) for feature in features),
        "acquired_start": first["acquired_start"].toString("yyyy-MM-ddTHH:mm:ss"),
        "nulls": [field.name() for field in layer.fields() if first[field.name()] == NULL],
    }


def styled(layer: QgsVectorLayer, feature: QgsFeature) -> bool:
    """Whether exactly one rule of the style applies."""
    context = QgsExpressionContextUtils.createFeatureBasedContext(feature, layer.fields())
    rules = layer.renderer().rootRule().children()
    return sum(bool(QgsExpression(rule.filterExpression()).evaluate(context)) for rule in rules) == 1


def raster(path: str) -> dict:
    layer = QgsRasterLayer(path, "class probability")
    renderer = layer.renderer()
    return {
        "valid": layer.isValid(),
        "crs": layer.crs().authid(),
        "renderer": renderer.type(),
        "bands": renderer.usesBands(),
        "names": [layer.bandName(band) for band in range(1, layer.bandCount() + 1)],
        "drawn_share": drawn_share(layer),
    }


def drawn_share(layer: QgsRasterLayer) -> float:
    """Share of a map in degrees of 0.05 degrees around the layer's middle that the layer paints."""
    degrees = QgsCoordinateReferenceSystem("EPSG:4326")
    layer.setRenderer(QgsSingleBandGrayRenderer(layer.dataProvider(), 1))  # opaque wherever there are data
    middle = QgsCoordinateTransform(layer.crs(), degrees, QgsProject.instance()).transform(layer.extent().center())
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(degrees)
    settings.setOutputSize(QSize(400, 400))
    settings.setExtent(QgsRectangle(middle.x() - 0.025, middle.y() - 0.025, middle.x() + 0.025, middle.y() + 0.025))
    settings.setBackgroundColor(settings.selectionColor())
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    image, background = job.renderedImage(), settings.backgroundColor().rgba()
    painted = [image.pixel(x, y) != background for x in range(0, 400, 8) for y in range(0, 400, 8)]
    return sum(painted) / len(painted)


def offsets(slicks: str, probability: str) -> list:
    """For each slick, how far the raster's oil lies from it in metres; null where the raster shows none."""
    layer, shown = QgsVectorLayer(slicks, "slicks", "ogr"), QgsRasterLayer(probability, "probability")
    return [offset(feature, layer, shown) for feature in layer.getFeatures() if feature["class"] == "oil"]


def offset(feature: QgsFeature, layer: QgsVectorLayer, shown: QgsRasterLayer) -> "float | None":
    where = f"+lat_0={feature['centroid_lat']} +lon_0={feature['centroid_lon']}"
    plane = QgsCoordinateReferenceSystem.fromProj(f"+proj=aeqd {where} +datum=WGS84 +units=m")
    outline = QgsGeometry(feature.geometry())
    outline.transform(QgsCoordinateTransform(layer.crs(), plane, QgsProject.instance()))
    box = outline.boundingBox()
    box.grow(MARGIN)
    columns, rows = math.ceil(box.width() / STEP), math.ceil(box.height() / STEP)
    box = QgsRectangle(box.xMinimum(), box.yMaximum() - rows * STEP, box.xMinimum() + columns * STEP, box.yMaximum())
    projector = QgsRasterProjector()
    projector.setInput(shown.dataProvider())
    projector.setCrs(shown.crs(), plane, QgsCoordinateTransformContext())
    projector.setPrecision(QgsRasterProjector.Exact)
    block = projector.block(2, box, columns, rows)
    if block.isEmpty():
        return None
    oil = [(r, c) for r in range(rows) for c in range(columns) if not block.isNoData(r, c) and block.value(r, c) >= 0.5]
    if not oil:
        return None
    east = box.xMinimum() + STEP * (sum(c for _, c in oil) / len(oil) + 0.5)
    north = box.yMaximum() - STEP * (sum(r for r, _ in oil) / len(oil) + 0.5)
    centre = outline.centroid().asPoint()
    return math.hypot(east - centre.x(), north - centre.y())


def main(folder: Path) -> None:
    application = QgsApplication([], False)
    application.initQgis()
    print(
        json.dumps(
            {
                "version": Qgis.QGIS_VERSION,
                "geopackage": vector(str(folder / "slicks.gpkg")),
                "geojson": vector(str(folder / "slicks.geojson")),
                "raster": raster(str(folder / "class_probability.tif")),
                "offsets": offsets(str(folder / "slicks.gpkg"), str(folder / "class_probability.tif")),
            }
        )
    )


main(Path(sys.argv[1]))
