"""The three stages: who moves in which, exact resumption, and a model that learns a handful of pairs by heart."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ingest.errors import ModelError, UsageError
from models.datasets import open_dataset
from models.jointnet.checkpoint import load_jointnet, read_jointnet
from models.jointnet.diffusion import sample
from models.jointnet.labelling import labelled
from models.jointnet.network import build_jointnet
from models.jointnet.options import JointOptions, read_joint_options
from models.jointnet.pairs import JointPairs
from models.jointnet.training import train_jointnet
from tests.disc_pairs import SIZE, disc_pairs, write_disc_pairs

TINY = {
    "crop": SIZE, "channels": (8, 16), "layers_per_block": 1, "head_channels": 8, "norm_groups": 8,
    "steps": (2, 3, 2), "batch_size": 4, "save_every": 1, "b": 0.5, "learning_rate": 1e-3,
}  # fmt: skip


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    return write_disc_pairs(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="module")
def learnt(discs, tmp_path_factory):
    """A model trained in all three stages on four pairs until it knows them."""
    options = JointOptions(
        dataset=str(discs), crop=SIZE, channels=(16, 32), layers_per_block=1, head_channels=8, norm_groups=8,
        steps=(120, 60, 240), batch_size=12, learning_rate=2e-3, final_factor=1.0, schedule="cosine",
        average_decay=0.95, save_every=300,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "discs-1"
    train_jointnet(options, folder, report=lambda line: None)
    return folder


def tiny(discs, **changed):
    return JointOptions(dataset=str(discs), **{**TINY, **changed})


def trained(options, folder, **how):
    train_jointnet(options, folder, report=lambda line: None, **how)
    return load_file(folder / "weights.safetensors")


def noise(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, channels, SIZE, SIZE, generator=generator) for channels in (1, 2))


def test_it_reproduces_a_handful_of_pairs_and_image_and_label_agree(learnt):
    network, checkpoint = load_jointnet(learnt)
    x_0, logits = sample(network, noise(12), checkpoint.balanced, "ddim", 25)
    grey, oil = disc_pairs()
    known = torch.from_numpy(grey / 127.5 - 1)[None, :, :, :]
    distance = (x_0 - known).square().mean(dim=(2, 3)).sqrt()  # (12, 4)
    nearest = distance.argmin(dim=1)
    between = (known[0, :, None] - known[0]).square().mean(dim=(2, 3)).sqrt()
    assert float(distance.amin(dim=1).median()) < 0.5 * float(between[between > 0].min())
    assert len(nearest.unique()) >= 3  # not one pair for all noise
    labels = logits.argmax(dim=1).numpy() == 1
    truth = oil[nearest]
    iou = (labels & truth).sum(axis=(1, 2)) / (labels | truth).sum(axis=(1, 2))
    assert np.median(iou) > 0.85


def test_as_a_labeller_of_real_images_it_finds_their_oil(learnt, discs):
    network, checkpoint = load_jointnet(learnt)
    found = list(labelled(network, open_dataset(str(discs)).test, checkpoint.balanced, solver="ddim", steps=20))
    assert len(found) == 4
    for logits, labels in found:
        said, truth = logits.argmax(axis=0) == 1, labels == 1
        assert (said & truth).sum() / (said | truth).sum() > 0.7


def test_each_stage_moves_its_own_weights_alone(discs, tmp_path):
    one = trained(tiny(discs, steps=(2, 0, 0)), tmp_path / "one")
    two = trained(tiny(discs, steps=(2, 2, 0)), tmp_path / "two")
    three = trained(tiny(discs, steps=(2, 2, 2)), tmp_path / "three")
    torch.manual_seed(1)
    fresh = build_jointnet(tiny(discs).architecture(2)).state_dict()

    def moved(before, after):
        return {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}

    assert moved(fresh, one) == {"sar_net"}
    assert "sar_net" not in moved(one, two)
    assert moved(one, two) == {"label_net", "labels_to_sar", "sar_to_labels"}
    assert moved(two, three) == {"sar_net", "label_net", "labels_to_sar", "sar_to_labels"}
    assert [read_jointnet(tmp_path / name).stage for name in ("one", "two", "three")] == [1, 2, 3]


def test_stage_3_learns_at_a_tenth_of_the_rate(discs, tmp_path, monkeypatch):
    rates = {}
    step = torch.optim.AdamW.step

    def watched(self, *args, **kwargs):
        rates.setdefault(len(self.param_groups[0]["params"]), set()).add(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    trained(tiny(discs), tmp_path / "m")
    assert [sorted(found) for _, found in sorted(rates.items())] == [[1e-3], [1e-3], [1e-4]]


@pytest.mark.parametrize("stop_at", [1, 2, 4, 6])
def test_interrupted_training_goes_on_to_the_very_same_weights(discs, tmp_path, stop_at):
    def interrupted(done, total):
        if done == stop_at:
            raise KeyboardInterrupt

    whole = trained(tiny(discs), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tiny(discs), tmp_path / "parts", progress=interrupted)
    resumed = trained(tiny(discs), tmp_path / "parts", resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (tmp_path / "parts" / "log.csv").read_text() == (tmp_path / "whole" / "log.csv").read_text()


def test_a_time_limit_stops_at_a_saved_state(discs, tmp_path):
    whole = trained(tiny(discs), tmp_path / "whole")
    with pytest.raises(ModelError, match="go on with --resume"):
        trained(tiny(discs, save_every=100), tmp_path / "parts", hours=0)
    assert all(
        torch.equal(whole[name], one) for name, one in trained(tiny(discs), tmp_path / "parts", resume=True).items()
    )


def test_other_options_do_not_resume(discs, tmp_path):
    trained(tiny(discs), tmp_path / "m")
    with pytest.raises(UsageError, match="was written with another b"):
        trained(tiny(discs, b=0.7), tmp_path / "m", resume=True)


def test_accumulated_parts_give_the_step_of_the_whole_batch(discs, tmp_path):
    whole = trained(tiny(discs, steps=(0, 1, 0), warm_up=0), tmp_path / "whole")
    parts = trained(tiny(discs, steps=(0, 1, 0), accumulate=4), tmp_path / "parts")
    for name in whole:
        torch.testing.assert_close(
            whole[name], parts[name], atol=2.5e-3, rtol=0
        )  # Adam's first step is its rate or none
    different = [(whole[n] - parts[n]).abs().max() > 1e-4 for n in whole if whole[n].abs().sum() > 0]
    assert np.mean(different) < 0.2


@pytest.mark.parametrize(
    "row",
    [
        {"b": 1.0},  # without b
        {"label_loss": "l2"},  # without CE
        {"label_loss": "l2", "b": 1.0},  # JointNet
        {"kind": "concatenated", "label_loss": "l2", "b": 1.0},  # DDPM, as SatSynth
        {"b": None},
    ],
)
def test_every_row_of_the_tables_trains_and_samples(discs, tmp_path, row, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trained(tiny(discs, **row), tmp_path / "m")
    network, checkpoint = load_jointnet(tmp_path / "m")
    grey = disc_pairs()[0] / 127.5 - 1
    assert checkpoint.balanced.b == pytest.approx(row.get("b", TINY["b"]) or np.sqrt((grey**2).mean()), rel=1e-4)
    assert checkpoint.balanced.logits == (row.get("label_loss") != "l2")
    x_0, logits = sample(network, noise(2), checkpoint.balanced, "dpm++", 10)
    assert x_0.isfinite().all()
    assert logits.shape == (2, 2, SIZE, SIZE)


def test_a_pair_of_a_stage_is_always_the_same(discs):
    images = open_dataset(str(discs)).train
    pairs = JointPairs(tiny(discs, turned=True), images, 2)
    first, again, other = pairs[5], pairs[5], JointPairs(tiny(discs, turned=True), images, 3)[5]
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first.epsilon_x, other.epsilon_x)
    assert first.x_0.min() >= -1
    assert first.x_0.max() <= 1
    assert set(first.labels.unique().tolist()) <= {0, 1}


def test_turned_pairs_keep_image_and_labels_together(discs):
    pairs = JointPairs(tiny(discs, turned=True), open_dataset(str(discs)).train, 1)
    for i in range(12):
        pair = pairs[i]
        assert pair.x_0[0][pair.labels == 1].mean() < pair.x_0[0][pair.labels == 0].mean() - 0.4


def test_a_damaged_model_is_refused_in_one_line(learnt, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(learnt, copy)
    weights = bytearray((copy / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="not those of this model"):
        load_jointnet(copy)
    record = json.loads((copy / "jointnet.json").read_text())
    (copy / "jointnet.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(ModelError, match="another format"):
        load_jointnet(copy)
    with pytest.raises(ModelError, match="no diffusion model"):
        load_jointnet(tmp_path)


def test_options_are_read_from_toml(tmp_path):
    path = tmp_path / "o.toml"
    path.write_text('dataset = "sos-clean@4"\ncrop = 64\nsteps = [1, 2, 3]\nchannels = [32, 64]\n')
    options = read_joint_options(path)
    assert options.steps == (1, 2, 3)
    assert options.channels == (32, 64)
    path.write_text("steppes = 3\n")
    with pytest.raises(UsageError, match="unknown option 'steppes'"):
        read_joint_options(path)
