"""The local inbox: a folder where others put SAFE products, picked up once complete."""

from __future__ import annotations

import logging
import os
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from shapely.geometry import MultiPoint
from shapely.geometry.base import BaseGeometry

from ingest.errors import SlickwatchError, SourceError, UnreadableInput
from ingest.safe.annotation import Document
from ingest.safe.container import Container, open_container
from ingest.safe.metadata import Annotation
from ingest.safe.product import SafeProduct
from ingest.scene import Scene, scene_from_name
from ingest.sources.source import ByteStream, Query

SETTLE = 10.0  # seconds
BLOCK = 1 << 20  # bytes
_MANIFEST = "manifest.safe"
_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".aria2", "~")

_log = logging.getLogger(__name__)
Report = Callable[[Path, str], None]


@dataclass(frozen=True)
class _Snapshot:
    """One snapshot of a product; as long as two of them differ, it is still being written."""

    files: int
    size: int  # bytes
    changed: int  # ns since 1970, the latest change of content or location


@dataclass
class _Entry:
    """A product as of the last snapshot."""

    snapshot: _Snapshot
    unchanged_since: float  # s since 1970
    product: _Product | None = None
    reported: bool = False


class _Product:
    """A complete product, whose details are read only if a query needs them. Keeps no table of it in memory."""

    def __init__(self, path: Path) -> None:
        product = SafeProduct.open(path)
        _require_whole(product.container)
        self.path = path
        self.scene = replace(product.scene, key=str(path))

    @cached_property
    def footprint(self) -> BaseGeometry | None:
        """From the manifest, or else around the annotation's tie points; None if these jump by 360 degrees."""
        if self.scene.footprint is not None:
            return self.scene.footprint
        grid = self._annotation().geolocation_grid
        if grid.longitude.max() - grid.longitude.min() > 180:
            return None
        points = zip(grid.longitude.ravel().tolist(), grid.latitude.ravel().tolist(), strict=True)
        return MultiPoint(list(points)).convex_hull

    @cached_property
    def orbit_direction(self) -> str:
        return self._annotation().pass_direction.lower()

    @cached_property
    def timeliness(self) -> str | None:
        manifest = _manifest(open_container(self.path))
        if manifest is None:
            return None
        tags = (each for each in manifest.root.iter() if str(each.tag).endswith("}productTimelinessCategory"))
        return next((tag.text.strip() for tag in tags if tag.text), None)

    def _annotation(self) -> Annotation:
        product = SafeProduct.open(self.path)
        return product.image(product.polarisations[0]).annotation


def _log_unreadable(path: Path, reason: str) -> None:
    _log.warning("Skipped in the inbox until it changes: %s", reason)


