"""Opening a Sentinel-1 GRD product: its scene, its contents, and the paths of its images."""

from __future__ import annotations

import binascii
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import antimeridian
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from ingest.errors import UnreadableInput, UsageError
from ingest.safe.annotation import Document, read_annotation, read_calibration, read_noise
from ingest.safe.container import Container, open_container
from ingest.safe.metadata import Annotation, ImageMetadata
from ingest.scene import Scene, scene_from_name, without_suffixes

# Co-polarised first, as users expect.
POLARISATIONS = ("VV", "HH", "VH", "HV")
# Names as ESA gives them (s1a-iw-grd-vv-...-001[-cog].xml) and as the AWS archive does (iw-vv.xml).
_POLARISATION = r"(?:[^/]*-)?(?P<polarisation>vv|vh|hh|hv)(?:-[^/]*)?"
_MEMBERS = {
    "annotation": re.compile(rf"annotation/(?!rfi-){_POLARISATION}\.xml", re.IGNORECASE),
    "calibration": re.compile(rf"annotation/calibration/calibration-{_POLARISATION}\.xml", re.IGNORECASE),
    "noise": re.compile(rf"annotation/calibration/noise-{_POLARISATION}\.xml", re.IGNORECASE),
    "measurement": re.compile(rf"measurement/{_POLARISATION}\.tiff?", re.IGNORECASE),
}
_MANIFEST = "manifest.safe"
_GIVE_GRD = "give a GRD product"


@dataclass(frozen=True, eq=False)
class SafeProduct:
    """A Sentinel-1 GRD product in a SAFE folder or zip, also as CDSE (COG) and AWS (renamed members) keep it."""

    container: Container
    scene: Scene
    polarisations: tuple[str, ...]  # those with both an annotation and a measurement, co-polarised first
    ipf_version: float | None  # of ESA's processor, such as 2.72; None if the manifest does not say
    _members: dict[tuple[str, str], str]  # (kind, polarisation) -> member
    _images: dict[str, ImageMetadata] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: str | Path) -> SafeProduct:
        """Open a product; image metadata is read on demand.

        Raises `UnreadableInput` if it is not a SAFE product, not a GRD product, damaged or incomplete.
        """
        container = open_container(path)
        scene = _named_scene(container)
        if scene is not None and scene.product_type != "GRD":
            raise _not_grd(container, scene.product_type)
        manifest = _manifest(container)
        members = _sort_members(container, manifest)
        complete = [one for one in POLARISATIONS if ("annotation", one) in members and ("measurement", one) in members]
        if not complete:
            raise _no_image(container, manifest, members)
        if scene is None:
            document = _document(container, members["annotation", complete[0]])
            scene = _annotated_scene(container, read_annotation(document))
        if manifest is not None:
            scene = replace(scene, **_manifest_facts(manifest))
        scene = replace(scene, polarisations=tuple(complete), size=container.size())
        return cls(container, scene, tuple(complete), _ipf_version(manifest), members)

    @property
    def path(self) -> Path:
        """The folder or zip."""
        return self.container.path

    def image(self, polarisation: str) -> ImageMetadata:
        """Annotation, calibration and noise of one polarisation; read once.

        Raises `UsageError` for a polarisation that the product does not have and `UnreadableInput`
        for metadata that is missing or malformed.
        """
        if polarisation not in self._images:
            annotation = read_annotation(_document(self.container, self._member("annotation", polarisation)))
            self._check(annotation, polarisation)
            calibration = read_calibration(_document(self.container, self._member("calibration", polarisation)))
            noise = read_noise(_document(self.container, self._member("noise", polarisation)), annotation)
            self._images[polarisation] = ImageMetadata(annotation, calibration, noise)
        return self._images[polarisation]

    def measurement(self, polarisation: str) -> str:
        """Path of one polarisation's image for rasterio: a file, or a ``/vsizip/`` path."""
        return self.container.gdal_path(self._member("measurement", polarisation))

    def is_deflated(self, polarisation: str) -> bool:
        """Whether one polarisation's image is compressed inside a zip, where only reading forward is cheap."""
        return self.container.is_deflated(self._member("measurement", polarisation))

    def has_traces_of(self, polarisation: str) -> bool:
        """Whether any file of a polarisation exists, so that a missing one means damage."""
        return any(known == polarisation for _, known in self._members)

    def require(self, polarisation: str) -> None:
        """Raise `UsageError` for a polarisation the product does not have, `UnreadableInput` for half of one."""
        for kind in ("annotation", "measurement"):
            self._member(kind, polarisation)

    def _member(self, kind: str, polarisation: str) -> str:
        if member := self._members.get((kind, polarisation)):
            return member
        if not self.has_traces_of(polarisation):
            there = ", ".join(self.polarisations)
            raise UsageError(self.path, f"has no polarisation {polarisation}", f"choose from {there}")
        raise UnreadableInput(self.path, f"the {kind} file of {polarisation} is missing", "fetch the product again")

    def _check(self, annotation: Annotation, polarisation: str) -> None:
        subject = f"{self.path}/{self._member('annotation', polarisation)}"
        if annotation.product_type != "GRD":
            raise _not_grd(self.container, annotation.product_type)
        if annotation.polarisation != polarisation:
            problem = f"contains {annotation.polarisation}, its name says {polarisation}"
            raise UnreadableInput(subject, problem, "fetch the product again")


