"""Atomic files and folders: written under a hidden name, flushed, then renamed into place."""

from __future__ import annotations

import ctypes
import errno
import glob
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from ingest.errors import StorageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
_NOT_OF_A_DISK = (ConnectionError, TimeoutError, InterruptedError)
_FREE_SPACE = "free some space or choose another folder"
_ABANDONED_AFTER_S = 24 * 3600.0
_UNFINISHED: set[Path] = set()  # hidden files and folders being written
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@contextmanager
def storage_errors(path: Path, action: Literal["read", "write"] = "write") -> Iterator[None]:
    """Turn disk failures on `path`, or on a file beside or below it, into `StorageError`.

    A file elsewhere is named itself where there is no space or no permission; other failures there pass unchanged.
    """
    try:
        yield
    except OSError as error:
        is_near = _is_near(error.filename, path)
        if (found := _problem_and_remedy(error, action if is_near else None)) is None:
            raise
        raise StorageError(path if is_near else os.fsdecode(error.filename), *found) from error


def _problem_and_remedy(error: OSError, action: Literal["read", "write"] | None) -> tuple[str, str] | None:
    reason = f" ({error.strerror})" if error.strerror else ""
    if error.errno in _NO_SPACE or "No space left" in str(error):
        return f"no space left to write it{reason}", _FREE_SPACE
    if error.errno in _NO_PERMISSION:
        remedy = "choose a folder you may write to" if action == "write" else "change its permissions"
        return f"no permission to {action or 'read or write'} it{reason}", remedy
    if error.errno in _IN_THE_WAY:
        return f"another file is in its place{reason}", "move it away or choose another path"
    if error.errno is None or isinstance(error, _NOT_OF_A_DISK) or action is None:
        return None
    # What writes a file may also read others beside it.
    done = "read" if action == "read" else "read or written"
    return f"cannot be {done}{reason}", "check the disk and the permissions"


def _is_near(name: object, path: Path) -> bool:
    """Whether a failed operation concerned `path`, a file beside or below it, or an open file without a name."""
    return not isinstance(name, str | bytes) or Path(os.fsdecode(name)).absolute().is_relative_to(
        path.absolute().parent
    )


def require_writable(folder: Path, remedy: str | None = None) -> None:
    """Raise `StorageError` unless files can be made in a folder, or where it is to be made; leaves nothing behind."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    try:
        os.fspath(folder).encode()
        with storage_errors(existing / "new"), tempfile.TemporaryFile(dir=existing):
            pass
    except UnicodeEncodeError as error:
        raise StorageError(repr(os.fsencode(folder)), "its path is not UTF-8", remedy or "choose another") from error
    except StorageError as error:
        raise StorageError(folder, error.problem, remedy or error.remedy) from error


def require_space(path: Path, size: int) -> None:
    """Raise `StorageError` unless the disk of `path` has `size` bytes left."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if shutil.disk_usage(folder).free < size:
        raise StorageError(path, f"no space left to write its {size / 1e6:.0f} MB", _FREE_SPACE)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if there is no file or it is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any], indent: int = 1) -> None:
    """Replace a whole file with a JSON object; raises `StorageError`."""
    write_bytes(path, (json.dumps(content, indent=indent) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a whole file; raises `StorageError`."""
    with whole_file(path) as hidden:
        hidden.write_bytes(content)


@contextmanager
def whole_file(path: Path, suffix: str | None = None) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to; it replaces `path` if the block succeeds, else it is removed.

    Readers find the former file or the new one, also after a power cut. The hidden name ends in `suffix`, else in that
    of `path`, because GDAL drivers depend on it. Raises `StorageError` if the folder cannot be written or the block
    wrote nothing.
    """
    hidden_suffix = path.suffix if suffix is None else suffix
    with unfinished(_hidden(path, hidden_suffix)) as hidden, storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # such as /dev/null, which must not be replaced
            raise FileExistsError(errno.EEXIST, "not a file", str(path))
        yield hidden
        _require_written(hidden)
        sync(hidden)  # or a power cut could leave an empty file under the new name
        os.replace(hidden, path)
        sync(path.parent)


@contextmanager
def whole_folder(folder: Path, required: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a hidden folder beside `folder` to write to; it replaces `folder` if the block succeeds.

    Every file named in `required` must then exist and not be empty. Readers find the former folder or the new one:
    on Linux the two are exchanged in one step; elsewhere there is an instant with neither, and if the process dies in
    it, the next call restores the former folder. After a failure the former folder is untouched. Raises
    `StorageError`.
    """
    with unfinished(_hidden(folder)) as hidden, storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _recover(folder)
        hidden.mkdir()
        yield hidden
        for name in required:
            _require_written(hidden / name)
        for path in sorted(hidden.rglob("*")):
            sync(path)
        sync(hidden)
        put_folder(hidden, folder)
        sync(folder.parent)


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Remove a file or folder when the block ends, if it is there; `remove_unfinished` does so before."""
    _UNFINISHED.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _UNFINISHED.discard(path)


def remove_unfinished() -> None:
    """Remove what is unfinished in all threads, for a process that does not wait for them to end."""
    for path in list(_UNFINISHED):
        _remove(path)


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:  # a folder, or not there
        shutil.rmtree(path, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder; no reader ever finds half of it under its name."""
    hidden = _hidden(folder)
    os.rename(folder, hidden)
    shutil.rmtree(hidden)


def remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove hidden folders that killed processes left; younger than a day, one may still be in use."""
    for left in folder.glob(pattern):
        with suppress(FileNotFoundError):  # another process may remove it at the same time
            if time.time() - left.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(left, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hidden(path: Path, suffix: str = "") -> Path:
    return path.with_name(f".{path.name.lstrip('.')}.{uuid.uuid4().hex[:12]}.partial{suffix}")


def _require_written(path: Path) -> None:
    if not path.is_file() or path.stat().st_size == 0:
        raise StorageError(path, "not written completely", "see the messages above and run again")


def put_folder(hidden: Path, folder: Path) -> None:
    """Rename `hidden` to `folder` on the same disk; a former folder of that name is exchanged for it, then removed."""
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
    """Exchange two names atomically where the system can (Linux `renameat2`)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _former(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.former")


def _recover(folder: Path) -> None:
    """Clean up after a crash: restore a former folder without a successor, remove abandoned hidden ones."""
    former = _former(folder)
    if former.exists():
        if folder.exists():
            shutil.rmtree(former, ignore_errors=True)
        else:
            os.rename(former, folder)
    remove_abandoned(folder.parent, f".{glob.escape(folder.name)}.*.partial")


def user_cache(*names: str) -> Path:
    """Return ``slickwatch/<names>`` in ``XDG_CACHE_HOME`` or ``~/.cache``; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache").joinpath("slickwatch", *names)


def home_folder() -> Path:
    """Return the user's home folder; raises `StorageError` for a user without one, as in some containers."""
    try:
        return Path.home()
    except RuntimeError as error:
        raise StorageError("HOME", "is not set, and this user has no home folder", "set HOME to a folder") from error
