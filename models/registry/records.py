"""The records of a model registry: a version with its provenance, a promotion, and their JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ingest.errors import ModelError, UsageError
from ingest.hashes import json_sha256

FORMAT = 1
WEIGHTS, CHECKPOINT, CARD, RECORD = "weights.safetensors", "checkpoint.json", "README.md", "version.json"
OBJECT_STAGE = ("objects.json", "surroundings.safetensors")  # of models that have one


@dataclass(frozen=True)
class Provenance:
    """The origin of a version; plain JSON values."""

    run: str | None = None  # id of the run that made it
    parent: str | None = None  # the version that its training started from
    code_version: str | None = None
    datasets: Mapping[str, str] = field(default_factory=dict)  # hash of the training data, by name
    metrics: Mapping[str, Any] = field(default_factory=dict)  # of this version, the challenger
    champion: str | None = None  # the version that it was compared with
    champion_metrics: Mapping[str, Any] = field(default_factory=dict)  # of that version, on the same images


@dataclass(frozen=True)
class Pin:
    """A version by id and content: another model with the same id is another pin."""

    id: str
    content: str


@dataclass(frozen=True)
class Version:
    """A version as it was added; `files` has the SHA-256 of each file but the record."""

    id: str
    folder: Path
    added_at: datetime  # UTC
    files: Mapping[str, str]
    provenance: Provenance

    @property
    def pin(self) -> Pin:
        """The version's identity in promotions; the model card does not count."""
        return Pin(self.id, content_of(self.files))


@dataclass(frozen=True)
class Promotion:
    """A journal entry: who made which version the champion, when and why."""

    number: int
    action: str  # promote or rollback
    champion: Pin
    before: Pin | None  # the champion until then
    line: tuple[Pin, ...]  # the champions that rollbacks restore, the next one last
    reason: str
    by: str
    at: datetime  # UTC
    refused: tuple[str, ...] = ()  # damaged versions that a rollback skipped


def content_of(files: Mapping[str, str]) -> str:
    """Return one hash of weights, checkpoint and, where there is one, object stage."""
    hashes = [files[WEIGHTS], files[CHECKPOINT], *(files[name] for name in OBJECT_STAGE if name in files)]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def version_text(version: Version) -> str:
    """Return the text of version.json, with a hash of its content. Raises `UsageError` for values that are not JSON."""
    content = {"format": FORMAT, **asdict(version), "added_at": version.added_at.isoformat()}
    del content["folder"]
    try:
        plain = json.loads(json.dumps(content, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(version.id, f"its provenance is not plain JSON ({error})", "give text and numbers") from error
    return json.dumps({**plain, "sha256": json_sha256(plain)}, indent=1) + "\n"


def read_version(folder: Path) -> Version:
    """Read version.json. Raises `ModelError` where the record is missing, damaged or of another format."""
    try:
        content = json.loads((folder / RECORD).read_bytes())
        if content.pop("sha256") != json_sha256(content) or content["id"] != folder.name:
            raise ModelError(folder / RECORD, "changed since it was written", "restore it from a copy")
        if content.pop("format") != FORMAT:
            raise ModelError(folder / RECORD, "has another format", "use the release of slickwatch that wrote it")
        return Version(
            **{
                **content,
                "folder": folder,
                "added_at": datetime.fromisoformat(content["added_at"]),
                "provenance": Provenance(**content["provenance"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(folder / RECORD, f"cannot be read ({error})", "restore it from a copy") from error


def promotion_text(promotion: Promotion) -> str:
    """Return the text of a journal entry."""
    return json.dumps({"format": FORMAT, **asdict(promotion), "at": promotion.at.isoformat()}, indent=1) + "\n"


def read_promotion(path: Path) -> Promotion:
    """Read a journal entry. Raises `ModelError` where it is damaged or of another format."""
    try:
        content = json.loads(path.read_bytes())
        if content.pop("format") != FORMAT:
            raise ModelError(path, "has another format", "use the release of slickwatch that wrote it")
        return Promotion(
            **{
                **content,
                "champion": Pin(**content["champion"]),
                "before": None if content["before"] is None else Pin(**content["before"]),
                "line": tuple(Pin(**pin) for pin in content["line"]),
                "at": datetime.fromisoformat(content["at"]),
                "refused": tuple(content["refused"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(path, f"cannot be read ({error})", "restore it, or promote a version again") from error