def _document(container: Container, member: str) -> Document:
    return Document.parse(container.read(member), f"{container.path}/{member}")


def _manifest(container: Container) -> Document | None:
    return _document(container, _MANIFEST) if _MANIFEST in container.members else None


def _sort_members(container: Container, manifest: Document | None) -> dict[tuple[str, str], str]:
    """Members by kind and polarisation; of several candidates, the one listed in the manifest."""
    listed = set() if manifest is None else _listed(manifest)
    members: dict[tuple[str, str], str] = {}
    for member in sorted(container.members, key=lambda name: (name not in listed, name)):
        for kind, pattern in _MEMBERS.items():
            if match := pattern.fullmatch(member):
                members.setdefault((kind, match["polarisation"].upper()), member)
    return members


def _listed(manifest: Document) -> set[str]:
    locations = manifest.root.iterfind("dataObjectSection/dataObject/byteStream/fileLocation")
    return {location.get("href", "").removeprefix("./") for location in locations}


def _named_scene(container: Container) -> Scene | None:
    """The scene, from the name of the folder or archive, or from AWS's ``productInfo.json``."""
    names = [container.name, container.path.name]
    if "productInfo.json" in container.members:
        names.append(_product_info_id(container))
    for name in names:
        try:
            return scene_from_name(name)
        except UnreadableInput:
            continue
    return None


