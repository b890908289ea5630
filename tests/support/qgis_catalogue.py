"""What QGIS makes of a catalogue, as JSON, and a review by its attribute table: qgis_catalogue.py CATALOGUE ID."""

import json
import sys

from qgis.core import QgsApplication, QgsFeatureRequest, QgsVectorLayer


def seen(path: str, name: str) -> dict:
    layer = QgsVectorLayer(f"{path}|layername={name}", name, "ogr")
    return {
        "valid": layer.isValid(),
        "crs": layer.crs().authid(),
        "count": layer.featureCount(),
        "there": sum(1 for _ in layer.getFeatures()),
        "renderer": layer.renderer().type() if layer.isSpatial() else None,
        "legend": len(layer.renderer().legendSymbolItems()) if layer.isSpatial() else None,
        "extent": [layer.extent().xMinimum(), layer.extent().xMaximum()] if layer.isSpatial() else None,
    }


def review(path: str, slick_id: str) -> bool:
    layer = QgsVectorLayer(f"{path}|layername=slicks", "slicks", "ogr")
    (slick,) = layer.getFeatures(QgsFeatureRequest().setFilterExpression(f"\"id\" = '{slick_id}'"))
    layer.startEditing()
    for name, value in (("status", "confirmed"), ("reviewer", "Ada")):
        layer.changeAttributeValue(slick.id(), layer.fields().indexOf(name), value)
    return layer.commitChanges()


def main(path: str, slick_id: str) -> None:
    application = QgsApplication([], False)
    application.initQgis()
    layers = {name: seen(path, name) for name in ("slicks", "scenes", "former_slicks", "runs", "reviews")}
    print(json.dumps({"layers": layers, "saved": review(path, slick_id)}))


main(*sys.argv[1:])
