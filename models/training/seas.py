"""Training on real seas: whole-chip labels, slicks inserted into oil-free seas, simulated chips, a few coarse masks.

Chips of which only that is known that they have oil somewhere can have masks drawn by a model of the round before.
"""

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
from models.checkpoint import Checkpoint, load_model, save_model
from models.classes import IGNORE, NOT_OIL, OIL
from models.datasets.csiro import SeaChips, labelled_chips
from models.datasets.inserted import setting, with_lookalikes, with_slicks
from models.datasets.pairs import decibel_input
from models.datasets.simulated import VALIDATION_SEED
from models.datasets.sos import sos_clean
from models.networks.architecture import Architecture
from models.networks.efficientnet import EfficientNetLite0, imagenet_weights
from models.networks.saross import SAROSSNet
from models.simulator import simulate_chip
from models.training.engine import finite_step, require_finite
from models.training.losses import cross_entropy, dice
from models.training.options import recorded
from models.training.state import damage_named, load_state, require_same, save_state
from preprocess.options import PreprocessOptions, normalised_db
from preprocess.tiles import Tiling

MAYBE = 253  # label of dark pixels of a chip that has oil somewhere
PREPROCESS = PreprocessOptions(radiometry="contrast")  # of a network that begins with ImageNet's weights
_LEAST_OIL = 30  # pixels that make a chip one with oil
_TOP = 1 / 500  # share of a chip's pixels to which its label is applied
_BAND = 3  # unlabelled pixels on both sides of a coarse outline
_SPECKLE_LOOKS = (6.0, 40.0)
_SHIFT_DB = 2.0  # standard deviation of the level's variation
_SETTLING = 0.3  # share of the steps in which a fresh decoder finds the statistics that it then keeps
_AS_PRODUCT = 0.5  # share of simulated chips whose absolute level is kept, as in a calibrated product

Float = NDArray[np.float32]
Report = Callable[[str], None]


