"""Memory-mapped arrays on disk, for what does not fit into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.errors import StorageError
from ingest.files import storage_errors

_CHUNK = 1 << 22


def create_memory_map(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Create a .npy file of float32 zeros and map it for writing; raises `StorageError` where there is no space.

    The space is allocated at once: writing to a sparse mapping on a full disk would kill the process later.
    """
    try:
        with storage_errors(path), path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(file, header)
            left = int(np.prod(shape)) * 4
            while left:
                left -= file.write(bytes(min(_CHUNK, left)))
    except (OSError, StorageError):
        path.unlink(missing_ok=True)
        raise
    mapped: NDArray[np.float32] = np.load(path, mmap_mode="r+")
    return mapped


def open_memory_map(path: Path) -> NDArray[np.float32]:
    """Map a .npy file for reading; nothing is read before it is used."""
    mapped: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return mapped
