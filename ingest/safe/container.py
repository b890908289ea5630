"""A SAFE folder or SAFE zip as named members, read in place and guarded against hostile archives."""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from ingest.errors import UnreadableInput

# The largest annotation ESA delivers (EW, with RFI) is below 10 MB.
LARGEST_DOCUMENT = 64 * 1024 * 1024  # bytes
_MANIFEST = "manifest.safe"
_GIVE = "give a SAFE folder or a zip of one"


class Container(Protocol):
    """A product's files under names relative to the product's own folder, with ``/`` as the separator."""

    @property
    def path(self) -> Path: ...
    @property
    def name(self) -> str:
        """Name of the product's folder (inside the archive, if it is one)."""

    @property
    def members(self) -> tuple[str, ...]: ...

    def read(self, member: str) -> bytes:
        """Content of one member; `UnreadableInput` if it is missing, damaged or larger than `LARGEST_DOCUMENT`."""

    def gdal_path(self, member: str) -> str:
        """A path under which GDAL opens the member."""

    def is_deflated(self, member: str) -> bool:
        """Whether the member is compressed inside an archive, where only reading forward is cheap."""

    def size(self) -> int:
        """Bytes on disk."""


@dataclass(frozen=True)
class FolderContainer:
    """A product unpacked on disk."""

    path: Path
    name: str
    members: tuple[str, ...]

    def read(self, member: str) -> bytes:
        subject = f"{self.path}/{member}"
        if member not in self.members:
            raise _missing(subject)
        try:
            with open(self.path / member, "rb") as file:
                content = file.read(LARGEST_DOCUMENT + 1)
        except OSError as error:
            raise UnreadableInput(subject, f"cannot be read ({error.strerror})", "check the file") from error
        if len(content) > LARGEST_DOCUMENT:
            raise _too_large(subject)
        return content

    def gdal_path(self, member: str) -> str:
        return str(self.path.absolute() / member)

    def is_deflated(self, member: str) -> bool:
        return False

    def size(self) -> int:
        return sum((self.path / member).stat().st_size for member in self.members)


@dataclass(frozen=True)
class ZipContainer:
    """A product inside a zip; `prefix` is its folder in the archive, with the slash.

    GDAL's ``/vsizip`` gives random access to stored members. A deflated member it inflates from the
    start at each opening: reading a 192 MB image in bands takes 6.1 s with an opening per band, 0.9 s
    through one handle going forward, and the gap grows with the square of the size. `preprocess.grd`
    therefore keeps deflated members open.
    """

    path: Path
    name: str
    members: tuple[str, ...]
    prefix: str

    def read(self, member: str) -> bytes:
        subject = f"{self.path}/{member}"
        if member not in self.members:
            raise _missing(subject)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.prefix + member) as file:
                # The size in the directory may be false: stop at the limit regardless.
                content = file.read(LARGEST_DOCUMENT + 1)
        except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise UnreadableInput(subject, "is damaged in the archive", "fetch the product again") from error
        if len(content) > LARGEST_DOCUMENT:
            raise _too_large(subject)
        return content

    def gdal_path(self, member: str) -> str:
        # Braces let GDAL accept any file name as an archive, not only *.zip; but it pairs them with those inside.
        archive = str(self.path.absolute())
        if _has_paired_braces(archive):
            archive = f"{{{archive}}}"
        elif self.path.suffix.lower() != ".zip":
            raise UnreadableInput(self.path, "has an unpaired brace in its path and no .zip", "rename it")
        return f"/vsizip/{archive}/{self.prefix}{member}"

    def is_deflated(self, member: str) -> bool:
        with zipfile.ZipFile(self.path) as archive:
            entry = archive.getinfo(self.prefix + member)
        return entry.compress_type != zipfile.ZIP_STORED

    def size(self) -> int:
        return self.path.stat().st_size


def open_container(path: str | Path) -> Container:
    """Open a SAFE folder, its ``manifest.safe``, or a SAFE zip.

    Raises `UnreadableInput` where there is nothing, or no readable archive, or one with absolute,
    upward or symlinked members.
    """
    path = Path(path)
    if path.name == _MANIFEST:
        path = path.parent
    try:
        if path.is_dir():
            return FolderContainer(path, path.resolve().name, _folder_members(path))
        if path.is_file():
            return _open_zip(path)
    except OSError as error:
        raise UnreadableInput(
            path, f"cannot be read ({error.strerror})", "check the path and its permissions"
        ) from error
    raise UnreadableInput(path, "no such file or folder", _GIVE)


def _folder_members(folder: Path) -> tuple[str, ...]:
    files = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    members = (file.relative_to(folder).as_posix() for file in files if file.is_file())
    return tuple(sorted(member for member in members if not _is_hidden(member)))


def _open_zip(path: Path) -> ZipContainer:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UnreadableInput(path, "not a zip archive, or a truncated one", _GIVE) from error
    for entry in entries:
        _refuse_hostile(path, entry)
    names = [entry.filename for entry in entries if not entry.is_dir() and not _is_hidden(entry.filename)]
    if len(set(names)) < len(names):
        raise UnreadableInput(path, "duplicate member in the archive", "fetch the product again")
    prefix = _product_folder(path, names)
    members = tuple(sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix)))
    return ZipContainer(path, PurePosixPath(prefix).name or path.name, members, prefix)


def _is_hidden(member: str) -> bool:
    """Whether a member, or a folder above it, is named with a dot, as macOS and editors name what they add."""
    return any(part.startswith(".") for part in PurePosixPath(member).parts)


def _refuse_hostile(path: Path, entry: zipfile.ZipInfo) -> None:
    # No SAFE contains Windows drives or backslashes, which mean "elsewhere" on some systems.
    name = PurePosixPath(entry.orig_filename)
    if name.is_absolute() or ".." in name.parts or set(entry.orig_filename) & set("\\:"):
        problem = f"member {entry.orig_filename!r} points outside the archive"
    elif stat.S_ISLNK(entry.external_attr >> 16):
        problem = f"member {entry.filename!r} is a symbolic link"
    elif entry.flag_bits & 0x1:
        problem = f"member {entry.filename!r} is encrypted"
    else:
        return
    raise UnreadableInput(path, problem, "use the archive as its provider made it")


def _product_folder(path: Path, names: Iterable[str]) -> str:
    """The manifest's folder, or else the one that holds everything, with its slash; empty at the top."""
    folders = [name.removesuffix(_MANIFEST) for name in names if PurePosixPath(name).name == _MANIFEST]
    if len(folders) > 1:
        raise UnreadableInput(path, "several products in the archive", "use archives of one product")
    if folders:
        return folders[0]
    tops = {name.split("/", 1)[0] + "/" if "/" in name else "" for name in names}
    tops.discard("__MACOSX/")  # added beside the product by macOS Finder
    return tops.pop() if len(tops) == 1 else ""


def _has_paired_braces(text: str) -> bool:
    braces = re.sub(r"[^{}]", "", text)
    while "{}" in braces:
        braces = braces.replace("{}", "")
    return not braces


def _missing(subject: str) -> UnreadableInput:
    return UnreadableInput(subject, "is missing from the product", "fetch the product again")


def _too_large(subject: str) -> UnreadableInput:
    return UnreadableInput(subject, f"is larger than {LARGEST_DOCUMENT >> 20} MB", "this is no Sentinel-1 annotation")
