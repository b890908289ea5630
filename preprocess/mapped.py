"""Arrays on disk that are mapped into memory, for what is too large to hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.errors import StorageError

_CHUNK = 1 << 22


def create_mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Create a .npy file of float32 zeros and map it for writing; raises `StorageError` where there is no space.

    The space is really taken at once: writing to a sparse mapping on a full disk kills the process later.
    """
    try:
        with path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(file, header)
            left = int(np.prod(shape)) * 4
            while left:
                left -= file.write(bytes(min(_CHUNK, left)))
    except OSError as error:
        path.unlink(missing_ok=True)
        problem = f"cannot be written ({error.strerror})"
        raise StorageError(path, problem, "free some space or choose another folder") from error
    mapped: NDArray[np.float32] = np.load(path, mmap_mode="r+")
    return mapped


def open_mapped(path: Path) -> NDArray[np.float32]:
    """Map a .npy file for reading; nothing is read before it is used."""
    mapped: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return mapped
