"""The layers as QGIS loads them, where its Python is installed (Debian: python3-qgis)."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from outputs.options import SlickOptions
from outputs.qgis_project import PROJECT, write_project
from outputs.rasters import control_points, write_backscatter_cog, write_probability_cog, write_probability_style
from outputs.slicks import candidate_table, find_slicks
from outputs.style import LOOKS
from outputs.vectors import write_geojson, write_geopackage, write_style
from tests.support.slick_scenes import CLASSES, PROCESSED_AT, probabilities, scene

PYTHON = Path("/usr/bin/python3")
# Where the system has lapack and blas, but no links to them yet.
UNLINKED = ":".join(f"/usr/lib/x86_64-linux-gnu/{name}" for name in ("lapack", "blas"))
SCRIPT = Path(__file__).parents[1] / "support" / "qgis_layers.py"


def with_qgis(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "LD_LIBRARY_PATH": UNLINKED,
        "PATH": os.defpath,
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "QT_QPA_PLATFORM": "offscreen",
    }
    return subprocess.run(
        [PYTHON, *arguments], env=environment, cwd=home, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module", autouse=True)
def _qgis(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    if not PYTHON.exists() or with_qgis("-c", "import qgis.core", home=home).returncode:
        pytest.skip("QGIS cannot be imported by /usr/bin/python3 (Debian: apt-get install python3-qgis)")


def test_the_project_opens_all_layers_wherever_the_folder_is(tmp_path):
    plane = np.full((300, 400), 0.02)
    plane[100:160, 150:260] = 0.95
    classes, calibrated = probabilities(oil=plane), scene(np.where(plane > 0.5, 0.006, 0.05))
    slicks = find_slicks(
        classes, calibrated, land=None, options=SlickOptions(), model_id="m", processed_at=PROCESSED_AT
    )
    made = tmp_path / "made"
    made.mkdir()
    write_geopackage(slicks, made / "slicks.gpkg")
    write_geojson(candidate_table(slicks), made / "candidates.geojson")
    write_probability_cog(classes, calibrated, made / "class_probability.tif")
    write_backscatter_cog(calibrated, made / "sigma_nought.tif")
    _, projection = control_points(calibrated.grid)
    bounds = calibrated.grid.geolocation.footprint(*calibrated.grid.image_shape).bounds
    write_project(made / PROJECT, "Öl & <co>", bounds, projection, 2)
    moved = made.rename(tmp_path / "moved")
    script = SCRIPT.with_name("qgis_project.py")
    run = with_qgis(str(script), str(moved / PROJECT), str(tmp_path / "map.png"), home=tmp_path)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])
    names = ["slickwatch_slicks", "slickwatch_candidates", "slickwatch_probability", "slickwatch_radar"]
    assert (seen["opened"], seen["title"], seen["crs"], seen["order"]) == (True, "Öl & <co>", "EPSG:4326", names)
    assert seen["shown"] == [name for name in names if name != "slickwatch_probability"]
    assert all(layer["valid"] and layer["crs"] for layer in seen["layers"].values())
    assert [seen["layers"][name]["renderer"] for name in names] == [
        "RuleRenderer", "singleSymbol", "singlebandpseudocolor", "singlebandgray",
    ]  # fmt: skip
    red, green, blue = np.moveaxis(image.imread(tmp_path / "map.png")[..., :3], -1, 0)
    assert 0.01 < (red - np.maximum(green, blue) > 0.15).mean() < 0.3  # the slick
    assert (np.abs(red - blue) < 0.02).mean() > 0.5  # the radar image


def in_qgis(folder: Path, centre: tuple[float, float]) -> dict:
    """Publish a scene of nine squares of oil around `centre`, four of look-alike between them, and open it in QGIS."""
    oil, other = np.full((300, 400), 0.02), np.full((300, 400), 0.02)
    for i, row in enumerate((20, 138, 255)):
        for j, column in enumerate((20, 190, 360)):
            oil[row : row + 24, column : column + 18] = (0.95, 0.8, 0.65)[(i + j) % 3]
            oil[row, column] = 0.75
    for row in (80, 200):
        for column in (100, 280):
            other[row : row + 20, column : column + 20] = 0.9
    classes, calibrated = probabilities(oil=oil, look_alike=other), scene(np.full(oil.shape, 0.05), centre=centre)
    options = SlickOptions(classes=("oil", "look-alike"))
    slicks = find_slicks(classes, calibrated, land=None, options=options, model_id="m", processed_at=PROCESSED_AT)
    assert len(slicks) == 13
    write_geojson(slicks, folder / "slicks.geojson")
    write_geopackage(slicks, folder / "slicks.gpkg")
    write_style(folder / "slicks.qml")
    write_probability_cog(classes, calibrated, folder / "class_probability.tif")
    write_probability_style(CLASSES, folder / "class_probability.qml")
    run = with_qgis(str(SCRIPT), str(folder), home=folder)
    assert run.returncode == 0, run.stderr
    assert "only be partially supported" not in run.stderr
    assert "Non-conformant" not in run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_layers_look_right(tmp_path):
    seen = in_qgis(tmp_path, (3.0, 72.0))
    for name in ("geopackage", "geojson"):
        layer = seen[name]
        assert (layer["valid"], layer["crs"], layer["count"], layer["geometries_valid"]) == (
            True,
            "EPSG:4326",
            13,
            True,
        )
        assert layer["renderer"] == "RuleRenderer"
        assert layer["legend"] == [look.label for look in LOOKS]
        assert layer["unstyled"] == 0
        assert layer["types"]["acquired_start"] == "DateTime"
        assert layer["types"]["edge_touching"] == "Boolean"
        assert layer["types"]["area_m2"] == "Real"
        assert layer["acquired_start"] == "2021-01-19T03:16:53"
        assert {"wind_speed_ms", "nearest_ship_m", "reviewed_at", "notes"} <= set(layer["nulls"])
    assert seen["geopackage"]["types"]["reviewed_at"] == "DateTime"
    assert seen["geopackage"]["types"]["wind_speed_ms"] == "Real"
    assert seen["raster"]["valid"]
    assert (seen["raster"]["renderer"], seen["raster"]["bands"]) == ("singlebandpseudocolor", [2])
    assert [name.split(": ")[1].split(" ")[0] for name in seen["raster"]["names"]] == [*CLASSES]
    assert len(seen["offsets"]) == 9
    assert max(seen["offsets"]) < 20.0  # half a cell


def test_the_antimeridian_smears_nothing(tmp_path):
    seen = in_qgis(tmp_path, (179.99, 10.0))  # a projected raster makes QGIS 3.22 crash here
    for name in ("geopackage", "geojson"):
        assert seen[name]["geometries_valid"]
        assert seen[name]["widest_part_deg"] < 0.02
    assert seen["raster"]["drawn_share"] > 0.9
    shown = [offset for offset in seen["offsets"] if offset is not None]
    assert len(shown) >= 3  # the others lie on the far side of 180 degrees, where a raster in degrees is not drawn
    assert min(shown) < 20.0
