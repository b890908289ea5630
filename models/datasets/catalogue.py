"""The data sets by name, and where they are looked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ingest.errors import UsageError
from models.datasets.folder import open_folder
from models.datasets.osd import osd
from models.datasets.pairs import Split
from models.datasets.simulated import simulated
from models.datasets.sos import sos_clean, sos_official

DATASETS: dict[str, Callable[[Path], Split]] = {
    "osd": osd,
    "sos-official": partial(sos_official, sensor="sentinel"),
    "sos-clean": partial(sos_clean, sensor="sentinel"),
    "sos-alos-official": partial(sos_official, sensor="alos"),
    "sos-alos-clean": partial(sos_clean, sensor="alos"),
    "simulated": simulated,
}
ROOTS = (Path("data"), Path("../shared/data"))


def data_root(root: Path | None = None) -> Path:
    """Return `root`, else the folder of the variable SLICKWATCH_DATA, else the first of `ROOTS` that exists."""
    if root is not None:
        return root
    if given := os.environ.get("SLICKWATCH_DATA"):
        return Path(given)
    return next((folder for folder in ROOTS if folder.is_dir()), ROOTS[0])


def open_dataset(name_or_folder: str, root: Path | None = None) -> Split:
    """Open a data set of `DATASETS` below `root` (None: `data_root`), or any folder of images and masks.

    Raises `UsageError` for a name that is neither, `UnreadableInput` for a data set that is not there or incomplete.
    """
    if name_or_folder in DATASETS:
        return DATASETS[name_or_folder](data_root(root))
    folder = Path(name_or_folder)
    if not folder.is_dir():
        problem = f"is neither a data set nor a folder ({folder.absolute()})"
        raise UsageError(name_or_folder, problem, f"known data sets are {', '.join(DATASETS)}")
    return open_folder(folder)
