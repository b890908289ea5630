"""Writing complete Sentinel-1 GRD products in ESA's layout: measurements, annotations, manifest, preview."""

from __future__ import annotations

import binascii
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from ingest.errors import StorageError, UsageError
from ingest.files import put_folder, unfinished
from ingest.safe.metadata import Annotation, ImageMetadata
from ingest.safe_writing.documents import annotation_document, calibration_document, noise_document
from ingest.safe_writing.manifest import DataObject, manifest_document, preview_documents, support_documents
from ingest.scene import scene_from_name

_ROWS_PER_BAND = 512
_QUICK_LOOK_SAMPLES = 512
_CATEGORY = {("VV",): "SV", ("HH",): "SH", ("VH",): "VH", ("HV",): "HV", ("VV", "VH"): "DV", ("HH", "HV"): "DH"}
_VERSIONS = {"azimuth": "003.71", "vector": "002.72"}


class DigitalNumbers(Protocol):
    """A uint16 image (lines, samples) whose row slices become arrays: NumPy, a memory map, dask."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lines and samples."""
        ...

    def __getitem__(self, rows: slice, /) -> Any:
        """Return rows as something `numpy.asarray` accepts."""
        ...


def write_safe(
    folder: Path,
    name: str | None,
    images: Mapping[str, tuple[DigitalNumbers, ImageMetadata]],
    *,
    ipf_version: str | None = None,
    noise_schema: str = "azimuth",
    cog: bool = False,
) -> Path:
    """Write one product into `folder` and return its path, NAME.SAFE; one of that name is replaced.

    `images` maps each polarisation to its digital numbers (0 = no data) and metadata; the images are read in
    bands of rows. Without a name, one is made of the metadata and of the manifest's CRC. `noise_schema` is
    "azimuth", or "vector" as before IPF 2.90; `ipf_version` defaults to one of that time. The same input gives
    the same bytes. Raises `UsageError` if images and metadata disagree, `StorageError` if the disk fails.
    """
    _check(images, noise_schema)
    version = ipf_version or _VERSIONS[noise_schema]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _aside(folder) as draft:
            manifest = _write_product(draft, images, version, noise_schema, cog)
            final = folder / _folder_name(name, images, manifest, cog)
            put_folder(draft, final)
    except OSError as error:
        raise StorageError(folder, f"cannot write the product ({error})", "check space and permissions") from error
    return final


def product_name(annotations: Mapping[str, Annotation], unique: str, *, cog: bool = False) -> str:
    """Compose ESA's product name, without .SAFE, from the images' annotations and four hexadecimal digits."""
    first = next(iter(annotations.values()))
    category = _CATEGORY[tuple(annotations)]
    spacing = first.range_pixel_spacing
    resolution = "F" if spacing < 8 else "H" if spacing <= 25 else "M"
    mode = first.swath if first.mode == "SM" else first.mode
    times = f"{first.start:%Y%m%dT%H%M%S}_{first.stop:%Y%m%dT%H%M%S}"
    orbit = f"{first.absolute_orbit:06d}_{first.datatake:06X}_{unique}"
    return f"{first.platform}_{mode}_GRD{resolution}_1S{category}_{times}_{orbit}" + ("_COG" if cog else "")


def ground_control_points(metadata: ImageMetadata) -> list[GroundControlPoint]:
    """The tie points as a measurement carries them: pixel centres at whole line and sample numbers."""
    grid = metadata.annotation.geolocation_grid
    indices = np.ndindex(len(grid.line), len(grid.pixel))
    return [
        GroundControlPoint(
            row=float(grid.line[i]),
            col=float(grid.pixel[j]),
            x=float(grid.longitude[i, j]),
            y=float(grid.latitude[i, j]),
            z=float(grid.height[i, j]),
            id=str(number),
        )
        for number, (i, j) in enumerate(indices, start=1)
    ]


