"""Training SAROSS-Net on simulated and real pairs; interrupted training goes on where it stopped."""

from __future__ import annotations

import csv
import hashlib
import math
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from ingest.errors import UsageError
from models.architecture import CLASSES, Architecture
from models.checkpoint import Checkpoint, load_model, save_model
from models.datasets import ImageMaskFolder, augmented, flat_pair, image_mask_folder, simulated_pair, without_leak
from models.losses import NOT_OIL, OIL, cross_entropy, dice
from models.metrics import confusion_matrix, intersection_over_union, precision, recall
from models.saross import SAROSSNet
from preprocess.options import PreprocessOptions

VALIDATION_SEED = 2_000_000_000  # simulated chips from this seed on are never trained on


@dataclass(frozen=True)
class TrainOptions:
    """Everything a training depends on; a TOML file may set any of it."""

    encoder: str = "nano"
    start: str | None = None  # model to start from, an id or a folder; None: random weights
    steps: int = 6000
    batch_size: int = 8
    real_share: float = 0.25  # of a batch, where `real` is given
    real: str | None = None  # folder of image and mask pairs with train/ and test/, such as SOS
    stretched_share: float = 0.2  # of the simulated chips that come as uncalibrated 8-bit images would
    margin: int = 0  # pixels of sea simulated around a chip, and cut off
    flat_share: float = 0.0  # of the simulated chips that are a sea without any texture
    crop: int = 256
    learning_rate: float = 1e-3
    warm_up: int = 200  # steps
    weight_decay: float = 0.05
    dice: str = "mean"  # a key of models.losses.DICE; the paper's is "generalised"
    dice_weight: float = 0.5  # lambda_dice of Eq. 10
    average_decay: float = 0.998  # of the moving average of the weights, which is what is saved
    seed: int = 1
    validation_chips: int = 200
    validate_every: int = 500
    workers: int = 1
    threads: int = 1
    device: str = "cpu"
    half_precision: bool = True  # bfloat16 where it helps, float32 weights


def read_options(config: Path | None) -> TrainOptions:
    """Read a TOML file of training options; raises `UsageError` naming an unknown key."""
    if config is None:
        return TrainOptions()
    try:
        given = tomllib.loads(config.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(config, f"not a readable TOML file ({error})", "see docs/training.md") from error
    known = {f.name for f in fields(TrainOptions)}
    for key in given:
        if key not in known:
            raise UsageError(config, f"unknown option {key!r}", f"known are {', '.join(sorted(known))}")
    return TrainOptions(**given)


class TrainingPairs(Dataset[tuple[Tensor, Tensor]]):
    """Item i is drawn from its own random stream, so a resumed training sees the very pairs it would have seen."""

    def __init__(self, options: TrainOptions, real: ImageMaskFolder | None, preprocess: PreprocessOptions) -> None:
        self.options, self.real, self.preprocess = options, real, preprocess

    def __len__(self) -> int:
        return self.options.steps * self.options.batch_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.options.seed, index))
        in_batch = index % self.options.batch_size
        if self.real and in_batch < round(self.options.real_share * self.options.batch_size):
            pair = self.real.pair(int(rng.integers(len(self.real))), self.preprocess)
        else:
            stretch = rng if rng.random() < self.options.stretched_share else None
            seed = int(rng.integers(VALIDATION_SEED))
            if self.options.flat_share and rng.random() < self.options.flat_share:
                pair = flat_pair(self.options.crop, rng)
            else:
                pair = simulated_pair(seed, self.options.crop, self.preprocess, stretch, self.options.margin)
        image, labels = augmented(pair, rng)
        return torch.from_numpy(np.nan_to_num(image)), torch.from_numpy(labels)


def real_pairs(folder: Path) -> tuple[ImageMaskFolder, ImageMaskFolder]:
    """Return training pairs, without those that repeat a test pair, and test pairs of a folder like SOS's."""
    test = image_mask_folder(folder / "test")
    return without_leak(image_mask_folder(folder / "train"), test), test


