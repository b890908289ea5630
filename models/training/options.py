"""Everything a training depends on, and the TOML file that sets it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ingest.errors import UsageError
from models.classes import CLASSES, OIL_CLASSES
from models.networks.architecture import Architecture
from models.training.augmentation import AUGMENTATIONS
from models.training.losses import DICE
from models.training.options_file import read_options_file

SCHEDULES = ("cosine", "constant")  # of the learning rate, after the warm-up
LABELS = ("soft", "hard")  # of synthetic pairs: with the logits of what made them, or without


@dataclass(frozen=True)
class TrainOptions:
    """Everything a training depends on; a TOML file may set any of it."""

    # The network
    network: str = "saross"  # a key of models.networks.build.NETWORKS
    encoder: str | None = None  # None: the network's own default
    skip: str = "caft"  # of SAROSS-Net: a key of models.networks.saross.SKIPS
    windows: tuple[int, int] | None = None  # of MambaVision at strides 16 and 32; None: those of its size
    only_oil: bool = False  # two classes, oil and other, instead of five
    pretrained: bool = False  # start the MambaVision encoder from NVIDIA's ImageNet weights
    start: str | None = None  # model to start from, an id or a folder; None: random weights

    # What it sees
    steps: int = 6000
    epochs: float | None = None  # passes over the real training pairs and the synthetic ones used, instead of steps
    batch_size: int = 8  # of one step, over all devices and accumulated parts
    real: str | None = None  # real pairs: a data set's name, or a folder with train/ and test/
    real_share: float = 0.25  # of a batch, where `real` is given; with the synthetic pairs, where there are any
    stretched_share: float = 0.2  # of the simulated chips that come as uncalibrated 8-bit images would
    margin: int = 0  # pixels of sea simulated around a chip, and cut off
    flat_share: float = 0.0  # of the simulated chips that are a sea without any texture
    mosaic_share: float = 0.0  # of the simulated chips that are four of half the size, side by side
    real_mosaic: bool = False  # real pairs come as four of half the size, side by side
    crop: int = 256  # pixels a side of what the network sees, cut at random from larger real images
    augmentation: str = "light"  # a key of models.training.augmentation.AUGMENTATIONS

    # Synthetic pairs, mixed with the real ones (DAKD)
    synthetic: str | None = None  # a folder that `slickwatch synthesize` wrote
    synthetic_multiple: float = 1.0  # how many of its pairs are used, in multiples of the real training pairs
    synthetic_share: float | None = None  # of `real_share`; None: as many as both sets mixed evenly have
    synthetic_labels: str = "soft"
    synthetic_mosaic: bool = False  # synthetic pairs come as four of half the size, side by side
    temperature: float = 2.0  # T of Eq. 8 and 9
    distillation_weight: float = 0.1  # lambda_kd of Eq. 10

    # How it learns
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warm_up: int = 200  # steps
    weight_decay: float = 0.05
    cross_entropy_weight: float = 1.0  # lambda_ce of Eq. 10
    dice: str = "mean"  # a key of models.training.losses.DICE; the paper's is "generalised"
    dice_weight: float = 0.5  # lambda_dice of Eq. 10
    frozen_norm: bool = False  # batch normalisation with the statistics of `start`, for batches too small for their own
    average_decay: float = 0.998  # of the moving average of the weights, which is what is saved; 0: none
    seed: int = 1

    # How it is watched
    validation_chips: int = 200  # simulated, or real ones held out where all training pairs are real
    validate_every: int = 500  # steps; the state to resume from is written then
    save_every: int | None = None  # steps between two such states; None: `validate_every`

    # Where it runs
    device: str = "cpu"  # "cpu", "cuda", or "auto": the accelerator where there is one
    devices: int = 1  # processes that share a batch, each on a device of its own
    accumulate: int = 1  # parts in which a process takes its share of a batch, to save memory
    memory_gb: float | None = None  # of a process: `accumulate` is raised until a step fits into it
    workers: int = 1  # processes that prepare pairs, for each device
    threads: int = 1
    half_precision: bool = True  # bfloat16 where it helps, float32 weights

    def __post_init__(self) -> None:
        self._check("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}")
        self._check("dice", self.dice in DICE, f"one of {', '.join(DICE)}")
        self._check("device", self.device in {"cpu", "cuda", "auto"}, "one of cpu, cuda, auto")
        self._check("augmentation", self.augmentation in AUGMENTATIONS, f"one of {', '.join(AUGMENTATIONS)}")
        self._check("real_share", 0 <= self.real_share <= 1, "between 0 and 1")
        parts = self.devices * self.accumulate
        self._check("batch_size", self.batch_size % parts == 0, f"a multiple of devices x accumulate = {parts}")
        self._check(
            "epochs", self.epochs is None or self.real is not None, "left out without `real` pairs to pass over"
        )
        self._check_synthetic()
        self._check("save_every", self.save_every is None or self.save_every > 0, "1 at least")
        self._check("memory_gb", self.memory_gb is None or self.memory_gb > 0, "above 0")
        self._check("crop", self.crop >= 32 and self.crop % 2 == 0, "even, and 32 at least")

    def _check_synthetic(self) -> None:
        share = self.synthetic_share
        self._check(
            "synthetic", self.synthetic is None or self.real is not None, "left out without `real` pairs to mix with"
        )
        self._check("synthetic_labels", self.synthetic_labels in LABELS, f"one of {', '.join(LABELS)}")
        self._check("synthetic_multiple", self.synthetic_multiple >= 0, "0 at least")
        self._check("synthetic_share", share is None or 0 <= share <= 1, "between 0 and 1")
        self._check("temperature", self.temperature > 0, "above 0")

    def _check(self, name: str, right: bool, remedy: str) -> None:
        if not right:
            raise UsageError("training options", f"{name} is {getattr(self, name)!r}", f"it must be {remedy}")

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the network tells apart."""
        return OIL_CLASSES if self.only_oil else CLASSES

    @property
    def architecture(self) -> Architecture:
        """What to build, and what the checkpoint will say was built."""
        return Architecture(
            self.network, self.encoder, classes=len(self.classes), skip=self.skip, windows=self.windows
        )  # fmt: skip

    @property
    def all_real(self) -> bool:
        """Whether the training sees real pairs alone."""
        return self.real is not None and self.real_share == 1


def read_options(config: Path | None) -> TrainOptions:
    """Read a TOML file of training options; raises `UsageError` naming an unknown key or an impossible value."""
    return read_options_file(config, TrainOptions, "docs/researcher/training.md")
