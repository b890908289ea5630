"""Shards of synthetic pairs: 8-bit images, and the teacher's logits in bytes.

A shard is an npz file with two members for each of its pairs, ``image_0000`` (H, W) and ``logits_0000`` (C, H, W), both
uint8 and deflated on their own, so that one pair is read without the others.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UnreadableInput, UsageError
from ingest.files import storage_errors, write_bytes
from ingest.hashes import file_sha256
from ingest.locks import hold_lock, try_lock
from models.classes import NOT_OIL, OIL, OIL_CLASSES
from models.datasets.pairs import Pair, chip_input, chip_power
from models.synthesis.manifest import Manifest, Shard, SyntheticPlan, read_manifest, require_same_maker, write_manifest
from preprocess.options import PreprocessOptions

LOGIT_STEP = 1 / 16
_RESUME = "resume with `slickwatch synthesize`"
_LOCK = ".lock"


def grey_levels(x0: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn images in [-1, 1] into 8-bit ones: round((x0 + 1) * 127.5), clipped; any shape."""
    levels: NDArray[np.uint8] = np.clip(np.rint((x0 + 1) * 127.5), 0, 255).astype(np.uint8)
    return levels


def logit_codes(logits: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn logits (..., C, H, W) into bytes: 0 is the most likely class, k how far below it another one is.

    Code k > 0 stands for distances of (k - 1, k] steps of 1/16, 255 for all beyond. The most likely class, of equals
    the first, is the only one with 0: the argmax is never lost.
    """
    best = logits.argmax(axis=-3, keepdims=True)
    below = np.take_along_axis(logits, best, axis=-3) - logits
    codes = np.clip(np.ceil(below / LOGIT_STEP), 1, 255).astype(np.uint8)
    np.put_along_axis(codes, best, 0, axis=-3)
    return codes


def logits_of_codes(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Undo `logit_codes` up to half a step, 1/32, for distances of up to 15.9; the largest logit is 0."""
    return np.where(codes == 0, 0, (np.float32(0.5) - codes) * np.float32(LOGIT_STEP)).astype(np.float32)


@dataclass(frozen=True)
class SyntheticWriter:
    """Fills a folder of synthetic pairs, shard by shard; several processes may, and any may be killed at any time."""

    folder: Path
    plan: SyntheticPlan

    @classmethod
    def open(cls, folder: Path, plan: SyntheticPlan) -> SyntheticWriter:
        """Start a folder, or go on with one of the same maker; a larger count than before extends it.

        Raises `UsageError` where its pairs are of another model, sampler, seed or size, `UnreadableInput` where its
        manifest is damaged.
        """
        if plan.count < 1 or plan.shard_size < 1:
            raise UsageError(folder, "no pairs requested", "request at least one pair and shards of at least one")
        with storage_errors(folder):
            (folder / "shards").mkdir(parents=True, exist_ok=True)
        with hold_lock(folder / _LOCK):
            manifest = read_manifest(folder)
            if manifest is None:
                manifest = Manifest(plan)
                write_manifest(folder, manifest)
            require_same_maker(folder, manifest.plan, plan)
            if plan.count > manifest.plan.count:
                manifest = manifest.extended(plan.count)
                write_manifest(folder, manifest)
        return cls(folder, manifest.plan)

    @property
    def manifest(self) -> Manifest:
        """The manifest as it is now, with what other processes have written."""
        manifest = read_manifest(self.folder)
        if manifest is None:
            raise UnreadableInput(self.folder, "the manifest is missing", "do not change a folder being written")
        return manifest

    def missing(self) -> list[int]:
        """Return the shards that are yet to be written, or whose files are gone or cut short."""
        manifest = self.manifest
        return [i for i in range(manifest.plan.shards) if not (manifest.has(i) and _is_whole(self.folder, manifest, i))]

    @contextmanager
    def claimed(self, shard: int) -> Iterator[bool]:
        """Keep other processes from making the same shard inside the block; False where it is made already."""
        with try_lock(self.folder / "shards" / f".{shard:05d}.lock") as free:
            yield free and shard in self.missing()

    def write(self, shard: int, images: NDArray[np.uint8], logits: NDArray[np.floating]) -> Shard:
        """Write a shard: images (n, H, W) and logits (n, C, H, W), n as the plan has it; raises `StorageError`.

        Raises `ValueError` for arrays of another shape or kind, and for logits that are no numbers.
        """
        count, name = self.plan.pairs_of(shard), f"shards/{shard:05d}.npz"
        if images.shape != (count, *self.plan.size) or images.dtype != np.uint8:
            raise ValueError(f"images are {images.dtype} {images.shape}, planned are uint8 {(count, *self.plan.size)}")
        if logits.shape != (count, len(self.plan.classes), *self.plan.size) or not np.isfinite(logits).all():
            raise ValueError(f"logits {logits.shape} do not fit {len(self.plan.classes)} classes, or are not finite")
        content = _packed(images, logit_codes(logits))
        sha256 = hashlib.sha256(content).hexdigest()
        record = Shard(shard, name, count, sha256, self.plan.seed_of(shard), len(content))
        with hold_lock(self.folder / _LOCK):
            manifest = self.manifest
            write_bytes(self.folder / name, content)  # on the disk before the manifest names it
            write_manifest(self.folder, manifest.with_shard(record))
        return record


@dataclass(frozen=True)
class SyntheticPairs:
    """The pairs of a folder, as `models.datasets.pairs.LabelledImages`, with the logits of what made them."""

    folder: Path
    manifest: Manifest
    _places: tuple[tuple[int, int], ...]  # shard and position in it, of each pair
    _verified: set[int] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def open(cls, folder: Path, *, allow_partial: bool = False) -> SyntheticPairs:
        """Open a complete folder, or with `allow_partial` the shards that are there.

        Raises `UsageError` where there are none or some are missing, `UnreadableInput` for a damaged manifest.
        """
        manifest = read_manifest(folder)
        if manifest is None:
            raise UsageError(folder, "holds no synthetic pairs", "generate some with `slickwatch synthesize`")
        if not manifest.complete and not (allow_partial and manifest.shards):
            there = sum(manifest.has(shard) for shard in range(manifest.plan.shards))
            raise UsageError(folder, f"has {there} of {manifest.plan.shards} shards", _RESUME)
        places = [(shard.index, i) for shard in manifest.shards.values() for i in range(shard.count)]
        return cls(folder, manifest, tuple(places))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.plan.classes

    @property
    def pixel_spacing(self) -> float | None:
        return self.manifest.plan.pixel_spacing

    @property
    def groups(self) -> None:
        """None: copies are not known."""

    def __len__(self) -> int:
        return len(self._places)

    def name(self, index: int) -> str:
        """Return shard and position, such as ``00003-0017``."""
        shard, position = self._places[index]
        return f"{shard:05d}-{position:04d}"

    def presence(self, index: int) -> None:
        """None: labels are by pixel."""

    def power(self, index: int) -> NDArray[np.float32]:
        """Read one image, as amplitudes, to power in any unit; raises what `pair` raises."""
        return chip_power(self.grey(index)[0].astype(np.float32))

    def pair(self, index: int, options: PreprocessOptions) -> Pair:
        """Read one pair as a network sees it; raises `UnreadableInput` naming a shard that is damaged."""
        image, labels = self.grey(index)
        return chip_input(image.astype(np.float32), options)[None], labels

    def grey(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Read one 8-bit image (H, W) and its labels (H, W): the most likely class of each pixel.

        Of two classes, labels are `OIL` and `NOT_OIL` as in data sets that know oil alone.
        """
        image, codes = self._members(index, "image", "logits")
        labels = codes.argmin(axis=0).astype(np.int64)  # the most likely class alone has code 0
        return image, np.where(labels == OIL, OIL, NOT_OIL) if self.classes == OIL_CLASSES else labels

    def logits(self, index: int) -> NDArray[np.float32]:
        """Read the logits (C, H, W) of one pair, the largest of each pixel being 0."""
        (codes,) = self._members(index, "logits")
        return logits_of_codes(codes)

    def first(self, count: int) -> SyntheticPairs:
        """Return the first `count` pairs alone."""
        return SyntheticPairs(self.folder, self.manifest, self._places[:count], self._verified)

    def fingerprint(self) -> str:
        """Return a hash of the pairs: that of their number and of their shards' contents."""
        shards = sorted({shard for shard, _ in self._places})
        parts = [str(len(self)), *(self.manifest.shards[shard].sha256 for shard in shards)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def _members(self, index: int, *kinds: str) -> list[NDArray[np.uint8]]:
        shard, position = self._places[index]
        path = self.folder / self.manifest.shards[shard].name
        try:
            self._verify(shard, path)
            with np.load(path) as file:
                return [file[f"{kind}_{position:04d}"] for kind in kinds]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise UnreadableInput(path, f"is damaged ({error})", f"delete it and {_RESUME}") from error

    def _verify(self, shard: int, path: Path) -> None:
        """Compare a shard with its hash, once; later damage shows in the checksums of its members."""
        if shard in self._verified:
            return
        if file_sha256(path) != self.manifest.shards[shard].sha256:
            raise ValueError("its hash differs from the manifest")
        self._verified.add(shard)


def _is_whole(folder: Path, manifest: Manifest, shard: int) -> bool:
    path = folder / manifest.shards[shard].name
    return path.is_file() and path.stat().st_size == manifest.shards[shard].bytes


def _packed(images: NDArray[np.uint8], codes: NDArray[np.uint8]) -> bytes:
    members = {f"image_{i:04d}": image for i, image in enumerate(images)}
    members |= {f"logits_{i:04d}": code for i, code in enumerate(codes)}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **members)
    return content.getvalue()
