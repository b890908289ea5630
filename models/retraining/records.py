"""What one step of a retraining hands to the next ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainingData:
    """The training set of a retraining; `real` is the name or folder that `open_dataset` takes."""

    real: str
    folder: Path
    sources: dict[str, str]  # hash of the images taken of each data set, by name
    n_train: int
    sha256: str  # of the training pairs
    classes: tuple[str, ...]
    chips: int  # around reviewed slicks
    left_out: dict[str, int]  # number of slicks and chips, by reason

    @property
    def notes(self) -> list[str]:
        """Remarks for a reader, a line each."""
        left_out = [f"{count} {reason} left out" for reason, count in self.left_out.items()]
        return [f"{self.chips} chips around reviewed slicks", *left_out]
