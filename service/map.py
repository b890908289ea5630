"""The map: its page, its tiles, and what it must know before it draws."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shapely.geometry import box
from sqlalchemy import ColumnElement
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ingest.errors import SlickwatchError
from outputs.catalogue.layers import SCENES, SLICKS
from outputs.catalogue.search import Reader, Search, related
from outputs.style import LOOKS, PROBABILITY_RAMP
from service import pages, radar_tiles
from service.collections import COLLECTIONS
from service.mercator import Tile
from service.pages import Address
from service.parameters import conditions, values
from service.problems import Problem
from service.radar_tiles import FILES, Picture
from service.vector_tiles import LAND_FROM, MEDIA_TYPE, land_tile, layer_tile

PICTURES_FROM = 4  # zoom; before, a scene is a few pixels
_MOST_PICTURES = 12  # scenes in one tile
_MOST_SCENES = 50  # in one answer


def map_routes(reader: Reader, address: Address, coastline: Path | None) -> list[Route]:
    """The routes of the map over a catalogue; `coastline` as of `preprocess.coastline.land_polygons`."""
    served = _Map(reader, address, coastline)
    tile = "{zoom:int}/{x:int}/{y:int}"
    return [
        Route("/map", served.page),
        Route("/map/summary", served.summary),
        Route("/map/scenes", served.scenes),
        Route(f"/map/land/{tile}.mvt", served.land),
        Route(f"/map/{{picture}}/{tile}.png", served.picture),
        Route(f"/map/{{collection}}/{tile}.mvt", served.layer),
    ]


class _Map:
    def __init__(self, reader: Reader, address: Address, coastline: Path | None) -> None:
        self._reader, self._address, self._coastline = reader, address, coastline

    async def page(self, request: Request) -> Response:
        """The page; all else comes by requests of its own, so that it stands even where there is no catalogue."""
        values(request, ())
        base = self._address(request)
        known = {
            "base": base,
            "collections": {
                one.id: [
                    {"name": a.name, "kind": a.kind, "title": a.title, "description": a.description, "unit": a.unit}
                    for a in one.layer.attributes
                ]
                for one in COLLECTIONS.values()
            },
            "looks": [
                {"label": one.label, "class": one.slick_class, "level": one.level, "colour": one.colour}
                for one in LOOKS
            ],
            "ramp": [[share, colour, alpha] for share, colour, alpha in PROBABILITY_RAMP],
            "landFrom": LAND_FROM,
            "picturesFrom": PICTURES_FROM,
        }
        text = pages.render("map.html", {"base": base, "known": json.dumps(known).replace("<", "\\u003c")})
        return Response(text, media_type="text/html")

    async def summary(self, request: Request) -> Response:
        """How many scenes and slicks there are, where and when, and whether wind is known of any."""
        values(request, ())
        found = await run_in_threadpool(self._summary)
        return JSONResponse(found)

    def _summary(self) -> dict[str, Any]:
        extent = self._reader.extent(SCENES)
        windy = self._reader.page(Search(SLICKS, (SLICKS.table.c.wind_speed_ms.is_not(None),), limit=1))
        return {
            "bounds": extent.bounds or self._reader.extent(SLICKS).bounds,
            "first": extent.first,
            "last": extent.last,
            "scenes": self._reader.page(Search(SCENES, limit=1)).matched,
            "slicks": self._reader.page(Search(SLICKS, limit=1)).matched,
            "wind": bool(windy.rows),
        }

    async def scenes(self, request: Request) -> Response:
        """The latest scenes of a box and time, or the one of an id, and which of their images are still there."""
        given = values(request, ("bbox", "datetime", "scene"))
        wanted = conditions({name: value for name, value in given.items() if name != "scene"}, SCENES)
        if "scene" in given:
            wanted = (*wanted, SCENES.table.c.scene_id == given["scene"])
        return JSONResponse(await run_in_threadpool(self._scenes, wanted))

    def _scenes(self, wanted: tuple[ColumnElement[bool], ...]) -> dict[str, Any]:
        page = self._reader.page(Search(SCENES, wanted, limit=_MOST_SCENES))
        folders = dict(self._reader.folders(wanted, _MOST_SCENES))
        shown = ("scene_id", "acquired_start", "slick_count", "nothing_to_see")
        return {
            "matched": page.matched,
            "scenes": [
                {name: row[name] for name in shown} | {"pictures": _pictures(folders.get(row["scene_id"]))}
                for row in page.rows
            ],
        }

    async def layer(self, request: Request) -> Response:
        """A vector tile of slicks, candidates or scenes, filtered like their items."""
        tile, collection = _tile(request), COLLECTIONS.get(request.path_params["collection"])
        if collection is None:
            raise Problem(404, "There are no such tiles.")
        wanted = conditions(values(request, ("datetime", "filter", "bbox")), collection.layer)
        return await self._kept(
            request, lambda: Response(layer_tile(self._reader, collection.layer, tile, wanted), media_type=MEDIA_TYPE)
        )

    async def picture(self, request: Request) -> Response:
        """A tile of the radar image or of the probability of oil; `scene` is the one on top."""
        tile, picture = _tile(request), request.path_params["picture"]
        if picture not in FILES:
            raise Problem(404, "There are no such tiles.")
        given = values(request, ("datetime", "scene"))
        return await self._kept(request, lambda: self._picture(picture, tile, given))

    def _picture(self, picture: Picture, tile: Tile, given: dict[str, str]) -> Response:
        if tile.zoom < PICTURES_FROM:
            return Response(status_code=204)
        near = related(SCENES, "intersects", box(*tile.bounds()))
        during = {name: value for name, value in given.items() if name == "datetime"}
        found = self._reader.folders((near, *conditions(during, SCENES)), _MOST_PICTURES)
        if "scene" in given:
            chosen = self._reader.folders((SCENES.table.c.scene_id == given["scene"],), 1)
            found = [*chosen, *(one for one in found if one not in chosen)]
        content = radar_tiles.picture_tile(picture, tile, [folder for _, folder in found if folder is not None])
        return Response(status_code=204) if content is None else Response(content, media_type="image/png")

    async def land(self, request: Request) -> Response:
        """A vector tile of land; empty where this machine has no land polygons."""
        values(request, ())
        tile = _tile(request)
        if tile.zoom < LAND_FROM:
            raise Problem(404, f"Tiles of land begin at zoom {LAND_FROM}.")
        try:
            content = await run_in_threadpool(land_tile, tile, self._coastline)
        except SlickwatchError as error:
            raise Problem(404, f"There is no land to draw: {error.problem}.") from error
        return Response(content, media_type=MEDIA_TYPE, headers={"Cache-Control": "max-age=86400"})

    async def _kept(self, request: Request, made: Callable[[], Response]) -> Response:
        """An answer that a browser keeps for as long as the catalogue does not change."""
        stamp = await run_in_threadpool(self._reader.stamp)
        tag = f'"{hashlib.sha256(stamp.encode()).hexdigest()[:32]}"'
        if stamp and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        answer = await run_in_threadpool(made)
        answer.headers["ETag"] = tag
        return answer


def _tile(request: Request) -> Tile:
    return Tile.of(*(request.path_params[name] for name in ("zoom", "x", "y")))


def _pictures(folder: Path | None) -> list[str]:
    """The images that are in a folder of results."""
    return [picture for picture, name in FILES.items() if folder is not None and (folder / name).is_file()]
