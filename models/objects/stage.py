"""The object stage on an image: candidates are found, measured, judged, and rejected if they are not oil."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.checkpoint import model_folder
from models.classes import LOOK_ALIKE, OIL
from models.objects.candidates import Candidate, Mask, find_candidates
from models.objects.features import REACH, candidate_features
from models.objects.judge import Judge, load_judge
from models.objects.surroundings import SIDE, Surroundings, surroundings_input, window_around
from preprocess.memory_map import create_memory_map

Floats = NDArray[np.floating]
_STEP = SIDE // 4  # surroundings are evaluated on a grid this wide, so that neighbours share a result


@dataclass(frozen=True, eq=False)
class Sea:
    """The image on which candidates are measured, read by windows: it may be mapped and larger than memory."""

    power: Floats  # (H, W), linear, of any unit, NaN = no data
    land: Mask | None = None  # (H, W)

    def window(self, rows: slice, columns: slice) -> Floats:
        """Power, NaN on land as well."""
        power = np.asarray(self.power[rows, columns])
        return power if self.land is None else np.where(self.land[rows, columns], np.nan, power)


@dataclass(frozen=True, eq=False)
class Verdict:
    """The results for one candidate."""

    candidate: Candidate
    features: NDArray[np.float64]
    oil_probability: float
    accepted: bool


def judge_image(
    probability: NDArray[np.float32],
    sea: Sea,
    judge: Judge,
    surroundings: Surroundings,
    rejected: NDArray[np.float32] | None = None,
) -> list[Verdict]:
    """Judge the candidates of an image; the oil of rejected ones becomes look-alike in `probability`.

    probability: (classes, H, W), changed in place, may be mapped. `rejected`, (H, W), gets the oil of rejected ones.
    """
    verdicts = []
    for candidate, features in measured_candidates(probability, sea, judge, surroundings):
        oil_probability = float(judge.probability(features[None])[0])
        verdicts.append(Verdict(candidate, features, oil_probability, oil_probability >= judge.threshold))
    for verdict in verdicts:
        if not verdict.accepted:
            _reject(probability, verdict.candidate, rejected)
    return verdicts


def measured_candidates(
    probability: Floats, sea: Sea, judge: Judge, surroundings: Callable[[Tensor], Tensor]
) -> list[tuple[Candidate, NDArray[np.float64]]]:
    """Return the candidates with their features; arguments as for `judge_image`, nothing is changed."""
    shape = (probability.shape[1], probability.shape[2])
    candidates = list(find_candidates(probability[OIL], judge.candidates))
    looks: dict[tuple[int, int], tuple[float, float]] = {}
    measured = []
    for candidate in candidates:
        rows, columns = window_around(_on_grid(candidate.middle), shape)
        at = rows.start, columns.start
        if at not in looks:
            covered = probability[OIL, rows, columns] >= judge.candidates.grow
            looks[at] = _logit(sea.window(rows, columns), surroundings), float(covered.mean())
        around = candidate.widened(REACH, shape)
        measured.append(
            (candidate, candidate_features(candidate, around, probability, sea.window(*around), *looks[at]))
        )
    return measured


def _on_grid(middle: tuple[int, int]) -> tuple[int, int]:
    row, column = (at // _STEP * _STEP + _STEP // 2 for at in middle)
    return row, column


def _logit(power: Floats, surroundings: Callable[[Tensor], Tensor]) -> float:
    image = torch.from_numpy(surroundings_input(np.sqrt(power)))[None]
    with torch.inference_mode():
        return float(surroundings(image)[0])


def _reject(probability: NDArray[np.float32], candidate: Candidate, rejected: NDArray[np.float32] | None) -> None:
    window = probability[:, candidate.rows, candidate.columns]
    window[LOOK_ALIKE][candidate.cells] += window[OIL][candidate.cells]
    if rejected is not None:
        rejected[candidate.rows, candidate.columns][candidate.cells] = window[OIL][candidate.cells]
    window[OIL][candidate.cells] = 0


def judge_scene(
    probability_file: Path, sea: Sea, model: str, weights_sha256: str, oil_file: Path, rejected_file: Path
) -> tuple[int, int] | None:
    """Judge the candidates of a scene, whose class probabilities are changed in their file.

    Writes `oil_file`, (H, W) calibrated probability of oil of each candidate's cells, NaN elsewhere, and
    `rejected_file`, (H, W) probability of oil that rejected candidates had by pixel, 0 elsewhere. Returns how many
    candidates there were and how many were rejected; None, and no file, for a model without an object stage. Raises
    `ModelError` for a damaged one.
    """
    loaded = load_judge(model_folder(model), weights_sha256)
    if loaded is None:
        return None
    probability: NDArray[np.float32] = np.load(probability_file, mmap_mode="r+")
    judged, rejected = (create_memory_map(path, probability.shape[1:]) for path in (oil_file, rejected_file))
    judged[:], rejected[:] = np.nan, 0
    verdicts = judge_image(probability, sea, *loaded, rejected)
    for verdict in verdicts:
        candidate = verdict.candidate
        judged[candidate.rows, candidate.columns][candidate.cells] = verdict.oil_probability
    return len(verdicts), sum(not verdict.accepted for verdict in verdicts)
