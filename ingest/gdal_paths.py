"""Paths for GDAL's vector drivers: pyogrio reads signs such as ``!`` and ``;`` in a path as parts of an address."""

from __future__ import annotations

import glob
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyogrio.util import vsi_path


@contextmanager
def vector_path(path: Path) -> Iterator[Path]:
    """Yield an absolute path of the same file, existing or to be made, that pyogrio takes as it is.

    Usually that is the path itself, else a link in a temporary folder, beside links to the files of the same stem, such
    as those that make up a shapefile. ``/vsi...`` paths and zip archives remain what pyogrio makes of them.
    """
    path = path.absolute()
    if vsi_path(str(path)) in (str(path), f"/vsizip/{path}"):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in {path, *path.parent.glob(f"{glob.escape(path.stem)}.*")}:
            _in(folder, file).symlink_to(file)
        yield _in(folder, path)


def _in(folder: str, file: Path) -> Path:
    return Path(folder, re.sub(r"[^\w.-]", "_", file.name))