def _check(images: Mapping[str, tuple[DigitalNumbers, ImageMetadata]], noise_schema: str) -> None:
    if tuple(images) not in _CATEGORY:
        raise UsageError(
            " ".join(images) or "no image",
            "not the polarisations of a product",
            "give one of VV, VH, HH, HV, or VV and VH, or HH and HV, in that order",
        )
    if noise_schema not in _VERSIONS:
        raise UsageError(noise_schema, "unknown noise schema", "use azimuth or vector")
    for polarisation, (image, metadata) in images.items():
        annotation = metadata.annotation
        if annotation.polarisation != polarisation:
            raise UsageError(polarisation, f"metadata of {annotation.polarisation}", "give those of this polarisation")
        size = annotation.number_of_lines, annotation.number_of_samples
        if tuple(image.shape) != size:
            raise UsageError(polarisation, f"is {image.shape}, its metadata says {size}", "give them the same size")


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A hidden folder, removed afterwards unless renamed."""
    with unfinished(folder / f".safe-{uuid.uuid4().hex[:12]}") as draft:
        draft.mkdir()
        yield draft


def _folder_name(
    name: str | None, images: Mapping[str, tuple[DigitalNumbers, ImageMetadata]], manifest: bytes, cog: bool
) -> str:
    if name is None:
        unique = f"{binascii.crc_hqx(manifest, 0xFFFF):04X}"  # CRC-16, as in ESA's names
        name = product_name({key: metadata.annotation for key, (_, metadata) in images.items()}, unique, cog=cog)
    return name.removesuffix(".SAFE") + ".SAFE"


def _write_product(
    draft: Path,
    images: Mapping[str, tuple[DigitalNumbers, ImageMetadata]],
    version: str,
    noise_schema: str,
    cog: bool,
) -> bytes:
    for part in ("measurement", "annotation/calibration", "preview", "support"):
        (draft / part).mkdir(parents=True)
    objects: list[tuple[str, str]] = []
    measurements = []
    for image, metadata in images.values():
        stem = _stem(metadata.annotation) + ("-cog" if cog else "")
        measurement = f"measurement/{stem}.tiff"
        statistics = _write_measurement(draft / measurement, image, metadata, version, cog)
        documents = {
            ("s1Level1ProductSchema", f"annotation/{stem}.xml"): annotation_document(
                metadata.annotation, statistics, metadata.noise.azimuth_blocks, version
            ),
            ("s1Level1NoiseSchema", f"annotation/calibration/noise-{stem}.xml"): noise_document(metadata, noise_schema),
            ("s1Level1CalibrationSchema", f"annotation/calibration/calibration-{stem}.xml"): calibration_document(
                metadata
            ),
        }
        for (schema, href), content in documents.items():
            (draft / href).write_bytes(content)
            objects.append((schema, href))
        measurements.append(("s1Level1MeasurementSchema", measurement))
    objects += [*_write_preview(draft, images, [href for _, href in measurements]), *measurements]
    for href, content in support_documents().items():
        (draft / href).write_bytes(content)
    annotations = [metadata.annotation for _, metadata in images.values()]
    relative = scene_from_name(product_name({a.polarisation: a for a in annotations}, "0000")).relative_orbit
    described = [DataObject.of(draft, href, schema) for schema, href in objects]
    manifest = manifest_document(annotations, described, version, relative)
    (draft / "manifest.safe").write_bytes(manifest)
    return manifest


def _stem(annotation: Annotation) -> str:
    """Name of one image's files: ``s1a-iw-grd-vv-<start>-<stop>-<orbit>-<datatake>-<number>``."""
    times = f"{annotation.start:%Y%m%dt%H%M%S}-{annotation.stop:%Y%m%dt%H%M%S}"
    what = f"{annotation.platform}-{annotation.swath}-grd-{annotation.polarisation}".lower()
    return f"{what}-{times}-{annotation.absolute_orbit:06d}-{annotation.datatake:06x}-{annotation.image_number:03d}"


