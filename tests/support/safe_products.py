"""Small SAFE products for the tests: a calm sea with speckle and thermal noise, written by our own writer."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.files import whole_file
from ingest.safe.metadata import ImageMetadata
from ingest.safe_writing.image_metadata import grd_metadata
from ingest.safe_writing.writer import write_safe

LOOKS = 4.4
SEA_DB = {"VV": -14.0, "HH": -16.0, "VH": -24.0, "HV": -25.0}


def sea(metadata: ImageMetadata, seed: int = 0, level_db: float | None = None) -> NDArray[np.uint16]:
    """Digital numbers of a homogeneous sea: gamma speckle on sigma nought and thermal noise, never 0."""
    annotation = metadata.annotation
    level = 10 ** ((SEA_DB[annotation.polarisation] if level_db is None else level_db) / 10)
    vector, noise = metadata.calibration[0], metadata.noise.range_vectors[0]
    columns = np.arange(annotation.number_of_samples)
    signal = level * np.interp(columns, vector.pixel, vector.sigma_nought) ** 2
    thermal = np.tile(np.interp(columns, noise.pixel, noise.noise), (annotation.number_of_lines, 1))
    for block in metadata.noise.azimuth_blocks:
        part = slice(block.first_line, block.last_line + 1), slice(block.first_pixel, block.last_pixel + 1)
        lines = np.arange(block.first_line, block.last_line + 1)
        thermal[part] *= np.interp(lines, block.line, block.noise)[:, None]
    rng = np.random.default_rng([seed, *annotation.polarisation.encode()])
    speckle = rng.gamma(LOOKS, 1 / LOOKS, thermal.shape)
    return np.clip(np.rint(np.sqrt((signal + thermal) * speckle)), 1, 65535).astype(np.uint16)


def with_border(image: NDArray[np.uint16], edge: tuple[slice, slice]) -> NDArray[np.uint16]:
    """The image with numbers of 1 to 20 in some lines and pixels along an edge, as products before IPF 2.90 have."""
    image = image.copy()
    image[edge] = np.random.default_rng(1).integers(1, 21, image.shape)[edge]
    return image


def sea_images(
    lines: int = 400,
    samples: int = 600,
    polarisations: Sequence[str] = ("VV", "VH"),
    *,
    seed: int = 0,
    **metadata: Any,
) -> dict[str, tuple[NDArray[np.uint16], ImageMetadata]]:
    """Images and metadata as `write_safe` takes them; `metadata` goes to `grd_metadata`."""
    described = {each: grd_metadata(each, lines, samples, **metadata) for each in polarisations}
    return {each: (sea(one, seed), one) for each, one in described.items()}


def sea_product(
    folder: Path,
    lines: int = 400,
    samples: int = 600,
    polarisations: Sequence[str] = ("VV", "VH"),
    *,
    seed: int = 0,
    noise_schema: str = "azimuth",
    cog: bool = False,
    zipped: bool = False,
    **metadata: Any,
) -> Path:
    """Write a small product into `folder` and return its path, NAME.SAFE or, if `zipped`, NAME.zip."""
    images = sea_images(lines, samples, polarisations, seed=seed, noise_schema=noise_schema, **metadata)
    product = write_safe(folder, None, images, noise_schema=noise_schema, cog=cog)
    return zip_safe(product) if zipped else product


def zip_safe(product: Path) -> Path:
    """Pack NAME.SAFE as NAME.zip beside it, deflated, and return the archive's path.

    Members lie in NAME.SAFE/ with a fixed date, so the same product gives the same bytes.
    """
    archive = product.with_name(product.name.removesuffix(".SAFE") + ".zip")
    with whole_file(archive) as hidden, zipfile.ZipFile(hidden, "w", zipfile.ZIP_DEFLATED) as pack:
        for path in sorted(path for path in product.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo(f"{product.name}/{path.relative_to(product).as_posix()}")
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with path.open("rb") as source, pack.open(member, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)
    return archive
