"""Storing and loading trained models: safetensors weights and one JSON file with everything else.

A model is a folder named by its id, holding ``weights.safetensors``, ``checkpoint.json`` and a model card
``README.md``. Models shipped with Slickwatch lie in `SHIPPED`, whose file ``default`` names the one to use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ingest.errors import ModelError, UsageError
from ingest.files import write_bytes
from models.classes import CLASSES
from models.networks.architecture import Architecture
from models.networks.build import build_network
from preprocess.options import PreprocessOptions
from preprocess.tiles import Tiling

_LARGE = 2000  # numbers in a tensor that is worth saving in half precision
FORMAT = 1
WEIGHTS = "weights.safetensors"
SHIPPED = Path(__file__).parent / "shipped"
_CHECKED = (64, 64)  # height and width of what a model is tried on: small, but twice the coarsest stride


@dataclass(frozen=True)
class Checkpoint:
    """The record of a model; inference takes its preprocessing from here, so it cannot drift from training."""

    id: str
    architecture: Architecture
    preprocess: PreprocessOptions
    weights_sha256: str
    classes: tuple[str, ...] = CLASSES
    tiling: Tiling = field(
        default_factory=Tiling
    )  # what it sees around a slick decides what it takes it for: tiles as it was trained on
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def default_model_id() -> str:
    """Return the id of the shipped model that is used when none is named."""
    try:
        return (SHIPPED / "default").read_text().strip()
    except OSError as error:
        raise ModelError(SHIPPED / "default", "cannot be read", "name a model, or install slickwatch again") from error


def default_model_folder() -> Path:
    """Return the folder of the shipped model that is used when none is named."""
    return SHIPPED / default_model_id()


def shipped_models() -> list[str]:
    """Return the ids of the models that come with Slickwatch."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/checkpoint.json"))


def model_folder(model: str) -> Path:
    """Find a model by the id of a shipped one or by the path of its folder."""
    for folder in (Path(model), SHIPPED / model):
        if (folder / "checkpoint.json").is_file():
            return folder
    raise ModelError(model, "no such model", f"give a model folder or one of: {', '.join(shipped_models())}")


def save_model(
    folder: Path,
    network: nn.Module,
    architecture: Architecture,
    preprocess: PreprocessOptions,
    metrics: dict[str, Any],
    training: dict[str, Any],
    classes: tuple[str, ...] = CLASSES,
    tiling: Tiling = Tiling(),  # noqa: B008 - frozen
    half_precision: bool = False,
) -> Checkpoint:
    """Write a model under `folder`, whose name becomes its id; the JSON comes last and makes it complete.

    `half_precision`: weights take half the space, and are brought back to single precision when loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights, digest = packed_weights(network, half_precision)
    checkpoint = Checkpoint(folder.name, architecture, preprocess, digest, classes, tiling, metrics, training)
    write_bytes(folder / WEIGHTS, weights)
    write_bytes(folder / "checkpoint.json", json.dumps({"format": FORMAT, **asdict(checkpoint)}, indent=2).encode())
    return checkpoint


def halved(tensor: Tensor) -> Tensor:
    """A tensor to be saved, in half precision if it is large; the variances of norms are too small for that."""
    large = tensor.is_floating_point() and tensor.ndim > 1 and tensor.numel() > _LARGE
    return (tensor.half() if large else tensor).contiguous()


def packed_weights(network: nn.Module, half_precision: bool = False) -> tuple[bytes, str]:
    """Return the weights of a network as a safetensors file, and its SHA-256."""
    state = network.state_dict()
    weights = save({name: halved(tensor) if half_precision else tensor.contiguous() for name, tensor in state.items()})
    return weights, hashlib.sha256(weights).hexdigest()


def read_checkpoint(model: str) -> Checkpoint:
    """Read what a model, by id or folder, was made of, without its weights.

    Raises `ModelError` where it is missing, damaged or of an unknown format.
    """
    folder = model_folder(model)
    try:
        record = json.loads((folder / "checkpoint.json").read_text())
        if record.pop("format") != FORMAT:
            raise ModelError(folder, "a checkpoint of another format", "use the release of slickwatch that wrote it")
        return Checkpoint(
            **{
                **record,
                "architecture": _architecture(record["architecture"]),
                "preprocess": PreprocessOptions.from_dict(record["preprocess"]),
                "classes": tuple(record["classes"]),
                "tiling": Tiling(**record.get("tiling", {})),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(folder, f"unreadable checkpoint ({error})", "restore the model folder") from error


def load_model(model: str) -> tuple[nn.Module, Checkpoint]:
    """Load a model by id or folder, ready for inference.

    Raises `ModelError` as `read_checkpoint` does, and where the weights are missing, damaged, or not those
    that the JSON file was written for.
    """
    checkpoint = read_checkpoint(model)
    build = partial(build_network, checkpoint.architecture)
    return load_weights(model_folder(model), checkpoint.weights_sha256, build), checkpoint


def load_weights(folder: Path, sha256: str, build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network with the weights of a model folder, ready for inference.

    Raises `ModelError` where they are missing, damaged, have another SHA-256 or do not fit.
    """
    try:
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelError(folder, f"unreadable weights ({error})", "restore the model folder") from error
    if hashlib.sha256(weights).hexdigest() != sha256:
        # Also what a training leaves that is killed between the two files; it writes both again.
        remedy = "restore the model folder, or continue its training with --resume"
        raise ModelError(folder, "the weights are not those of this checkpoint", remedy)
    try:
        network = build()
        network.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError, ValueError, KeyError, ZeroDivisionError, UsageError) as error:
        raise ModelError(folder, "the weights do not fit the architecture", "restore the model folder") from error
    return network.eval()


def check_model(model: str) -> Checkpoint:
    """Load a model by id or folder and run it once on noise, as inference would.

    Raises `ModelError` as `load_model` does, and where the result is not one finite number a class and pixel.
    """
    network, checkpoint = load_model(model)
    channels, seeded = len(checkpoint.preprocess.polarisations), torch.Generator().manual_seed(0)
    noise = torch.randn(1, channels, *_CHECKED, generator=seeded)
    try:
        with torch.inference_mode():
            logits = network(noise)  # (1, classes, height, width)
    except RuntimeError as error:
        raise ModelError(model, "fails on images of its own shape", "train it again") from error
    if logits.shape != (1, len(checkpoint.classes), *_CHECKED) or not bool(torch.isfinite(logits).all()):
        raise ModelError(model, "does not give a finite number for each class and pixel", "train it again")
    return checkpoint


def require_five_classes(checkpoint: Checkpoint) -> None:
    """Raise `ModelError` for a model that does not tell apart the five `CLASSES` of the layers."""
    if checkpoint.classes != CLASSES:
        told = ", ".join(checkpoint.classes)
        raise ModelError(checkpoint.id, f"tells apart {told} alone", f"give a model of {', '.join(CLASSES)}")


def _architecture(record: dict[str, Any]) -> Architecture:
    windows = record.get("windows")
    return Architecture(**{**record, "windows": tuple(windows) if windows else None})
