"""The commands of DAKD end to end on four small pairs: what they print, and how they fail: one line, the right code."""

import json

import numpy as np
import pytest
from PIL import Image

from models.jointnet.checkpoint import read_jointnet
from models.synthesis import SyntheticPairs
from tests.support.dataset_folders import write
from tests.support.disc_pairs import SIZE, disc_pairs, write_disc_pairs

CONFIG = """
[data]
dataset = "{data}"
crop = 16
[model]
channels = [8, 16]
layers_per_block = 1
head_channels = 8
norm_groups = 8
[schedule]
steps = {steps}
batch_size = 4
"""
QUICK = ("--solver", "dpm++", "--steps", 10, "--device", "cpu")


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    return write_disc_pairs(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def models(discs, tmp_path_factory):
    """A model of all stages, and one of images alone."""
    from flows.cli import main

    folder = tmp_path_factory.mktemp("models")
    for name, steps in (("whole", [1, 1, 1]), ("images", [1, 0, 0])):
        (folder / f"{name}.toml").write_text(CONFIG.format(data=discs, steps=steps))
        with pytest.raises(SystemExit) as exit_:
            main(["train", "jointnet", "--config", str(folder / f"{name}.toml"), "--out", str(folder / name)])
        assert not exit_.value.code
    return folder


def b_of_discs():
    """Of two classes without unlabelled pixels P(y0) is 1."""
    return np.sqrt(((disc_pairs()[0] / 127.5 - 1) ** 2).mean())


def test_balance_is_that_of_the_training_images(cli, discs):
    code, out, _ = cli("balance", discs, "--json")
    assert code == 0
    assert json.loads(out)["b"] == pytest.approx(b_of_discs(), rel=1e-5)
    assert f"b = {b_of_discs():.4f}" in cli("balance", discs)[1]


def test_train_jointnet_says_what_it_made_and_resumes(cli, models):
    arguments = (
        "train",
        "jointnet",
        "--config",
        models / "whole.toml",
        "--out",
        models / "whole",
        "--resume",
        "--json",
    )
    before = (models / "whole" / "weights.safetensors").read_bytes()
    code, out, err = cli(*arguments, "--json")
    checkpoint = read_jointnet(models / "whole")
    assert code == 0
    assert json.loads(out) == {
        "folder": str(models / "whole"), "stage": 3, "b": checkpoint.balanced.b,
        "weights_sha256": checkpoint.weights_sha256,
    }  # fmt: skip
    assert checkpoint.balanced.b == pytest.approx(b_of_discs(), rel=1e-5)
    assert "resuming stage 3 at step 1 of 1" in err
    assert "GB for parts of 4" in err
    assert (models / "whole" / "weights.safetensors").read_bytes() == before


def test_synthesize_makes_pairs_and_goes_on(cli, models, tmp_path):
    arguments = (
        "synthesize",
        "--model",
        models / "whole",
        "--out",
        tmp_path / "s",
        *QUICK,
        "--shard-size",
        2,
        "--json",
    )
    code, out, err = cli(*arguments, "--count", 3)
    assert code == 0
    assert (json.loads(out)["pairs"], json.loads(out)["complete"]) == (3, True)
    assert "GB for" in err
    code, out, err = cli(*arguments, "--count", 4, "--json")
    assert (code, json.loads(out)["pairs"]) == (0, 4)
    assert "2 of 4 there" in err
    pairs = SyntheticPairs.open(tmp_path / "s")
    assert pairs.grey(3)[0].shape == (SIZE, SIZE)
    assert pairs.logits(3).shape == (2, SIZE, SIZE)


def test_bench_teacher_scores_the_models_labels(cli, discs, models, tmp_path):
    grey, oil = disc_pairs()
    for i, width in enumerate((16, 16, 21)):  # the last one is seen in windows
        write(tmp_path / "data" / "images" / f"{i}.png", np.pad(grey[i], ((0, 0), (0, width - 16)), mode="edge"))
        write(tmp_path / "data" / "masks" / f"{i}.png", np.pad(oil[i] * np.uint8(255), ((0, 0), (0, width - 16))))
    code, out, _ = cli("bench", "teacher", tmp_path / "data", "--model", models / "whole", "--steps", 10, "--json")
    record = json.loads(out)
    assert code == 0
    assert record["n_images"] == 3
    assert record["pixels"] == 16 * (16 + 16 + 21)
    assert all(0 <= record[name] <= 1 for name in ("miou", "oil_iou", "ece", "brier"))


def test_bench_teacher_restores_noisy_labels(cli, discs, models):
    scores = []
    for timestep in (0, 99):
        code, out, _ = cli("bench", "teacher", discs, "--model", models / "whole", "--timestep", timestep, "--json")
        assert code == 0
        record = json.loads(out)
        assert record["timestep"] == timestep
        assert "solver" not in record
        scores.append(record["brier"])
    assert scores[0] != scores[1]
    code, _, err = cli("bench", "teacher", discs, "--model", models / "whole", "--timestep", 1000)
    assert code == 2
    assert "1000 is out of range; give 0 to 999" in err


def test_of_a_class_that_is_nowhere_bench_teacher_prints_null(cli, tmp_path, models, monkeypatch):
    from models.quality import soft_labels

    def all_sea(predict, images, *arguments, **keywords):
        for i in range(len(images)):
            grey, _ = images.grey(i)
            yield np.stack([np.ones(grey.shape), np.zeros(grey.shape)]), np.zeros(grey.shape, np.int64)

    monkeypatch.setattr(soft_labels, "labelled", all_sea)
    write(tmp_path / "data" / "images" / "0.png", np.full((16, 16), 90, np.uint8))
    write(tmp_path / "data" / "masks" / "0.png", np.zeros((16, 16), np.uint8))
    _, out, _ = cli("bench", "teacher", tmp_path / "data", "--model", models / "whole", "--json")
    record = json.loads(out, parse_constant=pytest.fail)
    assert (record["oil_iou"], record["other_iou"], record["miou"]) == (None, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("balance", "no-such-set"), 2, "sos-clean"),
        (("train", "jointnet", "--config", "{tmp}/none.toml"), 2, "none.toml"),
        (("train", "jointnet", "--config", "{tmp}/wrong.toml"), 2, "batch_size is 0"),
        (("synthesize", "--model", "{tmp}/none", "--count", "1"), 6, "no diffusion model"),
        (("synthesize", "--model", "{models}/images", "--count", "1"), 6, "images alone"),
        (("synthesize", "--model", "{models}/whole", "--count", "1", "--solver", "euler"), 2, "known are ddim, dpm++"),
        (("synthesize", "--model", "{models}/whole", "--count", "1", "--steps", "7"), 2, "do not divide 1000"),
        (("synthesize", "--model", "{models}/whole", "--count", "1", "--size", "15"), 2, "15 x 15 pixels"),
        (
            ("synthesize", "--model", "{models}/whole", "--count", "1", "--device", "tpu"),
            2,
            "none of cpu, cuda",
        ),
        (("synthesize", "--model", "{models}/whole", "--count", "1", "--memory-gb", "-1"), 2, "one at a time"),
        (("bench", "teacher", "{discs}", "--model", "{models}/images"), 6, "trained on images alone"),
        (("bench", "teacher", "{tmp}/odd", "--model", "{models}/whole"), 2, "11 x 16 pixels are not divisible by 2"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(cli, discs, models, tmp_path, arguments, code, says):
    (tmp_path / "wrong.toml").write_text("[schedule]\nbatch_size = 0\n")
    for kind in ("images", "masks"):
        (tmp_path / "odd" / kind).mkdir(parents=True)
        Image.fromarray(np.zeros((11, 16), np.uint8)).save(tmp_path / "odd" / kind / "0.png")
    given = [one.format(tmp=tmp_path, models=models, discs=discs) for one in arguments]
    found, out, err = cli(*given, *(("--out", tmp_path / "out") if arguments[0] in {"train", "synthesize"} else ()))
    assert (found, out) == (code, "")
    assert says in err
    assert sum(line.startswith("slickwatch: ") for line in err.splitlines()) == 1
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_two_models_pairs_are_not_mixed(cli, discs, models, tmp_path):
    (tmp_path / "c.toml").write_text("seed = 2\n" + CONFIG.format(data=discs, steps=[1, 1, 1]))
    assert cli("train", "jointnet", "--config", tmp_path / "c.toml", "--out", tmp_path / "other")[0] == 0
    assert cli("synthesize", "--model", models / "whole", "--count", 1, "--out", tmp_path / "s", *QUICK)[0] == 0
    code, out, err = cli("synthesize", "--model", tmp_path / "other", "--count", 1, "--out", tmp_path / "s", *QUICK)
    assert (code, out) == (2, "")
    assert "another weights_sha256" in err
    assert err.rstrip().count("\n") == 0


def test_a_time_limit_leaves_a_state_to_go_on_from(cli, discs, tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG.format(data=discs, steps=[2, 1, 1]))
    arguments = ("train", "jointnet", "--config", tmp_path / "c.toml", "--out", tmp_path / "m")
    code, out, err = cli(*arguments, "--hours", 0)
    assert (code, out) == (6, "")
    assert "continue with --resume" in err
    code, out, err = cli(*arguments, "--resume")
    assert code == 0
    assert "resuming stage 1 at step 1 of 2" in err


def test_where_nothing_can_be_written_the_code_says_so(cli, discs, models, tmp_path):
    (tmp_path / "out").write_text("a file")
    code, _, err = cli("train", "jointnet", "--config", models / "whole.toml", "--out", tmp_path / "out")
    assert code == 5
    assert f"slickwatch: {tmp_path / 'out'}: another file is in its place" in err


@pytest.mark.parametrize("command", [("balance",), ("train", "jointnet"), ("synthesize",), ("bench", "teacher")])
def test_every_command_has_an_example_and_says_what_its_options_are(cli, command):
    code, out, _ = cli(*command, "--help")
    assert code == 0
    assert f"Example: slickwatch {' '.join(command)}" in " ".join(out.split())
