"""Storing and loading trained diffusion models: safetensors weights beside one JSON file that says all the rest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ingest.errors import ModelError
from ingest.files import write_bytes
from models.checkpoint import WEIGHTS, load_weights, packed_weights
from models.jointnet.diffusion import Balanced
from models.jointnet.network import build_jointnet
from models.jointnet.options import JointArchitecture

FORMAT = 1
RECORD = "jointnet.json"


@dataclass(frozen=True)
class JointCheckpoint:
    """What a diffusion model was made of; generation takes the balancing factor from here."""

    id: str
    architecture: JointArchitecture
    balanced: Balanced
    classes: tuple[str, ...]
    size: int  # pixels a side of what it was trained on
    stage: int  # the last one that is complete: 1 knows images alone
    weights_sha256: str
    training: dict[str, Any] = field(default_factory=dict)


def save_jointnet(
    folder: Path,
    network: nn.Module,
    architecture: JointArchitecture,
    balanced: Balanced,
    classes: tuple[str, ...],
    size: int,
    stage: int,
    training: dict[str, Any],
) -> JointCheckpoint:
    """Write a diffusion model under `folder`, whose name becomes its id; the JSON comes last and makes it complete."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, digest = packed_weights(network)
    name = folder.resolve().name
    checkpoint = JointCheckpoint(name, architecture, balanced, classes, size, stage, digest, training)
    write_bytes(folder / WEIGHTS, weights)
    write_bytes(folder / RECORD, json.dumps({"format": FORMAT, **asdict(checkpoint)}, indent=2).encode())
    return checkpoint


def read_jointnet(folder: Path) -> JointCheckpoint:
    """Read what a diffusion model was made of. Raises `ModelError` where it is missing, damaged or unknown."""
    try:
        record = json.loads((folder / RECORD).read_text())
        if record.pop("format") != FORMAT:
            raise ModelError(folder, "a diffusion model of another format", "use the release that wrote it")
        architecture = record["architecture"]
        return JointCheckpoint(
            **{
                **record,
                "architecture": JointArchitecture(**{**architecture, "channels": tuple(architecture["channels"])}),
                "balanced": Balanced(**record["balanced"]),
                "classes": tuple(record["classes"]),
            }
        )
    except FileNotFoundError:
        raise ModelError(folder, "no diffusion model", "train one: slickwatch train jointnet --out ...") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(folder, f"unreadable diffusion model ({error})", "restore the model folder") from error


def load_jointnet(folder: Path) -> tuple[nn.Module, JointCheckpoint]:
    """Load a diffusion model, ready to sample. Raises `ModelError` as `read_jointnet`, and for damaged weights."""
    checkpoint = read_jointnet(folder)
    build = partial(build_jointnet, checkpoint.architecture)
    return load_weights(folder, checkpoint.weights_sha256, build), checkpoint
