"""A scene with dark patches at known places, and catalogues in which analysts speak of them."""

import numpy as np
from shapely.geometry import Polygon

from ingest.safe.product import SafeProduct
from ingest.safe_writing.writer import write_safe
from outputs.catalogue import Catalogue
from outputs.record import InputFile
from preprocess.geolocate import Geolocation
from tests.support.catalogue_results import record, table
from tests.support.safe_products import sea_images

LINES, SAMPLES = 640, 800  # 160 x 200 cells of 4 x 4 pixels of 10 m
# Dark patches of the image: first and last line, first and last pixel.
OILY, CALM, ELSEWHERE = (120, 200, 160, 280), (400, 480, 160, 240), (400, 480, 600, 700)


def patched_product(folder):
    """A calm sea of VV with the three patches, 14 dB darker."""
    images = sea_images(LINES, SAMPLES, ("VV",))
    digital_number, _ = images["VV"]
    for top, bottom, left, right in (OILY, CALM, ELSEWHERE):
        digital_number[top:bottom, left:right] //= 5
    return write_safe(folder, None, images)


def outline(product, patch):
    """A patch in lon/lat, by the product's own geolocation."""
    top, bottom, left, right = patch
    grid = SafeProduct.open(product).image("VV").annotation.geolocation_grid
    lines, pixels = np.array([top, top, bottom, bottom]) - 0.5, np.array([left, right, right, left]) - 0.5
    return Polygon(np.column_stack(Geolocation(grid).lonlat(lines, pixels)))


def catalogued(path, product, patches, words, product_path=None):
    """A catalogue of the scene with a slick for each patch, and what analysts said of them."""
    scene = SafeProduct.open(product).scene
    catalogue = Catalogue.open(path)
    outlines = {name: outline(product, patch) for name, patch in patches.items()}
    inputs = (InputFile(str(product_path or product), 1, "blake3:00"),)
    of_run = record("run-1", scene, len(outlines), inputs=inputs)
    catalogue.publish(of_run, scene, None, table("run-1", outlines, scene))
    for name, word in words.items():
        catalogue.review(name, word, "an analyst")
    return path
