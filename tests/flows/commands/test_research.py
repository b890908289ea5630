"""The commands of researchers: evaluate, screen, train, bench; what they print, and how they fail."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from models.checkpoint import default_model_id, model_folder
from models.registry.registry import Registry
from tests.support.dataset_folders import plain_pair, released_sos

CONTRACT = {
    "n_images", "miou", "oil_iou", "f1", "precision", "recall",
    "object_precision", "object_recall", "object_f1", "false_alarms_per_image", "ece",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name in ("1", "2"):
        plain_pair(tmp_path / "pairs", name, size=(64, 80))
    return tmp_path / "pairs"


def test_evaluate_writes_what_checks_rely_on(cli, folder, tmp_path):
    code, out, _ = cli("evaluate", folder, "--json", tmp_path / "scores.json", "--out", tmp_path / "report")
    assert code == 0
    assert default_model_id() in out
    scores = json.loads((tmp_path / "scores.json").read_text())[default_model_id()]
    assert set(scores) >= CONTRACT
    assert scores["n_images"] == 2
    assert (tmp_path / "report" / "table.md").is_file()


@pytest.fixture
def version(tmp_path, monkeypatch):
    """A champion in the registry of the settings: the shipped model under another id."""
    copy = shutil.copytree(model_folder(default_model_id()), tmp_path / "runs" / "mine")
    record = json.loads((copy / "checkpoint.json").read_text())
    (copy / "checkpoint.json").write_text(json.dumps(record | {"id": "mine"}))
    monkeypatch.setenv("SLICKWATCH_MODELS__REGISTRY", str(tmp_path / "registry"))
    registry = Registry(tmp_path / "registry")
    registry.add(copy)
    registry.promote("mine", "a test", "ann")
    return "mine"


def test_evaluate_takes_versions_of_the_registry_and_the_champion(cli, folder, version, tmp_path):
    models = ("--model", version, "--model", default_model_id())
    code, _, err = cli("evaluate", folder, *models, "--json", tmp_path / "scores.json")
    assert code == 0, err
    assert list(json.loads((tmp_path / "scores.json").read_text())) == [version, default_model_id()]
    code, out, err = cli("evaluate", folder)
    assert (code, out.partition(":")[0]) == (0, version), err


@pytest.mark.usefixtures("prefect_server")
def test_bench_scene_takes_the_champion(cli, version):
    code, out, err = cli("bench", "scene", "--count", 1, "--size", "1200,1200", "--model", "champion", "--json")
    assert code == 0, err
    assert json.loads(out)["model"] == version


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("evaluate", "no-such-set"), 2, "sos-clean"),
        (("evaluate", "{folder}", "--model", "no-such-model"), 6, default_model_id()),
        (("screen", "simulated"), 2, "no training images"),
        (("train", "saross", "--config", "{config}"), 2, "no such network"),
        (("bench", "predict", "--windows", "8"), 2, "8,8"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_right_ones(cli, folder, tmp_path, arguments, code, says):
    config = tmp_path / "c.toml"
    config.write_text('[model]\nnetwork = "perceptron"\n')
    given = [a.format(folder=folder, config=config) for a in arguments]
    found, out, err = cli(*given, *(("--out", tmp_path / "out") if arguments[0] in {"evaluate", "train"} else ()))
    assert found == code
    assert says in err
    assert err.rstrip().count("\n") == 0
    assert out == ""
    assert not (tmp_path / "out").exists()


def test_bench_skips_prints_a_table_beside_the_papers(cli, monkeypatch):
    from models.networks import benchmark

    monkeypatch.setattr(benchmark, "_in_own_process", lambda measure, *given: measure(*given))  # saves three imports
    code, out, _ = cli("bench", "skips", "--encoder", "nano", "--size", 32)
    header, none, conv, caft, _, *note = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in (header, none, conv, caft)] == ["skip", "none", "conv", "caft"]
    assert len({len(line) for line in (header, none, conv, caft)}) == 1, "figures stand below each other"
    assert "39.52" in none
    assert " - " in none
    more = [float(line.split()[2]) for line in (none, conv, caft)]
    assert more[0] == 0 < more[2] < more[1]
    assert "Table 7" in " ".join(note)
    assert not out.lstrip().startswith("{")


def test_a_mask_of_another_size_names_the_file(cli, folder, tmp_path):
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "2.png")
    code, _, err = cli("evaluate", folder, "--json", tmp_path / "scores.json")
    assert code == 3
    assert "2.png" in err
    assert not (tmp_path / "scores.json").exists()


def test_screen_tells_copies_from_others(cli, tmp_path, monkeypatch):
    """The imitation's images are noise: a test image of number 20001 is no copy of 20445, which has other noise."""
    released_sos(tmp_path / "data" / "sos", "sentinel", train=(20445, 20446), test=(20001,))
    monkeypatch.setenv("SLICKWATCH_DATA", str(tmp_path / "data"))
    code, out, _ = cli("screen", "sos-official", "--mode", "stride")
    assert code == 0
    assert out.startswith("stride: ")
    code, out, err = cli("screen", "sos-official", "--mode", "sideways")
    assert (code, out) == (2, "")
    assert "control" in err
