"""Training on real and synthetic pairs together: which pairs, in which shares, and with whose labels."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from ingest.errors import UsageError
from models.checkpoint import load_model
from models.classes import IGNORE, NOT_OIL, OIL
from models.datasets.catalogue import open_dataset
from models.datasets.pairs import augmented, chip_input
from models.networks.build import NETWORKS
from models.synthesis.manifest import SyntheticPlan
from models.synthesis.shards import SyntheticPairs, SyntheticWriter
from models.training.augmentation import light, speckled, strong, warped
from models.training.engine import parts_of_batches
from models.training.options import changed
from models.training.pairs import TrainingPairs, used_synthetic
from models.training.segmentation import train, training_loss
from models.training.segmentation_options import TrainOptions, read_options
from preprocess.options import PreprocessOptions

SIZE, REAL, SYNTHETIC = 32, 12, 40
PREPROCESS = PreprocessOptions()
TINY = changed(
    TrainOptions(),
    steps=4, batch_size=4, crop=SIZE, real_share=1.0, only_oil=True, warm_up=1, validate_every=2, validation_chips=1,
    workers=0, half_precision=False, synthetic_multiple=2.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Bright real images below ``real``, and synthetic ones with a dark disc as oil below ``synthetic``."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(5)
    for part, names in (("train", range(REAL)), ("test", range(REAL, REAL + 2))):
        (folder / "real" / part).mkdir(parents=True)
        for i in names:
            grey = rng.integers(100, 200, (SIZE, SIZE)).astype(np.uint8)
            Image.fromarray(grey).save(folder / "real" / part / f"{i}.tif")
            Image.fromarray(np.uint8(255 * (grey > 150))).save(folder / "real" / part / f"{i}_mask.png")
    synthesise(folder / "synthetic", SYNTHETIC)
    return folder


def synthesise(folder, count, size=SIZE, seed=7):
    plan = SyntheticPlan(("other", "oil"), (size, size), count, seed, {"sampler": "test"}, shard_size=8)
    writer = SyntheticWriter.open(folder, plan)
    rows, columns = np.mgrid[:size, :size]
    for shard in writer.missing():
        rng, images, logits = np.random.default_rng(plan.seed_of(shard)), [], []
        for _ in range(plan.pairs_of(shard)):
            distance = np.hypot(rows - rng.uniform(8, size - 8), columns - rng.uniform(8, size - 8))
            images.append(np.where(distance < 6, 20, rng.integers(60, 250, (size, size))).astype(np.uint8))
            logits.append(np.stack([distance - 6, 6 - distance]).astype(np.float32))
        writer.write(shard, np.stack(images), np.stack(logits))
    return folder


def options_of(data, **values):
    return changed(TINY, real=str(data / "real"), synthetic=str(data / "synthetic"), **values)


def pairs_of(options):
    real = open_dataset(options.data.real).train
    return TrainingPairs(options, real, PREPROCESS, used_synthetic(real, options))


def quiet(line):
    return None


def weights(folder):
    return load_model(str(folder))[0].state_dict()


def assert_equal(some, others):
    for name, tensor in some.items():
        assert torch.equal(tensor, others[name]), name


@pytest.fixture
def convolution(monkeypatch):
    """A network that is quickly trained."""
    monkeypatch.setitem(NETWORKS, "convolution", lambda architecture: nn.Conv2d(1, architecture.classes, 3, padding=1))
    return "convolution"


def is_taught(item):
    return bool((~item[2].isnan()).any())


def test_batches_have_as_many_synthetic_pairs_as_both_sets_mixed(data):
    """Two synthetic pairs for each real one."""
    pairs = pairs_of(options_of(data, steps=150, batch_size=4))
    taught = np.array([is_taught(pairs[i]) for i in range(len(pairs))]).reshape(150, 4)
    assert taught.mean() == pytest.approx(2 / 3, abs=0.03)
    assert set(taught.sum(axis=1)) == {2, 3}  # 2.67 on average, rounded by a draw of each step
    assert np.array_equal(taught, np.sort(taught, axis=1))  # real ones first, so that all parts have their share


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 1), (0.5, 2), (1.0, 4)])
def test_the_share_may_be_given(data, share, expected):
    pairs = pairs_of(options_of(data, synthetic_share=share))
    for step in range(4):
        assert sum(is_taught(pairs[step * 4 + i]) for i in range(4)) == expected


def test_synthetic_pairs_are_mixed_with_the_real_ones_not_with_the_simulated(data):
    pairs = pairs_of(options_of(data, only_oil=False, real_share=0.5, synthetic_share=0.5, batch_size=8, crop=64))
    kinds = [
        "synthetic" if is_taught(item) else "real" if (item[1] == NOT_OIL).any() else "simulated"
        for item in (pairs[i] for i in range(16))
    ]
    assert kinds == 2 * (2 * ["real"] + 2 * ["synthetic"] + 4 * ["simulated"])


@given(st.integers(0, 3), st.sampled_from(["soft", "hard"]))
def test_every_item_has_the_same_structure(data, index, labels):
    image, truth, teacher = pairs_of(options_of(data, synthetic_labels=labels))[index]
    assert (image.shape, image.dtype) == ((1, SIZE, SIZE), torch.float32)
    assert (truth.shape, truth.dtype) == ((SIZE, SIZE), torch.int64)
    assert (teacher.shape, teacher.dtype) == ((2 if labels == "soft" else 0, SIZE, SIZE), torch.float32)


@pytest.mark.parametrize("multiple", [0.5, 1, 2, 3])
def test_the_first_pairs_of_the_folder_are_used_in_multiples_of_the_real_ones(data, multiple):
    used = used_synthetic(open_dataset(str(data / "real")).train, options_of(data, synthetic_multiple=multiple))
    assert len(used) == multiple * REAL
    assert used.name(len(used) - 1) == SyntheticPairs.open(data / "synthetic").name(len(used) - 1)


def test_a_folder_with_too_few_pairs_or_none_is_refused(data, tmp_path):
    real = open_dataset(str(data / "real")).train
    with pytest.raises(UsageError, match="holds 40 pairs; 4 times 12 real ones are 48; synthesise more"):
        used_synthetic(real, options_of(data, synthetic_multiple=4))
    with pytest.raises(UsageError, match="holds no synthetic pairs"):
        used_synthetic(real, changed(options_of(data), synthetic=str(tmp_path)))


def test_none_of_the_synthetic_pairs_is_a_training_without_any(data, tmp_path):
    """The switch 0x, and a training that knows nothing of synthetic pairs, have the same items."""
    without, zero = (
        pairs_of(changed(options_of(data), synthetic=None)),
        pairs_of(options_of(data, synthetic_multiple=0)),
    )
    for i in range(4):
        assert all(torch.equal(a, b) for a, b in zip(without[i], zero[i], strict=True))


def test_light_pairs_are_what_they_were_before_there_were_synthetic_ones(data):
    """Real pairs without synthetic ones: the pair of the item's own random stream, augmented as data sets have it."""
    options = changed(options_of(data), synthetic=None)
    pairs, real = pairs_of(options), open_dataset(options.data.real).train
    for i in range(3):
        rng = np.random.default_rng((options.seed, i))
        image, labels = augmented(real.pair(int(rng.integers(REAL)), PREPROCESS), rng)
        assert np.array_equal(pairs[i][0], image)
        assert np.array_equal(pairs[i][1], labels)