@dataclass(frozen=True)
class SeaOptions:
    """Everything such a training depends on."""

    held_out: tuple[str, ...] = ()  # regions of CSIRO's chips that are not trained on
    start: str = ""  # id or folder of the model to begin with; "": EfficientNet-Lite0 with ImageNet's weights
    steps: int = 500
    size: int = 208  # pixels a side of what the network sees
    # Mean numbers in a batch:
    calm: float = 2.0  # oil-free chips, half of them with simulated look-alikes
    inserted: float = 2.0  # oil-free chips with simulated slicks
    weak: float = 2.0  # chips with oil somewhere
    simulated: float = 1.0
    coarse: float = 0.5  # pairs of SOS
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
    """Draws batches of (images (B, 1, S, S), labels (B, S, S), presence (B,): 1 oil, 0 none, NaN unknown).

    `masks` has a mask for each chip with oil that is to be learned from, NAME.png of `NOT_OIL` as 0, `OIL` and
    `IGNORE` as 255; without it nothing is known of where the oil is.
    """

    def __init__(self, options: SeaOptions, root: Path, preprocess: PreprocessOptions, masks: Path | None) -> None:
        chips = labelled_chips(root / "csiro").outside(options.held_out)
        self.options, self.preprocess, self.masks = options, preprocess, masks
        self.oil, self.calm = chips.with_oil(True), chips.with_oil(False)
        if masks is not None:
            self.oil = SeaChips(tuple(c for c in self.oil.chips if (masks / f"{c.path.stem}.png").is_file()))
        _, self.coarse = sos_clean(root, "sentinel").to_learn()
        self.pool: dict[int, tuple[Float, NDArray[np.int64]]] = {}

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        rng, options = np.random.default_rng((self.options.seed, step)), self.options
        kinds = (
            (self._calm, options.calm), (self._inserted, options.inserted), (self._weak, options.weak),
            (self._simulated, options.simulated), (self._coarse, options.coarse),
        )  # fmt: skip
        draws = [draw for draw, mean in kinds for _ in range(math.floor(mean + rng.random()))]
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
        return self._seen(image, rng), labels, 0.0

    def _inserted(self, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64], float]:
        image, labels = self._sea(rng)
        where, spread = setting(image.shape, rng), _spread(image)
        if rng.random() < 0.4:
            image, labels = with_lookalikes(image, labels, spread, where, rng)
        image, labels = with_slicks(image, labels, spread, where, rng)
        return self._seen(image, rng), labels, _presence(labels)

    def _weak(self, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64], float]:
        index = int(rng.integers(len(self.oil)))
        grey, size = self.oil.image(index), self.options.size
        if self.masks is None:
            image = _decibels(_cut(grey, size, rng.uniform(1.0, 1.1) * size / min(grey.shape), rng))
            seen = self._seen(image, rng)
            smooth = ndimage.gaussian_filter(np.nan_to_num(seen), 1.5)
            labels = np.where(smooth < -0.25 * _spread(smooth), MAYBE, NOT_OIL)
            return seen, np.where(np.isnan(image), IGNORE, labels).astype(np.int64), 1.0
        mask = np.asarray(Image.open(self.masks / f"{self.oil.name(index)}.png"))
        top, left = (int(rng.integers(n - size + 1)) for n in grey.shape)
        window = (slice(top, top + size), slice(left, left + size))
        labels = np.select([mask == OIL, mask == 0], [OIL, NOT_OIL], IGNORE).astype(np.int64)[window]
        presence = 1.0 if _presence(labels) else math.nan
        return self._seen(_decibels(grey[window]), rng), labels, presence

    def _simulated(self, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64], float]:
        seed = int(rng.integers(self.options.pool))
        if seed not in self.pool:
            power, truth = simulate_chip(seed + self.options.seed * VALIDATION_SEED // 7 % VALIDATION_SEED, 320)
            self.pool[seed] = power, np.where(np.isnan(power), IGNORE, truth).astype(np.int64)
        power, labels = self.pool[seed]
        top, left = rng.integers(320 - self.options.size, size=2)
        window = (slice(top, top + self.options.size), slice(left, left + self.options.size))
        power, labels = power[window], labels[window]
        if rng.random() < _AS_PRODUCT:
            return np.nan_to_num(normalised_db(power, self.preprocess)), labels, _presence(labels)
        image = (10 * np.log10(np.maximum(power, 1e-4))).astype(np.float32)
        return self._seen(image, rng), labels, _presence(labels)

    def _coarse(self, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64], float]:
        grey, truth = self.coarse.grey(int(rng.integers(len(self.coarse))))
        top, left = rng.integers(grey.shape[0] - self.options.size + 1, size=2)
        window = (slice(top, top + self.options.size), slice(left, left + self.options.size))
        labels = with_doubt(truth)[window]
        return self._seen(_decibels(grey[window].astype(np.float32)), rng), labels, _presence(labels) or math.nan

    def _seen(self, image_db: Float, rng: np.random.Generator) -> Float:
        """What the network sees of decibels: sometimes speckled more, varied a little; 0 is no data."""
        if rng.random() < 0.3:
            looks = rng.uniform(*_SPECKLE_LOOKS)
            speckle = 10 * np.log10(rng.gamma(looks, 1 / looks, image_db.shape))
            image_db = image_db + (speckle * min(1.0, _spread(image_db) / 0.5)).astype(np.float32)
        seen = decibel_input(image_db, self.preprocess) * rng.uniform(0.8, 1.25)
        if self.preprocess.radiometry == "level":
            seen = seen + rng.normal(0, _SHIFT_DB / self.preprocess.std_db)
        return np.asarray(np.nan_to_num(seen), np.float32)

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


