"""Validation of a network during training, on held-out pairs."""

from __future__ import annotations

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from ingest.errors import UsageError
from models.classes import IGNORE, OIL, OIL_CLASSES
from models.datasets.pairs import LabelledImages, Selection, Split, held_out_fold
from models.datasets.simulated import SimulatedChips
from models.evaluation.metrics import class_precision, class_recall, confusion_matrix, intersection_over_union
from models.training.segmentation_options import TrainOptions
from preprocess.options import PreprocessOptions

_FOLDS = 20  # one of them is held out


def held_out(real: Split | None, options: TrainOptions) -> tuple[LabelledImages | None, LabelledImages]:
    """Return the real pairs to learn from, and the pairs to watch the learning on.

    The latter are simulated chips; where all training pairs are real, some of these, copies kept together.
    Raises `UsageError` for a data set without training pairs.
    """
    chips = SimulatedChips(options.run.validation_chips, options.data.crop, margin=0)
    if real is None:
        return None, chips
    name = options.data.real or real.name
    if real.train is None:
        raise UsageError(name, "has no pairs to train on", "give a data set with train/ and test/")
    if not options.all_real:
        return real.train, chips
    fold = held_out_fold(real.train, _FOLDS, options.seed)
    if fold is None:
        raise UsageError(name, "has a single group of training pairs", "give pairs of at least two places")
    seen, watched = fold
    return seen, Selection(watched, tuple(range(min(len(watched), options.run.validation_chips))))


@torch.inference_mode()
def scores(
    network: nn.Module,
    images: LabelledImages,
    options: TrainOptions,
    preprocess: PreprocessOptions,
    fabric: Fabric,
) -> dict[str, float]:
    """Score a network: IoU by class where both it and the labels know all five, mIoU, precision and recall of oil.

    Where one of them knows oil alone, everything else is one class.
    """
    network.eval()
    classes = images.classes if len(images.classes) == len(options.classes) else OIL_CLASSES
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for i in range(len(images)):
        image, labels = images.pair(i, preprocess)
        predicted = _predicted(network, image, fabric)
        if classes == OIL_CLASSES:
            labels, predicted = _oil_or_other(labels), predicted == OIL
        confusion += confusion_matrix(labels, predicted, len(classes))
    iou = intersection_over_union(confusion)
    return {
        "n_images": len(images),
        **{f"{name}_iou": round(float(value), 4) for name, value in zip(classes, iou, strict=True)},
        "miou": round(float(np.nanmean(iou)), 4),
        "oil_precision": round(float(class_precision(confusion)[OIL]), 4),
        "oil_recall": round(float(class_recall(confusion)[OIL]), 4),
    }


def _oil_or_other(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(labels == IGNORE, IGNORE, (labels == OIL).astype(np.int64))


def _predicted(network: nn.Module, image: NDArray[np.float32], fabric: Fabric) -> NDArray[np.int64]:
    batch = torch.from_numpy(np.nan_to_num(image))[None].to(fabric.device)
    with fabric.autocast():
        predicted: NDArray[np.int64] = network(batch).argmax(dim=1)[0].cpu().numpy()
    return predicted
