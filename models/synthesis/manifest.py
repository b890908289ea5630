"""The manifest of a folder of synthetic pairs: its plan, its generator, and the shards written so far."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ingest.errors import UnreadableInput, UsageError
from ingest.files import write_bytes

FORMAT = 1
NAME = "manifest.json"
_PLAIN = "give a folder that `slickwatch synthesize` wrote"


@dataclass(frozen=True)
class SyntheticPlan:
    """Which pairs a folder is to hold, and what makes them.

    `generator` is plain JSON: whatever the pairs depend on besides seed and size, such as
    ``{"model": id, "weights_sha256": ..., "sampler": "ddim", "steps": 200, "b": 0.466, "options": {...}}``.
    """

    classes: tuple[str, ...]  # of the logits, in their order
    size: tuple[int, int]  # height and width of each image
    count: int  # pairs in all
    seed: int
    generator: dict[str, Any]
    shard_size: int = 64  # pairs of a shard; the last one may have fewer
    pixel_spacing: float | None = None  # in metres, where known

    @property
    def shards(self) -> int:
        """The number of shards of a complete folder."""
        return -(-self.count // self.shard_size)

    def pairs_of(self, shard: int) -> int:
        """Return how many pairs a shard has."""
        return min(self.shard_size, self.count - shard * self.shard_size)

    def seed_of(self, shard: int) -> int:
        """Return the seed of a shard's random numbers, below 2**53; it depends on nothing but `seed` and the shard."""
        high, low = np.random.SeedSequence((self.seed, shard)).generate_state(2)
        return int(high) << 21 | int(low) >> 11


@dataclass(frozen=True)
class Shard:
    """One file of a folder of synthetic pairs."""

    index: int
    name: str  # its path below the folder
    count: int
    sha256: str
    seed: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """A plan, and the shards that are there."""

    plan: SyntheticPlan
    shards: dict[int, Shard] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every planned shard is there."""
        return all(self.has(shard) for shard in range(self.plan.shards))

    def has(self, shard: int) -> bool:
        """Whether a shard is there with as many pairs as are planned."""
        return shard in self.shards and self.shards[shard].count == self.plan.pairs_of(shard)

    def with_shard(self, shard: Shard) -> Manifest:
        """Return a manifest that has this shard too."""
        return replace(self, shards=dict(sorted({**self.shards, shard.index: shard}.items())))

    def extended(self, count: int) -> Manifest:
        """Return the manifest of a larger folder; a last shard that is short for it is to be made anew."""
        grown = replace(self, plan=replace(self.plan, count=max(count, self.plan.count)))
        return replace(grown, shards={i: shard for i, shard in self.shards.items() if grown.has(i)})

    @cached_property
    def text(self) -> str:
        """The manifest as the JSON text of its file."""
        plan = {**asdict(self.plan), "shards": [asdict(shard) for shard in self.shards.values()]}
        return json.dumps({"format": FORMAT, **plan}, indent=1) + "\n"

    @property
    def sha256(self) -> str:
        """The hash of the manifest's file, and so of everything in the folder."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a folder, None where there is none.

    Raises `UnreadableInput` where it is damaged or of another format.
    """
    path = folder / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (found := content.pop("format")) != FORMAT:
            raise UnreadableInput(path, f"has format {found!r}", f"this release reads format {FORMAT}")
        shards = {shard["index"]: Shard(**shard) for shard in content.pop("shards")}
        content |= {name: tuple(content[name]) for name in ("classes", "size")}
        return Manifest(SyntheticPlan(**content), shards)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableInput(path, f"not a readable manifest ({error})", _PLAIN) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a manifest in the place of the one before."""
    write_bytes(folder / NAME, manifest.text.encode())


def require_same_maker(folder: Path, there: SyntheticPlan, wanted: SyntheticPlan) -> None:
    """Raise `UsageError` naming what differs where two plans would mix pairs of two makers in one folder.

    Their counts may differ, and the name of a model whose weights are the same.
    """
    for name, old, new in _differences(_plain(there), _plain(wanted)):
        problem = f"holds pairs of another {name} ({old!r}, not {new!r})"
        raise UsageError(folder, problem, "give another folder: two models' output is never mixed")


def _plain(plan: SyntheticPlan) -> dict[str, Any]:
    """What makes the pairs, as JSON keeps it, the weights first: they say more than a setting that differs too."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    del content["count"]
    generator = content.pop("generator")
    if generator.get("weights_sha256"):
        generator.pop("model", None)
    return {"weights_sha256": generator.pop("weights_sha256", None), **generator, **content}


def _differences(there: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    names = [*there, *(name for name in wanted if name not in there)]
    return [(name, there.get(name), wanted.get(name)) for name in names if there.get(name) != wanted.get(name)]