@pytest.mark.parametrize("augmentation", ["light", "strong"])
@pytest.mark.parametrize("mosaic", [False, True])
def test_soft_labels_move_with_their_image(data, tmp_path, augmentation, mosaic):
    """The disc is dark, is oil, and is where the teacher sees oil: in every variation, mosaics included."""
    synthesise(tmp_path / "pairs", SYNTHETIC)
    options = changed(
        options_of(data), synthetic=str(tmp_path / "pairs"), synthetic_mosaic=mosaic, synthetic_share=1.0,
        augmentation=augmentation, crop=2 * SIZE if mosaic else SIZE,
    )  # fmt: skip
    pairs = pairs_of(options)
    for i in range(8):
        image, labels, teacher = pairs[i]
        assert image.shape == (1, options.data.crop, options.data.crop)
        oil = labels == OIL
        assert oil.any()
        sure = (teacher[1] - teacher[0]).abs() > 2  # away from the edge, where the logits are interpolated
        assert torch.equal(teacher.argmax(dim=0)[sure] == OIL, oil[sure])
        # Grey 20 against 60 and more is 9 dB at least; varied contrast and speckle blur it.
        assert image[0][oil & sure].mean() < image[0][~oil & sure].mean() - 0.5
        if not mosaic:
            assert not teacher.isnan().any()


def test_a_mosaic_has_the_logits_of_its_four_pairs(data):
    """Unvaried, each quarter is a pair of the folder, image, labels and logits."""
    options = options_of(data, synthetic_mosaic=True, synthetic_share=1.0, crop=2 * SIZE)
    pairs = pairs_of(options)
    image, labels = pairs._drawn(0, np.random.default_rng(3))
    known = [
        np.concatenate([pairs.synthetic.pair(i, PREPROCESS)[0], pairs.synthetic.logits(i)])
        for i in range(len(pairs.synthetic))
    ]
    for rows in (slice(SIZE), slice(SIZE, None)):
        for columns in (slice(SIZE), slice(SIZE, None)):
            found = [i for i, pair in enumerate(known) if np.array_equal(pair, image[:, rows, columns])]
            assert len(found) == 1
            assert np.array_equal(labels[rows, columns], pairs.synthetic.grey(found[0])[1])