def _product_info_id(container: Container) -> str:
    member = "productInfo.json"
    try:
        return str(json.loads(container.read(member))["id"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        subject = f"{container.path}/{member}"
        raise UnreadableInput(subject, "not a productInfo.json of AWS", "fetch the product again") from error


def _annotated_scene(container: Container, annotation: Annotation) -> Scene:
    """The scene of a renamed product, from its annotation and manifest."""
    if annotation.product_type != "GRD":
        raise _not_grd(container, annotation.product_type)
    mode = annotation.swath if annotation.mode == "SM" else annotation.mode
    unique = "0000"
    if _MANIFEST in container.members:
        # The last part of a name is the CRC-16/CCITT of the manifest (Product Specification).
        unique = f"{binascii.crc_hqx(container.read(_MANIFEST), 0xFFFF):04X}"
    start, stop = (f"{time:%Y%m%dT%H%M%S}" for time in (annotation.start, annotation.stop))
    name = (
        f"{annotation.platform}_{mode}_GRD{_resolution(annotation)}_1S{_name_polarisation(container)}_{start}_{stop}_"
        f"{annotation.absolute_orbit:06d}_{annotation.datatake:06X}_{unique}"
    )
    if any(member.endswith("-cog.tiff") for member in container.members):
        name += "_COG"
    scene = scene_from_name(name)
    # Without a manifest the name is incomplete: use the folder's own name instead.
    return scene if _MANIFEST in container.members else replace(scene, id=without_suffixes(container.name) or scene.id)


def _name_polarisation(container: Container) -> str:
    found = [pattern.fullmatch(member) for member in container.members for pattern in [_MEMBERS["annotation"]]]
    there = {match["polarisation"].upper() for match in found if match}
    if len(there) == 1:
        return {"HH": "SH", "VV": "SV"}.get(*there, *there)
    return "DV" if "VV" in there else "DH"


def _resolution(annotation: Annotation) -> str:
    """Resolution class from the pixel spacing: full 3.5-4 m, high 10 m (EW 25 m), medium 40 m."""
    if annotation.range_pixel_spacing < 6:
        return "F"
    return "H" if annotation.range_pixel_spacing < 32 else "M"


def _manifest_facts(manifest: Document) -> dict[str, Any]:
    """Relative orbit and footprint, as far as the manifest states them."""
    facts: dict[str, Any] = {}
    for element in manifest.root.iter():
        tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
        if tag == "relativeOrbitNumber" and element.get("type", "start") == "start":
            facts["relative_orbit"] = Document(element, manifest.subject).integer(".")
        elif tag == "coordinates" and "footprint" not in facts:
            facts["footprint"] = _footprint(element.text or "", manifest)
    return facts


def _ipf_version(manifest: Document | None) -> float | None:
    """The version of the Instrument Processing Facility in the manifest, 2.72 for "002.72"."""
    elements = manifest.root.iter() if manifest is not None else ()
    found = [one.get("version", "") for one in elements if one.get("name") == "Sentinel-1 IPF"]
    return float(found[0]) if found and re.fullmatch(r"\d+\.\d+", found[0]) else None


def _footprint(coordinates: str, manifest: Document) -> BaseGeometry:
    """Footprint of ``lat,lon lat,lon ...``, cut at the antimeridian as RFC 7946 asks."""
    try:
        corners = [(float(lon), float(lat)) for lat, lon in (pair.split(",") for pair in coordinates.split())]
        polygon = Polygon(corners)
    except ValueError as error:
        raise manifest.fail("unreadable footprint") from error
    west, _, east, _ = polygon.bounds
    if east - west <= 180:
        return shapely.orient_polygons(polygon)
    eastern = Polygon([(lon % 360, lat) for lon, lat in corners])
    return antimeridian.fix_polygon(shapely.orient_polygons(eastern))


def _no_image(container: Container, manifest: Document | None, members: dict[tuple[str, str], str]) -> UnreadableInput:
    """Why a container has no image: another type of product, an incomplete one, or not a product at all."""
    if manifest is not None:
        tags = [element for element in manifest.root.iter() if str(element.tag).endswith("}productType")]
        if tags and tags[0].text and tags[0].text.strip() != "GRD":
            return _not_grd(container, tags[0].text.strip())
    if not members and manifest is None:
        inner = sorted(name.partition("/annotation/")[0] for name in container.members if "/annotation/" in name)
        if inner:
            return UnreadableInput(container.path, "has a product in a subfolder", f"give {container.path / inner[0]}")
        return UnreadableInput(container.path, "is not a Sentinel-1 SAFE product", "give a SAFE folder or a zip of one")
    missing = "annotation" if any(kind == "measurement" for kind, _ in members) else "measurement"
    return UnreadableInput(container.path, f"has no {missing} file of any polarisation", "fetch the product again")


def _not_grd(container: Container, kind: str) -> UnreadableInput:
    return UnreadableInput(container.path, f"is a {kind} product", _GIVE_GRD)
