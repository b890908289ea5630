"""Fit the object stage of a model on real and simulated seas and measure it: docs/results/0008-real-seas.md.

python -m benchmarks.object_stage --model saross-nano-4 --imagenet efficientnet-lite0-57934424.pth --out runs/objects

What is slow is kept in --out and goes on where it stopped. Every figure is of a region that neither the classifier of
the surroundings nor the judge has seen; SOS counts as a region.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from ingest.progress import step
from models.checkpoint import load_model, packed_weights, save_model
from models.classes import OIL
from models.datasets.catalogue import data_root
from models.datasets.csiro import SeaChip, SeaChips, labelled_chips
from models.datasets.pairs import LabelledImages, chip_input, spread_out
from models.datasets.sos import sos_clean
from models.evaluation.calibration import expected_calibration_error, oil_calibration
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
SOS = {"SOS": "sentinel", "PALSAR": "alos"}  # its sensors, by region
WINDOW = (180, 281)  # pixels a side of the windows that stand for images of finer pixels
LEAST_OIL = 100  # pixels that make an image with a mask one with oil
MOSTLY, HARDLY = 0.5, 0.1  # share of oil in a candidate that is oil, and in one that is none
LEAST_CHIP_SPREAD_DB = 1.0  # of a calibrated sea at 40 m
THRESHOLD = 0.5  # oil is likelier than not
# What tells oil from look-alikes on seas that the judge has not seen; other features do so on those it has seen alone.
JUDGED = ("surroundings", "mean_probability", "log_cells")
_N = len(FEATURES)
UNFITTED = Judge("", (0.0,) * _N, (1.0,) * _N, (0.0,) * _N, 0.0, 0.5)
Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class View:
    """An image, or a window of one, and what is known of it; read when asked for."""

    name: str
    region: str
    oil: bool
    searched: bool  # for candidates too
    read: Callable[[], tuple[NDArray[np.float32], NDArray[np.int64] | None]]  # power and, where there are any, labels

    @property
    def real(self) -> bool:
        """Whether the image is one that a radar saw."""
        return self.region != SIMULATED


@dataclass(frozen=True, eq=False)
class Found:
    """Candidates, by row; the surroundings' logit is not among their features yet."""

    x: Array  # (n, FEATURES)
    view: NDArray[np.int64]  # number of the view
    sure: Bools  # known to be oil
    of_oil_chip: Bools  # on a chip of which only that is known that it has oil somewhere


def main() -> None:
    """Compute what is not there yet, print the table, and save the model with its object stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="saross-nano-4")
    parser.add_argument("--imagenet", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--searched", type=int, default=40, help="chips of each region and label, for candidates")
    parser.add_argument("--simulated", type=int, default=24)
    parser.add_argument("--sos", type=int, default=120, help="training images of SOS, of each sensor")
    parser.add_argument(
        "--fold",
        nargs="*",
        default=[],
        metavar="REGION=MODEL",
        help="models that have not seen a region, to find the candidates there in place of --model",
    )
    parser.add_argument("--looks-only", action="store_true", help="compute what does not depend on the model")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoder, folder = imagenet_weights(arguments.imagenet), arguments.out
    views = [
        *chip_views(labelled_chips(data_root() / "csiro"), arguments.searched),
        *(view for region, sensor in SOS.items() for view in sos_views(sensor, region, arguments.sos)),
        *simulated_views(arguments.simulated),
    ]
    x = looks_at(views, encoder, folder / "looks")
    if arguments.looks_only:
        return
    found = candidates_of(views, arguments.model, dict(fold.split("=", 1) for fold in arguments.fold), folder)
    table = {region: held_out(region, views, x, found) for region in (*REGIONS, *SOS)}
    print(json.dumps(table, indent=1))
    if arguments.save:
        save(arguments.model, arguments.save, views, x, found, encoder, table)


def region_of(chip: SeaChip) -> str:
    """Regions to hold out; two have too few oil-free chips to stand alone and go with a third."""
    return "JAV" if chip.region in {"GGu", "SUE"} else chip.region


def chip_views(chips: SeaChips, searched: int) -> Iterator[View]:
    """CSIRO's chips; of oil-free ones also a window, which is as free of oil."""
    counted: Counter[tuple[str, bool]] = Counter()
    for i in np.random.default_rng(SEED).permutation(len(chips)):
        chip, name = chips.chips[i], chips.name(i)
        region = region_of(chip)
        counted[region, chip.oil] += 1
        chosen = counted[region, chip.oil] <= searched
        yield View(name, region, chip.oil, chosen, partial(_chip, chips, i))
        if not chip.oil:
            window = _window((400, 400), np.random.default_rng(i))
            yield View(f"{name}-window", region, False, chosen, partial(_part, partial(_chip, chips, i), window))


