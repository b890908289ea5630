"""Made-up results of runs for the tests of the catalogue, and what must hold in its file whatever happened to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import geopandas as gpd
from shapely.geometry import MultiPolygon, Polygon, box

from ingest.scene import Scene, scene_from_name
from outputs.attributes import slick_table
from outputs.record import InputFile, RunRecord

NAME = "S1A_IW_GRDH_1SDV_20210119T031653_20210119T031718_036201_043ED0_8255"
SCENE = scene_from_name(NAME)
FOOTPRINT = box(2.0, 57.0, 4.5, 59.0)
STARTED = datetime(2021, 1, 19, 4, 0, tzinfo=UTC)
MODEL, OTHER_MODEL = "ab" * 32, "cd" * 32


def scene_number(number: int) -> Scene:
    """The scene, so many minutes later, one orbit a scene on."""
    start, end = (SCENE.acquired_start + timedelta(minutes=number), SCENE.acquired_end + timedelta(minutes=number))
    name = NAME.replace("20210119T031653_20210119T031718", f"{start:%Y%m%dT%H%M%S}_{end:%Y%m%dT%H%M%S}")
    return scene_from_name(name.replace("036201", f"{36201 + number:06d}"))


def record(run_id: str, scene: Scene = SCENE, slick_count: int = 0, **changes: object) -> RunRecord:
    """A run of two minutes."""
    plain = RunRecord(
        run_id=run_id,
        scene_id=scene.id,
        model_id="saross-1",
        weights_sha256=MODEL,
        options={"slicks": {"grow": 0.3}},
        thresholds={"keep": 0.7},
        config_hash="c0ffee",
        inputs=(InputFile(f"inbox/{scene.id}.zip", 12, "blake3:00"),),
        started_at=STARTED,
        ended_at=STARTED + timedelta(minutes=2),
        durations_s={"predict": 100.5},
        slick_count=slick_count,
        flags=("no noise vectors",),
    )
    return replace(plain, **changes)


def table(
    run_id: str,
    outlines: dict[str, Polygon | MultiPolygon],
    scene: Scene = SCENE,
    model_id: str = "saross-1",
    weights: str = MODEL,
) -> gpd.GeoDataFrame:
    """Slicks by their ids."""
    rows = [
        {
            "id": id,
            "scene_id": scene.id,
            "acquired_start": scene.acquired_start,
            "acquired_end": scene.acquired_end,
            "area_m2": 1e6,
            "centroid_lon": outline.centroid.x,
            "centroid_lat": outline.centroid.y,
            "class": "oil",
            "confidence_level": "High",
            "status": "unreviewed",
            "model_id": model_id,
            "weights_sha256": weights,
            "run_id": run_id,
        }
        for id, outline in outlines.items()
    ]
    return slick_table(rows, [MultiPolygon([o]) if isinstance(o, Polygon) else o for o in outlines.values()])


def found(run_id: str = "run-1", centre: tuple[float, float] = (3.0, 58.0)) -> gpd.GeoDataFrame:
    """Three slicks as they are really found, one with a hole, with all their attributes."""
    import numpy as np  # these here, for the sake of processes that do without

    from outputs.options import SlickOptions
    from outputs.slicks import find_slicks
    from tests.support.slick_scenes import PROCESSED_AT, probabilities
    from tests.support.slick_scenes import scene as calibrated_scene

    plane = np.full((120, 150), 0.02)
    for row, column, probability in ((10, 10, 0.95), (40, 60, 0.8), (80, 110, 0.75)):
        plane[row : row + 20, column : column + 20] = probability
    plane[47:52, 68:72] = 0.0
    return find_slicks(
        probabilities(oil=plane),
        calibrated_scene(np.full(plane.shape, 0.05), centre=centre),
        land=None,
        options=SlickOptions(),
        model_id="saross-1",
        weights_sha256=MODEL,
        config_hash="c0ffee",
        run_id=run_id,
        processed_at=PROCESSED_AT,
    )


def squares(count: int, west: float = 2.0, south: float = 57.0, prefix: str = "s") -> dict[str, Polygon]:
    """So many squares of 0.01 degrees, in rows of fifty, 0.02 degrees apart."""
    corners = ((west + 0.02 * (i % 50), south + 0.02 * (i // 50)) for i in range(count))
    return {f"{prefix}{i}": box(x, y, x + 0.01, y + 0.01) for i, (x, y) in enumerate(corners)}


def flaws(path: Path) -> Sequence[str]:
    """What is wrong in a catalogue's file, by SQLite's own means; nothing that the catalogue's code says is trusted."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:

        def ask(query: str) -> list[tuple[object, ...]]:
            return database.execute(query).fetchall()

        wrong = [str(told) for (told,) in ask("PRAGMA integrity_check") if told != "ok"]
        for layer in ("slicks", "former_slicks", "candidates", "former_candidates", "scenes", "former_scenes"):
            wrong += [f"{layer}: {told}" for (told,) in ask(f"SELECT rtreecheck('rtree_{layer}_geom')") if told != "ok"]
            wrong += [
                f"{layer}: row {fid} is not in the index"
                for (fid,) in ask(
                    f"SELECT fid FROM {layer} WHERE geom NOT NULL AND fid NOT IN (SELECT id FROM rtree_{layer}_geom)"
                )
            ]
            wrong += [
                f"{layer}: the index has {id}, which is no row"
                for (id,) in ask(f"SELECT id FROM rtree_{layer}_geom WHERE id NOT IN (SELECT fid FROM {layer})")
            ]
            wrong += [
                f"{layer}: counted {counted}, there are {there}"
                for counted, there in ask(
                    f"SELECT feature_count, (SELECT count(*) FROM {layer}) FROM gpkg_ogr_contents "
                    f"WHERE table_name = '{layer}'"
                )
                if counted != there
            ]
        wrong += [
            f"run {run} ({state}) told of {told} slicks, there are {current} and {former}"
            for run, state, told, current, former in ask(
                "SELECT run_id, state, slick_count, (SELECT count(*) FROM slicks WHERE slicks.run_id = runs.run_id), "
                "(SELECT count(*) FROM former_slicks AS f WHERE f.run_id = runs.run_id) FROM runs"
            )
            if (current, former) != ((told, 0) if state == "current" else (0, told))
        ]
        wrong += [
            f"scene {scene} has {count} current runs"
            for scene, count in ask(
                "SELECT scene_id, count(*) FROM runs WHERE state = 'current' GROUP BY 1 HAVING count(*) > 1"
            )
        ]
        wrong += [
            f"scene {scene} is not that of a current run"
            for (scene,) in ask(
                "SELECT scene_id FROM scenes WHERE run_id NOT IN (SELECT run_id FROM runs WHERE state = 'current')"
            )
        ]
        wrong += [
            f"run {run} is current, its scene is not there"
            for (run,) in ask(
                "SELECT run_id FROM runs WHERE state = 'current' AND scene_id NOT IN (SELECT scene_id FROM scenes)"
            )
        ]
    return wrong