def test_a_synthetic_image_smaller_than_the_crop_has_no_teacher_around_it(data):
    item = pairs_of(options_of(data, synthetic_share=1.0, crop=48))[0]
    assert int((item[1] == IGNORE).sum()) == 48**2 - SIZE**2
    assert torch.equal(item[2].isnan().any(dim=0), item[1] == IGNORE)


def marker(size=64):
    """An image whose bright square is its label; a further channel says the same."""
    labels = np.zeros((size, size), np.int64)
    labels[10:22, 30:50] = 1
    image = np.stack([labels * 10.0, labels * 7.0]).astype(np.float32)
    return image, labels


@given(st.integers(0, 10_000))
def test_a_warped_marker_stays_under_its_label(seed):
    image, labels = warped(marker(), np.random.default_rng(seed))
    assert set(np.unique(labels)) <= {0, 1}
    for channel, value in zip(image, (10, 7), strict=True):
        clear = np.abs(channel / value - 0.5) > 0.49  # all four neighbours agree, but for their last hundredth
        assert clear.mean() > 0.8
        assert np.array_equal(channel[clear] > 0.5 * value, labels[clear] == 1)


def test_a_warp_turns_and_enlarges():
    """The square has 240 pixels; shown 40 to 100 % of the area it has 240 to 600, if it is in sight."""
    sizes = [int(warped(marker(), np.random.default_rng(seed))[1].sum()) for seed in range(200)]
    assert max(sizes) > 450
    assert np.median(sizes) > 240


def test_speckle_is_multiplicative_with_a_mean_of_one_and_spares_the_teacher():
    image = np.zeros((3, 256, 256), np.float32)
    noisy = speckled(image, np.random.default_rng(1), PREPROCESS.std_db)
    power = 10 ** (noisy[0].astype(float) * PREPROCESS.std_db / 10)
    assert power.mean() == pytest.approx(1, abs=0.01)
    assert 1 / 33 < power.var() < 1 / 3.9
    assert np.array_equal(noisy[1:], image[1:])


def test_the_strong_augmentation_warps_half_of_the_pairs_and_leaves_logits_their_scale():
    image, labels = marker()
    lightly = [light((image, labels), np.random.default_rng(i), PREPROCESS) for i in range(100)]
    strongly = [strong((image, labels), np.random.default_rng(i), PREPROCESS) for i in range(100)]
    assert all(varied[0][1].max() == 7 for varied in lightly)
    assert all(varied[0][1].max() <= 7 for varied in strongly)
    same = sum(np.array_equal(a[1], b[1]) for a, b in zip(lightly, strongly, strict=True))
    assert 30 < same < 70


def test_the_loss_adds_a_tenth_of_the_distillation_on_taught_pixels_alone():
    """Eq. 8 to 10 in NumPy for a batch of a real and a synthetic image, the latter with one pixel untaught."""
    rng = np.random.default_rng(2)
    logits, teacher = rng.normal(size=(2, 2, 2, 2)), rng.normal(size=(2, 2, 2, 2))
    labels = rng.integers(0, 2, (2, 2, 2))
    teacher[0], teacher[1, :, 0, 0] = np.nan, np.nan
    temperature, taught = 3.0, ~np.isnan(teacher).any(axis=1)
    q = np.exp(teacher / temperature) / np.exp(teacher / temperature).sum(1, keepdims=True)
    p = np.exp(logits / temperature) / np.exp(logits / temperature).sum(1, keepdims=True)
    kd = temperature**2 * -(q * np.log(p)).sum(axis=1)[taught].sum() / 3
    options = changed(TrainOptions(), only_oil=True, temperature=temperature)
    arguments = torch.nn.Identity(), torch.from_numpy(logits), torch.from_numpy(labels), options
    without, total = training_loss(*arguments), training_loss(*arguments, torch.from_numpy(teacher))
    assert float(total - without) == pytest.approx(0.1 * kd, rel=1e-5)


