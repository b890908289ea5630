"""Training on real seas: whole-chip labels, slicks inserted into oil-free seas, simulated chips, a few coarse masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ingest.files import storage_errors
from models.checkpoint import Checkpoint, save_model
from models.classes import IGNORE, NOT_OIL, OIL
from models.datasets.csiro import labelled_chips
from models.datasets.inserted import setting, with_lookalikes, with_slicks
from models.datasets.pairs import Pair
from models.datasets.simulated import VALIDATION_SEED
from models.datasets.sos import sos_clean
from models.networks.architecture import Architecture
from models.networks.efficientnet import EfficientNetLite0, imagenet_weights
from models.networks.saross import SAROSSNet
from models.simulator import simulate_chip
from models.training.engine import finite_step, require_finite
from models.training.losses import cross_entropy, dice
from models.training.state import damage_named, load_state, require_same, save_state
from preprocess.options import PreprocessOptions, contrast_input
from preprocess.tiles import Tiling

MAYBE = 253  # label of dark pixels of a chip that has oil somewhere
PREPROCESS = PreprocessOptions(radiometry="contrast")
_LEAST_OIL = 30  # pixels that make a chip one with oil
_TOP = 1 / 500  # share of a chip's pixels to which its label is applied
_BAND = 3  # unlabelled pixels on both sides of a coarse outline
_SPECKLE_LOOKS = (6.0, 40.0)

Float = NDArray[np.float32]
Report = Callable[[str], None]


@dataclass(frozen=True)
class SeaOptions:
    """Everything such a training depends on."""

    held_out: tuple[str, ...] = ()  # regions of CSIRO's chips that are not trained on
    steps: int = 500
    size: int = 208  # pixels a side of what the network sees
    calm: int = 2  # oil-free chips in a batch, half of them with simulated look-alikes
    inserted: int = 2  # with simulated slicks
    weak: int = 2  # chips with oil somewhere, nothing more known
    simulated: int = 1
    coarse: float = 0.5  # pairs of SOS, in the mean
    pool: int = 200  # simulated chips, made once and cropped repeatedly
    frozen_stride: int = 4  # the encoder keeps ImageNet's weights down to this stride
    encoder_rate: float = 5e-4
    learning_rate: float = 2e-3
    warm_up: int = 30
    weight_decay: float = 0.02
    average_decay: float = 0.99
    save_every: int = 50
    seed: int = 1


ARCHITECTURE = Architecture("saross", "lite0", presence=True)


class SeaItems:
    """Draws batches of (images (B, 1, S, S), labels (B, S, S), presence (B,): 1 oil, 0 none, NaN unknown)."""

    def __init__(self, options: SeaOptions, root: Path) -> None:
        chips = labelled_chips(root / "csiro").outside(options.held_out)
        self.options, self.oil, self.calm = options, chips.with_oil(True), chips.with_oil(False)
        _, self.coarse = sos_clean(root, "sentinel").to_learn()
        self.pool: dict[int, Pair] = {}

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((self.options.seed, step))
        draws = [self._calm] * self.options.calm + [self._inserted] * self.options.inserted
        draws += [self._weak] * self.options.weak + [self._simulated] * self.options.simulated
        draws += [self._coarse] * math.floor(self.options.coarse + rng.random())
        items = [_turned(*draw(rng), rng) for draw in draws]
        images, labels, presence = zip(*items, strict=True)
        return (
            torch.from_numpy(np.stack(images))[:, None],
            torch.from_numpy(np.stack(labels)),
            torch.tensor(presence, dtype=torch.float32),
        )

    def _calm(self, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64], float]:
        image, labels = self._sea(rng)
        if rng.random() < 0.5:
            image, labels = with_lookalikes(image, labels, _spread(image), setting(image.shape, rng), rng)
        return _seen(image, rng), labels, 0.0

    def _inserted(self, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64], float]:
        image, labels = self._sea(rng)
        where, spread = setting(image.shape, rng), _spread(image)
        if rng.random() < 0.4:
            image, labels = with_lookalikes(image, labels, spread, where, rng)
        image, labels = with_slicks(image, labels, spread, where, rng)
        return _seen(image, rng), labels, _presence(labels)

    def _weak(self, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64], float]:
        grey = self.oil.image(int(rng.integers(len(self.oil))))
        image = _decibels(
            _cut(grey, self.options.size, rng.uniform(1.0, 1.1) * self.options.size / min(grey.shape), rng)
        )
        seen = _seen(image, rng)
        smooth = ndimage.gaussian_filter(np.nan_to_num(seen), 1.5)
        labels = np.where(smooth < -0.25 * _spread(smooth), MAYBE, NOT_OIL)
        return seen, np.where(np.isnan(image), IGNORE, labels).astype(np.int64), 1.0

    def _simulated(self, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64], float]:
        seed = int(rng.integers(self.options.pool))
        if seed not in self.pool:
            power, truth = simulate_chip(seed + self.options.seed * VALIDATION_SEED // 7 % VALIDATION_SEED, 320)
            labels = np.where(np.isnan(power), IGNORE, truth).astype(np.int64)
            self.pool[seed] = (10 * np.log10(np.maximum(power, 1e-4))).astype(np.float32), labels
        image, labels = self.pool[seed]
        top, left = rng.integers(320 - self.options.size, size=2)
        window = (slice(top, top + self.options.size), slice(left, left + self.options.size))
        return _seen(image[window], rng), labels[window], _presence(labels[window])

    def _coarse(self, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64], float]:
        grey, truth = self.coarse.grey(int(rng.integers(len(self.coarse))))
        top, left = rng.integers(grey.shape[0] - self.options.size + 1, size=2)
        window = (slice(top, top + self.options.size), slice(left, left + self.options.size))
        labels = with_doubt(truth)[window]
        return _seen(_decibels(grey[window].astype(np.float32)), rng), labels, _presence(labels) or math.nan

    def _sea(self, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64]]:
        index = int(rng.integers(len(self.calm)))
        grey = self.calm.image(index)
        least = self.options.size / min(grey.shape)
        image = _decibels(_cut(grey, self.options.size, rng.uniform(least, 1.0), rng))
        return image, np.where(np.isnan(image), IGNORE, NOT_OIL).astype(np.int64)


def with_doubt(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Leave a band on both sides of a coarse outline unlabelled."""
    oil = labels == OIL
    band = ndimage.binary_dilation(oil, iterations=_BAND) & ~ndimage.binary_erosion(
        oil, iterations=_BAND, border_value=1
    )
    return np.where(band, IGNORE, labels)