def sea_loss(logits: Tensor, presence_map: Tensor | None, labels: Tensor, presence: Tensor) -> Tensor:
    """Loss of a batch: by pixel where labels are, by the likeliest pixels and by the surroundings for whole chips.

    logits (B, C, H, W), presence_map (B, 1, h, w) of a network that has it, labels (B, H, W) with `MAYBE`, presence
    (B,) of 1, 0 and NaN.
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
    if presence_map is None:
        return loss + 0.5 * by_chip[known].sum() / known.sum().clamp_min(1)
    around = presence_map.flatten(1).logsumexp(dim=1) - math.log(presence_map[0].numel())
    by_surroundings = F.binary_cross_entropy_with_logits(around, presence, reduction="none")
    return loss + (0.5 * by_chip[known] + 0.5 * by_surroundings[known]).sum() / known.sum().clamp_min(1)


def _oil_or_rest(labels: Tensor) -> Tensor:
    """Labels of which `dice` sees oil and the rest alone wherever an image has pixels that are just `NOT_OIL`."""
    partial = (labels == NOT_OIL).flatten(1).any(dim=1)[:, None, None]
    return torch.where(partial & (labels != OIL) & (labels != IGNORE), NOT_OIL, labels)


def train_on_seas(
    options: SeaOptions,
    folder: Path,
    root: Path,
    imagenet: Path | None,
    report: Report = print,
    masks: Path | None = None,
) -> Checkpoint:
    """Train SAROSS-Net on real seas and save it in `folder`; goes on from its `state.pt`.

    `root` holds ``csiro/`` and ``sos/``; `imagenet` is the file of the encoder's ImageNet weights, needed to begin
    where no model is begun with; `masks` are as for `SeaItems`.
    Raises `UsageError` for a state written with other options, `ModelError` for a damaged one and for a loss or a
    gradient that is not finite, `StorageError` where the folder cannot be written.
    """
    torch.manual_seed(options.seed)
    network, architecture, preprocess = _begun(options, imagenet)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(options.average_decay), use_buffers=True)
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
    items, total = SeaItems(options, root, preprocess, masks), 0.0
    for step in range(first, options.steps):
        for group in optimiser.param_groups:
            group["lr"] = group["full"] * _share(step, options)
        settled = bool(options.start) or step >= options.steps * _SETTLING
        with finite_step(folder, str(step + 1)):
            total += _step(network, optimiser, items.batch(step), settled)
        averaged.update_parameters(network)
        if (step + 1) % 10 == 0:
            report(f"step {step + 1}: loss {total / 10:.3f}")
            total = 0.0
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            _save(state, options, network, averaged, optimiser, step + 1)
            _saved(folder, averaged.module, architecture, preprocess, options)
    return _saved(folder, averaged.module, architecture, preprocess, options)


def _begun(options: SeaOptions, imagenet: Path | None) -> tuple[SAROSSNet, Architecture, PreprocessOptions]:
    """Return the network to begin with, and its architecture and preprocessing."""
    if options.start:
        network, checkpoint = load_model(options.start)
        assert isinstance(network, SAROSSNet), "only SAROSS-Net is trained on seas"
        return network.requires_grad_(), checkpoint.architecture, checkpoint.preprocess
    network = SAROSSNet(ARCHITECTURE)
    if imagenet is not None:
        network.encoder.load_state_dict(imagenet_weights(imagenet))
    assert isinstance(network.encoder, EfficientNetLite0)
    network.encoder.freeze(options.frozen_stride)
    return network, ARCHITECTURE, PREPROCESS


def _share(step: int, options: SeaOptions) -> float:
    """Fraction of the full learning rate: linear warm-up, then half a cosine down to a hundredth."""
    if step < options.warm_up:
        return (step + 1) / options.warm_up
    done = (step - options.warm_up) / max(1, options.steps - options.warm_up)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def _step(
    network: SAROSSNet, optimiser: torch.optim.Optimizer, batch: tuple[Tensor, Tensor, Tensor], settled: bool
) -> float:
    images, labels, presence = batch
    network.train()
    # A batch is small and of many kinds of sea, whose statistics together are those of none: a network trained with
    # them sees next to nothing in an image of one kind.
    for part in (network if settled else network.encoder).modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    optimiser.zero_grad(set_to_none=True)
    logits, presence_map = network.with_presence(images.contiguous(memory_format=torch.channels_last))
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


def _saved(
    folder: Path, network: nn.Module, architecture: Architecture, preprocess: PreprocessOptions, options: SeaOptions
) -> Checkpoint:
    return save_model(
        folder, network, architecture, preprocess, {}, {"options": recorded(options)}, tiling=Tiling(512, 256)
    )
