"""Single steps of the flow, without Prefect around them."""

import pickle
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from shapely import box

from flows.detection import DetectionOptions
from flows.tasks import Job, artifact_key, calibrate, mask_land, open_scene
from ingest.errors import StorageError
from tests.support.full_disk import full_after
from tests.support.safe_products import sea_product, zip_safe


@pytest.mark.parametrize("scene_id", ["S1A_IW_GRDH_1SDV_20240601T053000_COG", "my product (2).v3", "Öl_1"])
def test_any_scene_has_a_key_that_prefect_takes(scene_id: str) -> None:
    from prefect.client.schemas.actions import ArtifactCreate

    key = f"slicks-{artifact_key(scene_id)}"
    assert ArtifactCreate(key=key, type="markdown", data="").key == key


def test_no_space_for_the_land_mask_is_a_storage_error(tmp_path: Path) -> None:
    land = tmp_path / "land.fgb"
    gpd.GeoDataFrame(geometry=[box(2.9, 55.9, 3.0, 56.0)], crs="EPSG:4326").to_file(land, driver="FlatGeobuf")
    options = DetectionOptions(coastline=land)
    job = Job(open_scene.fn(sea_product(tmp_path, 200, 200), options), options, tmp_path)
    calibrate.fn(job)
    with full_after(1000), pytest.raises(StorageError, match="no space left"):
        mask_land.fn(job)


def test_an_opened_scene_travels_to_another_process(tmp_path: Path) -> None:
    options = DetectionOptions()
    opened = open_scene.fn(zip_safe(sea_product(tmp_path, 200, 300)), options)
    there = pickle.loads(pickle.dumps(Job(opened, options, tmp_path)))
    assert there.scene.scene == opened.scene
    assert there.scene.grid.shape == opened.grid.shape
    np.testing.assert_array_equal(there.scene.sigma_nought.values, opened.sigma_nought.values)
