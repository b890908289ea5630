"""Several processes at one catalogue, and those that are killed at it."""

import json
import os
import subprocess
import sys

from outputs.catalogue import Catalogue
from tests.support.catalogue_results import flaws
from tests.support.catalogue_workers import SCENES, WRITERS


def worker(what, path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.catalogue_workers", what, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_writers_that_begin_and_fill_it_together_lose_and_double_nothing(tmp_path):
    path = tmp_path / "shared" / "catalogue.gpkg"
    done = worker("race", path)
    assert done["codes"] == [0] * WRITERS
    assert sorted(done["again"]) == [False] + [True] * (WRITERS - 1), "one scene was offered by all"
    catalogue = Catalogue.open(path)
    assert len(catalogue.runs()) == len(catalogue.scenes()) == 1 + WRITERS * SCENES
    assert len(catalogue.slicks()) == 20 * (1 + WRITERS * SCENES)
    assert {review.reviewer for review in catalogue.reviews("0-0")} == {f"writer {me}" for me in range(WRITERS)}
    assert [file.name for file in path.parent.iterdir()] == ["catalogue.gpkg"], "one whole file when nobody writes"
    assert flaws(path) == []


def test_a_killed_writer_leaves_all_of_a_publication_or_nothing(tmp_path):
    done = worker("kill", tmp_path / "catalogue.gpkg")
    assert done["wrong"] == []
    assert done["inside"] > 3, "too few were killed amid a publication to tell anything"
    assert done["published"] > 20, "too little was published between the kills"