def test_soft_and_hard_labels_train_differently_and_are_recorded(data, tmp_path, convolution):
    options = options_of(data, network=convolution)
    soft = train(options, tmp_path / "soft", report=quiet)
    train(changed(options, synthetic_labels="hard"), tmp_path / "hard", report=quiet)
    train(changed(options, distillation_weight=0.0), tmp_path / "weightless", report=quiet)
    soft_weights, hard_weights = weights(tmp_path / "soft"), weights(tmp_path / "hard")
    assert not torch.equal(soft_weights["weight"], hard_weights["weight"])
    # Hard labels are soft ones without the distillation: the other losses see the argmax in both.
    assert_equal(weights(tmp_path / "weightless"), hard_weights)
    record = soft.training["synthetic_pairs"]
    assert record["n"] == 2 * soft.training["real_pairs"]["n"]
    assert record["generator"] == {"sampler": "test"}
    assert record["manifest_sha256"] == SyntheticPairs.open(data / "synthetic").manifest.sha256


def test_epochs_count_real_and_synthetic_pairs(data, tmp_path, convolution):
    checkpoint = train(options_of(data, network=convolution, epochs=1, validate_every=100), tmp_path, report=quiet)
    n = checkpoint.training["real_pairs"]["n"]
    assert checkpoint.training["options"]["steps"] == -(-3 * n // 4)


def test_an_interrupted_training_goes_on_exactly_even_where_the_folder_moved_and_grew(data, tmp_path, convolution):
    synthesise(tmp_path / "pairs", SYNTHETIC)
    options = options_of(data, network=convolution, steps=6)
    options = changed(options, synthetic=str(tmp_path / "pairs"), save_every=3, validate_every=10)
    train(options, tmp_path / "whole", report=quiet)

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(options, tmp_path / "parts", report=quiet, progress=stop)
    (tmp_path / "pairs").rename(tmp_path / "moved")
    synthesise(tmp_path / "moved", 2 * SYNTHETIC)
    said = []
    moved = changed(options, synthetic=str(tmp_path / "moved"))
    train(moved, tmp_path / "parts", resume=True, report=said.append)
    assert said[0].startswith("resuming at step 3")
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    synthesise(tmp_path / "others", SYNTHETIC, seed=8)
    with pytest.raises(UsageError, match="other synthetic pairs"):
        train(changed(options, synthetic=str(tmp_path / "others")), tmp_path / "parts", resume=True, report=quiet)


def test_a_killed_training_on_synthetic_pairs_goes_on_to_what_an_unkilled_one_gives(data, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(
        f"[data]\nreal = '{data / 'real'}'\nreal_share = 1.0\ncrop = {SIZE}\naugmentation = 'strong'\n"
        f"[distillation]\nsynthetic = '{data / 'synthetic'}'\nsynthetic_multiple = 2\n[model]\nonly_oil = true\n"
        "[schedule]\nsteps = 16\nbatch_size = 4\nwarm_up = 1\n[run]\nvalidate_every = 16\nsave_every = 3\n"
        "validation_chips = 1\nworkers = 0\nhalf_precision = false\n"
    )
    slickwatch = str(os.path.join(os.path.dirname(sys.executable), "slickwatch"))
    command = [slickwatch, "train", "saross", "--config", str(config), "--out", str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while not (tmp_path / "killed" / "state.pt").exists():
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    said = []
    train(read_options(config), tmp_path / "killed", resume=True, report=said.append)
    assert said[0].startswith("resuming at step")
    train(read_options(config), tmp_path / "whole", report=quiet)
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


@given(devices=st.integers(1, 2), accumulate=st.integers(1, 2))
def test_every_part_of_a_batch_has_its_share_of_synthetic_pairs(data, devices, accumulate):
    options = options_of(data, batch_size=8, devices=devices, accumulate=accumulate, synthetic_share=0.5, steps=1)
    pairs = pairs_of(options)
    for rank in range(devices):
        for part in parts_of_batches(options, 1, 0, rank):
            assert sum(is_taught(pairs[i]) for i in part) == 4 / (devices * accumulate)


@pytest.mark.parametrize(
    "wrong",
    [
        "[distillation]\nsynthetic = 'somewhere'",
        "[distillation]\nsynthetic_labels = 'both'",
        "[distillation]\nsynthetic_multiple = -1.0",
        "[distillation]\nsynthetic_share = 1.5",
        "[distillation]\ntemperature = 0.0",
        "[data]\naugmentation = 'none'",
        "[run]\nsave_every = 0",
        "[memory]\nmemory_gb = 0",
    ],
)
def test_impossible_options_are_refused_by_name(tmp_path, wrong):
    (tmp_path / "c.toml").write_text(wrong)
    with pytest.raises(UsageError, match=f"{wrong.splitlines()[1].split(' ')[0]} is "):
        read_options(tmp_path / "c.toml")


def test_the_synthetic_image_is_the_eight_bit_one(data):
    pairs = SyntheticPairs.open(data / "synthetic")
    image, _ = pairs.pair(0, PREPROCESS)
    assert np.array_equal(image[0], chip_input(pairs.grey(0)[0].astype(np.float32), PREPROCESS))