@dataclass
class Inbox:
    """Products in a folder and in its direct subfolders: SAFE folders and SAFE zips, plain or COG.

    They are used in place: `local_path` gives a scene's path, so nothing has to be fetched; `open` streams zips for
    callers that want a copy. A product is left alone while its name marks it as unfinished, while its size or a
    timestamp changed less than `settle` seconds ago, and, for a folder, while files listed in its manifest are
    missing or short. What stays unreadable is passed to `report`, once until it changes.
    """

    folder: Path
    settle: float = SETTLE
    report: Report = _log_unreadable
    clock: Callable[[], float] = time.time
    name: str = "inbox"
    passed_over: dict[Path, str] = field(default_factory=dict, init=False)  # ids by path: outside the area, last find
    _known: dict[Path, _Entry] = field(default_factory=dict, init=False, repr=False)

    def find(self, query: Query, published_after: datetime | None) -> Iterator[Scene]:
        """Yield the complete products that match the query, oldest first; raises `SourceError` without the folder.

        `published` is when the product's last byte, or the whole product, arrived. One that arrived with its
        subfolder counts as new when the subfolder does. Unknown properties do not exclude a product.
        """
        since = None if published_after is None else published_after.timestamp()
        found = []
        self.passed_over = {}
        for path, arrived in self._settled(query):
            if since is not None and arrived <= since:
                continue
            scene = self._scene(path, query)
            if scene is not None:
                found.append(scene)
        yield from sorted(found, key=lambda scene: (scene.published or datetime.min.replace(tzinfo=UTC), scene.key))

    def local_path(self, scene: Scene) -> Path:
        """Path of a scene in this inbox, a SAFE folder or zip; raises `SourceError` if it is gone."""
        path = Path(scene.key or "")
        if scene.key is None or not path.exists():
            raise SourceError(scene.id, f"no longer in the inbox {self.folder}", "copy it there again")
        return path

    def open(self, scene: Scene, offset: int) -> AbstractContextManager[ByteStream]:
        """Open a scene's zip at a byte; a folder has no archive, use `local_path`. Raises `SourceError`."""
        path = self.local_path(scene)
        if path.is_dir():
            raise SourceError(path, "unpacked, there is no archive to download", "use it in place")
        return _open_file(path, offset)

    def _settled(self, query: Query) -> Iterator[tuple[Path, float]]:
        """Products that may be complete, each with the time (s since 1970) from which it counts as new."""
        candidates = dict(self._candidates())
        for path in [path for path in self._known if path not in candidates and not os.path.lexists(path)]:
            del self._known[path]
        taken: set[tuple[int, int]] = set()
        for path, came_with in sorted(candidates.items()):
            if not _may_match(path, query):
                continue
            try:
                status = path.stat()
                snapshot = _snapshot(path)
            except OSError as error:
                self._report_unreadable(path, f"{path}: cannot be read ({error.strerror})")
                continue
            # Links may give one product several paths.
            if (status.st_dev, status.st_ino) not in taken and self._is_settled(path, snapshot):
                taken.add((status.st_dev, status.st_ino))
                yield path, max(snapshot.changed / 1e9, came_with)

    def _candidates(self) -> Iterator[tuple[Path, float]]:
        """Paths that look like products, with the time (s since 1970) at which their subfolder changed."""
        try:
            entries = sorted(os.scandir(self.folder), key=lambda entry: entry.name)
        except OSError as error:
            problem = f"the inbox cannot be read ({error.strerror})"
            raise SourceError(self.folder, problem, "create the folder, or check its permissions") from error
        for entry in entries:
            if _is_candidate(entry):
                yield Path(entry.path), 0.0
            elif not _is_unfinished(entry.name) and _is_folder(entry):
                yield from self._candidates_below(Path(entry.path))

    def _candidates_below(self, folder: Path) -> Iterator[tuple[Path, float]]:
        try:
            came = folder.stat().st_ctime
            for entry in os.scandir(folder):
                if _is_candidate(entry):
                    yield Path(entry.path), came
        except OSError as error:
            self._report_unreadable(folder, f"{folder}: cannot be read ({error.strerror})")

    def _is_settled(self, path: Path, snapshot: _Snapshot) -> bool:
        now, known = self.clock(), self._known.get(path)
        if known is None:
            # The first snapshot relies on file times, except those in the future.
            known = self._known[path] = _Entry(snapshot, min(now, snapshot.changed / 1e9))
        elif known.snapshot != snapshot:
            known = self._known[path] = _Entry(snapshot, now)
        return now - known.unchanged_since >= self.settle

    def _scene(self, path: Path, query: Query) -> Scene | None:
        known = self._known[path]
        try:
            if known.product is None and not known.reported:
                str(path).encode()  # names that are not text cannot go into a ledger
                known.product = _Product(path)
            if known.product is None:
                return None
            if not _matches(known.product, query):
                if query.area is not None and _matches(known.product, replace(query, area=None)):
                    self.passed_over[path] = known.product.scene.id
                return None
            published = datetime.fromtimestamp(known.snapshot.changed / 1e9, UTC)
            footprint = known.product.footprint
            return replace(known.product.scene, source=self.name, footprint=footprint, published=published)
        except SlickwatchError as error:
            self._report_unreadable(path, str(error))
        except UnicodeEncodeError:
            self._report_unreadable(path, f"{os.fsencode(path)!r}: its name is not UTF-8")
        except OSError as error:
            self._report_unreadable(path, f"{path}: cannot be read ({error.strerror})")
        return None

    def _report_unreadable(self, path: Path, reason: str) -> None:
        known = self._known.setdefault(path, _Entry(_Snapshot(0, 0, 0), self.clock()))
        if not known.reported:
            known.reported, known.product = True, None
            self.report(path, reason)


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.lower().endswith(_UNFINISHED)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_candidate(entry: os.DirEntry[str]) -> bool:
    """A zip, or a folder that is named .SAFE or contains a manifest."""
    if _is_unfinished(entry.name):
        return False
    try:
        if entry.is_dir():
            return entry.name.upper().endswith(".SAFE") or os.path.exists(os.path.join(entry.path, _MANIFEST))
        return entry.name.lower().endswith(".zip") and entry.is_file()
    except OSError:
        return False


