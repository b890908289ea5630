"""The data files of GDAL and PROJ: those that came with the packages, not those of another program."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

# QGIS, OTB, PostGIS and conda set them for versions of their own.
_VARIABLES = ("PROJ_LIB", "PROJ_DATA", "PROJ_AUX_DB", "GDAL_DATA", "GDAL_DRIVER_PATH", "OGR_DRIVER_PATH")


def use_packaged_data() -> None:
    """Unset what leads this process's GDAL and PROJ elsewhere, if rasterio brings files of its own, as wheels do."""
    given = [name for name in _VARIABLES if name in os.environ]
    package = find_spec("rasterio") if given else None
    if package and package.origin and Path(package.origin).with_name("proj_data").is_dir():
        for name in given:
            del os.environ[name]
