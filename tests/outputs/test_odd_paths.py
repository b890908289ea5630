"""Folders and files whose names hold signs that mean something in an address; nothing may land elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.errors import UnreadableInput
from ingest.ledger.ledger import Ledger
from ingest.safe.product import SafeProduct
from outputs.catalogue import Catalogue
from outputs.rasters import write_sigma_nought
from outputs.vectors import FORMATS, export, read_slicks
from preprocess.grid import image_grid
from preprocess.mask import land_mask
from preprocess.pipeline import sigma_nought
from tests.support.catalogue_results import FOOTPRINT, SCENE, found, record
from tests.support.safe_products import sea_product
from tests.support.slick_scenes import scene

SIGNS = [
    "#",
    "?",
    "%41",
    "%",
    "!",
    ";",
    "&",
    "=",
    "{",
    "}",
    "'",
    '"',
    " ",
    "\t",
    "\n",
    ":",
    "zip:",
    ".zip",
    "*",
    "[",
    "]",
]
NAMES = st.lists(st.sampled_from([*SIGNS, "a", "Ö"]), min_size=1, max_size=5).map("".join)
EVERY_SIGN = "#1?%41!;'&\t{a}"


@given(folder=NAMES, stem=NAMES)
@example(folder=EVERY_SIGN, stem=EVERY_SIGN)
@settings(max_examples=10, deadline=None)
def test_slicks_are_written_and_read_back_under_any_name(folder: str, stem: str) -> None:
    slicks = found("run-1")
    with TemporaryDirectory() as top:
        (Path(top) / folder).mkdir()
        paths = [Path(top, folder, stem + suffix) for suffix in FORMATS if suffix != ".parquet"]
        for path in paths:
            export(slicks, path)
        for path in paths[:2]:
            assert list(read_slicks(path)["id"]) == list(slicks["id"])
        assert sorted(Path(top).rglob("*")) == sorted([Path(top, folder), *paths])


@pytest.mark.parametrize("name", [EVERY_SIGN, "file:x?mode=memory"])
def test_the_catalogue_lies_where_it_was_asked_for(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    catalogue = Catalogue.open(Path(name, f"{name}.gpkg"))
    catalogue.publish(record("run-1", slick_count=3), SCENE, FOOTPRINT, found("run-1"))
    assert len(Catalogue.open(Path(name, f"{name}.gpkg")).slicks()) == 3
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name.strip(".").removesuffix(".lock") for path in (tmp_path / name).iterdir()} == {f"{name}.gpkg"}


def test_the_ledger_lies_where_it_was_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / EVERY_SIGN
    with Ledger.open(str(folder / "ledger #?%41.sqlite")) as ledger:
        ledger.record_found("local", "w", [SCENE])
    assert [path.name for path in tmp_path.iterdir()] == [EVERY_SIGN]
    assert (folder / "ledger #?%41.sqlite").is_file()


@pytest.mark.parametrize("suffix", [".shp", ".gpkg"])
@pytest.mark.parametrize("folder", ["a!b", "#?%41"])
@pytest.mark.parametrize("stem", ["a", "x!;y"])
def test_a_coastline_is_read_from_any_folder(folder: str, stem: str, suffix: str, tmp_path: Path) -> None:
    grid = scene(np.ones((20, 30))).grid
    plain = tmp_path / "plain"
    plain.mkdir()
    land = gpd.GeoDataFrame(geometry=[shapely.box(-10.0, 40.0, 20.0, 70.0)], crs="EPSG:4326")
    pyogrio.write_dataframe(land, plain / f"land{suffix}")
    odd = tmp_path / folder
    odd.mkdir()
    for file in plain.iterdir():
        shutil.copy(file, odd / file.name.replace("land", stem))
    assert land_mask(grid, odd / f"{stem}{suffix}").all()


@pytest.fixture(scope="module")
def small_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sea_product(tmp_path_factory.mktemp("product"), 60, 80, ("VV",), zipped=True)


@pytest.mark.parametrize("folder", [EVERY_SIGN, "}", "{a", "a.zip", "#?%41"])
@pytest.mark.parametrize("name", ["a.zip", "Öl #1 50%.zip", "{.zip", "{a} without suffix", "{a} !?.zip"])
def test_a_zipped_product_is_read_from_any_folder(folder: str, name: str, tmp_path: Path, small_zip: Path) -> None:
    path = tmp_path / folder / name
    path.parent.mkdir()
    shutil.copy(small_zip, path)
    product = SafeProduct.open(path)
    if folder in ("}", "{a") and not name.endswith(".zip"):
        with pytest.raises(UnreadableInput, match="rename it"):
            product.measurement("VV")
        return
    sigma = sigma_nought(product, "VV")
    write_sigma_nought(sigma, path.with_suffix(".tif"), image_grid(product.image("VV").annotation))
    with rasterio.open(path.with_suffix(".tif")) as written:
        np.testing.assert_array_equal(written.read(1), sigma)
