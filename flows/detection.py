"""What was asked of a detection: one record from the command line and the settings to run.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingest.errors import UnreadableInput
from models.checkpoint import Checkpoint, default_model_id, model_folder
from models.objects import judge_sha256
from outputs.options import SlickOptions
from outputs.record import input_file
from preprocess.tiles import Tiling


@dataclass(frozen=True)
class DetectionOptions:
    """What is asked of a detection."""

    model: str = field(default_factory=default_model_id)  # id of a shipped model, or a folder
    polarisation: str | None = None  # None: the model's
    coastline: Path | None = None  # land polygons in WGS 84; None: the packaged ones
    slicks: SlickOptions = field(default_factory=SlickOptions)
    tiling: Tiling | None = None  # None: the model's
    force_polarisation: bool = False  # also take one that the model was not trained on

    def record(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """All options of a run as run.json has them; the same model, options and product give the same slicks.

        A coastline file is known by its contents. Raises `UnreadableInput` where it cannot be read.
        """
        judge = judge_sha256(model_folder(self.model))
        return {
            "preprocess": asdict(checkpoint.preprocess),
            "tiling": asdict(self.tiling or checkpoint.tiling),
            "slicks": asdict(self.slicks),
            "polarisation": self.polarisation,
            "coastline": None if self.coastline is None else _contents(self.coastline),
            **({"force_polarisation": True} if self.force_polarisation else {}),
            **({"object_stage": judge} if judge else {}),
        }


def _contents(coastline: Path) -> str:
    """The checksum of a file; what is only a name to GDAL, such as /vsizip/..., stays that name."""
    try:
        return (input_file(coastline).checksum if coastline.exists() else None) or str(coastline)
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise UnreadableInput(coastline, problem, "check its permissions") from error
