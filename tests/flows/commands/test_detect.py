"""The command line: what it prints, and how it fails: one line, the documented code, nothing left behind."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
import zipfile
from contextlib import closing
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image

from flows.resolve import detection_options
from flows.termination import GRACE_S
from models.checkpoint import default_model_id, model_folder
from tests.support.safe_products import sea_product


def process(*arguments, **environment):
    """The command line in a process of its own, where libraries in C may write to stderr as well."""
    command = [sys.executable, "-m", "flows.cli", *(str(a) for a in arguments)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return sea_product(tmp_path_factory.mktemp("good"), 300, 500)


@pytest.fixture
def product(good, tmp_path):
    """A copy to damage."""
    return shutil.copytree(good, tmp_path / "in" / good.name)


def member(product, pattern):
    return next(product.glob(pattern))


def not_a_safe(product):
    (product / "manifest.safe").unlink()
    for name in ("annotation", "measurement"):
        shutil.rmtree(product / name)
    return product


def no_product_at_all(product):
    return product.with_name("S1A_nothing_here.SAFE")


def single_look_complex(product):
    return product.rename(product.with_name(product.name.replace("GRDH", "SLC_")))


def ocean_product(product):
    return product.rename(product.with_name(product.name.replace("GRDH_1", "OCN__2")))


def raw_product(product):
    return product.rename(product.with_name(product.name.replace("GRDH_1", "RAW__0")))


def zipped(product):
    archive = product.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(product.rglob("*")):
            if path.is_file():
                file.write(path, f"{product.name}/{path.relative_to(product)}")
    shutil.rmtree(product)
    return archive


def truncated_zip(product):
    archive = zipped(product)
    os.truncate(archive, archive.stat().st_size // 2)
    return archive


def zip_leaving_its_folder(product):
    archive = zipped(product)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../../evil.xml", "<a/>")
    return archive


def zip_with_an_absolute_member(product):
    archive = zipped(product)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("/etc/evil.xml", "<a/>")
    return archive


def missing_annotation(product):
    member(product, "annotation/*-vv-*.xml").unlink()
    return product


def missing_calibration(product):
    member(product, "annotation/calibration/calibration-*-vv-*.xml").unlink()
    return product


def malformed_xml(product):
    path = member(product, "annotation/calibration/calibration-*-vv-*.xml")
    path.write_text(path.read_text()[:2000])
    return product


def entity_bomb(product):
    path = member(product, "annotation/*-vv-*.xml")
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "' + "x" * 100 + '">'
    bomb += "".join(f'<!ENTITY b{i} "&b{i - 1 if i else ""};&b{i - 1 if i else ""};">' for i in range(30))
    path.write_text(bomb + "]><product>&b29;</product>")
    return product


def small_tiff(product):
    path = member(product, "measurement/*-vv-*.tiff")
    profile = {"driver": "GTiff", "width": 200, "height": 100, "count": 1, "dtype": "uint16"}
    path.unlink()
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.full((1, 100, 200), 60, np.uint16))
    return product


def truncated_tiff(product):
    path = member(product, "measurement/*-vv-*.tiff")
    os.truncate(path, path.stat().st_size // 3)
    return product


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    "damage",
    [
        not_a_safe, no_product_at_all, single_look_complex, ocean_product, raw_product, truncated_zip,
        zip_leaving_its_folder, zip_with_an_absolute_member, missing_annotation, missing_calibration, malformed_xml,
        entity_bomb, small_tiff,
    ],
)  # fmt: skip
def test_unreadable_input_is_one_line_and_code_3(cli, product, damage, tmp_path):
    code, out, err = cli("detect", damage(product), "--out", tmp_path / "results", "--polarisation", "VV")
    assert code == 3, err
    assert out == ""
    assert err.startswith("slickwatch: ")
    assert err.count("\n") == 1
    assert "; " in err
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("prefect_server")
def test_a_file_that_ends_early_is_found_while_reading(cli, product, tmp_path):
    code, _, err = cli("detect", truncated_tiff(product), "--out", tmp_path / "results")
    assert code == 3, err
    assert err.splitlines()[-1].startswith("slickwatch: ")
    assert list((tmp_path / "results").glob("*")) == []


def test_an_unknown_polarisation_is_wrong_usage(cli, good, tmp_path):
    for wrong in ("HH", "XX"):
        code, _, err = cli("detect", good, "--out", tmp_path / "results", "--polarisation", wrong)
        assert code == 2
        assert "VV, VH" in err
        code, _, err = cli("calibrate", good, "--polarisation", wrong, "--out", tmp_path / "x.tif")
        assert code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("prefect_server")
def test_a_polarisation_that_the_model_does_not_know_must_be_forced_and_is_flagged(cli, good, tmp_path):
    arguments = ("detect", good, "--out", tmp_path / "results", "--polarisation", "VH")
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert "VH is selected, the model was trained on VV" in err
    assert not (tmp_path / "results").exists()
    code, out, err = cli(*arguments, "--force-polarisation", "--json")
    assert code == 0, err
    coverage = json.loads(out)["coverage"]
    assert coverage["sea_km2"] == pytest.approx(15, rel=0.02)
    assert (coverage["low_wind_share"], coverage["nothing_to_see"]) == (None, None)
    (run,) = (tmp_path / "results").glob("*/run.json")
    assert "VH used as asked, the model was trained on VV" in json.loads(run.read_text())["flags"]


@pytest.mark.usefixtures("prefect_server")
def test_a_scene_of_land_is_said_to_show_nothing(cli, good, tmp_path):
    gpd.GeoDataFrame(geometry=[shapely.box(2, 55, 4, 57)], crs=4326).to_file(tmp_path / "coast.geojson")
    arguments = ("detect", good, "--out", tmp_path / "results", "--coastline", tmp_path / "coast.geojson")
    code, out, err = cli(*arguments)
    assert code == 0, err
    assert out.startswith(f"{good.stem}: nothing to see (100 % land, 0 % no data, 0 % calm sea), ")


def test_an_unreadable_checkpoint_is_code_6(cli, good, tmp_path):
    copy = shutil.copytree(model_folder(default_model_id()), tmp_path / "broken")
    os.truncate(copy / "weights.safetensors", 1000)
    for model in (copy, "no-such-model"):
        code, _, err = cli("detect", good, "--out", tmp_path / "results", "--model", model)
        assert code == 6
        assert err.startswith("slickwatch: ")
        assert err.count("\n") == 1
    assert not (tmp_path / "results").exists()
    assert cli("models", "verify", copy)[0] == 6


@pytest.fixture
def full_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.usefixtures("prefect_server")
def test_a_full_disk_is_code_5_and_leaves_nothing(cli, tmp_path_factory, full_disk):
    product = sea_product(tmp_path_factory.mktemp("large"), 2000, 2400, ("VV",))
    code, _, err = cli("detect", product, "--out", full_disk / "results")
    assert code == 5, err
    assert err.splitlines()[-1].startswith("slickwatch: ")
    assert [p for p in full_disk.rglob("*") if p.is_file()] == []
    done = process("calibrate", product, "--polarisation", "VV", "--out", full_disk / "vv.tif")
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("slickwatch: ")
    assert done.stderr.count("\n") == 1, done.stderr
    done = process("simulate", "--out", full_disk / "inbox", "--size", "1600,1600")
    assert done.returncode == 5, done.stderr
    assert done.stderr.splitlines()[-1].startswith("slickwatch: ")
    assert [p for p in full_disk.rglob("*") if p.is_file()] == []


def test_a_folder_that_cannot_be_made_is_code_5(cli, good, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = cli("calibrate", good, "--polarisation", "VV", "--out", tmp_path / "file" / "vv.tif")
    assert code == 5, err
    assert (tmp_path / "file").read_text() == "in the way"


def test_tracebacks_come_only_when_asked_for(cli, tmp_path):
    assert "Traceback" not in cli("calibrate", tmp_path, "--polarisation", "VV", "--out", tmp_path / "x.tif")[2]
    assert "Traceback" in cli("calibrate", tmp_path, "--polarisation", "VV", "--out", tmp_path / "x.tif", "-v")[2]


def test_calibrate_writes_sigma_nought(cli, good, tmp_path):
    code, out, err = cli("calibrate", good, "--polarisation", "VV", "--out", tmp_path / "vv.tif", "--rows", "20:120")
    assert code == 0, err
    assert out.strip() == str(tmp_path / "vv.tif")
    with rasterio.open(tmp_path / "vv.tif") as dataset:
        values = dataset.read(1)
        assert values.shape == (100, 500)
        assert dataset.dtypes == ("float32",)
        assert np.isnan(dataset.nodata)
    assert 10 * np.log10(values.mean()) == pytest.approx(-14, abs=0.2)  # tests.support.safe_products.SEA_DB
    cli("calibrate", good, "--polarisation", "VV", "--out", tmp_path / "raw.tif", "--rows", "20:120", "--no-denoise")
    with rasterio.open(tmp_path / "raw.tif") as dataset:
        assert dataset.read(1).mean() > values.mean()
    cli("calibrate", good, "--polarisation", "VV", "--out", tmp_path / "coarse.tif", "--spacing", "40")
    with rasterio.open(tmp_path / "coarse.tif") as dataset:
        assert dataset.shape == (75, 125)


@pytest.mark.parametrize("rows", ["5", "a:b", "20:10", "0:100000", "-3:5"])
def test_rows_outside_the_image_are_refused(cli, good, tmp_path, rows):
    code, _, err = cli("calibrate", good, "--polarisation", "VV", "--out", tmp_path / "x.tif", f"--rows={rows}")
    assert code == 2
    assert "--rows" in err
    assert not (tmp_path / "x.tif").exists()


def test_chips_are_simulated_and_segmented(cli, tmp_path):
    code, out, err = cli("simulate", "--out", tmp_path / "chips", "--format", "chips", "--count", "2", "--seed", "8")
    assert code == 0, err
    images = out.split()
    assert len(images) == 2
    masks = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "chips" / "masks").iterdir())]
    assert all(set(np.unique(mask)) <= {0, 255} for mask in masks)
    code, out, err = cli("segment", *images, "--out", tmp_path / "maps")
    assert code == 0, err
    for path in out.split():
        class_map = np.asarray(Image.open(path))
        assert class_map.shape == (256, 256)
        assert class_map.max() <= 4
        stored = np.load(path.replace(".png", ".npz"))
        assert stored["probability"].shape == (5, 256, 256)
        likeliest = stored["probability"].argmax(axis=0)
        np.testing.assert_array_equal(likeliest[likeliest != 1], class_map[likeliest != 1])
        assert (likeliest[class_map == 1] == 1).all()  # while too small a speck of oil is not published
        assert Image.open(path).convert("RGB").getpixel((0, 0)) != (0, 0, 0)  # colours to look at


def test_a_float_chip_with_missing_data_is_segmented(cli, tmp_path):
    from models.simulator import simulate_chip

    values, _ = simulate_chip(8, 256)
    values = 10 * np.log10(np.maximum(values.astype(np.float64), 1e-4))
    values[:40] = np.nan
    profile = {"driver": "GTiff", "width": 256, "height": 256, "count": 1, "dtype": "float64", "nodata": np.nan}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "chip.tif", "w", **profile) as dataset:
            dataset.write(values, 1)
    code, out, err = cli("segment", tmp_path / "chip.tif", "--out", tmp_path / "maps")
    assert code == 0, err
    class_map = np.asarray(Image.open(out.strip()))
    assert (class_map[:40] == 255).all()
    assert class_map[40:].max() <= 4


def test_a_chip_with_nothing_to_see_is_not_passed_over_in_silence(cli, tmp_path):
    for name, transparent in (("none", 40), ("some", 10)):
        chip = np.full((32, 40, 2), 90, np.uint8)
        chip[:, :transparent, 1] = 0
        Image.fromarray(chip).save(tmp_path / f"{name}.png")
    Image.fromarray(np.full((32, 40), np.nan, np.float32)).save(tmp_path / "nan.tif")
    chip = np.random.default_rng(1).integers(40, 200, (32, 40), dtype=np.uint8)
    chip[:4] = 255  # masked
    Image.fromarray(chip).save(tmp_path / "sea.png")
    files = [tmp_path / name for name in ("none.png", "nan.tif", "some.png", "sea.png")]
    code, out, err = cli("segment", *files, "--out", tmp_path / "maps")
    assert code == 0, err
    assert len(out.split()) == 4
    assert [line for line in err.splitlines() if "nothing to see" in line] == [
        *(f"slickwatch: {file}: has no data anywhere, so there was nothing to see" for file in files[:2]),
        f"slickwatch: {files[2]}: has the same grey everywhere, so there was nothing to see",
    ]


def test_simulated_products_are_where_it_says(cli, tmp_path):
    code, out, err = cli("simulate", "--out", tmp_path, "--seed", "3", "--size", "320,400")
    assert code == 0, err
    safe, truth = out.split()
    assert (tmp_path / safe).is_dir()
    assert "N, " in err
    assert "UTC" in err
    with rasterio.open(truth) as dataset:
        assert dataset.shape == (320, 400)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--seed", "-1"),
        ("--size", "10"),
        ("--size", "a,b"),
        ("--size", "0,5"),
        ("--format", "tiff"),
        ("--format", "chips", "--size", "2,3"),
        ("--format", "chips", "--at", "3,56"),
        ("--at", "3"),
        ("--at", "3,99"),
        ("--time", "soon"),
        ("--time", "1999-01-01"),
    ],
)
def test_wrong_sizes_and_formats_are_wrong_usage(cli, tmp_path, arguments):
    code, _, err = cli("simulate", "--out", tmp_path / "x", *arguments)
    assert code == 2
    assert err
    assert not (tmp_path / "x").exists()


def test_models_are_listed_shown_and_verified(cli):
    assert f"* {default_model_id()}" in cli("models", "list")[1]
    assert json.loads(cli("models", "list", "--json")[1])["default"] == default_model_id()
    assert json.loads(cli("models", "show", "--json")[1])["id"] == default_model_id()
    assert default_model_id() in cli("models", "verify")[1]


def test_options_of_a_detection_go_before_the_settings(cli, good, tmp_path, monkeypatch):
    monkeypatch.setenv("SLICKWATCH_DETECTION__KEEP", "0.8")
    monkeypatch.setenv("SLICKWATCH_DETECTION__MINIMUM_AREA_KM2", "0.5")
    options = detection_options(None, "VV", None, keep=0.9, grow=0.2)
    assert (options.slicks.keep, options.slicks.outline, options.slicks.grow) == (0.9, 0.5, 0.2)
    assert options.slicks.minimum_area_m2 == 500_000
    assert detection_options(None, None, None).slicks.keep == 0.8
    code, out, err = cli("detect", good, "--out", tmp_path / "results", "--keep", "0.4")
    assert (code, out) == (2, "")
    assert err.startswith("slickwatch: slick thresholds: ")
    assert not (tmp_path / "results").exists()


def test_an_option_that_does_not_exist_is_wrong_usage(cli):
    assert cli("detect", "--no-such-option")[0] == 2
    assert cli("--version")[1].startswith("slickwatch ")


@pytest.mark.usefixtures("prefect_server")
def test_one_bad_product_does_not_stop_the_others(cli, good, tmp_path):
    code, out, err = cli("detect", tmp_path / "missing.SAFE", good, "--out", tmp_path / "results", "--json")
    assert code == 3
    found = json.loads(out)
    assert found["scene_id"] == good.stem
    assert (tmp_path / "results" / good.stem / "slicks.geojson").is_file()
    assert "missing.SAFE" in err


@pytest.mark.usefixtures("prefect_server")
def test_the_demonstration_says_where_the_layers_are(cli, tmp_path):
    code, out, err = cli("demo", "--out", tmp_path, "--size", "1200,1200", "--seed", "5")
    assert code == 0, err
    for name in ("slicks.geojson", "class_probability.tif", "quicklook.png", "summary.json"):
        line = next(line for line in out.splitlines() if line.endswith(name))
        assert os.path.isfile(line.split(maxsplit=1)[1].split(" ")[-1])
    assert "oil IoU" in out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["true_slicks"] >= summary["true_slicks_found"]


def test_a_prefect_server_that_does_not_answer_is_code_4(good, tmp_path):
    """In a process of its own, since Prefect reads where its server is when it is imported."""
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:1/api", "PREFECT_HOME": str(tmp_path / "home")}
    done = process("detect", good, "--out", tmp_path / "results", **nowhere)
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("slickwatch: http://127.0.0.1:1/api: no Prefect server answers; ")
    assert done.stderr.count("\n") == 1


def test_something_else_at_the_address_of_the_prefect_server_is_code_4(good, tmp_path):
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}/api"
        there = {"PREFECT_API_URL": url, "PREFECT_HOME": str(tmp_path / "home")}
        done = process("detect", good, "--out", tmp_path / "results", **there)
        other.shutdown()
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith(f"slickwatch: {url}: no Prefect server answers; ")
    assert done.stderr.count("\n") == 1


def test_a_prefect_server_that_does_not_start_in_time_is_code_4(good, tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    impatient = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "0", "PREFECT_HOME": str(tmp_path / "home")}
    done = process("detect", good, "--out", tmp_path / "results", **impatient)
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "slickwatch: the Prefect server of this run: did not start in time; see its log above, or set PREFECT_SERVER"
    )


@pytest.mark.parametrize("name", ["PROJ_LIB", "PROJ_DATA"])
def test_data_of_another_program_is_not_used(good, tmp_path, name):
    """An older proj.db, as QGIS, OTB, PostGIS or conda leave it."""
    database = shutil.copy(next(Path(rasterio.__file__).parent.glob("proj_data/proj.db")), tmp_path)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE metadata SET value = '0' WHERE key = 'DATABASE.LAYOUT.VERSION.MINOR'")
        connection.commit()
    elsewhere = {name: str(tmp_path), "GDAL_DATA": str(tmp_path), "GDAL_DRIVER_PATH": str(tmp_path)}
    done = process(
        "calibrate", good, "--polarisation", "VV", "--out", tmp_path / "vv.tif", "--rows", "0:9", **elsewhere
    )
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "vv.tif") as written:
        assert written.gcps[1].to_epsg() > 32600


@pytest.mark.usefixtures("prefect_server")
def test_a_proxy_is_not_asked_about_the_server_on_this_machine(good, tmp_path):
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
    done = process("detect", good, "--out", tmp_path / "results", **proxies)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "value"), [("NO_PROXY", "localhost,[::1]"), ("SSL_CERT_FILE", "/no/such.pem")])
@pytest.mark.parametrize("command", ["detect", "demo", "bench", "up"])
def test_an_environment_that_no_client_can_use_is_refused_before_the_work(
    cli, good, tmp_path, monkeypatch, command, name, value
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    code, out, err = cli(command, *{"detect": [good], "bench": ["scene"]}.get(command, []))
    assert (code, out) == (2, "")
    assert err.startswith(f"slickwatch: {name}: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_is_asked_to_stop_leaves_nothing(tmp_path_factory, tmp_path):
    product = sea_product(tmp_path_factory.mktemp("large"), 2000, 3000, ("VV",))
    results, log = tmp_path / "results", tmp_path / "log"
    command = [sys.executable, "-X", "faulthandler", "-m", "flows.cli", "detect", str(product), "--out", str(results)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stderr=output)
    try:
        while process.poll() is None and not list(results.glob(".scratch-*/sigma_nought.npy")):
            time.sleep(0.05)
        assert process.poll() is None, log.read_text()
        process.terminate()
        assert process.wait(10 * GRACE_S) == 143, log.read_text()
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # prints where all threads are
        process.wait()
        pytest.fail(log.read_text())
    finally:
        process.kill()
        process.wait()
    assert list(results.iterdir()) == []


@pytest.mark.parametrize("command", ["detect", "calibrate", "segment"])
def test_a_name_that_is_no_text_is_wrong_usage(cli, tmp_path, command):
    (tmp_path / "a\udcff.zip").write_bytes(b"x")
    code, out, err = cli(command, tmp_path / "a\udcff.zip", "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err.endswith("a\\xff.zip': is not UTF-8; rename the file or the folder\n")


def test_a_working_folder_that_is_gone(cli, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, _, err = cli("detect", "x.SAFE")
    assert (code, err) == (2, "slickwatch: the working folder: no longer exists; change to another\n")


def test_a_georeferenced_chip_is_segmented_into_layers(cli, tmp_path):
    from models.simulator import simulate_chip

    power, truth = simulate_chip(3, 128)
    profile = {
        "driver": "GTiff", "width": 128, "height": 128, "count": 1, "dtype": "float32", "crs": "EPSG:32631",
        "transform": rasterio.Affine(40, 0, 500_000, 0, -40, 4_000_000),
    }  # fmt: skip
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.write(np.sqrt(power), 1)
    code, out, err = cli("segment", tmp_path / "a.tif", "--out", tmp_path / "maps", "--vectors")
    assert code == 0, err
    assert [Path(line).suffix for line in out.split()] == [".png", ".tif", ".geojson"]
    Image.fromarray(truth).save(tmp_path / "plain.png")
    code, out, err = cli("segment", tmp_path / "plain.png", "--out", tmp_path / "other", "--vectors")
    assert code == 2
    assert "plain.png: not georeferenced" in err
    assert not (tmp_path / "other").exists()