def _snapshot(path: Path) -> _Snapshot:
    status = path.stat()
    # A rename does not touch the modification time: only the status change shows when it arrived.
    looks = [(0, max(status.st_mtime_ns, status.st_ctime_ns))]
    if not stat.S_ISDIR(status.st_mode):
        return _Snapshot(1, status.st_size, looks[0][1])
    for root, _, names in os.walk(path):
        for name in names:
            each = os.lstat(os.path.join(root, name))
            looks.append((each.st_size, max(each.st_mtime_ns, each.st_ctime_ns)))
    return _Snapshot(len(looks) - 1, sum(size for size, _ in looks), max(changed for _, changed in looks))


def _may_match(path: Path, query: Query) -> bool:
    """Whether a product may match, by its name; a name of another grammar excludes nothing."""
    try:
        return query.matches(scene_from_name(path.name))
    except UnreadableInput:
        return True


def _matches(product: _Product, query: Query) -> bool:
    """Whether a product matches; its annotation and manifest are read only if the query needs them."""
    return query.matches(product.scene) and query.matches(
        replace(product.scene, footprint=product.footprint if query.area is not None else None),
        product.orbit_direction if query.orbit_direction is not None else None,
        [product.timeliness] if query.timeliness is not None and product.timeliness is not None else (),
    )


def _require_whole(container: Container) -> None:
    """Raise `UnreadableInput` if a part of a product is missing, as in an interrupted copy.

    AWS renames a product's files but keeps its manifest: there, the files it lists are not checked.
    """
    if container.path.is_file():
        _require_members(container.path)
    elif "productInfo.json" not in container.members and (manifest := _manifest(container)) is not None:
        _require_files(container.path, manifest)


def _require_members(path: Path) -> None:
    """Check each member's own header: a download in several pieces may have a zip's end before its middle."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                archive.open(entry).close()
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableInput(path, "incomplete archive", "copy it again") from error


def _require_files(folder: Path, manifest: Document) -> None:
    for stream in manifest.root.iterfind("dataObjectSection/dataObject/byteStream"):
        location = stream.find("fileLocation")
        href = "" if location is None else location.get("href", "")
        member = PurePosixPath(href)
        if not href or member.is_absolute() or ".." in member.parts:
            raise manifest.fail(f"lists a file outside the product, {href[:80]!r}")
        promised = stream.get("size", "")
        there = (folder / member).stat().st_size if (folder / member).is_file() else None
        if there is None or (promised.isdecimal() and there < int(promised)):
            problem = "is missing" if there is None else f"has {there} of {promised} bytes"
            raise UnreadableInput(folder, f"{member} {problem}", "wait until the copy has finished, or copy it again")


def _manifest(container: Container) -> Document | None:
    if _MANIFEST not in container.members:
        return None
    return Document.parse(container.read(_MANIFEST), f"{container.path}/{_MANIFEST}")


@contextmanager
def _open_file(path: Path, offset: int) -> Iterator[ByteStream]:
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise SourceError(path, f"cannot be read ({error.strerror})", "check its permissions") from error
    with file:
        total = os.fstat(file.fileno()).st_size
        # Past its end: it is not the file that was begun.
        file.seek(offset if offset <= total else 0)
        yield ByteStream(file.tell(), total, iter(partial(file.read, BLOCK), b""))