def _write_measurement(
    path: Path, image: DigitalNumbers, metadata: ImageMetadata, version: str, cog: bool
) -> tuple[float, float]:
    """Write the TIFF in bands of rows; return mean and standard deviation of the valid digital numbers."""
    annotation = metadata.annotation
    plain = path.with_suffix(".part") if cog else path
    count = total = squares = 0.0
    with _quiet(), rasterio.open(plain, "w", **_tiff_profile(metadata)) as target:
        target.update_tags(**_tiff_tags(annotation, version))
        for first in range(0, annotation.number_of_lines, _ROWS_PER_BAND):
            rows = np.asarray(image[first : first + _ROWS_PER_BAND])
            if rows.dtype != np.uint16:
                raise UsageError(annotation.polarisation, f"digital numbers of type {rows.dtype}", "give uint16")
            target.write(rows, 1, window=Window(0, first, rows.shape[1], rows.shape[0]))
            count += np.count_nonzero(rows)
            total += rows.sum(dtype=np.float64)
            squares += np.square(rows, dtype=np.float64).sum()
    if cog:
        with _quiet():
            rasterio.shutil.copy(plain, path, driver="COG", COMPRESS="DEFLATE", RESAMPLING="AVERAGE", NUM_THREADS="1")
        plain.unlink()
    mean = total / max(count, 1)
    return mean, float(np.sqrt(max(squares / max(count, 1) - mean**2, 0.0)))


def _tiff_profile(metadata: ImageMetadata) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "width": metadata.annotation.number_of_samples,
        "height": metadata.annotation.number_of_lines,
        "crs": "EPSG:4326",
        "gcps": ground_control_points(metadata),
        "blockysize": 1,
        "BIGTIFF": "IF_SAFER",
    }


def _tiff_tags(annotation: Annotation, version: str) -> dict[str, str]:
    resolution = product_name({annotation.polarisation: annotation}, "0000")[10]
    return {
        "TIFFTAG_IMAGEDESCRIPTION": (f"Sentinel-{annotation.platform[1:]} {annotation.swath} GRD {resolution}R L1"),
        "TIFFTAG_SOFTWARE": f"Sentinel-1 IPF {version}",
        # Not the current time: the same input must give the same bytes
        "TIFFTAG_DATETIME": f"{annotation.stop + timedelta(hours=3):%Y:%m:%d %H:%M:%S}",
    }


def _write_preview(
    draft: Path, images: Mapping[str, tuple[DigitalNumbers, ImageMetadata]], measurements: list[str]
) -> list[tuple[str, str]]:
    annotation = next(iter(images.values()))[1].annotation
    Image.fromarray(_quick_look([draft / href for href in measurements])).save(draft / "preview/quick-look.png")
    for href, content in preview_documents(annotation, _stem(annotation), measurements).items():
        (draft / href).write_bytes(content)
    return [
        ("s1Level1MapOverlaySchema", "preview/map-overlay.kml"),
        ("s1Level1ProductPreviewSchema", "preview/product-preview.html"),
        ("s1Level1QuickLookSchema", "preview/quick-look.png"),
    ]


def _quick_look(paths: list[Path]) -> NDArray[np.uint8]:
    """Co-, cross-polarised and their ratio as red, green and blue; a single image in grey."""
    channels = []
    for path in paths:
        with _quiet(), rasterio.open(path) as source:
            step = max(1, -(-source.width // _QUICK_LOOK_SAMPLES))
            shape = -(-source.height // step), -(-source.width // step)
            small = source.read(1, out_shape=shape, resampling=Resampling.average).astype(np.float32)
        channels.append(small)
    if len(channels) == 2:
        channels.append(channels[0] / np.maximum(channels[1], 1.0))
    scaled = [channel * (128.0 / max(float(channel.mean()), 1.0)) for channel in channels]
    picture = np.stack(scaled if len(scaled) == 3 else scaled * 3, axis=-1)
    return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)


@contextmanager
def _quiet() -> Iterator[None]:
    # A product in radar geometry has no geotransform, and rasterio warns about that
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
