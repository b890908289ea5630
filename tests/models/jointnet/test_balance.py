"""The balancing factor: the paper's equations one by one, its figure on SOS, the cache, and the command."""

import json
import os
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from flows.cli import app
from flows.commands.balance import balance_record
from ingest.errors import UsageError
from models.classes import CLASSES, IGNORE, NOT_OIL, OIL, OIL_CLASSES
from models.datasets.catalogue import data_root, open_dataset
from models.datasets.pairs import Selection, spread_out
from models.datasets.simulated import SimulatedChips
from models.jointnet import balance as module
from models.jointnet.balance import NORMALISATION, Balance, balancing_factor, image_and_label_power, mean_power
from models.jointnet.diffusion import scaled_labels
from tests.support.dataset_folders import plain_pair, write

SENTINEL = data_root() / "sos" / "sentinel" / "train"
SIGNALS = arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-1, 1, width=32))


@dataclass
class InMemory:
    """Grey images with labels."""

    greys: list
    labels: list
    classes: tuple[str, ...] = CLASSES
    pixel_spacing: float | None = None

    def __len__(self):
        return len(self.greys)

    def name(self, index):
        return str(index)

    def grey(self, index):
        return self.greys[index], self.labels[index]


def drawn(shapes, seed=0, labels=(0, 1, 2, 3, 4)):
    rng = np.random.default_rng(seed)
    return InMemory([rng.integers(0, 256, s, np.uint8) for s in shapes], [rng.choice(labels, s) for s in shapes])


def dft(x):
    """Eq. 11, written out."""
    height, width = x.shape
    h, w = np.arange(height)[:, None], np.arange(width)
    return np.array(
        [
            [(x * np.exp(-2j * np.pi * (u * h / height + v * w / width))).sum() for v in range(width)]
            for u in range(height)
        ]
    )


@given(SIGNALS)
def test_power_is_the_mean_over_frequencies_and_by_pixel(x):
    components = dft(x.astype(float))
    expected = (components * components.conj()).real.mean() / x.size  # Eq. 13
    assert mean_power(x) == pytest.approx(expected, rel=1e-4, abs=1e-9)


@given(SIGNALS)
def test_power_is_the_mean_square_by_parseval(x):
    assert mean_power(x) == pytest.approx(np.square(x, dtype=float).mean(), rel=1e-4, abs=1e-9)


@given(SIGNALS, st.floats(-3, 3, width=32))
def test_a_scaled_signal_has_the_square_of_the_power(x, a):
    assert mean_power(a * x) == pytest.approx(a**2 * mean_power(x), rel=1e-4, abs=1e-9)  # Eq. 14


def test_the_power_by_pixel_does_not_grow_with_the_image():
    tile = np.random.default_rng(0).uniform(-1, 1, (16, 24)).astype(np.float32)
    assert mean_power(np.tile(tile, (3, 2))) == pytest.approx(mean_power(tile), rel=1e-5)


@given(arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)), st.integers(5, 9))
def test_the_power_of_labels_is_one_whatever_they_are_and_however_many_classes(labels, classes):
    y_0 = scaled_labels(torch.from_numpy(labels)[None], classes, b=1)[0].numpy()
    assert set(np.unique(y_0)) <= {-1, 1}
    assert mean_power(y_0) == pytest.approx(1, abs=1e-5)


def test_b_makes_the_signal_to_noise_ratios_equal(tmp_path):
    """Eq. 16-20, for noise of one power and alpha and sigma of any step."""
    images = drawn([(32, 32)])
    grey, labels = images.grey(0)
    x_0 = grey / 127.5 - 1
    noise = np.random.default_rng(1).normal(size=(32, 32))
    b = balancing_factor(images, cache_folder=tmp_path).b
    y_0 = scaled_labels(torch.from_numpy(labels)[None], 5, b=b)[0].numpy()
    for alpha, sigma in ((1.0, 0.1), (0.6, 0.8), (0.01, 1.0)):
        ratios = [mean_power(alpha * signal) / mean_power(sigma * noise) for signal in (x_0, y_0)]
        assert ratios[0] == pytest.approx(ratios[1], rel=1e-5)


