"""A scene's results folder: whether it is up to date, how it is put in place, and what it contains."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import shapely
from shapely.geometry.base import BaseGeometry

from flows.detection import DetectionOptions
from flows.tasks import PUBLISHED
from ingest.files import read_json, whole_folder
from models.checkpoint import read_checkpoint
from outputs.record import RunRecord, config_hash, git_commit, input_file, read_record, software_version
from outputs.vectors import read_slicks

_STAGED = ".processing"


@dataclass(frozen=True, eq=False)
class Result:
    """The contents of a results folder that are passed on to others."""

    folder: Path
    record: RunRecord
    slicks: gpd.GeoDataFrame  # as `outputs.slicks.find_slicks` gives them
    candidates: gpd.GeoDataFrame  # rejected ones, with the attributes of slicks
    footprint: BaseGeometry  # WGS 84


def read_result(folder: Path) -> Result:
    """Read a complete folder."""
    slicks, candidates = read_slicks(folder / "slicks.gpkg"), read_slicks(folder / "candidates.geojson")
    footprint = shapely.geometry.shape(read_json(folder / "item.json")["geometry"])
    return Result(folder, read_record(folder / "run.json"), slicks, candidates, footprint)


def is_up_to_date(folder: Path, product: Path, options: DetectionOptions) -> bool:
    """Whether a folder holds what a run would give now: same code, model, options and product, to the byte.

    Reads the whole product if the rest agrees. Raises `ModelError`.
    """
    if not all((folder / name).is_file() for name in PUBLISHED):
        return False
    try:
        record = read_record(folder / "run.json")
    except (OSError, ValueError, TypeError, KeyError):  # from another release
        return False
    checkpoint = read_checkpoint(options.model)
    asked = config_hash(options.record(checkpoint))
    wanted = (checkpoint.id, checkpoint.weights_sha256, asked, software_version(), git_commit())
    has = (record.model_id, record.weights_sha256, record.config_hash, record.software_version, record.git_commit)
    return has == wanted and [one.checksum for one in record.inputs] == [input_file(product).checksum]


def staging(results: Path, scene_id: str, token: int) -> Path:
    """A working folder for one claim, on the results' disk; those of the scene's earlier claims are removed."""
    for owner, left in staged(results):
        if owner == scene_id and int(left.suffix[1:]) < token:
            shutil.rmtree(left, ignore_errors=True)
    return results / _STAGED / f"{scene_id}.{token}"


def staged(results: Path) -> list[tuple[str, Path]]:
    """The working folders of claims, including abandoned ones, each with its scene."""
    found = sorted((results / _STAGED).glob("*.*"))
    return [(left.stem, left) for left in found if left.suffix[1:].isdecimal()]


def put_in_place(staged_folder: Path, folder: Path) -> None:
    """Replace the previous folder with a complete one; a reader sees one or the other."""
    with whole_folder(folder, required=PUBLISHED) as hidden:
        for name in PUBLISHED:
            os.rename(staged_folder / name, hidden / name)
