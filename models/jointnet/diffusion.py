"""The diffusion of image and labels together: Algorithms 1 and 2 of the DAKD paper, an equation a line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ingest.errors import UsageError
from models.classes import IGNORE

Predict = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # x_t, y'_t and t (B,) to x0 and labels' prediction


@dataclass(frozen=True)
class Balanced:
    """How labels are diffused: the balancing factor b of Eq. 1, and what the network predicts of them.

    `logits`: it predicts logits, learnt by cross-entropy (SAR-JointNet); otherwise y'_0 itself, learnt by L2 (the rows
    without CE, and the concatenated DDPM).
    """

    b: float
    logits: bool = True
    timesteps: int = 1000


class Solver(Protocol):
    """A scheduler of diffusers."""

    timesteps: Tensor

    def set_timesteps(self, num_inference_steps: int) -> None: ...

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> Any: ...


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels (B, H, W) of 0..C-1 to (B, C, H, W) of 0 and 1; `IGNORE` belongs to no class."""
    known = labels != IGNORE
    return F.one_hot(torch.where(known, labels, 0), classes).permute(0, 3, 1, 2) * known.unsqueeze(1)


def scaled_labels(labels: Tensor, classes: int, b: float) -> Tensor:
    """Labels (B, H, W) to y'_0 in {-b, b} (B, C, H, W); Eq. 1."""
    y_0 = one_hot(labels, classes) * 2.0 - 1.0
    return b * y_0  # Eq. 1


def noised(x_0: Tensor, epsilon: Tensor, t: Tensor, timesteps: int = 1000) -> Tensor:
    """alpha_t x_0 + sigma_t epsilon at steps t (B,) of 0..T-1; Eq. 2."""
    noisy: Tensor = _forward_process(timesteps).add_noise(x_0, epsilon, t)
    return noisy


def training_loss(
    predict: Predict, x_0: Tensor, labels: Tensor, t: Tensor, epsilon: tuple[Tensor, Tensor], balanced: Balanced
) -> tuple[Tensor, Tensor]:
    """The losses of images and labels of Algorithm 1, L_x (Eq. 5) and L_y (Eq. 6); their sum is Eq. 7.

    x_0 (B, 1, H, W) in [-1, 1]; labels (B, H, W), of which `IGNORE` does not count in L_y, which is zero where there
    is nothing else; t (B,) of 0..T-1; epsilon: noise of the shapes of x_0 and y_0.
    """
    classes = epsilon[1].shape[1]
    y_0 = scaled_labels(labels, classes, balanced.b)
    x_t = noised(x_0, epsilon[0], t, balanced.timesteps)
    y_t = noised(y_0, epsilon[1], t, balanced.timesteps)
    x_hat, y_hat = predict(x_t, y_t, t)
    l_x = F.mse_loss(x_hat.float(), x_0)  # Eq. 5
    if balanced.logits:
        by_pixel = F.cross_entropy(y_hat.float(), labels, ignore_index=IGNORE, reduction="none")  # Eq. 6
    else:
        by_pixel = (y_hat.float() - y_0).square().mean(dim=1)
    known = labels != IGNORE
    return l_x, (by_pixel * known).sum() / known.sum().clamp_min(1)


def rescaled(y_hat: Tensor, balanced: Balanced) -> Tensor:
    """The prediction of the labels in the range of y'_0; Eq. 21."""
    if balanced.logits:
        return (y_hat.softmax(dim=1) * 2 - 1) * balanced.b  # Eq. 21
    return y_hat


def as_logits(y_hat: Tensor, balanced: Balanced) -> Tensor:
    """What the network said of the labels as logits; a prediction of y'_0 is read as probabilities (y' / b + 1) / 2."""
    if balanced.logits:
        return y_hat
    p = ((y_hat / balanced.b + 1) / 2).clamp(1e-4, 1)
    return (p / p.sum(dim=1, keepdim=True)).log()


@torch.inference_mode()
def sample(
    predict: Predict, noise: tuple[Tensor, Tensor], balanced: Balanced, solver: str = "ddim", steps: int = 200
) -> tuple[Tensor, Tensor]:
    """Denoise image and labels together from noise (B, 1, H, W) and (B, C, H, W), Algorithm 2.

    Returns x_0 and the logits of the last step. `solver` is a key of `SOLVERS`.
    """
    z = torch.cat(noise, dim=1)  # one state for both, since solvers of higher order remember former steps
    schedule = solver_of(solver, steps, balanced.timesteps)
    y_hat = noise[1]
    for t in schedule.timesteps:
        x_t, y_t = z[:, :1], z[:, 1:]
        x_hat, y_hat = predict(x_t, y_t, t.to(z.device).expand(len(z)))
        x_hat, y_hat = x_hat.float(), y_hat.float()
        y_pred = rescaled(y_hat, balanced)  # Eq. 21
        z = schedule.step(torch.cat([x_hat, y_pred], dim=1), t, z).prev_sample
    return z[:, :1], as_logits(y_hat, balanced)


def solver_of(name: str, steps: int, timesteps: int = 1000) -> Solver:
    """A solver set to so many steps from the last timestep to none.

    Raises `UsageError` for one not in `SOLVERS`, and for a number of steps that does not divide that of the timesteps.
    """
    if name not in SOLVERS:
        raise UsageError(name, "no such solver", f"known are {', '.join(SOLVERS)}")
    if steps < 1 or timesteps % steps:  # diffusers' DDIM would then step to other timesteps than it goes on from
        few = ", ".join(str(n) for n in range(5, 201) if timesteps % n == 0)
        raise UsageError(name, f"{steps} steps do not divide {timesteps}", f"give one of {few or timesteps}")
    solver: Solver = SOLVERS[name](timesteps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # diffusers makes arrays of tensors as numpy once did
        solver.set_timesteps(steps)
    return solver


def _ddim(timesteps: int) -> Any:
    from diffusers import DDIMScheduler

    # Labels range over -b..b and images a little beyond -1..1 before the last step: nothing is clipped on the way.
    return DDIMScheduler(clip_sample=False, timestep_spacing="trailing", **_process(timesteps))


def _dpm(timesteps: int) -> Any:
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++", timestep_spacing="trailing", final_sigmas_type="zero", **_process(timesteps)
    )


# "ddim": the paper's; "dpm++": Lu et al. 2022 (arXiv 2211.01095), second order, for a tenth of the steps.
SOLVERS: dict[str, Callable[[int], Any]] = {"ddim": _ddim, "dpm++": _dpm}


def _process(timesteps: int) -> dict[str, Any]:
    """Squared cosine, predicting x0 (section 4.2)."""
    return {
        "num_train_timesteps": timesteps,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "sample",
    }


@cache
def _forward_process(timesteps: int) -> Any:
    from diffusers import DDPMScheduler

    return DDPMScheduler(**_process(timesteps))
