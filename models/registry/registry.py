"""A folder of immutable model versions, one of which is the champion.

    versions/<id>/          weights.safetensors, checkpoint.json, README.md and version.json, read-only
    promotions/000001.json  a promotion or rollback, never changed; the newest one names the champion

The journal of promotions is itself the pointer: no two files can disagree, and none is ever replaced
(docs/operator/registry.md says why). Writers take a lock, readers none.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from ingest.errors import ModelError, StorageError, UsageError
from ingest.files import remove_folder, storage_errors, whole_folder, write_bytes
from ingest.hashes import file_sha256
from ingest.locks import hold_lock
from models.checkpoint import Checkpoint, default_model_folder, require_five_classes
from models.objects.judge import check_with_object_stage
from models.registry.records import (
    CARD,
    CHECKPOINT,
    OBJECT_STAGE,
    RECORD,
    WEIGHTS,
    Pin,
    Promotion,
    Provenance,
    Version,
    content_of,
    promotion_text,
    read_promotion,
    read_version,
    version_text,
)

RESERVED = {"champion"}  # names with a special meaning where a model is named
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.+-]{0,98}[A-Za-z0-9_])?")  # valid as a folder name on any file system
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChampionModel:
    """The model to use now; `refused` lists damage that an operator must be told about."""

    id: str
    folder: Path
    version: Version | None  # None: a model shipped with Slickwatch
    promotion: Promotion | None  # the newest readable one
    refused: tuple[str, ...] = ()


class Registry:
    """Model versions in a folder, which the first `add` creates."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()
        self._versions = self.folder / "versions"
        self._promotions = self.folder / "promotions"

    def add(self, model_folder: Path, provenance: Provenance = Provenance()) -> Version:  # noqa: B008 - frozen
        """Copy a model into the registry as the version of its id; adding it again returns the same version.

        Raises `ModelError` where the model is damaged, its output is not finite or the existing version is damaged,
        `UsageError` for an invalid id or one that another model has, `StorageError`.
        """
        with self._writing():
            return self._add(Path(model_folder).absolute(), provenance)

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all versions, also damaged ones, sorted. Raises `ModelError` as `promotions`."""
        return tuple(sorted(name for name in _names(self._versions) if _NAME.fullmatch(name)))

    def versions(self) -> tuple[Version, ...]:
        """Return all versions with a readable record, the oldest first; their files are not checked."""
        found = []
        for id in self.ids():
            with suppress(ModelError):
                found.append(self.version(id))
        return tuple(sorted(found, key=lambda version: (version.added_at, version.id)))

    def version(self, id: str) -> Version:
        """Return a version by its record alone. Raises `ModelError` where that is missing or damaged."""
        if _NAME.fullmatch(id) is None or not (self._versions / id).is_dir():
            known = ", ".join(self.ids()) or "none"
            raise ModelError(id, f"no such version in {self.folder}", f"known are: {known}")
        return read_version(self._versions / id)

    def verify(self, id: str) -> Version:
        """Check all hashes of a version, load it strictly and run it once; raises `ModelError`."""
        version = self.version(id)
        for name, expected in version.files.items():
            if _sha256(version.folder / name) != expected:
                raise ModelError(version.folder / name, "changed since it was added", "restore it from a copy")
        _require_running(version.folder, version.pin)
        return version

    def promotions(self) -> tuple[Promotion, ...]:
        """Return the journal, the oldest entry first, without unreadable ones.

        Raises `ModelError` where the folder exists but cannot be listed.
        """
        found = []
        for path in self._entries():
            with suppress(ModelError):
                found.append(read_promotion(path))
        return tuple(found)

    def champion(self, *, warn: bool = True) -> ChampionModel:
        """Return the model to use now, verified; a damaged champion is refused and the previous one used.

        It is the shipped default where there is no registry, no promotion, or no intact version. warn: log refusals;
        False for callers that report them. Raises `ModelError` where the registry exists but cannot be listed, since
        the champion is then unknown.
        """
        champion = self._intact_champion()
        if warn and champion.refused:
            for problem in champion.refused:
                _LOG.warning("champion refused: %s", problem)
            _LOG.warning("using %s instead, from %s", champion.id, champion.folder)
        return champion

    def _intact_champion(self) -> ChampionModel:
        newest, refused = self._newest()
        pins = () if newest is None else (newest.champion, *reversed(newest.line))
        for pin in dict.fromkeys(pins):
            try:
                version = self._verified(pin)
            except ModelError as error:
                refused.append(str(error))
            else:
                return ChampionModel(version.id, version.folder, version, newest, tuple(refused))
        shipped = default_model_folder()
        return ChampionModel(shipped.name, shipped, None, newest, tuple(refused))

    def promote(self, id: str, reason: str, by: str) -> Promotion:
        """Make a version the champion; where it already is, return its promotion and write nothing.

        Raises `ModelError` where it is missing, damaged or lacks one of the five classes, `UsageError` without a
        reason, `StorageError`.
        """
        _require_reason(reason)
        self.version(id)  # before the lock creates the folder
        with self._writing():
            pin = self.verify(id).pin
            require_five_classes(_require_running(self._versions / id, pin))
            now, unreadable = self._newest()
            if now is None:
                return self._record("promote", pin, None, (), reason, by)
            if now.champion != pin:
                return self._record("promote", pin, now, (*now.line, now.champion), reason, by)
            # Without a new entry, a newer unreadable one would be reported for ever.
            return self._record("promote", pin, now, now.line, reason, by) if unreadable else now

    def rollback(self, reason: str, by: str) -> Promotion:
        """Restore the previous champion; again goes further back, last to the shipped model.

        Damaged versions are skipped. Raises `UsageError` where there is no promotion, no previous champion or no
        reason, `ModelError`, `StorageError`.
        """
        _require_reason(reason)
        if self._newest()[0] is None:
            raise UsageError(self.folder, "no version has been promoted", "promote one first")
        with self._writing():
            now, _ = self._newest()
            assert now is not None  # entries are never removed
            earlier, refused = self._earlier(now)
            if earlier is not None:
                line = now.line[:earlier]
                return self._record("rollback", now.line[earlier], now, line, reason, by, refused)
            shipped = self._add(default_model_folder(), Provenance()).pin  # in use before the first promotion
            if shipped == now.champion:
                raise UsageError(now.champion.id, "there is no champion before it", "promote another model")
            return self._record("rollback", shipped, now, (), reason, by, refused)

    def prune(self, keep: int) -> tuple[str, ...]:
        """Remove all but the `keep` newest of the spare versions; returns the ids of those removed.

        Spare are all but the champion, those that rollbacks lead to, and the champion before the newest promotion,
        which a scene may still be using. Raises `ModelError` where the newest promotions cannot be read, `UsageError`,
        `StorageError`.
        """
        if keep < 0:
            raise UsageError("keep", f"{keep} is negative", "give 0 or more")
        if not self.ids():
            return ()
        with self._writing():
            now, unreadable = self._newest()
            if unreadable:
                raise ModelError(self.folder, "the newest promotion cannot be read", "promote one again, then prune")
            needed = set() if now is None else {now.champion, *now.line, now.before}
            spare = [version.id for version in self.versions() if version.pin not in needed]
            gone = spare[: max(0, len(spare) - keep)]
            for id in gone:
                remove_folder(self._versions / id)
        return tuple(gone)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Take the writers' lock, and remove what a killed writer left incomplete."""
        with storage_errors(self.folder):
            for folder in (self._versions, self._promotions):
                folder.mkdir(parents=True, exist_ok=True)
            with hold_lock(self.folder / ".lock"):
                for left in (*self._versions.glob(".*.partial"), *self._promotions.glob(".*.partial.json")):
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
                yield

    def _add(self, source: Path, provenance: Provenance) -> Version:
        checkpoint = check_with_object_stage(str(source))
        _require_usable(checkpoint, source)
        files = file_hashes(source)
        folder = self._versions / checkpoint.id
        if folder.exists():
            return self._same(checkpoint.id, source, files)
        with whole_folder(folder, required=(RECORD, *files)) as hidden:
            for name, expected in files.items():
                shutil.copyfile(source / name, hidden / name)
                _make_read_only(hidden / name)
                if _sha256(hidden / name) != expected:
                    raise StorageError(folder / name, "differs from its source after copying", "check the disk")
            version = Version(checkpoint.id, folder, datetime.now(UTC), files, provenance)
            (hidden / RECORD).write_text(version_text(version), encoding="utf-8")
            _make_read_only(hidden / RECORD)
        return self.version(checkpoint.id)

    def _same(self, id: str, source: Path, files: Mapping[str, str]) -> Version:
        if self.version(id).pin.content != content_of(files):
            raise UsageError(source, f"version {id} is another model", "change the id in its checkpoint.json")
        return self.verify(id)

    def _verified(self, pin: Pin) -> Version:
        version = self.verify(pin.id)
        if version.pin != pin:
            raise ModelError(version.folder, "is not the model that was promoted", "promote it, or restore the other")
        return version

    def _earlier(self, now: Promotion) -> tuple[int | None, tuple[str, ...]]:
        """Return the position in the line of the last intact other champion, and the problems of those skipped."""
        refused = []
        for position in reversed(range(len(now.line))):
            if now.line[position] == now.champion:
                continue
            try:
                self._verified(now.line[position])
            except ModelError as error:
                refused.append(str(error))
            else:
                return position, tuple(refused)
        return None, tuple(refused)

    def _entries(self) -> list[Path]:
        names = [name for name in _names(self._promotions) if re.fullmatch(r"\d+\.json", name)]
        return [self._promotions / name for name in sorted(names, key=_number)]

    def _newest(self) -> tuple[Promotion | None, list[str]]:
        """Return the newest readable promotion, and the problems of those after it."""
        unreadable: list[str] = []
        for path in reversed(self._entries()):
            try:
                return read_promotion(path), unreadable
            except ModelError as error:
                unreadable.append(str(error))
        return None, unreadable

    def _record(
        self,
        action: str,
        champion: Pin,
        now: Promotion | None,
        line: Sequence[Pin],
        reason: str,
        by: str,
        refused: Sequence[str] = (),
    ) -> Promotion:
        entries = self._entries()
        number = 1 + (_number(entries[-1].name) if entries else 0)
        before = None if now is None else now.champion
        promotion = Promotion(
            number, action, champion, before, tuple(line), reason, by, datetime.now(UTC), tuple(refused)
        )
        path = self._promotions / f"{number:06}.json"
        write_bytes(path, promotion_text(promotion).encode())
        _make_read_only(path)
        return promotion


