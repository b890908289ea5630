"""The options of SAR-JointNet and its training."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar

from models.training.options import CommonOptions, Optimiser, Run, Schedule, read_options_file

LABEL_LOSSES = ("cross-entropy", "l2")  # Eq. 6, or the rows "without CE"
KINDS = ("joint", "concatenated")


@dataclass(frozen=True)
class Layers:
    """The kind of network and its layers."""

    kind: str = "joint"  # of `KINDS`, the keys of models.jointnet.network.NETWORKS
    channels: tuple[int, ...] = (128, 256, 384, 512)  # of each level, from the finest on
    layers_per_block: int = 2
    attention_levels: int = 1  # coarsest levels with self-attention; the middle always has it
    head_channels: int = 32
    norm_groups: int = 32
    dropout: float = 0.0


@dataclass(frozen=True)
class JointArchitecture(Layers):
    """The architecture that `models.jointnet.network.build_jointnet` builds."""

    classes: int = 2

    @property
    def divisor(self) -> int:
        """Height and width must be multiples of this."""
        return int(2 ** (len(self.channels) - 1))


@dataclass(frozen=True)
class Model(Layers):
    """The network, and the weights it starts from."""

    start: str | None = None  # folder of a diffusion model to start from; None: random weights


@dataclass(frozen=True)
class Diffusion:
    """The diffusion process and its loss."""

    b: float | None = None  # balancing factor; None: Eq. 20 over the training pairs; 1: no balancing
    label_loss: str = "cross-entropy"  # of `LABEL_LOSSES`
    timesteps: int = 1000


@dataclass(frozen=True)
class Data:
    """The training pairs."""

    dataset: str = "sos-clean"  # a data set's name, or a folder with train/ and test/
    crop: int = 256  # pixels a side, cut at random from larger images
    turned: bool = False  # flip and rotate by right angles at random


@dataclass(frozen=True)
class StagedSchedule(Schedule):
    """The three stages of section 4.2, each with its own warm-up and decay."""

    batch_size: int = 32
    learning_rate: float = 1e-4
    decay: str = "constant"
    steps: tuple[int, int, int] = (50_000, 150_000, 50_000)  # of each stage
    final_factor: float = 0.1  # of the learning rate in stage 3


@dataclass(frozen=True)
class JointOptions(CommonOptions):
    """Everything the training of SAR-JointNet depends on."""

    model: Model = field(default_factory=Model)
    diffusion: Diffusion = field(default_factory=Diffusion)
    data: Data = field(default_factory=Data)
    schedule: StagedSchedule = field(default_factory=StagedSchedule)
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(0.01, 0.9999, average_warm_up=True))
    run: Run = field(default_factory=lambda: Run(workers=0, half_precision=False))

    subject: ClassVar[str] = "jointnet options"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, least in self._minima():
            self._check(name, value >= least, f"at least {least}")
        self._check("dropout", 0 <= self.model.dropout < 1, "at least 0 and below 1")
        self._check("kind", self.model.kind in KINDS, f"one of {', '.join(KINDS)}")
        self._check("label_loss", self.diffusion.label_loss in LABEL_LOSSES, f"one of {', '.join(LABEL_LOSSES)}")
        self._check("b", self.diffusion.b is None or self.diffusion.b > 0, "above 0")
        self._check_steps()
        self._check_shapes()

    def _minima(self) -> list[tuple[str, float, int]]:
        model = self.model
        return [
            ("layers_per_block", model.layers_per_block, 1),
            ("attention_levels", model.attention_levels, 0),
            ("head_channels", model.head_channels, 1),
            ("norm_groups", model.norm_groups, 1),
            ("timesteps", self.diffusion.timesteps, 1),
            ("crop", self.data.crop, 1),
            ("final_factor", self.schedule.final_factor, 0),
        ]

    def _check_steps(self) -> None:
        steps = self.schedule.steps
        self._check("steps", len(steps) == 3 and min(steps) >= 0 and sum(steps) > 0, "three numbers")
        alone = "above 0 in stage 3, the only one of a concatenated network"
        self._check("steps", self.model.kind == "joint" or steps[2] > 0, alone)

    def _check_shapes(self) -> None:
        model, crop, divisor = self.model, self.data.crop, self.architecture(2).divisor
        widths = model.channels and all(c > 0 and c % model.norm_groups == 0 for c in model.channels)
        self._check("channels", bool(widths), "multiples of norm_groups")
        attended = min(model.channels[-max(1, model.attention_levels) :])
        self._check("head_channels", model.head_channels <= attended, f"at most {attended}")
        self._check("crop", crop % divisor == 0, "divisible by 2 at every level")
        self._check("crop", crop >= 2 * divisor, f"at least {2 * divisor} for so many levels")

    def architecture(self, classes: int) -> JointArchitecture:
        """Return what to build for a data set of so many classes."""
        return JointArchitecture(**{f.name: getattr(self.model, f.name) for f in fields(Layers)}, classes=classes)


def read_joint_options(config: Path | None) -> JointOptions:
    """Read a TOML file of options; raises `UsageError` naming an unknown key or an impossible value."""
    return read_options_file(config, JointOptions, "docs/researcher/dakd.md")
