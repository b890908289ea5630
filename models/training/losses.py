"""The losses SAROSS-Net is trained with (DAKD paper, Eq. 6 and 8-10)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.classes import IGNORE, NOT_OIL, OIL


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(label) over labelled pixels, Eq. 6; for `NOT_OIL`, p is that of all other classes together.

    logits (B, C, H, W); labels (B, H, W) of 0..C-1, `NOT_OIL` or `IGNORE`. Zero where nothing is labelled.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    not_oil = _log_not_oil(log_p)
    known = labels < logits.shape[1]
    chosen = log_p.gather(1, torch.where(known, labels, 0).unsqueeze(1)).squeeze(1)
    log_likelihood = torch.where(known, chosen, not_oil)
    labelled = labels != IGNORE
    return -(log_likelihood * labelled).sum() / labelled.sum().clamp_min(1)


def generalised_dice(p: Tensor, truth: Tensor) -> Tensor:
    """Generalised Dice loss (Sudre et al. 2017, arXiv 1707.03237): classes weighted by 1 / volume**2.

    p, truth: (B, C, H, W) probabilities and one-hot labels; volumes are taken over the batch. Classes without
    a label are left out, since their weight would be infinite.
    """
    volume, overlap, total = _volumes(p, truth)
    weight = torch.where(volume > 0, volume.clamp_min(1) ** -2, 0)
    return 1 - 2 * (weight * overlap).sum() / (weight * total).sum().clamp_min(torch.finfo(torch.float32).tiny)


def mean_dice(p: Tensor, truth: Tensor) -> Tensor:
    """Dice loss of each class that has a label, averaged; arguments as for `generalised_dice`.

    Where one class has ten pixels and another ten million, the squared weights see nothing but the ten.
    """
    volume, overlap, total = _volumes(p, truth)
    present = volume > 0
    per_class = 1 - 2 * overlap / total.clamp_min(torch.finfo(torch.float32).tiny)
    return (per_class * present).sum() / present.sum().clamp_min(1)


DICE = {"generalised": generalised_dice, "mean": mean_dice}


def dice(logits: Tensor, labels: Tensor, kind: str = "generalised") -> Tensor:
    """Soft Dice loss of a key of `DICE`; `IGNORE` does not count, and images labelled with `NOT_OIL` have two classes.

    logits (B, C, H, W); labels (B, H, W), of whose classes a network of two tells oil alone. The two kinds of images
    are averaged by their number.
    """
    p = logits.float().softmax(dim=1)
    if logits.shape[1] == 2:
        labels = torch.where((labels == OIL) | (labels == IGNORE), labels, NOT_OIL)
    partial = (labels == NOT_OIL).flatten(1).any(dim=1)
    losses = []
    if not partial.all():
        losses.append((_dice(p[~partial], labels[~partial], kind), (~partial).sum()))
    if partial.any():
        oil = p[partial, OIL]
        oil_labels = torch.where(labels[partial] == NOT_OIL, 0, labels[partial])
        losses.append((_dice(torch.stack([1 - oil, oil], dim=1), oil_labels, kind), partial.sum()))
    return torch.stack([loss * n for loss, n in losses]).sum() / len(labels)


def distillation(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between softened teacher and softened student, times T squared; Eq. 8 and 9.

    logits (B, C, H, W); teacher_logits (B, C', H, W), NaN where there is no teacher. The mean is over the pixels that
    have one; zero where none has. Where one of the two tells oil alone, both are compared on oil and the rest.
    """
    student, teacher = logits.float(), teacher_logits.float()
    if student.shape[1] != teacher.shape[1]:
        student, teacher = _oil_or_not(student), _oil_or_not(teacher)
    taught = ~teacher.isnan().any(dim=1)
    q = (torch.where(taught.unsqueeze(1), teacher, 0) / temperature).softmax(dim=1)  # Eq. 8
    log_p = F.log_softmax(student / temperature, dim=1)
    loss = -(q * log_p).sum(dim=1)  # (B, H, W)
    return temperature**2 * (loss * taught).sum() / taught.sum().clamp_min(1)  # Eq. 9


def _oil_or_not(logits: Tensor) -> Tensor:
    """Merge all classes but oil; (B, 2, H, W). Merged before they are softened, or a high T would favour the many."""
    log_p = F.log_softmax(logits, dim=1)
    return torch.stack([_log_not_oil(log_p), log_p[:, OIL]], dim=1)


def _log_not_oil(log_p: Tensor) -> Tensor:
    others = [c for c in range(log_p.shape[1]) if c != OIL]
    return log_p[:, others].logsumexp(dim=1)


def _dice(p: Tensor, labels: Tensor, kind: str) -> Tensor:
    """p (B, C, H, W) probabilities, labels (B, H, W) of 0..C-1 or `IGNORE`."""
    labelled = (labels != IGNORE).unsqueeze(1)
    truth = F.one_hot(torch.where(labels == IGNORE, 0, labels), p.shape[1]).permute(0, 3, 1, 2) * labelled
    return DICE[kind](p * labelled, truth)


def _volumes(p: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums by class, over batch and image: of the truth, of its overlap with p, and of both."""
    volume = truth.sum(dim=(0, 2, 3)).float()
    return volume, (truth * p).sum(dim=(0, 2, 3)), volume + p.sum(dim=(0, 2, 3))