def file_hashes(model_folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a model that a version holds. Raises `ModelError`."""
    present = [name for name in (WEIGHTS, CHECKPOINT, CARD, *OBJECT_STAGE) if (model_folder / name).is_file()]
    return {name: _sha256(model_folder / name) for name in present}


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("reason", "is empty", "give one for the journal")


def _require_usable(checkpoint: Checkpoint, source: Path) -> None:
    if _NAME.fullmatch(checkpoint.id) is None or checkpoint.id in RESERVED:
        problem = f"invalid version id {checkpoint.id!r}"
        raise UsageError(source, problem, "use letters, digits, - . _ and + for the id in its checkpoint.json")


@lru_cache(maxsize=64)
def _require_running(folder: Path, pin: Pin) -> Checkpoint:
    """Load and run a version, once a process; the pin, of hashes just checked, stands for its content."""
    checkpoint = check_with_object_stage(str(folder))
    if checkpoint.id != pin.id:
        raise ModelError(folder, f"holds the model {checkpoint.id}", "restore the folder")
    return checkpoint


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise ModelError(path, f"cannot be read ({error.strerror or error})", "restore it from a copy") from error


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ModelError(folder, f"cannot be listed ({error.strerror or error})", "check its permissions") from error


def _number(name: str) -> int:
    return int(name.partition(".")[0])


def _make_read_only(path: Path) -> None:
    with suppress(OSError):  # not supported by every file system
        path.chmod(0o444)
