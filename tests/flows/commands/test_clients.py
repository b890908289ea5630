"""The examples of docs/analyst/clients.md, each run as it stands against the running service."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from outputs.catalogue import Catalogue
from tests.flows.commands.test_serve import serving
from tests.support.catalogue_results import FOOTPRINT, SCENE, record, squares, table

PAGE = Path(__file__).parents[3] / "docs" / "analyst" / "clients.md"
QGIS_PYTHON = "/usr/bin/python3"
UNLINKED = ":".join(f"/usr/lib/x86_64-linux-gnu/{name}" for name in ("lapack", "blas"))  # of a half-installed system


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A service with five slicks in the box of the examples and one outside."""
    home = tmp_path_factory.mktemp("service")
    outlines = {**squares(5), **squares(1, west=30.0, prefix="far")}
    Catalogue.open(home / "catalogue.gpkg").publish(
        record("run-1", slick_count=6), SCENE, FOOTPRINT, table("run-1", outlines)
    )
    with serving(home, "--catalogue", str(home / "catalogue.gpkg")) as found:
        yield found


def example(heading, address):
    """The code below a heading, for the address of this service."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2]
    code = re.search(r"```\w+\n(.*?)```", section, re.DOTALL)[1]
    assert "http://127.0.0.1:4280" in code
    return code.replace("http://127.0.0.1:4280", address)


def run(command, home, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        command, cwd=home, env={**kept, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("heading", "told"),
    [
        ("Python: httpx and geopandas", "5 slicks, 5.0 km2\n"),
        ("Python: owslib", "['candidates', 'scenes', 'slicks']\n5 slicks\n"),
    ],
)
def test_the_python_examples_find_the_slicks_of_the_box(address, tmp_path, heading, told):
    done = run([sys.executable, "-c", example(heading, address)], tmp_path)
    assert (done.returncode, done.stdout) == (0, told), done.stderr


def test_the_r_example_finds_them_too(address, tmp_path):
    if shutil.which("Rscript") is None or run(["Rscript", "-e", "library(sf)"], tmp_path).returncode:
        pytest.skip("there is no R with sf (Debian: apt-get install r-cran-sf)")
    done = run(["Rscript", "-e", example("R: sf", address)], tmp_path)
    assert (done.returncode, done.stdout) == (0, "5 slicks\n"), done.stderr


def test_the_qgis_example_reads_all_slicks(address, tmp_path):
    environment = {"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path), "LD_LIBRARY_PATH": UNLINKED, "PYTHONPATH": ""}
    if (
        not Path(QGIS_PYTHON).exists()
        or run([QGIS_PYTHON, "-c", "import qgis.core"], tmp_path, **environment).returncode
    ):
        pytest.skip(f"QGIS cannot be imported by {QGIS_PYTHON} (Debian: apt-get install python3-qgis)")
    done = run([QGIS_PYTHON, "-c", example("QGIS", address)], tmp_path, **environment)
    assert done.stdout.splitlines()[-1:] == ["True 6 slicks"], done.stderr
