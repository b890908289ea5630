"""From a product to published layers, through the real flow on a real Prefect server."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from prefect.client.orchestration import get_client

from flows.demo import detect_and_score
from flows.detect import detect_slicks
from flows.detection import DetectionOptions
from flows.tasks import PUBLISHED
from ingest.safe.annotation import Document
from ingest.safe.product import SafeProduct
from ingest.safe_writing.image_metadata import grd_metadata
from ingest.safe_writing.writer import write_safe
from models.checkpoint import default_model_id, read_checkpoint
from models.simulator.product import simulate_product
from outputs.options import SlickOptions
from outputs.record import read_record
from preprocess.geolocate import Geolocation
from tests.support.safe_products import sea, sea_product, with_border, zip_safe

pytestmark = pytest.mark.usefixtures("prefect_server")
SEED = 5
CASES = Path(__file__).parents[3] / "shared" / "data" / "cases"


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return simulate_product(tmp_path_factory.mktemp("inbox"), SEED, (2400, 2800))


@pytest.fixture(scope="module")
def detected(product, tmp_path_factory, prefect_server):
    scored = detect_and_score(product, tmp_path_factory.mktemp("results"))
    return scored.detection, scored.score


def test_all_layers_are_published_and_nothing_else_is_left(detected):
    detection, _ = detected
    assert sorted(p.name for p in detection.folder.iterdir()) == sorted(PUBLISHED)
    assert sorted(p.name for p in detection.folder.parent.iterdir()) == [detection.scene_id, "collection.json"]


def test_slicks_match_the_truth(detected):
    _, score = detected
    assert score.true_slicks > 0
    assert score.oil_iou > 0.4
    assert score.true_slicks_found > 0


def test_every_reader_sees_the_same_slicks(detected):
    detection, _ = detected
    collection = json.loads((detection.folder / "slicks.geojson").read_text())
    geojson = gpd.read_file(detection.folder / "slicks.geojson")
    package = gpd.read_file(detection.folder / "slicks.gpkg", layer="slicks")
    assert len(collection["features"]) == len(geojson) == len(package) == detection.slick_count > 0
    assert set(geojson["id"]) == set(package["id"])
    assert geojson.geometry.is_valid.all()
    assert (geojson.geom_type == "MultiPolygon").all()
    assert (geojson["model_id"] == default_model_id()).all()
    assert (geojson["scene_id"] == detection.scene_id).all()
    assert (geojson["contrast_db"].dropna() < 0).all()


def test_probabilities_agree_with_the_slicks(detected):
    detection, _ = detected
    with rasterio.open(detection.folder / "class_probability.tif") as dataset:
        assert dataset.descriptions == ("sea", "oil", "look-alike", "ship", "land")
        oil = dataset.read(2).astype(float) * dataset.scales[1]
    cells = gpd.read_file(detection.folder / "slicks.geojson")["area_m2"].sum() / 40.0**2
    assert cells <= (oil >= 0.49).sum() * 1.02


def test_the_record_says_what_was_done(detected, product):
    record = read_record(detected[0].folder / "run.json")
    assert record.scene_id == detected[0].scene_id
    assert record.model_id == default_model_id()
    assert set(record.durations_s) >= {"calibrate", "mask_land", "predict", "find_slicks"}
    assert record.inputs[0].path.endswith(product.safe.name)
    assert record.peak_memory_bytes > 1e7


def test_a_zip_gives_the_same_slicks_and_a_rerun_replaces(product, tmp_path, detected):
    archive = zip_safe(product.safe)
    first = detect_slicks(archive, tmp_path / "results")
    (first.folder / "stale.txt").write_text("of a former run")
    again = detect_slicks(archive, tmp_path / "results")
    ours = gpd.read_file(again.folder / "slicks.geojson")
    assert set(ours["id"]) == set(gpd.read_file(detected[0].folder / "slicks.geojson")["id"])
    assert not (again.folder / "stale.txt").exists()
    archive.unlink()


def test_a_clean_scene_leaves_an_empty_layer_and_a_record(tmp_path):
    clean = simulate_product(tmp_path / "inbox", 4, (1600, 1600), clean=True, centre_lonlat=(3.0, 56.0))
    detection = detect_slicks(clean.safe, tmp_path / "results")
    collection = json.loads((detection.folder / "slicks.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    assert collection["features"] == []
    record = read_record(detection.folder / "run.json")
    assert record.analysed
    assert record.coverage.sea_km2 == pytest.approx(16**2, rel=0.02)
    assert record.coverage.nothing_to_see is None
    assert len(gpd.read_file(detection.folder / "slicks.gpkg", layer="slicks")) == 0


def test_border_noise_of_an_old_product_is_no_oil(tmp_path):
    metadata = grd_metadata("VV", 600, 700, noise_schema="vector")
    image = with_border(sea(metadata), (slice(None), slice(0, 150)))
    for edge in (slice(0, 90), slice(-60, None)):
        image = with_border(image, (edge, slice(None)))
    old = write_safe(tmp_path, None, {"VV": (image, metadata)}, noise_schema="vector")
    record = read_record(detect_slicks(old, tmp_path / "results").folder / "run.json")
    assert record.slick_count == 0
    assert record.flags[0] == "VV: border noise, up to 150 pixels wide, taken as no data"


@pytest.mark.skipif(not CASES.is_dir(), reason="no cases at ../shared/data/cases")
def test_border_noise_of_the_case_at_hand_is_no_oil(tmp_path):
    new = simulate_product(tmp_path / "new", 4, (1000, 1000), clean=True).safe
    old = tmp_path / "old" / new.name
    old.parent.mkdir()
    script = CASES / "06-border-noise" / "make.py"
    subprocess.run([sys.executable, str(script), str(new), str(old), "noise"], check=True)
    record = read_record(detect_slicks(old, tmp_path / "results").folder / "run.json")
    assert record.slick_count == 0
    assert record.flags[0] == "VV: border noise, up to 150 pixels wide, taken as no data"


@pytest.mark.parametrize(
    ("kind", "reason"), [("land", "100 % land, 0 % no data"), ("no data", "0 % land, 100 % no data")]
)
def test_a_scene_with_nothing_to_see_is_not_clean(kind, reason, tmp_path):
    metadata = grd_metadata("VV", 300, 320)
    image = sea(metadata) if kind == "land" else np.zeros((300, 320), np.uint16)
    product = write_safe(tmp_path, None, {"VV": (image, metadata)})
    gpd.GeoDataFrame(geometry=[shapely.box(2, 55, 4, 57)], crs=4326).to_file(tmp_path / "coast.geojson")
    options = DetectionOptions(coastline=tmp_path / "coast.geojson") if kind == "land" else DetectionOptions()
    detection = detect_slicks(product, tmp_path / "results", options)
    record = read_record(detection.folder / "run.json")
    item = json.loads((detection.folder / "item.json").read_text())
    why = f"{reason}, 0 % calm sea"
    assert not record.analysed
    assert record.flags[0] == f"nothing to see: {why}"
    assert record.coverage == detection.coverage
    assert (detection.coverage.sea_km2, detection.coverage.nothing_to_see) == (0.0, why)
    assert item["properties"]["slickwatch:nothing_to_see"] == why
    assert item["properties"]["slickwatch:flags"] == list(record.flags)


def test_horizontal_polarisation_stands_in_with_a_flag(tmp_path):
    product = sea_product(tmp_path, 700, 900, ("HH", "HV"), mode="EW", platform="S1C")
    detection = detect_slicks(product, tmp_path / "results")
    record = read_record(detection.folder / "run.json")
    assert any("HH used in its place" in flag for flag in record.flags)


def test_nothing_is_published_on_land_or_beyond_the_scene(product, detected, tmp_path):
    """Land put over the largest slick: nothing is left of it there, and all slicks lie within the scene's outline."""
    slicks = gpd.read_file(detected[0].folder / "slicks.geojson")
    largest = slicks.loc[slicks["area_m2"].idxmax()].geometry
    west, south, east, _ = largest.bounds
    half = shapely.box(west - 0.05, south - 0.05, east + 0.05, largest.centroid.y)
    assert largest.intersection(half).area > 0.1 * largest.area
    gpd.GeoDataFrame(geometry=[half], crs=4326).to_file(tmp_path / "coast.geojson")
    again = detect_slicks(product.safe, tmp_path / "results", DetectionOptions(coastline=tmp_path / "coast.geojson"))
    left = gpd.read_file(again.folder / "slicks.geojson")
    assert all(shape.intersection(half).area < 1e-9 * largest.area for shape in left.geometry)
    image = SafeProduct.open(product.safe).image("VV").annotation
    outline = Geolocation(image.geolocation_grid).footprint(image.number_of_lines, image.number_of_samples)
    assert slicks.geometry.within(outline.buffer(1e-6)).all()