def _cut(grey: Float, size: int, factor: float, rng: np.random.Generator) -> Float:
    """Resample an image by `factor` <= 1, averaging, and cut a square of `size` out of it at random."""
    reach = min(min(grey.shape), math.ceil(size / factor))
    top, left = (int(rng.integers(n - reach + 1)) for n in grey.shape)
    part = grey[top : top + reach, left : left + reach]
    missing = np.isnan(part)
    level = np.nanmedian(part) if not missing.all() else 1.0
    filled = Image.fromarray(np.where(missing, level, part).astype(np.float32))
    image = np.array(filled.resize((size, size), Image.Resampling.BOX))
    gone = np.asarray(Image.fromarray(missing).resize((size, size), Image.Resampling.NEAREST))
    image[gone] = np.nan
    return image


def _decibels(grey: Float) -> Float:
    """Amplitudes to decibels, as `chip_input` takes them."""
    step = np.nanmedian(grey[grey > 0]) * 0.01 if (grey > 0).any() else 1.0
    return np.asarray(20 * np.log10(np.maximum(grey, step)), np.float32)


def _spread(image: Float) -> float:
    if np.isnan(image).all():
        return 1.0
    return 1.4826 * float(np.nanmedian(np.abs(image - np.nanmedian(image)))) or 1e-3


def _seen(image_db: Float, rng: np.random.Generator) -> Float:
    """What the network sees of decibels: sometimes speckled more, then contrast, varied a little; 0 is no data."""
    if rng.random() < 0.3:
        looks = rng.uniform(*_SPECKLE_LOOKS)
        speckle = 10 * np.log10(rng.gamma(looks, 1 / looks, image_db.shape))
        image_db = image_db + (speckle * min(1.0, _spread(image_db) / 0.5)).astype(np.float32)
    return np.asarray(np.nan_to_num(contrast_input(image_db)) * rng.uniform(0.8, 1.25), np.float32)


def _turned(
    image: Float, labels: NDArray[np.int64], presence: float, rng: np.random.Generator
) -> tuple[Float, NDArray[np.int64], float]:
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if flip:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image, np.float32), np.ascontiguousarray(labels), presence


def _presence(labels: NDArray[np.int64]) -> float:
    return float(np.count_nonzero(labels == OIL) >= _LEAST_OIL)


def sea_loss(logits: Tensor, presence_map: Tensor, labels: Tensor, presence: Tensor) -> Tensor:
    """Loss of a batch: by pixel where labels are, by the likeliest pixels and by the surroundings for whole chips.

    logits (B, C, H, W), presence_map (B, 1, h, w), labels (B, H, W) with `MAYBE`, presence (B,) of 1, 0 and NaN.
    """
    p = logits.softmax(dim=1)[:, OIL]
    weak = (labels == MAYBE).flatten(1).any(dim=1)
    guess = torch.where(p.detach() > 0.6, OIL, torch.where(p.detach() < 0.15, NOT_OIL, IGNORE))
    labels = torch.where(labels == MAYBE, guess, labels)
    loss = cross_entropy(logits, labels)
    if not weak.all():
        loss = loss + 0.5 * dice(logits[~weak], _oil_or_rest(labels[~weak]), "mean")
    top = p.flatten(1).topk(max(1, round(_TOP * labels[0].numel())), dim=1).values.clamp(1e-6, 1 - 1e-6)
    known, presence = ~presence.isnan(), presence.nan_to_num()  # NaN would reach the gradients of what is left out
    by_chip = -(presence[:, None] * top.log() + (1 - presence[:, None]) * (1 - top).log()).mean(dim=1)
    around = presence_map.flatten(1).logsumexp(dim=1) - math.log(presence_map[0].numel())
    by_surroundings = F.binary_cross_entropy_with_logits(around, presence, reduction="none")
    return loss + (0.5 * by_chip[known] + 0.5 * by_surroundings[known]).sum() / known.sum().clamp_min(1)


