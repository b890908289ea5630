"""Everything SAR-JointNet and its training depend on, and the TOML file that sets it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ingest.errors import UsageError

LABEL_LOSSES = ("cross-entropy", "l2")  # Eq. 6, or the rows "without CE"
KINDS = ("joint", "concatenated")


@dataclass(frozen=True)
class JointArchitecture:
    """What a diffusion network is; `models.jointnet.network.build_jointnet` makes it."""

    kind: str = "joint"  # a key of models.jointnet.network.NETWORKS
    classes: int = 2
    channels: tuple[int, ...] = (128, 256, 384, 512)  # of each level, from the finest on
    layers_per_block: int = 2
    attention_levels: int = 1  # coarsest levels with self-attention; the middle always has it
    head_channels: int = 32
    norm_groups: int = 32
    dropout: float = 0.0

    @property
    def divisor(self) -> int:
        """Height and width must be multiples of this."""
        return int(2 ** (len(self.channels) - 1))


@dataclass(frozen=True)
class JointOptions:
    """Everything a training of SAR-JointNet depends on; a TOML file may set any of it."""

    # The network
    kind: str = "joint"
    channels: tuple[int, ...] = (128, 256, 384, 512)
    layers_per_block: int = 2
    attention_levels: int = 1
    head_channels: int = 32
    norm_groups: int = 32
    dropout: float = 0.0

    # The diffusion
    b: float | None = None  # balancing factor; None: Eq. 20 over the training pairs; 1: without balance
    label_loss: str = "cross-entropy"
    timesteps: int = 1000

    # What it sees
    dataset: str = "sos-clean"  # a data set's name, or a folder with train/ and test/
    crop: int = 256  # pixels a side, cut at random from larger images
    turned: bool = False  # flip and turn by right angles at random
    start: str | None = None  # trained diffusion model to go on from, instead of random weights

    # How it learns
    steps: tuple[int, int, int] = (50_000, 150_000, 50_000)  # of the three stages, section 4.2
    batch_size: int = 32
    learning_rate: float = 1e-4
    final_factor: float = 0.1  # of the learning rate in stage 3
    warm_up: int = 0  # steps of each stage
    schedule: str = "constant"  # or "cosine", over each stage
    weight_decay: float = 0.01
    average_decay: float = 0.9999  # of the moving average of the weights, which is what is saved
    seed: int = 1
    save_every: int = 1000

    # Where it runs
    device: str = "cpu"  # "cpu", "cuda", or "auto"
    devices: int = 1
    accumulate: int = 1
    memory_gb: float | None = None  # accumulate in as many parts as it takes to stay below this
    workers: int = 0
    threads: int = 1
    half_precision: bool = False

    def __post_init__(self) -> None:
        self._check("kind", self.kind in KINDS, f"one of {', '.join(KINDS)}")
        self._check("label_loss", self.label_loss in LABEL_LOSSES, f"one of {', '.join(LABEL_LOSSES)}")
        self._check("device", self.device in {"cpu", "cuda", "auto"}, "one of cpu, cuda, auto")
        self._check("schedule", self.schedule in {"constant", "cosine"}, "constant or cosine")
        self._check("steps", len(self.steps) == 3 and min(self.steps) >= 0 and sum(self.steps) > 0, "three numbers")
        self._check("b", self.b is None or self.b > 0, "positive")
        self._check("channels", all(c % self.norm_groups == 0 for c in self.channels), "multiples of norm_groups")
        parts = self.devices * self.accumulate
        self._check("batch_size", self.batch_size % parts == 0, f"a multiple of devices x accumulate = {parts}")
        self._check("crop", self.crop % self.architecture(2).divisor == 0, "divisible by 2 at every level")

    def _check(self, name: str, right: bool, remedy: str) -> None:
        if not right:
            raise UsageError("jointnet options", f"{name} is {getattr(self, name)!r}", f"it must be {remedy}")

    def architecture(self, classes: int) -> JointArchitecture:
        """What to build for a data set of so many classes."""
        own = {f.name: getattr(self, f.name) for f in fields(JointArchitecture) if f.name != "classes"}
        return JointArchitecture(classes=classes, **own)


def read_joint_options(config: Path | None) -> JointOptions:
    """Read a TOML file of options; raises `UsageError` naming an unknown key or an impossible value."""
    if config is None:
        return JointOptions()
    try:
        given: dict[str, Any] = tomllib.loads(config.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(config, f"not a readable TOML file ({error})", "see docs/dakd.md") from error
    known = {f.name for f in fields(JointOptions)}
    for key in given:
        if key not in known:
            raise UsageError(config, f"unknown option {key!r}", f"known are {', '.join(sorted(known))}")
    given.update({key: tuple(value) for key, value in given.items() if isinstance(value, list)})
    return JointOptions(**given)
