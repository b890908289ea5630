"""Results appear whole or not at all: written aside, checked, then renamed into place."""

from __future__ import annotations

import ctypes
import errno
import glob
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ingest.errors import StorageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
_ABANDONED_AFTER_S = 24 * 3600.0
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, missing permission or unusable folder while writing `path` into a `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE or "No space left" in str(error):
            raise StorageError(path, "no space left to write it", "free some space or choose another folder") from error
        if error.errno in _NO_PERMISSION:
            raise StorageError(path, "no permission to write it", "choose a folder you may write to") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise StorageError(path, "something else is in its place", "move that away or choose another") from error
        raise


def require_space(path: Path, size: int) -> None:
    """Raise `StorageError` unless the disk of `path` has `size` bytes left: better before the work than amid it."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if shutil.disk_usage(folder).free < size:
        problem = f"no space left to write its {size / 1e6:.0f} MB"
        raise StorageError(path, problem, "free some space or choose another folder")


@contextmanager
def aside_file(path: Path) -> Iterator[Path]:
    """A hidden name beside `path` to write to; it replaces `path` when the block ends well, else it is removed.

    The hidden name keeps the suffix, because drivers look at it. Raises `StorageError` where the folder
    cannot be written, or where the block wrote nothing.
    """
    hidden = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():  # such as /dev/null, which a rename would do away with
                raise FileExistsError(errno.EEXIST, "not a file", str(path))
            yield hidden
            _require_written(hidden)
            sync(hidden)  # so that a power cut cannot leave its new name empty
            os.replace(hidden, path)
    finally:
        with suppress(OSError):  # where there was no folder, there is nothing to remove
            hidden.unlink(missing_ok=True)


@contextmanager
def aside(folder: Path, required: Sequence[str] = ()) -> Iterator[Path]:
    """A hidden folder beside `folder` to write a scene's results into; it replaces `folder` when the block ends well.

    Every name in `required` must then be there and hold something. A reader sees the former result or the
    new one: on Linux the two are exchanged in one step; elsewhere there is an instant with neither, and the
    former result is put back by the next call if a crash hits that instant. A failure leaves the former
    result untouched. Raises `StorageError`.
    """
    hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        with storage_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _recover(folder)
            hidden.mkdir()
            yield hidden
            for name in required:
                _require_written(hidden / name)
            for path in sorted(hidden.rglob("*")):
                sync(path)
            _put(hidden, folder)
            sync(folder.parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _require_written(path: Path) -> None:
    if not path.is_file() or path.stat().st_size == 0:
        raise StorageError(path, "was not written completely", "see the messages before this one and run again")


def _put(hidden: Path, folder: Path) -> None:
    """Give `hidden` the name `folder`; a former folder of that name goes."""
    if not folder.exists():
        os.rename(hidden, folder)
    elif not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder))
    elif not _exchange(hidden, folder):
        former = _former(folder)
        os.rename(folder, former)
        os.rename(hidden, folder)
        shutil.rmtree(former, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step where the system can (Linux `renameat2`)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _former(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.former")


def _recover(folder: Path) -> None:
    """Undo what a crash left: a former result without successor comes back, abandoned partial ones go."""
    former = _former(folder)
    if former.exists():
        if folder.exists():
            shutil.rmtree(former, ignore_errors=True)
        else:
            os.rename(former, folder)
    remove_abandoned(folder.parent, f".{glob.escape(folder.name)}.*.partial")


def remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove hidden folders that killed runs left behind; one of today may belong to a run that still goes on."""
    for left in folder.glob(pattern):
        with suppress(FileNotFoundError):  # another run may remove it at this moment
            if time.time() - left.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn a failure of the file system inside the block into `StorageError`."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise StorageError(path, problem, "free some space or check its permissions") from error


def read_json(path: Path) -> dict[str, Any]:
    """An object written by `write_json`; empty where there is none or it is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object so that a reader finds it whole or not at all."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, path)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader, also after a power cut, finds all of it or the former one."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_bytes(content)
    sync(aside)
    os.replace(aside, path)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
