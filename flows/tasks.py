"""The steps from a product to published slicks, as Prefect tasks.

They pass each other the opened scene, a record without open files, and the paths of intermediates, so that each can
be retried or run in another process without the product's metadata being read again.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import geopandas as gpd
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

import flows.prefect_defaults  # noqa: F401 - before Prefect

# isort: split
from prefect import task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.detection import DetectionOptions
from ingest.errors import SlickwatchError
from ingest.files import storage_errors, whole_folder
from ingest.markdown import markdown_table
from ingest.progress import Advance, step
from ingest.safe.product import SafeProduct
from models.checkpoint import load_model, model_folder, read_checkpoint
from models.classes import CLASSES
from models.objects import Sea, judge_scene
from models.predict import open_probability, predict_classes
from outputs.coverage import Coverage, finding
from outputs.locator import land_around
from outputs.qgis_project import PROJECT, write_project
from outputs.quicklook import write_quicklook
from outputs.rasters import control_points, write_backscatter_cog, write_probability_cog, write_probability_style
from outputs.record import RunRecord, write_record
from outputs.reports.document import picture_from
from outputs.reports.page import write_page
from outputs.reports.pdf import write_pdf
from outputs.reports.scene import scene_report
from outputs.slicks import candidate_table, find_slicks
from outputs.stac import scene_item, write_item
from outputs.surroundings import coast_distances
from outputs.survey import measure_coverage
from outputs.vectors import write_geojson, write_geopackage, write_style
from preprocess.mask import land_mask
from preprocess.memory_map import create_memory_map, open_memory_map
from preprocess.pipeline import CalibratedScene, calibrated_scene

PUBLISHED = (
    "slicks.geojson", "slicks.gpkg", "slicks.qml", "candidates.geojson", "sigma_nought.tif",
    "class_probability.tif", "class_probability.qml", "quicklook.png", "report.html", "report.pdf",
    "slicks.qgs", "item.json", "run.json",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Job:
    """One scene to analyse, what is asked, and a folder for the intermediates."""

    scene: CalibratedScene  # as `open_scene` returns it: sigma nought not yet computed
    options: DetectionOptions
    scratch: Path

    @property
    def sigma_nought(self) -> Path:
        return self.scratch / "sigma_nought.npy"

    @property
    def land(self) -> Path:
        return self.scratch / "land.npy"

    @property
    def class_probability(self) -> Path:
        return self.scratch / "class_probability.npy"

    @property
    def oil_probability(self) -> Path:
        """Of each candidate of the object stage, on its cells; missing where the model has none."""
        return self.scratch / "oil_probability.npy"

    @property
    def rejected(self) -> Path:
        """Probability of oil by pixel of the candidates that the object stage rejects; missing as above."""
        return self.scratch / "rejected.npy"

    def stored_scene(self) -> CalibratedScene:
        """The scene with the sigma nought that `calibrate` stored."""
        data = da.from_array(open_memory_map(self.sigma_nought), chunks=self.scene.sigma_nought.chunks)
        return replace(self.scene, sigma_nought=self.scene.sigma_nought.copy(data=data))


def worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Retry only unknown failures, such as a network drive that hung; a known one would recur."""
    return not isinstance(state.result(raise_on_failure=False), SlickwatchError)


