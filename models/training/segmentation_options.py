"""The options of training a segmentation network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from models.classes import CLASSES, OIL_CLASSES
from models.networks.architecture import Architecture
from models.training.augmentation import AUGMENTATIONS
from models.training.losses import DICE
from models.training.options import CommonOptions, Run, Schedule, read_options_file

LABELS = ("soft", "hard")  # of synthetic pairs: with the logits of the generator, or without


@dataclass(frozen=True)
class Model:
    """The network, and the weights it starts from."""

    network: str = "saross"  # a key of models.networks.build.NETWORKS
    encoder: str | None = None  # None: the network's own default
    skip: str = "caft"  # of SAROSS-Net: a key of models.networks.saross.SKIPS
    windows: tuple[int, int] | None = None  # of MambaVision at strides 16 and 32; None: those of its size
    only_oil: bool = False  # two classes, oil and other, instead of five
    pretrained: bool = False  # start the MambaVision encoder from NVIDIA's ImageNet weights
    start: str | None = None  # model to start from, an id or a folder; None: random weights
    frozen_norm: bool = False  # batch normalisation with the statistics of `start`, for very small batches


@dataclass(frozen=True)
class Data:
    """Real and simulated pairs."""

    real: str | None = None  # a data set's name, or a folder with train/ and test/
    real_share: float = 0.25  # of a batch, where `real` is given; includes the synthetic pairs
    stretched_share: float = 0.2  # of the simulated chips, converted to uncalibrated 8-bit images
    margin: int = 0  # pixels simulated around a chip and cut off
    flat_share: float = 0.0  # of the simulated chips: sea without texture
    mosaic_share: float = 0.0  # of the simulated chips: four of half the size, side by side
    real_mosaic: bool = False  # real pairs as four of half the size, side by side
    crop: int = 256  # pixels a side, cut at random from larger real images
    augmentation: str = "light"  # a key of models.training.augmentation.AUGMENTATIONS


@dataclass(frozen=True)
class Distillation:
    """Synthetic pairs, mixed with the real ones, and their soft labels (DAKD)."""

    synthetic: str | None = None  # a folder written by `slickwatch synthesize`
    synthetic_multiple: float = 1.0  # number of its pairs used, in multiples of the real training pairs
    synthetic_share: float | None = None  # of `real_share`; None: in proportion to the sizes of both sets
    synthetic_labels: str = "soft"  # of `LABELS`
    synthetic_mosaic: bool = False  # synthetic pairs as four of half the size, side by side
    temperature: float = 2.0  # T of Eq. 8 and 9
    distillation_weight: float = 0.1  # lambda_kd of Eq. 10


@dataclass(frozen=True)
class Loss:
    """The weights of Eq. 10 on labels."""

    cross_entropy_weight: float = 1.0  # lambda_ce
    dice: str = "mean"  # a key of models.training.losses.DICE; the paper's is "generalised"
    dice_weight: float = 0.5  # lambda_dice


@dataclass(frozen=True)
class SegmentationSchedule(Schedule):
    """Steps, or passes over the real and synthetic training pairs."""

    warm_up: int = 200
    steps: int = 6000
    epochs: float | None = None  # in place of `steps`


@dataclass(frozen=True)
class ValidatedRun(Run):
    """Where a training runs, and how often the network is validated."""

    save_every: int | None = None  # None: `validate_every`
    validate_every: int = 500  # steps
    validation_chips: int = 200  # simulated, or held-out real ones where all training pairs are real


@dataclass(frozen=True)
class TrainOptions(CommonOptions):
    """Everything the training of a segmentation network depends on."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    distillation: Distillation = field(default_factory=Distillation)
    loss: Loss = field(default_factory=Loss)
    schedule: SegmentationSchedule = field(default_factory=SegmentationSchedule)
    run: ValidatedRun = field(default_factory=ValidatedRun)

    resumable_with: ClassVar[tuple[str, ...]] = ("synthetic",)  # the folder may move; its pairs are compared

    def __post_init__(self) -> None:
        super().__post_init__()
        data = self.data
        self._check("dice", self.loss.dice in DICE, f"one of {', '.join(DICE)}")
        self._check("augmentation", data.augmentation in AUGMENTATIONS, f"one of {', '.join(AUGMENTATIONS)}")
        self._check("real_share", 0 <= data.real_share <= 1, "between 0 and 1")
        self._check("epochs", self.schedule.epochs is None or data.real is not None, "omitted without `real` pairs")
        self._check("crop", data.crop >= 32 and data.crop % 2 == 0, "even, and at least 32")
        self._check_distillation()

    def _check_distillation(self) -> None:
        own, share = self.distillation, self.distillation.synthetic_share
        self._check("synthetic", own.synthetic is None or self.data.real is not None, "omitted without `real` pairs")
        self._check("synthetic_labels", own.synthetic_labels in LABELS, f"one of {', '.join(LABELS)}")
        self._check("synthetic_multiple", own.synthetic_multiple >= 0, "at least 0")
        self._check("synthetic_share", share is None or 0 <= share <= 1, "between 0 and 1")
        self._check("temperature", own.temperature > 0, "above 0")

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the network."""
        return OIL_CLASSES if self.model.only_oil else CLASSES

    @property
    def architecture(self) -> Architecture:
        """What to build, as recorded in the checkpoint."""
        model = self.model
        return Architecture(
            model.network, model.encoder, classes=len(self.classes), skip=model.skip, windows=model.windows
        )

    @property
    def all_real(self) -> bool:
        """Whether no simulated pairs are trained on."""
        return self.data.real is not None and self.data.real_share == 1


def read_options(config: Path | None) -> TrainOptions:
    """Read a TOML file of training options; raises `UsageError` naming an unknown key or an impossible value."""
    return read_options_file(config, TrainOptions, "docs/researcher/training.md")
