"""What QGIS makes of a project, as JSON, and a picture of its map: qgis_project.py PROJECT PICTURE."""

import json
import sys

from qgis.core import QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsProject
from qgis.PyQt.QtCore import QSize


def main(path: str, picture: str) -> None:
    application = QgsApplication([], False)
    application.initQgis()
    project = QgsProject.instance()
    opened = project.read(path)
    layers = {layer.id(): layer for layer in project.mapLayers().values()}
    tree = project.layerTreeRoot()
    told = {
        "opened": opened,
        "title": project.title(),
        "crs": project.crs().authid(),
        "order": [node.layerId() for node in tree.findLayers()],
        "shown": [node.layerId() for node in tree.findLayers() if node.itemVisibilityChecked()],
        "layers": {
            name: {
                "valid": layer.isValid(),
                "title": layer.name(),
                "crs": layer.crs().authid(),
                "renderer": layer.renderer().type() if layer.renderer() else None,
                "count": layer.featureCount() if hasattr(layer, "featureCount") else None,
            }
            for name, layer in layers.items()
        },
    }
    settings = QgsMapSettings()
    settings.setLayers([node.layer() for node in tree.findLayers() if node.itemVisibilityChecked() and node.layer()])
    settings.setDestinationCrs(project.crs())
    settings.setOutputSize(QSize(800, 800))
    settings.setExtent(_extent(layers, project))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(picture)
    print(json.dumps(told))


def _extent(layers, project):
    from qgis.core import QgsCoordinateTransform

    radar = layers["slickwatch_radar"]
    return QgsCoordinateTransform(radar.crs(), project.crs(), project).transformBoundingBox(radar.extent())


main(*sys.argv[1:])
