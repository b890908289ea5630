"""Fit the object stage of a model on CSIRO's chips and measure it: docs/results/0008-real-seas.md.

python -m benchmarks.object_stage --model saross-nano-4 --imagenet efficientnet-lite0-57934424.pth --out runs/objects

What is slow is kept in --out and goes on where it stopped. Every figure is of a region that neither the classifier of
the surroundings nor the judge nor its threshold has seen.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from models.checkpoint import load_model, save_model
from models.classes import OIL
from models.datasets.catalogue import data_root
from models.datasets.csiro import SeaChip, SeaChips, labelled_chips
from models.datasets.pairs import chip_input
from models.networks.efficientnet import imagenet_weights
from models.objects import FEATURES, Judge, Sea, Surroundings, save_judge
from models.objects.fit import (
    SURROUNDINGS_PENALTY,
    fit_logistic,
    fitted_judge,
    fitted_surroundings,
    likely_oil,
    out_of_region,
)
from models.objects.stage import measured_candidates
from models.objects.surroundings import surroundings_input
from models.predict import probabilities
from models.simulator import simulate_chip
from preprocess.options import normalised_db

SEED, SIMULATED_SEED, SIMULATED_SIDE = 5, 2_100_001_000, 400
REGIONS, SIMULATED = ("GBR", "JAV", "SIN"), "simulated"
# Chips by region and label whose surroundings are looked at.
LOOKED_AT = {
    ("SIN", True): 260,
    ("SIN", False): 260,
    ("GBR", True): 330,
    ("GBR", False): 450,
    ("JAV", True): 260,
    ("JAV", False): 90,
    ("GGu", True): 63,
    ("GGu", False): 8,
}
LEAST_OIL = 30  # pixels that make a simulated chip one with oil
LEAST_CHIP_SPREAD_DB = 1.0  # of a calibrated sea at 40 m
FALSE_SHARE = 0.05  # of the oil-free chips that may keep a candidate
_N = len(FEATURES)
UNFITTED = Judge("", (0.0,) * _N, (1.0,) * _N, (0.0,) * _N, 0.0, 0.5)
Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Looks:
    """Features of the surroundings of chips, by row."""

    names: tuple[str, ...]
    x: NDArray[np.float32]  # (n, features)
    oil: Bools
    regions: NDArray[np.str_]  # `SIMULATED` for simulated ones


@dataclass(frozen=True, eq=False)
class Found:
    """Candidates, by row; the surroundings' logit is not among their features yet."""

    x: Array  # (n, FEATURES)
    chip: NDArray[np.int64]  # number of the chip in `Looks`
    sure: Bools  # known to be oil
    of_oil_chip: Bools  # on a real chip with oil somewhere
    searched: NDArray[np.int64]  # numbers of the chips that were searched for candidates


