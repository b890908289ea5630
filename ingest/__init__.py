"""Finding and reading Sentinel-1 products: names, containers, SAFE metadata."""

from ingest.gdal_data import use_packaged_data

use_packaged_data()  # before any module loads GDAL
