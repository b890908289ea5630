"""Fitting the object stage: first the surroundings' classifier on whole chips, then the judge on candidates.

The judge learns from the logits that the surroundings' classifier gives to regions it was not fitted to, so that it
trusts them no more than it should on a sea that neither has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from models.objects.candidates import CandidateOptions
from models.objects.features import FEATURES
from models.objects.judge import Judge
from models.objects.surroundings import Surroundings

Floats = NDArray[np.floating]
SURROUNDINGS_PENALTY, JUDGE_PENALTY = 300.0, 1.0  # on the squared weights of standardised features, over two
_TURNS = 4  # rounds of guessing which candidates on a chip with oil are oil


@dataclass(frozen=True, eq=False)
class Logistic:
    """A logistic regression: logit = intercept + weights . (x - mean) / std."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercept: float

    def logit(self, x: Floats) -> NDArray[np.float64]:
        """x (n, features) to (n,)."""
        return np.asarray(self.intercept + (x - self.mean) / self.std @ self.weights)


def fit_logistic(
    x: Floats,
    y: NDArray[np.bool_],
    penalty: float,
    balanced: bool = True,
    groups: NDArray[np.str_] | None = None,
) -> Logistic:
    """Fit x (n, features) to y (n,) with a ridge penalty.

    `balanced`: both classes weigh the same in sum, and so they do within each of the `groups` (n,) where given, so that
    the look of a group does not tell the class.
    """
    mean, std = x.mean(axis=0).astype(np.float64), np.maximum(x.std(axis=0).astype(np.float64), 1e-6)
    scaled, sign = (x - mean) / std, np.where(y, 1.0, -1.0)
    sample = _balance(y, np.zeros(len(y)) if groups is None else groups) if balanced else np.ones(len(y))

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (scaled @ parameters[1:] + parameters[0])
        slope = -sample * sign / (1 + np.exp(margin))
        gradient = np.concatenate([[slope.sum()], scaled.T @ slope + penalty * parameters[1:]])
        value = float((sample * np.logaddexp(0, -margin)).sum() + 0.5 * penalty * (parameters[1:] ** 2).sum())
        return value, gradient

    found = minimize(loss, np.zeros(1 + x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return Logistic(mean, std, found.x[1:], float(found.x[0]))


def _balance(y: NDArray[np.bool_], groups: NDArray[np.generic]) -> NDArray[np.float64]:
    """Weights (n,) of mean 1 by which, within each group, both classes weigh the same."""
    weights = np.ones(len(y))
    for group in np.unique(groups):
        here = groups == group
        share = y[here].mean()
        if 0 < share < 1:
            weights[here] = np.where(y[here], 0.5 / share, 0.5 / (1 - share))
    return weights


def out_of_region(
    x: Floats, y: NDArray[np.bool_], regions: Sequence[str] | NDArray[np.str_], penalty: float
) -> NDArray[np.float64]:
    """Logit of each row by a regression fitted to all rows of other regions."""
    logits, names = np.zeros(len(y)), np.asarray(regions)
    for region in np.unique(names):
        here = names == region
        logits[here] = fit_logistic(x[~here], y[~here], penalty, groups=names[~here]).logit(x[here])
    return logits


def likely_oil(
    x: Floats, sure: NDArray[np.bool_], of_oil_chip: NDArray[np.bool_], chip: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Guess which candidates on chips with oil are oil (multiple-instance learning by alternation).

    x (n, features); `sure` (n,): known to be oil; `of_oil_chip` (n,): on a chip with oil somewhere, of which only that
    is known; `chip` (n,): its number. To begin with all of these are, then those that a regression so fitted finds
    likelier than not; of each such chip the likeliest always.
    """
    oil = sure | of_oil_chip
    for _ in range(_TURNS):
        logit = fit_logistic(x, oil, JUDGE_PENALTY).logit(x)
        best = np.zeros(len(x), np.bool_)
        for number in np.unique(chip[of_oil_chip]):
            members = np.flatnonzero(chip == number)
            best[members[np.argmax(logit[members])]] = True
        oil = sure | (of_oil_chip & ((logit > 0) | best))
    return oil


def fitted_surroundings(encoder: dict[str, Tensor], fitted: Logistic) -> Surroundings:
    """Combine ImageNet's encoder with a regression on its features."""
    surroundings = Surroundings()
    surroundings.encoder.load_state_dict(encoder)
    weights = fitted.weights / fitted.std
    classifier: nn.Linear = surroundings.classifier
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy(weights)[None])
        classifier.bias.fill_(float(fitted.intercept - fitted.mean @ weights))
    return surroundings.eval()


def fitted_judge(
    x: Floats, y: NDArray[np.bool_], weights_sha256: str, threshold: float, features: tuple[str, ...] = FEATURES
) -> Judge:
    """Fit the judge to some `features` of candidates x (n, `FEATURES`), y (n,) whether they are oil.

    It is calibrated on them.
    """
    fitted = fit_logistic(x[:, [FEATURES.index(name) for name in features]], y, JUDGE_PENALTY, balanced=False)
    mean, std, weights = (tuple(float(v) for v in part) for part in (fitted.mean, fitted.std, fitted.weights))
    return Judge(
        weights_sha256, mean, std, weights, fitted.intercept, threshold, features, candidates=CandidateOptions()
    )