def main() -> None:
    """Compute what is not there yet, print the table, and save the model with its object stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="saross-nano-4")
    parser.add_argument("--imagenet", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--searched", type=int, default=40, help="chips of each region and label, for candidates")
    parser.add_argument("--simulated", type=int, default=24)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chips, encoder = labelled_chips(data_root() / "csiro"), imagenet_weights(arguments.imagenet)
    looks = looks_at(chips, encoder, arguments)
    found = candidates_of(chips, looks, arguments)
    table = {region: held_out(region, looks, found) for region in REGIONS}
    print(json.dumps(table, indent=1))
    if arguments.save:
        save(arguments.model, arguments.save, looks, found, encoder, table)


def region_of(chip: SeaChip) -> str:
    """Regions to hold out; two have too few oil-free chips to stand alone and go with a third."""
    return "JAV" if chip.region in {"GGu", "SUE"} else chip.region


def sample(chips: SeaChips) -> list[int]:
    """Draw the numbers of `LOOKED_AT` chips of every region and label, in a random order."""
    by_kind = defaultdict(list)
    for i, chip in enumerate(chips.chips):
        by_kind[chip.region, chip.oil].append(i)
    rng = random.Random(SEED)
    chosen = [i for kind, n in LOOKED_AT.items() for i in rng.sample(by_kind[kind], min(n, len(by_kind[kind])))]
    rng.shuffle(chosen)
    return chosen


def searched_among(chips: SeaChips, each: int) -> list[int]:
    """The first `each` chips of the sample of every region to hold out and label."""
    by_kind = defaultdict(list)
    for i in sample(chips):
        by_kind[region_of(chips.chips[i]), chips.chips[i].oil].append(i)
    return [i for kind in by_kind.values() for i in kind[:each]]


def looks_at(chips: SeaChips, encoder: dict[str, Tensor], arguments: argparse.Namespace) -> Looks:
    """Features of the surroundings of real chips, then of simulated ones."""
    network = Surroundings().eval()
    network.encoder.load_state_dict(encoder)
    folder: Path = arguments.out / "looks"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = sample(chips)
    names = [chips.name(i) for i in chosen] + [f"simulated-{seed}" for seed in range(arguments.simulated)]
    rows = [look(network, partial(real_power, chips, i), folder / f"{chips.name(i)}.npy") for i in chosen]
    oil, regions = [chips.chips[i].oil for i in chosen], [region_of(chips.chips[i]) for i in chosen]
    for seed in range(arguments.simulated):
        power, truth = simulate_chip(SIMULATED_SEED + seed, SIMULATED_SIDE)
        rows.append(look(network, partial(np.asarray, power), folder / f"simulated-{seed}.npy"))
        oil.append(bool(np.count_nonzero(truth == OIL) >= LEAST_OIL))
    regions += [SIMULATED] * arguments.simulated
    return Looks(tuple(names), np.stack(rows), np.array(oil), np.array(regions))


def real_power(chips: SeaChips, index: int) -> NDArray[np.float32]:
    """Grey values taken for amplitudes."""
    return chips.image(index) ** 2


def look(network: Surroundings, power: Callable[[], NDArray[np.floating]], path: Path) -> NDArray[np.float32]:
    """Features of one chip, computed once."""
    if not path.is_file():
        with torch.inference_mode():
            image = torch.from_numpy(surroundings_input(np.sqrt(power())))[None]
            np.save(path, network.features(image)[0].numpy())
    return np.asarray(np.load(path), np.float32)


def candidates_of(chips: SeaChips, looks: Looks, arguments: argparse.Namespace) -> Found:
    """Candidates of the first chips of each region and label, and of the simulated ones."""
    network, checkpoint = load_model(arguments.model)
    options = replace(checkpoint.preprocess, least_chip_spread_db=LEAST_CHIP_SPREAD_DB)
    folder: Path = arguments.out / "probability"
    folder.mkdir(parents=True, exist_ok=True)
    number = {name: i for i, name in enumerate(looks.names)}
    x, chip, sure, of_oil_chip, searched = [], [], [], [], []
    for i in searched_among(chips, arguments.searched):
        grey, name = chips.image(i), chips.name(i)
        plane = predicted(network, chip_input(grey, options), folder / f"{name}.npz")
        for _, features in measured_candidates(plane, Sea(grey**2), UNFITTED, blind):
            x.append(features)
            chip.append(number[name])
            sure.append(False)
            of_oil_chip.append(chips.chips[i].oil)
        searched.append(number[name])
    for seed in range(arguments.simulated):
        power, truth = simulate_chip(SIMULATED_SEED + seed, SIMULATED_SIDE)
        plane = predicted(network, normalised_db(power, options), folder / f"simulated-{seed}.npz")
        for candidate, features in measured_candidates(plane, Sea(power), UNFITTED, blind):
            oil = truth[candidate.rows, candidate.columns][candidate.cells] == OIL
            x.append(features)
            chip.append(number[f"simulated-{seed}"])
            sure.append(bool(oil.mean() > 0.5))
            of_oil_chip.append(False)
    return Found(np.stack(x), np.array(chip), np.array(sure), np.array(of_oil_chip), np.array(searched))


def predicted(network: nn.Module, image: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Class probabilities of one image (H, W), computed once; NaN = no data."""
    if not path.is_file():
        np.savez(path, p=probabilities(network, image[None, None])[0].astype(np.float16))
    plane: NDArray[np.float32] = np.load(path)["p"].astype(np.float32)
    plane[:, np.isnan(image)] = np.nan
    return plane


