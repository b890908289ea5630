"""The record of one Sentinel-1 product and the grammar of product names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shapely.geometry.base import BaseGeometry

from ingest.errors import UnreadableInput

_NAME = re.compile(
    r"(?P<platform>S1[A-Z])_(?P<mode>IW|EW|S[1-6]|WV)_(?P<kind>GRD|SLC|RAW|OCN)(?P<resolution>[FHM_])_"
    r"(?P<level>[012])(?P<category>[SAN])(?P<polarisation>SH|SV|DH|DV|HH|HV|VV|VH)_"
    r"(?P<start>\d{8}T\d{6})_(?P<stop>\d{8}T\d{6})_(?P<orbit>\d{6})_(?P<datatake>[0-9A-F]{6})_(?P<unique>[0-9A-F]{4})"
    r"(?P<cog>_COG)?(?:\.SAFE)?(?:\.zip)?",
    re.ASCII,
)
_LEAP_SECOND = re.compile(r"(?<=T)(23:?59:?)60")
_POLARISATIONS = {
    "SH": ("HH",), "SV": ("VV",), "DH": ("HH", "HV"), "DV": ("VV", "VH"),
    "HH": ("HH",), "HV": ("HV",), "VV": ("VV",), "VH": ("VH",),
}  # fmt: skip
# (absolute orbit - offset) mod 175 + 1 is the relative orbit; offsets from Copernicus mission documents.
_RELATIVE_ORBIT_OFFSET = {"S1A": 73, "S1B": 27, "S1C": 99, "S1D": 42}
# Sentinel-1C was moved in June 2026; up to this absolute orbit it had another offset.
_S1C_LAST_ORBIT_BEFORE_MOVE, _S1C_OFFSET_BEFORE_MOVE = 8018, 172


@dataclass(frozen=True)
class Scene:
    """One Sentinel-1 product, whatever its source; times are UTC, the footprint is WGS 84 lon/lat."""

    id: str  # the product's name without .SAFE or .zip
    platform: str
    mode: str  # IW, EW, SM, WV
    product_type: str  # GRD, SLC, RAW, OCN
    polarisations: tuple[str, ...]
    acquired_start: datetime
    acquired_end: datetime
    absolute_orbit: int
    relative_orbit: int | None = None  # None if the platform's offset is unknown
    footprint: BaseGeometry | None = None
    source: str = "local"
    size: int | None = None  # bytes
    checksum: str | None = None  # algorithm:hexadecimal, md5 or blake3, of the archive
    published: datetime | None = None
    key: str | None = None  # the source's own name for it: an id, an address or a path


def scene_from_name(name: str) -> Scene:
    """Read a Sentinel-1 product name, with or without ``.SAFE`` and ``.zip``, of any platform letter.

    Raises `UnreadableInput` if the name does not follow ESA's naming convention.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UnreadableInput(name, "not a Sentinel-1 product name", "give a product named S1x_..._GRDx_....SAFE")
    platform, mode, orbit = match["platform"], match["mode"], int(match["orbit"])
    try:
        start, stop = parse_utc(match["start"]), parse_utc(match["stop"])
    except ValueError as error:
        raise UnreadableInput(name, "invalid time in a Sentinel-1 product name", "restore its original name") from error
    return Scene(
        id=without_suffixes(name),
        platform=platform,
        mode="SM" if mode.startswith("S") else mode,
        product_type=match["kind"],
        polarisations=_POLARISATIONS[match["polarisation"]],
        acquired_start=start,
        acquired_end=stop,
        absolute_orbit=orbit,
        relative_orbit=_relative_orbit(platform, orbit),
    )


def without_suffixes(name: str) -> str:
    """A product's name without ``.SAFE`` and ``.zip``."""
    return name.removesuffix(".zip").removesuffix(".SAFE")


def _relative_orbit(platform: str, absolute_orbit: int) -> int | None:
    offset = _RELATIVE_ORBIT_OFFSET.get(platform)
    if platform == "S1C" and absolute_orbit <= _S1C_LAST_ORBIT_BEFORE_MOVE:
        offset = _S1C_OFFSET_BEFORE_MOVE
    return None if offset is None else (absolute_orbit - offset) % 175 + 1


def parse_utc(text: str) -> datetime:
    """A time as ISO 8601 writes it; a leap second (23:59:60) is the first second of the next day.

    Raises `ValueError`.
    """
    usual = _LEAP_SECOND.sub(r"\g<1>59", text)
    try:
        return datetime.fromisoformat(usual).replace(tzinfo=UTC) + timedelta(seconds=usual != text)
    except OverflowError as error:  # after the year 9999
        raise ValueError(text) from error
