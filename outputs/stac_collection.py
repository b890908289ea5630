"""The STAC collection of a results folder: the static catalogue that leads to the items of its scenes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac

from ingest.files import read_json, storage_errors, write_json
from ingest.locks import hold_lock

COLLECTION_FILE = "collection.json"  # beside the folders of scenes
COLLECTION_ID = "slickwatch"
_ITEMS = "[!.]*/item.json"
_TERMS = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"


def list_scenes(results: Path) -> None:
    """Bring collection.json up to date with the scenes of a results folder, whoever else writes there.

    Only items that it does not list yet are read. Its extent never shrinks. Raises `StorageError`.
    """
    path = results / COLLECTION_FILE
    with storage_errors(path), hold_lock(path.with_name(f".{path.name}.lock")):
        former = _former(path)
        listed = {link["href"] for link in former["links"]} if former else set()
        there = sorted(f"./{item.relative_to(results).as_posix()}" for item in results.glob(_ITEMS))
        items = [read_json(results / href) for href in there if href not in listed]
        extents = [_extent(item) for item in items if "bbox" in item]  # a folder may go while it is read
        if former:
            extents.append(former["extent"])
        if extents:
            write_json(path, _collection(_joined(extents), there), indent=2)


def _former(path: Path) -> dict[str, Any] | None:
    """The collection as it is; None where there is none of ours that can be read."""
    found = read_json(path)
    return found if found.get("id") == COLLECTION_ID and {"links", "extent"} <= set(found) else None


def _extent(item: dict[str, Any]) -> dict[str, Any]:
    west, south, east, north = item["bbox"]
    if west > east:  # across the antimeridian
        west, east = -180.0, 180.0
    times = [item["properties"]["start_datetime"], item["properties"]["end_datetime"]]
    return {"spatial": {"bbox": [[west, south, east, north]]}, "temporal": {"interval": [times]}}


def _joined(extents: list[dict[str, Any]]) -> pystac.Extent:
    west, south, east, north = zip(*(extent["spatial"]["bbox"][0] for extent in extents), strict=True)
    first, last = zip(*(extent["temporal"]["interval"][0] for extent in extents), strict=True)
    interval: list[datetime | None] = [min(map(_time, first)), max(map(_time, last))]
    return pystac.Extent(
        pystac.SpatialExtent([[min(west), min(south), max(east), max(north)]]), pystac.TemporalExtent([interval])
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _collection(extent: pystac.Extent, items: list[str]) -> dict[str, Any]:
    collection = pystac.Collection(
        id=COLLECTION_ID,
        title="Slicks found by Slickwatch",
        description="Oil slicks found in Sentinel-1 scenes, an item a scene, with the layers that belong to it.",
        extent=extent,
        license="other",
        keywords=["oil spill", "SAR", "Sentinel-1"],
    )
    collection.clear_links()
    collection.add_link(pystac.Link("root", f"./{COLLECTION_FILE}", pystac.MediaType.JSON))
    collection.add_link(pystac.Link("license", _TERMS, title="Terms of the Copernicus Sentinel data"))
    for href in items:
        collection.add_link(pystac.Link("item", href, pystac.MediaType.GEOJSON))
    return collection.to_dict(include_self_link=False, transform_hrefs=False)
