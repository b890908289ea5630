"""The classifier of candidates: a logistic regression over their features, calibrated, kept as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from scipy.special import expit

from ingest.errors import ModelError
from ingest.files import read_json, write_bytes, write_json
from ingest.hashes import file_sha256
from models.checkpoint import Checkpoint, check_model, halved, model_folder
from models.objects.candidates import CandidateOptions
from models.objects.features import FEATURES
from models.objects.surroundings import Surroundings

FORMAT = 1
_RECORD, _WEIGHTS = "objects.json", "surroundings.safetensors"


@dataclass(frozen=True)
class Judge:
    """Probability that a candidate is oil: logistic(intercept + weights . (feature - mean) / std)."""

    weights_sha256: str  # of the network whose candidates it judges
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    threshold: float  # less probable candidates are rejected
    features: tuple[str, ...] = FEATURES  # those that it looks at
    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    metrics: dict[str, Any] = field(default_factory=dict)
    surroundings_sha256: str = ""  # of the weights beside the record; empty in older ones

    def __post_init__(self) -> None:
        known = set(self.features) <= set(FEATURES)
        if not known or not len(self.features) == len(self.mean) == len(self.std) == len(self.weights):
            raise ValueError("other features than this release measures")

    def probability(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probability of oil of candidates, (n, `FEATURES`) to (n,)."""
        used = features[:, [FEATURES.index(name) for name in self.features]]
        scaled = (used - np.array(self.mean)) / np.array(self.std)
        return np.asarray(expit(self.intercept + scaled @ np.array(self.weights)), np.float64)


def save_judge(folder: Path, judge: Judge, surroundings: Surroundings) -> None:
    """Write a judge beside the model in `folder`; the weights of its encoder in half precision."""
    weights = {name: halved(tensor) for name, tensor in surroundings.state_dict().items()}
    write_bytes(folder / _WEIGHTS, save(weights))
    record = asdict(replace(judge, surroundings_sha256=file_sha256(folder / _WEIGHTS)))
    write_json(folder / _RECORD, {"format": FORMAT, **record})


def check_with_object_stage(model: str) -> Checkpoint:
    """Check a model as `check_model` does, and load its object stage if it has one; raises `ModelError`."""
    checkpoint = check_model(model)
    load_judge(model_folder(model), checkpoint.weights_sha256)
    return checkpoint


def judge_sha256(folder: Path) -> str | None:
    """Return the SHA-256 of the record of a model's object stage, which has that of its weights; None without one."""
    record = folder / _RECORD
    return file_sha256(record) if record.is_file() else None


def load_judge(folder: Path, weights_sha256: str) -> tuple[Judge, Surroundings] | None:
    """Load the judge of the model in `folder`, None where it has none.

    Raises `ModelError` where it is damaged, or was made for the candidates of other weights.
    """
    if not (folder / _RECORD).is_file():
        return None
    try:
        judge = _judge(read_json(folder / _RECORD))
        if judge.surroundings_sha256 not in ("", file_sha256(folder / _WEIGHTS)):
            raise ModelError(folder, f"{_WEIGHTS} does not match {_RECORD}", "restore the model folder")
        surroundings = Surroundings()
        surroundings.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(folder, f"unreadable object stage ({error})", "restore the model folder") from error
    if judge.weights_sha256 != weights_sha256:
        raise ModelError(folder, "its object stage was made for another model", "restore the model folder")
    return judge, surroundings.eval()


def _judge(record: dict[str, Any]) -> Judge:
    if record.pop("format") != FORMAT:
        raise ValueError("of another format")
    listed = {name: tuple(record[name]) for name in ("mean", "std", "weights", "features")}
    return Judge(**{**record, **listed, "candidates": CandidateOptions(**record["candidates"])})