def blind(image: Tensor) -> Tensor:
    """In place of the surroundings' classifier, which is fitted later."""
    return torch.zeros(len(image))


def held_out(region: str, looks: Looks, found: Found) -> dict[str, float]:
    """Figures of one region with everything, the threshold too, fitted to the others."""
    others = looks.regions != region
    logits = np.zeros(len(others))
    logits[others] = out_of_region(looks.x[others], looks.oil[others], looks.regions[others], SURROUNDINGS_PENALTY)
    fitted = fit_logistic(looks.x[others], looks.oil[others], SURROUNDINGS_PENALTY)
    logits[~others] = fitted.logit(looks.x[~others])
    judge = judge_of(logits, found, others[found.chip])
    score = chip_scores(judge, logits, found)
    real = looks.regions[found.searched] != SIMULATED
    oil, here = looks.oil[found.searched], looks.regions[found.searched] == region
    threshold = float(np.quantile(score[real & ~here & ~oil], 1 - FALSE_SHARE))
    network = np.array([bool((found.chip == i).any()) for i in found.searched])
    return {
        "oil_chips": int(oil[here].sum()),
        "oil_free_chips": int((~oil)[here].sum()),
        "auc_surroundings": auc(logits[found.searched][here], oil[here]),
        "auc_surroundings_all_chips": auc(logits[~others], looks.oil[~others]),
        "auc": auc(score[here], oil[here]),
        "threshold": threshold,
        "false": float((score[here & ~oil] >= threshold).mean()),
        "found": float((score[here & oil] >= threshold).mean()),
        "found_at_5_percent_false": float((score[here & oil] > np.quantile(score[here & ~oil], 0.95)).mean()),
        "network_false": float(network[here & ~oil].mean()),
        "network_found": float(network[here & oil].mean()),
    }


def judge_of(logits: Array, found: Found, used: Bools, threshold: float = 0.5, weights_sha256: str = "") -> Judge:
    """Fit the judge to the candidates in `used`."""
    x = with_logits(logits, found)[used]
    oil = likely_oil(x, found.sure[used], found.of_oil_chip[used], found.chip[used])
    return fitted_judge(x, oil, weights_sha256, threshold)


def with_logits(logits: Array, found: Found) -> Array:
    """The candidates' features with the logit of their surroundings."""
    x = found.x.copy()
    x[:, FEATURES.index("surroundings")] = logits[found.chip]
    return x


def chip_scores(judge: Judge, logits: Array, found: Found) -> Array:
    """The highest probability of a candidate of each chip that was searched; 0 where there is none."""
    probability = judge.probability(with_logits(logits, found))
    return np.array([max(probability[found.chip == i], default=0.0) for i in found.searched])


def auc(score: Array, oil: Bools) -> float:
    """Area under the curve of hits over false alarms."""
    ranks, hits = rankdata(score), int(oil.sum())
    return float((ranks[oil].sum() - hits * (hits + 1) / 2) / (hits * (len(oil) - hits)))


def save(
    model: str,
    folder: Path,
    looks: Looks,
    found: Found,
    encoder: dict[str, Tensor],
    metrics: dict[str, dict[str, float]],
) -> None:
    """Save the model with an object stage fitted to all regions."""
    network, checkpoint = load_model(model)
    logits = out_of_region(looks.x, looks.oil, looks.regions, SURROUNDINGS_PENALTY)
    judge = judge_of(logits, found, np.ones(len(found.chip), np.bool_), weights_sha256=checkpoint.weights_sha256)
    score, oil = chip_scores(judge, logits, found), looks.oil[found.searched]
    threshold = float(np.quantile(score[~oil], 1 - FALSE_SHARE))
    surroundings = fitted_surroundings(encoder, fit_logistic(looks.x, looks.oil, SURROUNDINGS_PENALTY))
    preprocess = replace(checkpoint.preprocess, least_chip_spread_db=LEAST_CHIP_SPREAD_DB)
    save_model(
        folder, network, checkpoint.architecture, preprocess, checkpoint.metrics, checkpoint.training,
        checkpoint.classes, checkpoint.tiling,
    )  # fmt: skip
    save_judge(folder, replace(judge, threshold=threshold, metrics=metrics), surroundings)


if __name__ == "__main__":
    main()