def test_b_is_the_root_of_the_ratio_of_mean_powers_and_not_a_mean_of_roots(tmp_path):
    dark, grey = np.zeros((8, 8), np.uint8), np.full((8, 8), 255 - 51, np.uint8)  # x0 = -1 and 0.6
    images = InMemory([dark, grey], [np.zeros((8, 8), np.int64)] * 2)
    balance = balancing_factor(images, cache_folder=tmp_path)
    assert balance.p_image == pytest.approx((1 + 0.36) / 2, rel=1e-6)
    assert balance.b == pytest.approx(np.sqrt(0.68), rel=1e-6)
    assert (balance.n_images, balance.normalisation) == (2, NORMALISATION)


def test_each_image_counts_once_whatever_its_size(tmp_path):
    small, large = np.zeros((4, 6), np.uint8), np.full((32, 20), 204, np.uint8)
    images = InMemory([small, large], [np.zeros(a.shape, np.int64) for a in (small, large)])
    assert balancing_factor(images, cache_folder=tmp_path).p_image == pytest.approx(0.68, rel=1e-6)


def test_what_is_not_labelled_does_not_count(tmp_path):
    images = drawn([(12, 10), (5, 5)], labels=(0, OIL, IGNORE))
    images.labels[1][:] = IGNORE
    grey, known = images.greys[0], images.labels[0] != IGNORE
    balance = balancing_factor(images, cache_folder=tmp_path)
    assert balance.n_images == 1
    assert balance.p_image == pytest.approx(np.square(grey[known] / 127.5 - 1).mean(), rel=1e-5)
    assert balance.p_label == pytest.approx(1, abs=1e-5)
    with pytest.raises(UsageError, match="no labelled pixel"):
        balancing_factor(InMemory(images.greys[1:], images.labels[1:]), cache_folder=tmp_path)
    with pytest.raises(UsageError, match="no labelled pixel"):
        balancing_factor(InMemory([], []), cache_folder=tmp_path)


def test_labels_of_oil_alone_have_two_classes():
    labels = np.array([[OIL, NOT_OIL], [NOT_OIL, NOT_OIL]])
    images = InMemory([np.zeros((2, 2), np.uint8)], [labels], OIL_CLASSES)
    assert image_and_label_power(images, 0) == pytest.approx((1, 1))


@pytest.mark.skipif(not SENTINEL.is_dir(), reason="no SOS below ../shared/data or SLICKWATCH_DATA")
def test_the_papers_factor_of_sos_sentinel(tmp_path):
    images = open_dataset("sos-official").train
    assert len(images) == 3354  # of which it is 0.4655, in docs/results/0006-dakd.md
    balance = balancing_factor(spread_out(images, 800), cache_folder=tmp_path)
    assert balance.b == pytest.approx(0.466, abs=0.01)
    assert balance.p_label == pytest.approx(1, abs=1e-5)


@pytest.fixture
def folder(tmp_path):
    for name in ("1", "2", "3"):
        plain_pair(tmp_path / "pairs", name, size=(24, 20))
    return tmp_path / "pairs"


def computed(images, cache):
    """The balance, and whether it was computed rather than found."""
    steps = []
    balance = balancing_factor(images, cache_folder=cache, progress=lambda done, total: steps.append((done, total)))
    assert not steps or steps == [(i + 1, len(images)) for i in range(len(images))]
    return balance, bool(steps)


def test_a_value_is_kept_and_found(folder, tmp_path):
    images, cache = open_dataset(str(folder)).test, tmp_path / "cache"
    first = computed(images, cache)
    assert first[1]
    assert computed(open_dataset(str(folder)).test, cache) == (first[0], False)
    assert [p.name for p in cache.iterdir()] == [f"{first[0].sha256}.json"]  # and nothing half-written


def test_a_file_changed_in_place_is_seen_though_size_and_time_are_the_same(folder, tmp_path):
    images, cache = open_dataset(str(folder)).test, tmp_path / "cache"
    before = computed(images, cache)[0]
    path = images.images[0].with_suffix(".png")
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\x83")  # of the checksum at the end, which Pillow does not look at
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = computed(images, cache)
    assert path.stat().st_size == status.st_size
    assert after[1]
    assert after[0].sha256 != before.sha256


def test_a_value_of_files_that_changed_meanwhile_is_not_kept(folder, tmp_path):
    images, cache = open_dataset(str(folder)).test, tmp_path / "cache"

    def change(done, _total):
        if done == 1:
            write(images.images[0], np.full((24, 20), 255, np.uint8))

    balancing_factor(images, cache_folder=cache, progress=change)
    assert not cache.exists()