def sos_views(sensor: str, region: str, count: int) -> Iterator[View]:
    """SOS's images that repeat no test image, and of each a window with oil and one without, where there are such."""
    _, images = sos_clean(data_root(), sensor).to_learn()
    images = spread_out(images, count)
    for i in range(len(images)):
        read = partial(_pair, images, i)
        mask = read()[1]
        assert mask is not None
        name = f"{region}-{images.name(i)}"
        yield View(name, region, bool((mask == OIL).sum() >= LEAST_OIL), True, read)
        windows = [_window((256, 256), np.random.default_rng((i, attempt))) for attempt in range(20)]
        oil = [int((mask[window] == OIL).sum()) for window in windows]
        for with_oil, chosen in ((True, [n >= LEAST_OIL for n in oil]), (False, [n == 0 for n in oil])):
            if any(chosen):
                kind = "oil-window" if with_oil else "window"
                yield View(f"{name}-{kind}", region, with_oil, True, partial(_part, read, windows[chosen.index(True)]))


def simulated_views(count: int) -> Iterator[View]:
    """Simulated chips."""
    for seed in range(count):
        read = cache(partial(_simulated, SIMULATED_SEED + seed))
        oil = bool(np.count_nonzero(read()[1] == OIL) >= LEAST_OIL)
        yield View(f"simulated-{seed}", SIMULATED, oil, True, read)


def _chip(chips: SeaChips, index: int) -> tuple[NDArray[np.float32], None]:
    return chips.power(index), None


