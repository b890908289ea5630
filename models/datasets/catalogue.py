"""The data sets by name, and the folder that holds them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ingest.errors import UsageError
from models.datasets.csiro import REGIONS, csiro
from models.datasets.folder import open_folder
from models.datasets.osd import osd
from models.datasets.pairs import Split
from models.datasets.simulated import simulated
from models.datasets.sos import sos_clean, sos_official
from models.datasets.views import Reduced

DATASETS: dict[str, Callable[[Path], Split]] = {
    "osd": osd,
    "sos-official": partial(sos_official, sensor="sentinel"),
    "sos-clean": partial(sos_clean, sensor="sentinel"),
    "sos-alos-official": partial(sos_official, sensor="alos"),
    "sos-alos-clean": partial(sos_clean, sensor="alos"),
    "simulated": simulated,
    "csiro": csiro,
    **{f"csiro-{region.lower()}": partial(csiro, region=region) for region in REGIONS},
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

    With ``@N`` at the end its images are averaged by N x N pixels, see `Reduced`; a folder that has such a name is
    opened as it is. Raises `UsageError` for a name that is neither and an N that is no whole number of 2 or more,
    `UnreadableInput` for a data set that is not there or incomplete.
    """
    name, at, factor = name_or_folder.rpartition("@")
    if at and "/" not in factor and not Path(name_or_folder).is_dir():
        return _reduced(open_dataset(name, root), _factor(name_or_folder, factor))
    if name_or_folder in DATASETS:
        return DATASETS[name_or_folder](data_root(root))
    folder = Path(name_or_folder)
    if not folder.is_dir():
        problem = f"is neither a data set nor a folder ({folder.absolute()})"
        raise UsageError(name_or_folder, problem, f"known data sets are {', '.join(DATASETS)}")
    return open_folder(folder)


def _factor(name_or_folder: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or int(text) < 2:
        raise UsageError(name_or_folder, f"{text!r} is not a valid factor", "give 2 or more, such as sos-clean@4")
    return int(text)


def _reduced(split: Split, factor: int) -> Split:
    note = "; ".join(part for part in (split.note, f"images averaged by {factor} x {factor} pixels") if part)
    train = None if split.train is None else Reduced(split.train, factor)
    return Split(f"{split.name}@{factor}", train, Reduced(split.test, factor), note)
