"""Feature extractors, which turn images into features and class probabilities: standard Inception or a SAROSS-Net.

Each has a name that goes with every value derived from it, so that values of two extractors are never mixed.
"""

from __future__ import annotations

import importlib
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ingest.errors import ModelError, UsageError
from ingest.hashes import file_sha256
from models.checkpoint import load_model
from models.datasets.pairs import chip_input
from models.networks.saross import SAROSSNet

INCEPTION_NAME = "inception"
INCEPTION_VARIABLE = "SLICKWATCH_INCEPTION"
INCEPTION_SHA256_BEGINS = "6726825d"  # of inception-2015-12-05, as its published name says
INCEPTION_FEATURES = 2048
SAR_MODEL = "saross-nano-4"  # fixed, not the default model, to keep values of different releases comparable
SAR_LEVELS = 4  # strides 2 to 16
_SMALLEST_PROBABILITY = 1e-12

Forward = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True)
class Extractor:
    """A named network: `forward` turns images (B, H, W) into features (B, D) and logits of image classes (B, C)."""

    name: str
    weights_sha256: str
    n_features: int
    forward: Forward


def sar_extractor(model: str = SAR_MODEL) -> Extractor:
    """Return the extractor ``sar-<id>`` of a SAROSS-Net, by id or folder, for images of 32 x 32 and more.

    Features are those of the encoder at strides 2 to 16, averaged over the image after layer normalisation over the
    channels: their scales grow by 10**4 from stride 2 to 32, and the largest alone would dominate the distance. The
    image class is that of a random pixel: its probabilities are the means over the image of the network's class
    probabilities. Images are normalised as by `chip_input`, so their grey level has no influence. Raises what
    `load_model` raises, `ModelError` for a network that is not a SAROSS-Net.
    """
    network, checkpoint = load_model(model)
    if not isinstance(network, SAROSSNet):
        raise ModelError(checkpoint.id, "not a SAROSS-Net", "give a SAROSS-Net, whose encoder is used")
    channels = checkpoint.architecture.in_channels
    captured: list[list[Tensor]] = []
    network.encoder.register_forward_hook(lambda _module, _inputs, pyramid: captured.append(pyramid))

    def forward(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        chips = np.stack([chip_input(image.astype(np.float32), checkpoint.preprocess) for image in images])
        batch = torch.from_numpy(chips)[:, None].expand(-1, channels, -1, -1)
        with torch.inference_mode():
            share = network(batch).softmax(dim=1).mean(dim=(2, 3))  # (B, classes)
            pooled = torch.cat([_pooled(level) for level in captured.pop()[:SAR_LEVELS]], dim=1)
        return pooled.double().numpy(), share.double().clamp_min(_SMALLEST_PROBABILITY).log().numpy()

    n_features = sum(network.encoder.channels[:SAR_LEVELS])
    return Extractor(f"sar-{checkpoint.id}", checkpoint.weights_sha256, n_features, forward)


def _pooled(level: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C)."""
    return F.layer_norm(level.permute(0, 2, 3, 1), level.shape[1:2]).mean(dim=(1, 2))


def inception_file(given: Path | None) -> Path | None:
    """Return the given file of Inception's weights, else that of the variable SLICKWATCH_INCEPTION, else None."""
    named = os.environ.get(INCEPTION_VARIABLE)
    return given or (Path(named) if named else None)


def inception_extractor(weights: Path) -> Extractor:
    """Return the extractor ``inception``: pool3 features of the InceptionV3 that FID is defined with.

    weights: the file published as ``pt_inception-2015-12-05-6726825d.pth`` or ``weights-inception-...``. Images are
    resized to 299 x 299 as the original does (TensorFlow 1, no antialiasing). Never downloads. Raises `UsageError` for
    a missing file, `ModelError` for one with other weights, or where torch-fidelity cannot be used.
    """
    sha256 = _require_published(weights)
    network = _inception(weights)

    def forward(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        batch = torch.from_numpy(np.repeat(images[:, None], 3, axis=1))
        with torch.inference_mode():
            features, logits = network(batch)
        return features.double().numpy(), logits.double().numpy()

    return Extractor(INCEPTION_NAME, sha256, INCEPTION_FEATURES, forward)


def _require_published(weights: Path) -> str:
    """Return the hash of the file; raises unless it is as published and the file holds nothing but tensors."""
    try:
        sha256 = file_sha256(weights)
        if not sha256.startswith(INCEPTION_SHA256_BEGINS):
            problem = f"not the published weights (SHA-256 {sha256[:8]}..., not {INCEPTION_SHA256_BEGINS}...)"
            raise ModelError(weights, problem, "give pt_inception-2015-12-05-6726825d.pth")
        torch.load(weights, weights_only=True, map_location="cpu")  # torch-fidelity would run any code in it
    except OSError as error:
        raise UsageError(
            weights, f"cannot be read ({error.strerror})", "give Inception's weights, or omit them"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError(weights, "not a file of weights alone", "download it again") from error
    return sha256


def _inception(weights: Path) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    try:
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        remedy = "install slickwatch[quality] with the torchvision of this torch, or omit the weights"
        raise ModelError(weights, f"needs torch-fidelity, which does not import ({error})", remedy) from error
    wanted = ["2048", "logits_unbiased"]
    network: Callable[[Tensor], tuple[Tensor, Tensor]] = module.FeatureExtractorInceptionV3(
        INCEPTION_NAME, wanted, feature_extractor_weights_path=str(weights)
    )
    return network