def test_thresholds_and_a_coastline_are_recorded_the_coastline_by_its_contents(tmp_path):
    record = {}
    for name, text in (("a", "first"), ("b", "first"), ("c", "second")):
        (tmp_path / name).write_text(text)
        options = DetectionOptions(coastline=tmp_path / name, slicks=SlickOptions(keep=0.9, minimum_area_m2=2e5))
        record[name] = options.record(read_checkpoint(options.model))
    assert record["a"] == record["b"] != record["c"]
    assert record["a"]["coastline"].startswith("blake3:")
    assert (record["a"]["slicks"]["keep"], record["a"]["slicks"]["minimum_area_m2"]) == (0.9, 2e5)
    assert DetectionOptions(coastline=Path("/vsizip/x.zip")).record(read_checkpoint(options.model))["coastline"] == (
        "/vsizip/x.zip"
    )


@pytest.mark.parametrize("zipped", [False, True])
def test_a_run_parses_each_document_of_the_product_once(tmp_path, monkeypatch, zipped):
    product = sea_product(tmp_path, 300, 400, ("VV", "VH"))
    product = zip_safe(product) if zipped else product
    parsed, parse = Counter(), Document.parse.__func__

    def counted(cls, content, subject):
        parsed[Path(subject).name.split("-")[0]] += 1
        return parse(cls, content, subject)

    monkeypatch.setattr(Document, "parse", classmethod(counted))
    detect_slicks(product, tmp_path / "results")
    assert parsed == {"manifest.safe": 1, "s1a": 1, "calibration": 1, "noise": 1}


