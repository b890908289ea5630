"""The balancing factor b of the DAKD paper: labels scaled to the signal-to-noise ratio of the images (Eq. 4, 11-20)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray

from ingest.errors import StorageError, UsageError
from ingest.files import read_json, user_cache, write_json
from models.classes import IGNORE
from models.code import code_hash
from models.datasets.fingerprint import fingerprint
from models.datasets.pairs import LabelledImages, class_indices
from models.jointnet.diffusion import scaled_labels
from models.jointnet.pairs import to_unit

NORMALISATION = "x0 = 2 v / 255 - 1 of 8-bit grey v; P = mean of |DFT|^2 / (H W), each image counting once"
Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True)
class Balance:
    """The balancing factor of a data set, and what it comes from."""

    b: float  # sqrt(p_image) / sqrt(p_label), Eq. 4
    p_image: float  # P(x0), mean over the images
    p_label: float  # P(y0), mean over the images
    n_images: int  # with any labelled pixel
    normalisation: str
    sha256: str  # of the images and labels, `models.datasets.fingerprint`


def balancing_factor(
    images: LabelledImages,
    *,
    progress: Progress = lambda done, total: None,
    cache_folder: Path | None = None,
) -> Balance:
    """Compute b = sqrt(P(x0)) / sqrt(P(y0)) over all images (Eq. 4 and 20), or find it in the cache.

    One image is in memory at a time. Each counts once whatever its size, as a training draws images and crops all to
    one size; P is by pixel, so that size does not matter. Pixels labelled `IGNORE` have no power and do not count.
    A cached value holds for the same contents, read by the same code, and is computed anew where its file is damaged;
    `cache_folder` None is ``slickwatch/balance`` in the user's cache. Raises `UsageError` where nothing is labelled.
    """
    sha256 = fingerprint(images)
    path = (cache_folder or user_cache("balance")) / f"{sha256}.json"
    if (kept := _kept(path, sha256)) is not None:
        return kept
    powers = []
    for index in range(len(images)):
        if (power := image_and_label_power(images, index)) is not None:
            powers.append(power)
        progress(index + 1, len(images))
    if not powers:
        raise UsageError("the data set", "has no labelled pixel", "choose another one")
    p_image, p_label = (math.fsum(column) / len(powers) for column in zip(*powers, strict=True))
    b = math.sqrt(p_image) / math.sqrt(p_label)  # Eq. 4
    balance = Balance(b, p_image, p_label, len(powers), NORMALISATION, sha256)
    if fingerprint(images) == sha256:  # else a file was changed meanwhile
        _keep(path, balance)
    return balance


def image_and_label_power(images: LabelledImages, index: int) -> tuple[float, float] | None:
    """Return P(x0) and P(y0) of one pair; None where all of it is labelled `IGNORE`."""
    grey, labels = images.grey(index)
    known = labels != IGNORE
    if not known.any():
        return None
    y_0 = scaled_labels(torch.from_numpy(class_indices(labels))[None], len(images.classes), b=1)[0]  # (C, H, W)
    return mean_power(to_unit(grey), known), mean_power(y_0.numpy(), known)


def mean_power(signal: NDArray[np.float32], known: NDArray[np.bool_] | None = None) -> float:
    """Return P, the mean power of the frequency components (Eq. 13) of (..., H, W) signals, by known pixel.

    The paper's sum (Eq. 11) grows with H W, so P is divided by it here; in b that cancels. `known` (H, W) says which
    pixels there are: the others are put to zero, and the power counts for the rest alone.
    """
    if known is not None:
        signal = np.where(known, signal, 0)
    components = scipy.fft.fft2(signal)  # F(u, v), Eq. 11; (..., H, W)
    power = (components * components.conj()).real.mean(dtype=np.float64)  # E[F F*], Eq. 13
    n_known = np.prod(signal.shape[-2:]) if known is None else known.sum()
    return float(power / n_known)


@cache
def _code() -> str:
    """Return what tells one way of reading, simulating and measuring images from another: its code and libraries."""
    libraries = [version(name) for name in ("numpy", "scipy", "pillow")]
    return hashlib.sha256(repr([code_hash(__name__), libraries]).encode()).hexdigest()


def _kept(path: Path, sha256: str) -> Balance | None:
    """Return what was kept for these images; None where there is nothing, or something else, or damage."""
    record = read_json(path)
    if record.get("code") != _code() or record.get("check") != _check(record.get("balance")):
        return None
    with suppress(TypeError):
        balance = Balance(**record["balance"])
        return balance if balance.sha256 == sha256 else None
    return None


def _keep(path: Path, balance: Balance) -> None:
    # Where the cache cannot be written, all that is lost is the time to compute it again.
    with suppress(StorageError):
        content = asdict(balance)
        write_json(path, {"code": _code(), "check": _check(content), "balance": content})


def _check(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()