def test_other_pairs_have_other_values(folder, tmp_path):
    images = open_dataset(str(folder)).test
    values = [computed(one, tmp_path) for one in (images, Selection(images, (0,)), Selection(images, (1, 2)))]
    assert all(new for _, new in values)
    assert all(a.b != b.b for (a, _), (b, _) in pairwise(values))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace('"b": 0.', '"b": 1.'),
        lambda text: text.replace('"n_images": 3', '"images": 3'),
        lambda text: text.replace('"code": "', '"code": "f'),
    ],
)
def test_a_damaged_value_or_one_of_other_code_is_computed_anew(folder, tmp_path, damage):
    images, cache = open_dataset(str(folder)).test, tmp_path / "cache"
    first = computed(images, cache)[0]
    (path,) = cache.iterdir()
    damaged = damage(path.read_text())
    assert damaged != path.read_text()
    path.write_text(damaged)
    assert computed(images, cache) == (first, True)
    assert computed(images, cache) == (first, False)


def test_the_code_that_reads_the_images_is_part_of_what_a_value_holds_for(folder, tmp_path, monkeypatch):
    images, cache = open_dataset(str(folder)).test, tmp_path / "cache"
    computed(images, cache)
    monkeypatch.setattr(module, "_code", lambda: "another")
    assert computed(images, cache)[1]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(folder, tmp_path):
    (tmp_path / "file").write_text("")
    images = open_dataset(str(folder)).test
    assert computed(images, tmp_path / "file") == (computed(images, tmp_path / "good")[0], True)


@pytest.fixture
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_users_cache_is_the_default(folder, cache_home):
    balance = balancing_factor(open_dataset(str(folder)).test)
    kept = json.loads((cache_home / "slickwatch" / "balance" / f"{balance.sha256}.json").read_text())
    assert Balance(**kept["balance"]) == balance


def test_simulated_chips_have_a_factor(tmp_path):
    chips = SimulatedChips(count=2, size=32, margin=0)
    power = [np.square(chips.grey(i)[0] / 127.5 - 1)[chips.grey(i)[1] != IGNORE].mean() for i in range(2)]
    assert balancing_factor(chips, cache_folder=tmp_path).p_image == pytest.approx(np.mean(power), rel=1e-5)


def test_the_record_is_of_the_training_images_and_says_so(folder, cache_home, tmp_path):
    (tmp_path / "both").mkdir()
    folder.rename(tmp_path / "both" / "train")
    write(tmp_path / "both" / "test" / "9.jpg", np.full((8, 8), 255, np.uint8))
    write(tmp_path / "both" / "test" / "9.png", np.zeros((8, 8), np.uint8))
    record = balance_record(str(tmp_path / "both"))
    assert (record["part"], record["n_images"], record["note"]) == ("train", 3, "")
    assert record["b"] < 1 == pytest.approx(balance_record(str(tmp_path / "both" / "test"))["b"])


@pytest.fixture
def balance(capsys, cache_home):
    """Run `slickwatch balance` as the command line does; returns stdout, stderr."""

    def run(*arguments):
        app([str(a) for a in ("balance", *arguments)], standalone_mode=False)
        return tuple(capsys.readouterr())

    return run


def test_the_command_prints_factor_powers_number_and_normalisation(balance, folder):
    out, err = balance(folder, "--json")
    record = json.loads(out)
    greys = [np.asarray(Image.open(path), float) / 127.5 - 1 for path in sorted(folder.glob("*.jpg"))]
    assert record["b"] == pytest.approx(np.sqrt(np.mean([np.square(x).mean() for x in greys])), rel=1e-5)
    assert record["b"] == pytest.approx(np.sqrt(record["p_image"] / record["p_label"]))
    assert set(record) == {"dataset", "part", "note", *asdict(balancing_factor(open_dataset(str(folder)).test))}
    assert (record["part"], record["n_images"], record["normalisation"]) == ("test", 3, NORMALISATION)
    assert "over the test images" in err
    line, _ = balance(folder)
    assert line.startswith(
        f"{folder.name}: b = {record['b']:.4f}, P(x0) = {record['p_image']:.4f}, P(y0) = 1.0000, 3 test"
    )


def test_the_command_takes_reduced_data_and_refuses_what_is_none(balance, folder):
    assert f"{folder.name}@2: b = " in balance(f"{folder}@2")[0]
    with pytest.raises(UsageError, match="not a valid factor"):
        balance(f"{folder}@1")