def train(options: TrainOptions, folder: Path, *, resume: bool = False, report: Any = print) -> Checkpoint:
    """Train a SAROSS-Net and save it as a model in `folder`, with `log.csv` and the state to resume from."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    preprocess, architecture = PreprocessOptions(), Architecture(encoder=options.encoder)
    real = real_pairs(Path(options.real)) if options.real else None
    # With weights in the layout of the images a step takes half the time on a CPU.
    network = SAROSSNet(architecture).to(options.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    if options.start:
        network.load_state_dict(load_model(options.start)[0].state_dict())
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(options.average_decay), use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    folder.mkdir(parents=True, exist_ok=True)
    state, first = folder / "state.pt", 0
    if resume and state.is_file():
        first = _restore(state, network, averaged, optimiser, options)
        report(f"resuming at step {first} of {options.steps}")
    for step, (images, labels) in enumerate(_batches(options, real and real[0], preprocess, first), start=first):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, options)
        loss = _step(network, images.to(options.device), labels.to(options.device), optimiser, options)
        averaged.update_parameters(network)
        if (step + 1) % options.validate_every == 0 or step + 1 == options.steps:
            scores = validate(averaged.module, options, preprocess)
            _save(state, network, averaged, optimiser, options, step + 1)
            _log(folder / "log.csv", {"step": step + 1, "loss": round(loss, 4), **scores})
            report(f"step {step + 1}: loss {loss:.3f}, oil IoU {scores['oil_iou']:.3f}, mIoU {scores['miou']:.3f}")
    metrics = {"simulated_validation": validate(averaged.module, options, preprocess)}
    if real:
        metrics["real_test"] = real_scores(averaged.module, real[1], options, preprocess)
    training = {"options": asdict(options), "real_pairs": _fingerprint(real[0]) if real else None}
    return save_model(folder, averaged.module, architecture, preprocess, metrics, training)


def learning_rate(step: int, options: TrainOptions) -> float:
    """Linear warm-up, then a half cosine down to a hundredth."""
    if step < options.warm_up:
        return options.learning_rate * (step + 1) / options.warm_up
    done = (step - options.warm_up) / max(1, options.steps - options.warm_up)
    return options.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def _batches(
    options: TrainOptions, real: ImageMaskFolder | None, preprocess: PreprocessOptions, first: int
) -> Iterator[tuple[Tensor, Tensor]]:
    pairs = TrainingPairs(options, real, preprocess)
    rest = range(first * options.batch_size, len(pairs))
    yield from DataLoader(pairs, options.batch_size, sampler=rest, num_workers=options.workers, drop_last=True)


def _step(
    network: nn.Module, images: Tensor, labels: Tensor, optimiser: torch.optim.Optimizer, options: TrainOptions
) -> float:
    network.train()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=options.half_precision):
        logits = network(images.contiguous(memory_format=torch.channels_last))
    overlap = dice(logits, labels, options.dice)
    loss = cross_entropy(logits, labels) + options.dice_weight * overlap  # Eq. 10 without teacher
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


@torch.inference_mode()
def validate(network: nn.Module, options: TrainOptions, preprocess: PreprocessOptions) -> dict[str, float]:
    """Score a network on simulated chips that training never sees: IoU by class, mIoU, oil precision and recall."""
    network.eval()
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for i in range(options.validation_chips):
        image, labels = simulated_pair(VALIDATION_SEED + i, options.crop, preprocess)
        confusion += confusion_matrix(labels, _predicted(network, image, options), len(CLASSES))
    iou = intersection_over_union(confusion)
    scores = {f"{name}_iou": round(float(value), 4) for name, value in zip(CLASSES, iou, strict=True)}
    return scores | {
        "miou": round(float(np.nanmean(iou)), 4),
        "oil_precision": round(precision(confusion, OIL), 4),
        "oil_recall": round(recall(confusion, OIL), 4),
    }


@torch.inference_mode()
def real_scores(
    network: nn.Module, pairs: ImageMaskFolder, options: TrainOptions, preprocess: PreprocessOptions
) -> dict[str, float]:
    """Score oil against everything else on real pairs: IoU of oil, mIoU of the two, precision and recall of oil."""
    network.eval()
    confusion = np.zeros((2, 2), np.int64)
    for i in range(len(pairs)):
        image, labels = pairs.pair(i, preprocess)
        oil = _predicted(network, image, options) == OIL
        confusion += confusion_matrix(np.where(labels == NOT_OIL, 0, labels), oil, 2)
    iou = intersection_over_union(confusion)
    return {
        "n_images": len(pairs),
        "oil_iou": round(float(iou[1]), 4),
        "miou": round(float(iou.mean()), 4),
        "oil_precision": round(precision(confusion, 1), 4),
        "oil_recall": round(recall(confusion, 1), 4),
    }


def _predicted(network: nn.Module, image: np.ndarray[Any, Any], options: TrainOptions) -> np.ndarray[Any, Any]:
    batch = torch.from_numpy(np.nan_to_num(image))[None].to(options.device)
    with torch.autocast(options.device, torch.bfloat16, enabled=options.half_precision):
        predicted: np.ndarray[Any, Any] = network(batch).argmax(dim=1)[0].cpu().numpy()
    return predicted


def _save(
    path: Path,
    network: nn.Module,
    averaged: AveragedModel,
    optimiser: torch.optim.Optimizer,
    options: TrainOptions,
    step: int,
) -> None:
    aside = path.with_suffix(".part")
    state = {
        "network": network.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
        "options": asdict(options),
        "step": step,
    }
    torch.save(state, aside)
    aside.replace(path)


def _restore(
    path: Path,
    network: nn.Module,
    averaged: AveragedModel,
    optimiser: torch.optim.Optimizer,
    options: TrainOptions,
) -> int:
    state = torch.load(path, map_location=options.device, weights_only=True)
    fixed = {"encoder", "steps", "batch_size", "real_share", "crop", "learning_rate", "seed"}
    for key in sorted(fixed):
        if state["options"][key] != getattr(options, key):
            raise UsageError(path, f"was written with another {key}", "train in another folder or without --resume")
    network.load_state_dict(state["network"])
    averaged.load_state_dict(state["averaged"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _log(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _fingerprint(pairs: ImageMaskFolder) -> dict[str, Any]:
    digest = hashlib.sha256()
    for path in (*pairs.images, *pairs.masks):
        digest.update(path.read_bytes())
    return {"n": len(pairs), "sha256": digest.hexdigest()}