def test_a_failure_in_the_middle_leaves_the_former_result(product, tmp_path, detected, monkeypatch):
    results = tmp_path / "results"
    former = detect_slicks(product.safe, results)
    before = {p.name: p.read_bytes() for p in former.folder.iterdir()}
    tiff = next((product.safe / "measurement").glob("*-vv-*.tiff"))
    whole = tiff.read_bytes()
    try:
        os.truncate(tiff, len(whole) // 2)
        with pytest.raises(Exception, match=r"truncated|damaged|smaller"):
            detect_slicks(product.safe, results)
    finally:
        tiff.write_bytes(whole)
    assert {p.name: p.read_bytes() for p in former.folder.iterdir()} == before
    assert sorted(p.name for p in results.iterdir()) == [former.scene_id, "collection.json"]


def test_prefect_knows_the_run_its_tasks_and_its_artifacts(detected):
    async def seen():
        async with get_client() as client:
            runs = await client.read_flow_runs()
            tasks = await client.read_task_runs()
            artifacts = await client.read_artifacts()
            return runs, tasks, artifacts

    import asyncio

    runs, tasks, artifacts = asyncio.run(seen())
    assert any(run.name.startswith("detect-slicks-S1A") for run in runs)
    assert {"calibrate", "predict", "publish"} <= {task.name.rsplit("-", 1)[0] for task in tasks}
    assert {"markdown", "image"} <= {artifact.type for artifact in artifacts}
    assert any(detected[0].scene_id in str(artifact.data) for artifact in artifacts)


def test_flow_files_do_not_hide_packages():
    root = Path(__file__).parents[2]
    for package in ("ingest", "preprocess", "models", "outputs", "flows"):
        module = __import__(package)
        assert Path(module.__file__).parent == root / package
    assert not {p.stem for p in (root / "flows").glob("*.py")} & {"ingest", "preprocess", "models", "outputs", "flows"}


def test_a_score_counts_cells_and_slicks(product, tmp_path):
    from models.evaluation.scene import compared_cells, score_cells
    from preprocess.options import PreprocessOptions
    from preprocess.pipeline import calibrated_scene

    scene = calibrated_scene(SafeProduct.open(product.safe), PreprocessOptions())
    with rasterio.open(product.truth) as dataset:
        oil = dataset.read(1)[2::4, 2::4] == 1
    from outputs.outlines import polygonise

    outline = polygonise(oil, scene.grid.transform)
    perfect = gpd.GeoDataFrame(geometry=[scene.grid.geolocation.to_lonlat(outline)], crs=4326)

    def scored(slicks):
        return score_cells(*compared_cells(slicks, product.truth, scene.grid), len(slicks))

    score = scored(perfect)
    assert score.oil_iou > 0.98
    assert score.true_slicks_found == score.true_slicks
    assert score.false_slicks == 0
    nothing = scored(perfect.iloc[:0])
    assert nothing.recall == 0
    assert np.isnan(nothing.precision)
    assert nothing.as_dict()["precision"] is None
