"""Everything SAR-JointNet and its training depend on, and the TOML file that sets it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ingest.errors import UsageError
from models.training.options_file import read_options_file

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
        for name, kind in get_type_hints(JointOptions).items():
            said = "a list of whole numbers" if get_origin(kind) is tuple else str(getattr(kind, "__name__", kind))
            self._check(name, _is_of(getattr(self, name), kind), said)
        for name, least in _LEAST.items():
            value = getattr(self, name)
            self._check(name, value is None or value >= least, f"{least} at least")
        for name in ("dropout", "average_decay"):
            self._check(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        self._check("kind", self.kind in KINDS, f"one of {', '.join(KINDS)}")
        self._check("label_loss", self.label_loss in LABEL_LOSSES, f"one of {', '.join(LABEL_LOSSES)}")
        self._check("device", self.device in {"cpu", "cuda", "auto"}, "one of cpu, cuda, auto")
        self._check("schedule", self.schedule in {"constant", "cosine"}, "constant or cosine")
        self._check("steps", len(self.steps) == 3 and min(self.steps) >= 0 and sum(self.steps) > 0, "three numbers")
        joint = self.kind == "joint"
        self._check("steps", joint or self.steps[2] > 0, "some in stage 3, the only one of a concatenated network")
        self._check("b", self.b is None or self.b > 0, "positive")
        self._check("memory_gb", self.memory_gb is None or self.memory_gb > 0, "positive")
        widths = self.channels and all(c > 0 and c % self.norm_groups == 0 for c in self.channels)
        self._check("channels", bool(widths), "multiples of norm_groups")
        attended = self.channels[-max(1, self.attention_levels) :]
        self._check("head_channels", self.head_channels <= min(attended), f"{min(attended)} at most")
        parts = self.devices * self.accumulate
        self._check("batch_size", self.batch_size % parts == 0, f"a multiple of devices x accumulate = {parts}")
        least = 2 * self.architecture(2).divisor
        self._check("crop", self.crop % (least // 2) == 0, "divisible by 2 at every level")
        self._check("crop", self.crop >= least, f"{least} at least for so many levels")

    def _check(self, name: str, right: bool, remedy: str) -> None:
        if not right:
            raise UsageError("jointnet options", f"{name} is {getattr(self, name)!r}", f"it must be {remedy}")

    def architecture(self, classes: int) -> JointArchitecture:
        """What to build for a data set of so many classes."""
        own = {f.name: getattr(self, f.name) for f in fields(JointArchitecture) if f.name != "classes"}
        return JointArchitecture(classes=classes, **own)


# What a training cannot do with less of.
_LEAST = {
    "layers_per_block": 1, "attention_levels": 0, "head_channels": 1, "norm_groups": 1, "timesteps": 1, "crop": 1,
    "batch_size": 1, "learning_rate": 0, "final_factor": 0, "warm_up": 0, "weight_decay": 0, "seed": 0,
    "save_every": 1, "devices": 1, "accumulate": 1, "workers": 0, "threads": 1,
}  # fmt: skip


def _is_of(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated kind; whole numbers are floats too, and truth values are no numbers."""
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(type(one) is int for one in value)
    kinds = get_args(kind) or (kind,)
    return type(value) in kinds or (type(value) is int and float in kinds)


def read_joint_options(config: Path | None) -> JointOptions:
    """Read a TOML file of options; raises `UsageError` naming an unknown key or an impossible value."""
    return read_options_file(config, JointOptions, "docs/researcher/dakd.md")