def _pair(images: LabelledImages, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return images.power(index), images.grey(index)[1]


def _simulated(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    power, truth = simulate_chip(seed, SIMULATED_SIDE)
    return power, truth.astype(np.int64)


def _part(
    read: Callable[[], tuple[NDArray[np.float32], NDArray[np.int64] | None]], window: tuple[slice, slice]
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    power, mask = read()
    return power[window], None if mask is None else mask[window]


def _window(shape: tuple[int, int], rng: np.random.Generator) -> tuple[slice, slice]:
    side = min(int(rng.integers(*WINDOW)), *(n - 40 for n in shape))
    top, left = (int(rng.integers(n - side + 1)) for n in shape)
    return slice(top, top + side), slice(left, left + side)


def looks_at(views: Sequence[View], encoder: dict[str, Tensor], folder: Path) -> NDArray[np.float32]:
    """Features of the surroundings of each view, (views, features); computed once."""
    network = Surroundings().eval()
    network.encoder.load_state_dict(encoder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with step("surroundings") as advance:
        for number, view in enumerate(views):
            path = folder / f"{view.name}.npy"
            if not path.is_file():
                with torch.inference_mode():
                    image = torch.from_numpy(surroundings_input(np.sqrt(view.read()[0])))[None]
                    np.save(path, network.features(image)[0].numpy())
            rows.append(np.load(path))
            advance(number + 1, len(views))
    return np.stack(rows).astype(np.float32)


def candidates_of(views: Sequence[View], model: str, folds: Mapping[str, str], folder: Path) -> Found:
    """Candidates of the views to be searched, found by the model of their region's fold or, without one, by `model`.

    A network is surer on seas that it was trained on; a judge fitted to those trusts it too much elsewhere.
    """
    load = cache(load_model)
    x, number, sure, of_oil_chip = [], [], [], []
    with step("candidates") as advance:
        for i, view in enumerate(views):
            advance(i + 1, len(views))
            if not view.searched:
                continue
            network, checkpoint = load(folds.get(view.region, model))
            options = replace(checkpoint.preprocess, least_chip_spread_db=LEAST_CHIP_SPREAD_DB)
            planes = folder / (f"probability-{view.region}" if view.region in folds else "probability")
            planes.mkdir(parents=True, exist_ok=True)
            power, mask = view.read()
            image = chip_input(np.sqrt(power), options) if view.real else normalised_db(power, options)
            plane = predicted(network, image, planes / f"{view.name}.npz")
            for candidate, features in measured_candidates(plane, Sea(power), UNFITTED, blind):
                cells = candidate.cells if mask is None else mask[candidate.rows, candidate.columns][candidate.cells]
                share = float(np.mean(cells == OIL)) if mask is not None else 0.0
                if HARDLY < share < MOSTLY:
                    continue  # neither
                x.append(features)
                number.append(i)
                sure.append(share >= MOSTLY)
                of_oil_chip.append(view.oil and mask is None)
    return Found(np.stack(x), np.array(number), np.array(sure), np.array(of_oil_chip))


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


def held_out(region: str, views: Sequence[View], x: NDArray[np.float32], found: Found) -> dict[str, float]:
    """Figures of one region with everything fitted to the others."""
    regions, oil = np.array([view.region for view in views]), np.array([view.oil for view in views])
    whole = np.array([not view.name.endswith("-window") for view in views])
    searched = np.array([view.searched for view in views])
    others = regions != region
    logits = np.zeros(len(others))
    logits[others] = out_of_region(x[others], oil[others], regions[others], SURROUNDINGS_PENALTY)
    fitted = fit_logistic(x[others], oil[others], SURROUNDINGS_PENALTY, groups=regions[others])
    logits[~others] = fitted.logit(x[~others])
    judge = judge_of(logits, found, np.where(others, regions, ""))
    probability = judge.probability(with_logits(logits, found))
    score = chip_scores(probability, found, len(views))
    here = searched & whole & (regions == region)
    if region in SOS:
        here = searched & (regions == region)  # hardly an image of it is free of oil
    kept = probability >= THRESHOLD
    in_region, known = regions[found.view] == region, ~found.of_oil_chip
    return {
        "oil_chips": int(oil[here].sum()),
        "oil_free_chips": int((~oil)[here].sum()),
        "auc_surroundings": auc(logits[here], oil[here]),
        "auc_surroundings_all_chips": auc(logits[~others & whole], oil[~others & whole]),
        "auc": auc(score[here], oil[here]),
        "false": float((score[here & ~oil] >= THRESHOLD).mean()),
        "found": float((score[here & oil] >= THRESHOLD).mean()),
        "found_at_5_percent_false": float((score[here & oil] > np.quantile(score[here & ~oil], 0.95)).mean()),
        "oil_candidates_kept": share(kept[in_region & found.sure]),
        "other_candidates_rejected": share(~kept[in_region & known & ~found.sure]),
        "ece": float(expected_calibration_error(oil_calibration(score[here], oil[here], 10))),
        "network_false": float(has_candidate(found, len(views))[here & ~oil].mean()),
        "network_found": float(has_candidate(found, len(views))[here & oil].mean()),
    }


def judge_of(logits: Array, found: Found, regions: NDArray[np.str_], weights_sha256: str = "") -> Judge:
    """Fit the judge to the candidates of CSIRO's and simulated chips in `regions` (views,), "" where not to be used.

    Not to SOS's: it has hardly a sea without oil, and its slicks are so large and sure that others would be rejected.
    """
    used = np.isin(regions, (*REGIONS, SIMULATED))[found.view]
    x = with_logits(logits, found)[used]
    seen = x[:, [FEATURES.index(name) for name in JUDGED]]
    oil = likely_oil(seen, found.sure[used], found.of_oil_chip[used], found.view[used])
    return fitted_judge(x, oil, weights_sha256, THRESHOLD, JUDGED)


def with_logits(logits: Array, found: Found) -> Array:
    """The candidates' features with the logit of their surroundings."""
    x = found.x.copy()
    x[:, FEATURES.index("surroundings")] = logits[found.view]
    return x


def chip_scores(probability: Array, found: Found, views: int) -> Array:
    """The highest probability of a candidate of each view, (views,); 0 where there is none."""
    score = np.zeros(views)
    np.maximum.at(score, found.view, probability)
    return score


def has_candidate(found: Found, views: int) -> Bools:
    """Whether the network alone finds anything, by view."""
    return np.bincount(found.view, minlength=views) > 0


def share(values: Bools) -> float:
    """The share that is true; NaN of none."""
    return float(values.mean()) if len(values) else float("nan")


def auc(score: Array, oil: Bools) -> float:
    """Area under the curve of hits over false alarms."""
    ranks, hits = rankdata(score), int(oil.sum())
    return float((ranks[oil].sum() - hits * (hits + 1) / 2) / (hits * (len(oil) - hits)))


def save(
    model: str,
    folder: Path,
    views: Sequence[View],
    x: NDArray[np.float32],
    found: Found,
    encoder: dict[str, Tensor],
    metrics: dict[str, dict[str, float]],
) -> None:
    """Save the model with an object stage fitted to all regions."""
    network, checkpoint = load_model(model)
    regions, oil = np.array([view.region for view in views]), np.array([view.oil for view in views])
    logits = out_of_region(x, oil, regions, SURROUNDINGS_PENALTY)
    _, digest = packed_weights(network, half_precision=True)
    judge = judge_of(logits, found, regions, weights_sha256=digest)
    surroundings = fitted_surroundings(encoder, fit_logistic(x, oil, SURROUNDINGS_PENALTY, groups=regions))
    preprocess = replace(checkpoint.preprocess, least_chip_spread_db=LEAST_CHIP_SPREAD_DB)
    save_model(
        folder, network, checkpoint.architecture, preprocess, checkpoint.metrics, checkpoint.training,
        checkpoint.classes, checkpoint.tiling, half_precision=True,
    )  # fmt: skip
    save_judge(folder, replace(judge, metrics=metrics), surroundings)


if __name__ == "__main__":
    main()
