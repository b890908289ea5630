"""The three stages: who moves in which, exact resumption, and a model that learns a handful of pairs by heart."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import models.training.engine as engine
from ingest.errors import ModelError, StorageError, UsageError
from models.datasets.catalogue import open_dataset
from models.jointnet.checkpoint import load_jointnet, read_jointnet
from models.jointnet.diffusion import sample
from models.jointnet.labelling import drawn, labelled
from models.jointnet.network import build_jointnet
from models.jointnet.options import JointOptions, read_joint_options
from models.jointnet.overlapped import of_any_size
from models.jointnet.pairs import JointPairs
from models.jointnet.training import train_jointnet
from models.training.options import changed, flat
from tests.support.disc_pairs import SIZE, disc_pairs, write_disc_pairs

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
    options = changed(
        JointOptions(),
        dataset=str(discs), crop=SIZE, channels=(8, 16), layers_per_block=1, head_channels=8, norm_groups=8,
        steps=(100, 50, 200), batch_size=12, learning_rate=3e-3, final_factor=1.0, decay="cosine",
        average_decay=0.95, save_every=300,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "discs-1"
    train_jointnet(options, folder, report=lambda line: None)
    return folder


def tiny(discs, **values):
    return changed(JointOptions(), dataset=str(discs), **{**TINY, **values})


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
    found = list(labelled(drawn(network, checkpoint.balanced, "ddim", 20), open_dataset(str(discs)).test))
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
    with pytest.raises(ModelError, match="continue with --resume"):
        trained(tiny(discs, save_every=100), tmp_path / "parts", hours=0)
    assert all(
        torch.equal(whole[name], one) for name, one in trained(tiny(discs), tmp_path / "parts", resume=True).items()
    )


def test_other_options_do_not_resume(discs, tmp_path):
    trained(tiny(discs), tmp_path / "m")
    with pytest.raises(UsageError, match="was written with another b"):
        trained(tiny(discs, b=0.7), tmp_path / "m", resume=True)


def test_other_pairs_do_not_resume(tmp_path):
    data = write_disc_pairs(tmp_path / "data")
    trained(tiny(data), tmp_path / "m")
    (data / "train" / "images" / "3.png").unlink()
    (data / "train" / "masks" / "3.png").unlink()
    with pytest.raises(UsageError, match="was written with other training pairs"):
        trained(tiny(data), tmp_path / "m", resume=True)


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda _: b"no"])
def test_a_damaged_state_is_one_line(discs, tmp_path, damage):
    trained(tiny(discs, steps=(1, 0, 0)), tmp_path / "m")
    state = tmp_path / "m" / "state.pt"
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(ModelError, match=r"state\.pt: damaged or not the state of a training"):
        trained(tiny(discs, steps=(1, 0, 0)), tmp_path / "m", resume=True)


@pytest.mark.parametrize("killed_at", [2, 5])  # inside a stage and at the end of one
def test_killed_between_log_and_state_a_training_goes_on_to_the_same_log(discs, tmp_path, monkeypatch, killed_at):
    trained(tiny(discs), tmp_path / "whole")
    saves = iter(range(1, 100))
    save_state = engine.save_state

    def killed(path, state):
        if next(saves) == killed_at:
            raise KeyboardInterrupt
        save_state(path, state)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "save_state", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tiny(discs), tmp_path / "parts")
    trained(tiny(discs), tmp_path / "parts", resume=True)
    assert (tmp_path / "parts" / "log.csv").read_text() == (tmp_path / "whole" / "log.csv").read_text()


def test_killed_between_weights_and_record_a_training_writes_both_anew(discs, tmp_path, monkeypatch):
    whole = trained(tiny(discs), tmp_path / "whole")
    from models.jointnet import checkpoint

    write_bytes, writes = checkpoint.write_bytes, iter(range(1, 100))

    def killed(path, content):
        if next(writes) == 4:  # weights and record of stage 1, weights of stage 2, and then
            raise KeyboardInterrupt
        write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tiny(discs), tmp_path / "parts")
    with pytest.raises(ModelError, match=r"not those of this checkpoint.*--resume"):
        load_jointnet(tmp_path / "parts")
    resumed = trained(tiny(discs), tmp_path / "parts", resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    load_jointnet(tmp_path / "parts")


@pytest.mark.parametrize("stop_at", [3, 4])  # at the beginning of a stage, and inside it
def test_with_dropout_too_a_resumed_training_is_the_same(discs, tmp_path, stop_at):
    def interrupted(done, total):
        if done == stop_at:
            raise KeyboardInterrupt

    options = tiny(discs, dropout=0.3)
    whole = trained(options, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(options, tmp_path / "parts", progress=interrupted)
    torch.rand(17)  # another process has drawn other random numbers
    resumed = trained(options, tmp_path / "parts", resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_loss_that_is_no_number_ends_the_training_and_leaves_the_last_good_state(discs, tmp_path):
    with pytest.raises(ModelError, match=r"the (loss|gradient) of step \d+ of stage 1 is not finite"):
        trained(tiny(discs, steps=(20, 0, 0), learning_rate=1e30), tmp_path / "m")
    state = tmp_path / "m" / "state.pt"
    if state.is_file():
        assert torch.load(state, weights_only=True)["step"] < 20
    assert not (tmp_path / "m" / "jointnet.json").exists()


def test_where_nothing_can_be_written_is_one_line(discs, tmp_path):
    (tmp_path / "m").write_text("a file")
    with pytest.raises(StorageError, match="another file is in its place"):
        trained(tiny(discs), tmp_path / "m")


def test_accumulated_parts_give_the_step_of_the_whole_batch(discs, tmp_path):
    whole = trained(tiny(discs, steps=(0, 1, 0), warm_up=0), tmp_path / "whole")
    parts = trained(tiny(discs, steps=(0, 1, 0), accumulate=4), tmp_path / "parts")
    for name in whole:
        torch.testing.assert_close(
            whole[name], parts[name], atol=2.5e-3, rtol=0
        )  # Adam's first step is its rate or none
    different = [(whole[n] - parts[n]).abs().max() > 1e-4 for n in whole if whole[n].abs().sum() > 0]
    assert np.mean(different) < 0.2


def as_of_release_0_1(state):
    """A state as it was before all trainings shared one engine."""
    options = {name: value for name, value in state["options"].items() if name not in {"decay_from", "average_warm_up"}}
    return {**state, "options": options | {"schedule": options.pop("decay")}, "pairs": state["pairs"]["training"]}


def test_a_state_of_release_0_1_is_resumed(discs, tmp_path):
    """Its cosine began at the first step of a stage, not after the warm-up."""
    options = tiny(discs, steps=(4, 0, 0), decay="cosine", decay_from="start", warm_up=1)
    whole = trained(options, tmp_path / "whole")

    def interrupted(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(options, tmp_path / "parts", progress=interrupted)
    path = tmp_path / "parts" / "state.pt"
    torch.save(as_of_release_0_1(torch.load(path, weights_only=True)), path)
    with pytest.raises(UsageError, match="was written with another decay_from"):
        trained(changed(options, decay_from="warm-up"), tmp_path / "parts", resume=True)
    resumed = trained(options, tmp_path / "parts", resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_checkpoints_record_options_flat(discs, tmp_path):
    options = tiny(discs, steps=(1, 0, 0))
    trained(options, tmp_path / "m")
    written = json.loads(json.dumps(flat(options))) | {"dataset": discs.name}  # no path of this machine
    assert read_jointnet(tmp_path / "m").training["options"] == written


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
    with pytest.raises(ModelError, match="not those of this checkpoint"):
        load_jointnet(copy)
    record = json.loads((copy / "jointnet.json").read_text())
    (copy / "jointnet.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(ModelError, match="another format"):
        load_jointnet(copy)
    with pytest.raises(ModelError, match="no diffusion model"):
        load_jointnet(tmp_path)


def test_a_model_of_an_unknown_kind_is_unusable(learnt, tmp_path):
    record = json.loads((learnt / "jointnet.json").read_text())
    record["architecture"]["kind"] = "of the next release"
    (tmp_path / "jointnet.json").write_text(json.dumps(record))
    (tmp_path / "weights.safetensors").write_bytes((learnt / "weights.safetensors").read_bytes())
    with pytest.raises(ModelError, match="do not fit the architecture"):
        load_jointnet(tmp_path)


def test_images_of_any_size_are_labelled_each_as_it_is(learnt, discs):
    """Sizes change within a batch; those beyond the training's are seen in windows."""
    network, checkpoint = load_jointnet(learnt)
    grey, oil = disc_pairs()
    wide = np.concatenate([grey[0], grey[1]], axis=1)[:, :29]
    images = Images([grey[0], wide, wide, grey[2]])
    found = list(labelled(drawn(of_any_size(network, SIZE), checkpoint.balanced, "ddim", 10), images))
    assert [logits.shape for logits, _ in found] == [(2, 16, 16), (2, 16, 29), (2, 16, 29), (2, 16, 16)]
    said = found[1][0].argmax(axis=0) == 1
    truth = np.concatenate([oil[0], oil[1]], axis=1)[:, :29]
    assert (said & truth).sum() / (said | truth).sum() > 0.4


class Images:
    """Images without oil labels, as a data set."""

    classes = ("other", "oil")

    def __init__(self, grey):
        self.images = grey

    def __len__(self):
        return len(self.images)

    def grey(self, index):
        return self.images[index], np.zeros(self.images[index].shape, np.int64)


def test_options_are_read_from_toml(tmp_path):
    path = tmp_path / "o.toml"
    path.write_text(
        '[data]\ndataset = "sos-clean@4"\ncrop = 64\n[schedule]\nsteps = [1, 2, 3]\n[model]\nchannels = [32, 64]\n'
    )
    options = read_joint_options(path)
    assert options.schedule.steps == (1, 2, 3)
    assert options.model.channels == (32, 64)
    path.write_text("[schedule]\nsteppes = 3\n")
    with pytest.raises(UsageError, match="unknown option 'steppes'"):
        read_joint_options(path)
    path.write_bytes(b'dataset = "\xe4"\n')
    with pytest.raises(UsageError, match="not a readable TOML file"):
        read_joint_options(path)
