"""ImageNet-1K weights of the encoders, as published: fetched once, kept in a cache folder, loaded strictly.

NVIDIA shares the weights of MambaVision under CC BY-NC-SA 4.0: no commercial use, nor of anything trained from
them. Slickwatch ships none of them. Those of ResNet-34 are torchvision's (BSD).
"""

from __future__ import annotations

import hashlib
import http.client
import pickle
import urllib.error
import urllib.request
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ingest.errors import ModelError, SourceError, UsageError
from ingest.files import user_cache, whole_file

NON_COMMERCIAL = "NVIDIA's weights, CC BY-NC-SA 4.0: not for commercial use"
PROGRESS_BYTES = 2**20


@dataclass(frozen=True)
class Published:
    """Where weights are published, under what licence, and which of them the encoder does not use."""

    url: str
    licence: str
    left_out: frozenset[str]  # the classifier's
    first_convolution: str
    sha256: str = ""  # its first digits, if published

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def _mambavision(size: str, word: str) -> Published:
    return Published(
        f"https://huggingface.co/nvidia/MambaVision-{size}-1K/resolve/main/mambavision_{word}_1k.pth.tar",
        NON_COMMERCIAL,
        frozenset(
            {f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
            | {"head.weight", "head.bias"}
        ),
        "patch_embed.conv_down.0.weight",
    )


PUBLISHED = {
    "T": _mambavision("T", "tiny"),
    "T2": _mambavision("T2", "tiny2"),
    "S": _mambavision("S", "small"),
    "B": _mambavision("B", "base"),
    "L": _mambavision("L", "large"),
    "resnet34": Published(
        "https://download.pytorch.org/models/resnet34-b627a593.pth",
        "torchvision's weights, BSD 3-clause",
        frozenset({"fc.weight", "fc.bias"}),
        "conv1.weight",
        "b627a593",
    ),
}


def load_imagenet(network: nn.Module, encoder: str, cache: Path | None = None) -> None:
    """Load published ImageNet-1K weights into an encoder, or into the `encoder` of a network.

    `encoder` is a key of `PUBLISHED`. Raises `UsageError` for an encoder without published weights, `SourceError`
    where they cannot be fetched, `StorageError` where they cannot be kept, `ModelError` for a damaged file.
    """
    if encoder not in PUBLISHED:
        raise UsageError(
            encoder, "an encoder without published weights", f"leave `pretrained` off, or take {', '.join(PUBLISHED)}"
        )
    published = PUBLISHED[encoder]
    path = fetch(published, cache or user_cache("mambavision"))
    load_published(dict(network.named_children()).get("encoder", network), path, published)


def fetch(published: Published, cache: Path) -> Path:
    """Return the file of weights in the cache folder, fetching it if needed.

    A file put there by hand serves as well, be it the published one or, under the same name with the ending
    `.safetensors`, the `model.safetensors` beside it.
    """
    path = cache / published.file_name
    for present in (path, cache / f"{published.file_name.split('.')[0]}.safetensors"):
        if present.is_file():
            return present
    with whole_file(path) as hidden:
        with hidden.open("wb") as file:
            digest = _download(published, path, file)
        if not digest.startswith(published.sha256):
            raise _not_fetched(published, path, f"its SHA-256 begins with {digest[:8]}, not {published.sha256}")
    return path


def _download(published: Published, path: Path, file: IO[bytes]) -> str:
    """Write what the address gives to a file, and return its SHA-256."""
    digest, done = hashlib.sha256(), 0
    try:
        response = urllib.request.urlopen(published.url, timeout=60)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer as well
        raise _not_fetched(published, path, str(error)) from error
    with response:
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        while block := _next_block(response, published, path):
            file.write(block)
            digest.update(block)
            done += len(block)
    if total is not None and done != total:
        raise _not_fetched(published, path, f"the connection ended after {done} of {total} bytes")
    return digest.hexdigest()


def _next_block(response: Any, published: Published, path: Path) -> bytes:
    # Apart from the writing, so that a broken connection is not taken for a full disk.
    try:
        block: bytes = response.read(PROGRESS_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _not_fetched(published, path, str(error)) from error
    return block


def _not_fetched(published: Published, path: Path, reason: str) -> SourceError:
    reason = " ".join(reason.split())
    return SourceError(
        published.url, f"cannot be fetched ({reason})", f"put the file at {path} by hand ({published.licence})"
    )


def load_published(encoder: nn.Module, path: Path, published: Published) -> None:
    """Load a file of published weights into an encoder: exactly the names outside the classifier.

    The first convolution is fitted to the encoder's channels. Raises `ModelError` for any other difference.
    """
    weights = {name: w for name, w in read_weights(path).items() if name not in published.left_out}
    own = encoder.state_dict()
    for name in own:  # a counter unrelated to the weights, missing in older files
        if name.endswith("num_batches_tracked"):
            weights.setdefault(name, own[name])
    first = published.first_convolution
    if first in weights and first in own:
        weights[first] = fit_first_convolution(weights[first], own[first].shape[1])
    try:
        encoder.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        problem = " ".join(str(error).split())
        raise ModelError(
            path, f"not the weights of this encoder ({problem[:300]})", "take those of its name"
        ) from error


def fit_first_convolution(kernel: Tensor, in_channels: int) -> Tensor:
    """Turn an RGB kernel (out, 3, k, k) into one for `in_channels`, (out, in_channels, k, k).

    Each channel gets the sum over the colours divided by the number of channels, so that an image with the
    same values in every channel gives what the grey RGB image of these values gave.
    """
    if in_channels == kernel.shape[1]:
        return kernel
    return (kernel.sum(dim=1, keepdim=True) / in_channels).repeat(1, in_channels, 1, 1)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read names and tensors from a safetensors or PyTorch file, without running code it may contain.

    Takes them from under `state_dict` and without a common prefix `model.` or `module.`, where there is one.
    """
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        problem = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(path, f"unreadable weights ({problem[0]})", "delete the file and fetch it again") from error
    content = content.get("state_dict", content) if isinstance(content, dict) else None
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(path, "holds no weights by name", "delete the file and fetch it again")
    weights: dict[str, Tensor] = content
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _load_torch(path: Path) -> Any:
    # timm, which trained them, stores the training options beside the weights.
    with torch.serialization.safe_globals([Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)