def _oil_or_rest(labels: Tensor) -> Tensor:
    """Labels of which `dice` sees oil and the rest alone wherever an image has pixels that are just `NOT_OIL`."""
    partial = (labels == NOT_OIL).flatten(1).any(dim=1)[:, None, None]
    return torch.where(partial & (labels != OIL) & (labels != IGNORE), NOT_OIL, labels)


def train_on_seas(
    options: SeaOptions, folder: Path, root: Path, imagenet: Path | None, report: Report = print
) -> Checkpoint:
    """Train SAROSS-Net with EfficientNet-Lite0 on real seas and save it in `folder`; goes on from its `state.pt`.

    `root` holds ``csiro/`` and ``sos/``; `imagenet` is the file of the encoder's ImageNet weights, needed to begin.
    Raises `UsageError` for a state written with other options, `ModelError` for a damaged one and for a loss or a
    gradient that is not finite, `StorageError` where the folder cannot be written.
    """
    torch.manual_seed(options.seed)
    network = SAROSSNet(ARCHITECTURE)
    if imagenet is not None:
        network.encoder.load_state_dict(imagenet_weights(imagenet))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(options.average_decay), use_buffers=True)
    assert isinstance(network.encoder, EfficientNetLite0)
    network.encoder.freeze(options.frozen_stride)
    # In order, since an optimiser's saved state goes by position.
    slow = [p for p in network.encoder.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": slow, "lr": options.encoder_rate, "full": options.encoder_rate},
            {
                "params": [
                    p for n, p in network.named_parameters() if p.requires_grad and not n.startswith("encoder.")
                ],
                "full": options.learning_rate,
            },
        ],
        options.learning_rate,
        weight_decay=options.weight_decay,
    )
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    state, first = folder / "state.pt", 0
    if state.is_file():
        first = _restored(state, options, network, averaged, optimiser)
        report(f"resuming at step {first} of {options.steps}")
    items, total = SeaItems(options, root), 0.0
    for step in range(first, options.steps):
        for group in optimiser.param_groups:
            group["lr"] = group["full"] * _share(step, options)
        with finite_step(folder, str(step + 1)):
            total += _step(network, optimiser, items.batch(step))
        averaged.update_parameters(network)
        if (step + 1) % 10 == 0:
            report(f"step {step + 1}: loss {total / 10:.3f}")
            total = 0.0
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            _save(state, options, network, averaged, optimiser, step + 1)
            _saved(folder, averaged.module, options)
    return _saved(folder, averaged.module, options)


def _share(step: int, options: SeaOptions) -> float:
    """Fraction of the full learning rate: linear warm-up, then half a cosine down to a hundredth."""
    if step < options.warm_up:
        return (step + 1) / options.warm_up
    done = (step - options.warm_up) / max(1, options.steps - options.warm_up)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def _step(network: SAROSSNet, optimiser: torch.optim.Optimizer, batch: tuple[Tensor, Tensor, Tensor]) -> float:
    images, labels, presence = batch
    network.train()
    network.encoder.eval()  # ImageNet's statistics: a batch is small, and of many kinds of sea
    optimiser.zero_grad(set_to_none=True)
    logits, presence_map = network.with_presence(images.contiguous(memory_format=torch.channels_last))
    assert presence_map is not None, "the architecture has a presence"
    loss = sea_loss(logits, presence_map, labels, presence)
    require_finite("loss", float(loss.detach()))
    loss.backward()
    require_finite("gradient", float(nn.utils.clip_grad_norm_(network.parameters(), 1.0)))
    optimiser.step()
    return float(loss.detach())


def _save(
    path: Path, options: SeaOptions, network: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer,
    step: int,
) -> None:  # fmt: skip
    state: dict[str, Any] = {"network": network.state_dict(), "averaged": averaged.state_dict()}
    save_state(path, {**state, "optimiser": optimiser.state_dict(), "options": asdict(options), "step": step})


def _restored(
    path: Path, options: SeaOptions, network: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer
) -> int:
    state = load_state(path, torch.device("cpu"))
    if "options" in state:  # not in older ones
        fixed = {name: value for name, value in asdict(options).items() if name != "save_every"}
        require_same(path, state["options"], fixed)
    with damage_named(path):
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"])


def _saved(folder: Path, network: nn.Module, options: SeaOptions) -> None:
    save_model(folder, network, ARCHITECTURE, PREPROCESS, {}, {"options": asdict(options)}, tiling=Tiling(512, 256))