@task(name="open-scene", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def open_scene(safe_path: Path, options: DetectionOptions) -> CalibratedScene:
    """Read a product's metadata and prepare its scene as the model wants it; sigma nought stays lazy."""
    preprocess = read_checkpoint(options.model).preprocess
    product = SafeProduct.open(safe_path.absolute())
    return calibrated_scene(product, preprocess, options.polarisation, options.force_polarisation)


@task(name="calibrate", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def calibrate(job: Job) -> None:
    """Compute the scene's sigma nought on the model's grid and store it."""
    with step("calibrate") as advance:
        _store(job.scene.sigma_nought, job.sigma_nought, advance)


@task(name="mask-land", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def mask_land(job: Job) -> float:
    """Store which cells of the scene are land; returns their share."""
    with step("mask land") as advance:
        land = land_mask(job.scene.grid, job.options.coastline, advance)
        _save(land, job.land)
    return float(land.mean())


@task(name="predict", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def predict(job: Job) -> None:
    """Run the model over the scene and store the stitched class probabilities."""
    network, checkpoint = load_model(job.options.model)
    scene = job.stored_scene()
    with step("predict") as advance:
        predict_classes(
            network,
            scene.sigma_nought,
            checkpoint.preprocess,
            out=job.class_probability,
            land=np.load(job.land),
            tiling=job.options.tiling or checkpoint.tiling,
            progress=advance,
        )


@task(name="judge", cache_policy=NO_CACHE)
def judge(job: Job) -> tuple[str, ...]:
    """Judge the candidates as objects, where the model has an object stage; returns a flag if some are rejected.

    Not to be tried twice: the stored probabilities of rejected candidates are changed.
    """
    checkpoint = read_checkpoint(job.options.model)
    sea = Sea(open_memory_map(job.sigma_nought)[0], np.load(job.land))
    with step("judge candidates"):
        counted = judge_scene(
            job.class_probability, sea, job.options.model, checkpoint.weights_sha256, job.oil_probability, job.rejected
        )
    if counted is None or not counted[1]:
        return ()
    return (f"{counted[1]} of {counted[0]} candidates rejected as look-alikes",)


@task(name="find-slicks", cache_policy=NO_CACHE)
def extract_slicks(job: Job, config_hash: str, run_id: str) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Turn the stored probabilities into slicks with their attributes, and into candidates that were rejected."""
    checkpoint = read_checkpoint(job.options.model)
    scene = job.stored_scene()
    judged = job.oil_probability.is_file()
    found = partial(
        find_slicks,
        open_probability(job.class_probability, scene.sigma_nought),
        scene,
        land=np.load(job.land),
        oil_probability=open_memory_map(job.oil_probability) if judged else None,
        model_id=checkpoint.id,
        weights_sha256=checkpoint.weights_sha256,
        config_hash=config_hash,
        run_id=run_id,
        coast_distances=partial(coast_distances, coastline=job.options.coastline),
    )
    with step("find slicks") as advance:
        slicks = found(options=job.options.slicks, progress=advance)
    if not judged:
        return slicks, candidate_table(slicks[:0])
    # Candidates need not be as sure as slicks: that one was not is a reason of its own.
    weak = replace(job.options.slicks, classes=("oil",), keep=job.options.slicks.outline)
    with step("outline rejected candidates") as advance:
        candidates = found(options=weak, oil=open_memory_map(job.rejected), progress=advance)
    return slicks, candidate_table(candidates)


@task(name="survey", cache_policy=NO_CACHE)
def survey(job: Job) -> Coverage:
    """Measure how much sea was searched, and how much of it was too calm."""
    scene = job.stored_scene()
    probability = open_probability(job.class_probability, scene.sigma_nought)
    with step("survey") as advance:
        return measure_coverage(scene, probability, np.load(job.land), advance)


@task(name="publish", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def publish(job: Job, slicks: gpd.GeoDataFrame, candidates: gpd.GeoDataFrame, record: RunRecord, folder: Path) -> None:
    """Write all layers of a scene to a hidden folder, then replace those of an earlier run in one step."""
    scene = job.stored_scene()
    probability = open_probability(job.class_probability, scene.sigma_nought)
    land: NDArray[np.bool_] = np.load(job.land)
    with step("publish") as advance, whole_folder(folder, required=PUBLISHED) as hidden:
        layers: tuple[Callable[[], object], ...] = (
            partial(write_geojson, slicks, hidden / "slicks.geojson"),
            partial(write_geopackage, slicks, hidden / "slicks.gpkg"),
            partial(write_geojson, candidates, hidden / "candidates.geojson"),
            partial(write_style, hidden / "slicks.qml"),
            partial(write_backscatter_cog, scene, hidden / "sigma_nought.tif"),
            partial(write_probability_cog, probability, scene, hidden / "class_probability.tif"),
            partial(write_probability_style, CLASSES, hidden / "class_probability.qml"),
            lambda: write_quicklook(
                scene, probability, slicks, hidden / "quicklook.png", land=land, coverage=record.coverage,
                surroundings=land_around(scene.grid, job.options.coastline),
            ),
            lambda: _write_qgis_project(scene, hidden),
            lambda: _write_report(scene, slicks, candidates, record, job.options.model, hidden),
            partial(write_record, record, hidden / "run.json"),
            lambda: _write_item(scene, slicks, record, hidden),
        )  # fmt: skip
        for done, write in enumerate(layers, start=1):
            write()
            advance(done, len(layers))


def _write_item(scene: CalibratedScene, slicks: gpd.GeoDataFrame, record: RunRecord, folder: Path) -> None:
    item = scene_item(
        scene,
        slicks,
        [name for name in PUBLISHED if name != "item.json"],
        model_id=record.model_id,
        processed_at=record.ended_at,
        class_names=CLASSES,
        coverage=record.coverage,
        flags=record.flags,
    )
    write_item(item, folder / "item.json")


def _write_qgis_project(scene: CalibratedScene, folder: Path) -> None:
    """The project that opens the layers of the folder, with the image filling the map."""
    outline = scene.grid.geolocation.footprint(*scene.grid.image_shape)
    _, projection = control_points(scene.grid)
    write_project(folder / PROJECT, scene.scene.id, outline.bounds, projection, list(CLASSES).index("oil") + 1)


def _write_report(
    scene: CalibratedScene,
    slicks: gpd.GeoDataFrame,
    candidates: gpd.GeoDataFrame,
    record: RunRecord,
    model: str,
    folder: Path,
) -> None:
    """The report of a scene for people, as HTML and PDF, around the quick look in the folder."""
    card = model_folder(model) / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    picture = picture_from(folder / "quicklook.png", "Map of the scene with the slicks outlined and numbered")
    document = scene_report(scene, slicks, candidates, record, picture, text)
    write_page(document, folder / "report.html")
    write_pdf(document, folder / "report.pdf")


@task(name="report", cache_policy=NO_CACHE)
def report(slicks: gpd.GeoDataFrame, record: RunRecord, folder: Path) -> None:
    """Publish a summary, the quick look and the provenance as Prefect artifacts."""
    key = artifact_key(record.scene_id)
    create_markdown_artifact(summary(slicks, record, folder), key=f"slicks-{key}", description="Slicks of a scene")
    create_markdown_artifact(provenance(record), key=f"provenance-{key}", description="Provenance of the slicks")
    picture = small_picture(folder / "quicklook.png", 900)
    create_image_artifact(picture, key=f"quicklook-{key}", description=record.scene_id)


def small_picture(path: Path, longest: int = 1200) -> str:
    """A picture as the data URL of a JPEG of at most `longest` pixels a side."""
    with Image.open(path) as picture:
        picture.thumbnail((longest, longest))
        jpeg = io.BytesIO()
        picture.convert("RGB").save(jpeg, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"


def artifact_key(scene_id: str) -> str:
    """A scene's id in the characters that Prefect allows; the id of a renamed product may have any."""
    return re.sub(r"[^a-z0-9]+", "-", scene_id.lower()).strip("-")


def summary(slicks: gpd.GeoDataFrame, record: RunRecord, folder: Path) -> str:
    """Describe a run in Markdown: the scene, what was found, how long each step took."""
    made = f"Model {record.model_id}, run {record.run_id}, layers in `{folder.name}`."
    lines = [f"# {record.scene_id}", "", made, ""]
    lines += [f"- {flag}" for flag in record.flags]
    if slicks.empty:
        lines += ["No slick found.", ""]
    else:
        rows = [
            (
                one.id, f"{one.area_m2 / 1e6:.2f}", f"{one.length_m / 1e3:.1f}", f"{one.confidence_mean:.2f}",
                "" if np.isnan(one.contrast_db) else f"{one.contrast_db:.1f}",
                f"{one.centroid_lon:.4f}", f"{one.centroid_lat:.4f}",
            )
            for one in slicks.sort_values("area_m2", ascending=False).itertuples()
        ]  # fmt: skip
        header = ("slick", "area km2", "length km", "confidence", "contrast dB", "lon", "lat")
        lines.append(markdown_table(header, rows))
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in record.durations_s.items())
    return "\n".join([*lines, "", f"Durations: {steps}.", ""])


def provenance(record: RunRecord) -> str:
    """Describe the provenance and cost of a result in Markdown: a table of facts and one of inputs."""
    memory = "unknown" if record.peak_memory_bytes is None else f"{record.peak_memory_bytes / 1e6:.0f} MB"
    seconds = (record.ended_at - record.started_at).total_seconds()
    facts = {
        "scene": record.scene_id,
        "run": record.run_id,
        "code": f"{record.git_commit or 'no source tree'}, version {record.software_version or 'unknown'}",
        "model": record.model_id,
        "weights (SHA-256)": record.weights_sha256,
        "options (hash)": record.config_hash,
        "time": f"{record.started_at:%Y-%m-%d %H:%M:%S} UTC, {seconds:.1f} s",
        "peak memory": memory,
        "slicks": record.slick_count,
        "result": finding(record.slick_count, record.coverage),
    }
    durations = {name: f"{one:.3f} s" for name, one in record.durations_s.items()}
    inputs = [(f"`{Path(file.path).name}`", file.size, file.checksum or "unknown") for file in record.inputs]
    tables = (
        markdown_table(("", ""), (facts | durations).items()),
        markdown_table(("input", "bytes", "checksum"), inputs),
    )
    return "\n\n".join(tables) + "\n"


def _save(array: NDArray[np.bool_], path: Path) -> None:
    """Write a .npy file; unlike `numpy.save` to a path, this notices a full disk. Raises `StorageError`."""
    content = io.BytesIO()
    np.save(content, array)
    with storage_errors(path):
        path.write_bytes(content.getvalue())


def _store(sigma_nought: xr.DataArray, path: Path, advance: Advance) -> None:
    """Compute band by band from the top: a deflated image in a zip is only cheap to read forward."""
    mapped, first = create_memory_map(path, sigma_nought.shape), 0
    heights = sigma_nought.chunksizes["line"]
    for done, height in enumerate(heights, start=1):
        band = slice(first, first + height)
        mapped[:, band] = sigma_nought[:, band]
        first += height
        advance(done, len(heights))
