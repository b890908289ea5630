"""The layers, tables and styles of the catalogue: creating the file, recognising it, upgrading it.

GDAL creates the layers, each with its spatial index and the triggers that maintain it; other tables and triggers are
added here. `slicks`, `candidates` and `scenes` hold current rows, `former_slicks` and so on superseded ones, so that
any GIS shows the current state without a filter.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyogrio

from ingest.errors import UnreadableInput
from ingest.files import storage_errors, whole_file
from ingest.gdal_paths import vector_path
from ingest.locks import hold_lock
from outputs.attributes import ATTRIBUTES, SLICK_EXTRAS, column, slick_table
from outputs.catalogue.database import Database
from outputs.catalogue.rows import CANDIDATE_EXTRAS, SCENE_COLUMNS
from outputs.field_names import describe_fields
from outputs.style import CANDIDATES_QML, SCENES_QML
from outputs.vectors import driver_failures, write_geopackage


def _add_candidates(connection: sqlite3.Connection) -> None:
    """The layers `candidates` and `former_candidates`: those of slicks, with what rejected them."""
    for layer, description in (
        ("candidates", "Rejected candidates, current"),
        ("former_candidates", "Rejected candidates of superseded results"),
    ):
        _copy_layer(connection, "former_slicks", layer, description)
        for attribute in CANDIDATE_EXTRAS:
            connection.execute(f'ALTER TABLE {layer} ADD COLUMN "{attribute.name}" {_SQL_TYPES[attribute.kind]}')
        connection.execute(
            "UPDATE layer_styles SET styleQML = ?, styleSLD = NULL WHERE f_table_name = ?", (CANDIDATES_QML, layer)
        )
        connection.execute(f"CREATE INDEX {layer}_id ON {layer} (id)")
        connection.execute(f"CREATE INDEX {layer}_run ON {layer} (run_id)")
    connection.execute("CREATE INDEX candidates_acquired ON candidates (acquired_start, acquired_end)")


def _copy_layer(connection: sqlite3.Connection, model: str, layer: str, description: str) -> None:
    """A layer without rows, with the columns, spatial index and style of another, by SQL, which a transaction holds."""
    wanted = """
        SELECT sql FROM sqlite_schema
        WHERE (type = 'table' AND name IN (:model, :index)) OR (type = 'trigger' AND tbl_name = :model)
        ORDER BY type, name
    """
    for (statement,) in connection.execute(wanted, {"model": model, "index": f"rtree_{model}_geom"}).fetchall():
        connection.execute(statement.replace(model, layer))
    for table, changed in (
        ("gpkg_contents", ("table_name", "identifier")),
        ("gpkg_geometry_columns", ("table_name",)),
        ("gpkg_extensions", ("table_name",)),
        ("gpkg_ogr_contents", ("table_name",)),
        ("layer_styles", ("f_table_name", "styleName", "description")),
    ):
        columns = [row["name"] for row in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")]
        kept = [name for name in columns if name not in (*changed, "id")]
        connection.execute(
            f"INSERT INTO {table} ({', '.join((*changed, *kept))}) "
            f"SELECT {', '.join((*(':layer' for _ in changed), *kept))} FROM {table} WHERE {changed[0]} = :model",
            {"layer": layer, "model": model},
        )
    connection.execute(
        f"UPDATE gpkg_contents SET description = ?, last_change = {_NOW}, min_x = NULL, min_y = NULL, max_x = NULL, "
        "max_y = NULL WHERE table_name = ?",
        (description, layer),
    )
    connection.execute("UPDATE gpkg_ogr_contents SET feature_count = 0 WHERE table_name = ?", (layer,))


def _describe_layers(connection: sqlite3.Connection) -> None:
    """The fields of all layers, by name and description."""
    slicks = (*ATTRIBUTES, *SLICK_EXTRAS)
    fields = {"slicks": slicks, "candidates": (*slicks, *CANDIDATE_EXTRAS), "scenes": SCENE_COLUMNS}
    for layer, columns in fields.items():
        describe_fields(connection, layer, columns)
        describe_fields(connection, f"former_{layer}", columns)


Step = str | Callable[[sqlite3.Connection], None]
_SQL_TYPES = {"text": "TEXT", "real": "REAL"}
_NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
# From each version of the tables to the next, beginning with version 1.
_UPGRADES: tuple[tuple[Step, ...], ...] = (
    (
        *(
            f'ALTER TABLE {layer} ADD COLUMN "{name}" {kind}'
            for layer in ("scenes", "former_scenes")
            for name, kind in (
                ("sea_km2", "REAL"), ("land_km2", "REAL"), ("no_data_km2", "REAL"), ("low_wind_share", "REAL"),
                ("nothing_to_see", "TEXT"),
            )
        ),
        """UPDATE layer_styles SET styleQML = replace(styleQML, '[% "slick_count" %] slicks',
            '[% coalesce(''nothing to see: '' || "nothing_to_see", "slick_count" || '' slicks'') %]')""",
    ),
    ("DROP TABLE IF EXISTS supersessions",),  # the ledger decides
    (
        _add_candidates,
        "DROP INDEX slicks_acquired",
        "CREATE INDEX slicks_acquired ON slicks (acquired_start, acquired_end)",
    ),
    (_describe_layers,),
)  # fmt: skip
_GEOPACKAGE = int.from_bytes(b"GPKG", "big")  # the application_id; user_version is also taken by GeoPackage
TABLES: tuple[str, ...] = (
    "CREATE TABLE slickwatch_catalogue (version INTEGER NOT NULL)",
    """CREATE TABLE runs (
        fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
        run_id TEXT NOT NULL UNIQUE, scene_id TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('current', 'superseded')),
        superseded_by TEXT, superseded_at DATETIME, why TEXT,
        model_id TEXT NOT NULL, weights_sha256 TEXT, config_hash TEXT NOT NULL, software_version TEXT, git_commit TEXT,
        started_at DATETIME NOT NULL, ended_at DATETIME NOT NULL, duration_s REAL NOT NULL, peak_memory_bytes INTEGER,
        slick_count INTEGER NOT NULL, flags TEXT NOT NULL, inputs TEXT NOT NULL,
        result_folder TEXT, catalogued_at DATETIME NOT NULL, repeated_at DATETIME,
        record TEXT NOT NULL
    )""",
    """CREATE TABLE reviews (
        fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
        slick_id TEXT NOT NULL, run_id TEXT NOT NULL, status TEXT NOT NULL,
        reviewer TEXT, notes TEXT, reviewed_at DATETIME NOT NULL
    )""",
    f"""INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change) VALUES
        ('runs', 'attributes', 'runs', 'Runs: model, options, inputs and resources of each result', {_NOW}),
        ('reviews', 'attributes', 'reviews', 'Journal of all reviews', {_NOW})""",
)
RULES: tuple[str, ...] = (
    "CREATE INDEX runs_scene ON runs (scene_id, state)",
    "CREATE INDEX runs_ended ON runs (ended_at)",
    "CREATE UNIQUE INDEX scenes_id ON scenes (scene_id)",
    "CREATE UNIQUE INDEX former_scenes_id ON former_scenes (scene_id)",
    "CREATE UNIQUE INDEX slicks_id ON slicks (id)",
    "CREATE INDEX slicks_run ON slicks (run_id)",
    "CREATE INDEX slicks_acquired ON slicks (acquired_start, acquired_end)",
    "CREATE UNIQUE INDEX former_slicks_id ON former_slicks (id, run_id)",
    "CREATE INDEX former_slicks_run ON former_slicks (run_id)",
    "CREATE INDEX reviews_slick ON reviews (slick_id)",
    """CREATE TRIGGER slicks_status_known BEFORE UPDATE OF status ON slicks
        WHEN NEW.status IS NULL OR NEW.status NOT IN ('unreviewed', 'confirmed', 'rejected')
        BEGIN SELECT RAISE(ABORT, 'status must be unreviewed, confirmed or rejected'); END""",
    f"""CREATE TRIGGER slicks_review_told AFTER UPDATE OF status, reviewed_at, reviewer, notes ON slicks
        WHEN NEW.status IS NOT OLD.status OR NEW.reviewed_at IS NOT OLD.reviewed_at
            OR NEW.reviewer IS NOT OLD.reviewer OR NEW.notes IS NOT OLD.notes
        BEGIN
            INSERT INTO reviews (slick_id, run_id, status, reviewer, notes, reviewed_at)
            VALUES (NEW.id, NEW.run_id, NEW.status, NEW.reviewer, NEW.notes, coalesce(NEW.reviewed_at, {_NOW}));
        END""",
    """CREATE TRIGGER reviews_not_changed BEFORE UPDATE ON reviews
        BEGIN SELECT RAISE(ABORT, 'the journal of reviews is only added to'); END""",
    """CREATE TRIGGER reviews_not_deleted BEFORE DELETE ON reviews
        BEGIN SELECT RAISE(ABORT, 'the journal of reviews is only added to'); END""",
)


def version() -> int:
    """The version of the tables."""
    return 1 + len(_UPGRADES)


def create_file(path: Path) -> None:
    """Create an empty catalogue if missing, also when several processes do so at once. Raises `StorageError`."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(path.with_name(f".{path.name}.lock")):
            if path.exists():
                return
            with whole_file(path, path.suffix or ".gpkg") as hidden, driver_failures(path):
                _build(hidden)


def upgrade(database: Database) -> None:
    """Upgrade the tables to `version()`. Raises `UnreadableInput` for another kind of file or a newer version."""
    with database.reading() as connection:
        found = _version_of(connection, database.path)
    if found < version():
        with database.writing() as connection:
            # Read again: another process may have upgraded it.
            _upgrade(connection, _version_of(connection, database.path))


def require_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `UnreadableInput` unless the tables are those of `version()`."""
    if (found := _version_of(connection, path)) < version():
        problem = f"written by an older version of Slickwatch (catalogue {found})"
        raise UnreadableInput(path, problem, "upgrade it: run slickwatch slicks list")


def _version_of(connection: sqlite3.Connection, path: Path) -> int:
    (kind,) = connection.execute("PRAGMA application_id").fetchone()
    ours = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'slickwatch_catalogue'").fetchone()
    if kind != _GEOPACKAGE or ours is None:
        raise UnreadableInput(path, "not a catalogue of Slickwatch", "choose another or a new file")
    found = int(connection.execute("SELECT version FROM slickwatch_catalogue").fetchone()[0])
    if found > version():
        raise UnreadableInput(
            path, f"written by a newer version of Slickwatch (catalogue {found})", "upgrade Slickwatch"
        )
    return found


def _upgrade(connection: sqlite3.Connection, found: int) -> None:
    for steps in _UPGRADES[found - 1 :]:
        for step in steps:
            if isinstance(step, str):
                connection.execute(step)
            else:
                step(connection)
    connection.execute("UPDATE slickwatch_catalogue SET version = ?", (version(),))


def _build(path: Path) -> None:
    slicks = slick_table([], [])
    for attribute in SLICK_EXTRAS:
        slicks[attribute.name] = column([], attribute.kind)
    scenes = gpd.GeoDataFrame(
        {attribute.name: column([], attribute.kind) for attribute in SCENE_COLUMNS}, geometry=[], crs="EPSG:4326"
    )
    write_geopackage(slicks, path)
    with vector_path(path) as plain_path:
        _add_layer(plain_path, scenes, "scenes", "Footprints of the scenes analysed")
        _add_layer(plain_path, slicks, "former_slicks", "Slicks of superseded results")
        _add_layer(plain_path, scenes, "former_scenes", "Scenes replaced by a later processing")
    with closing(sqlite3.connect(path.absolute(), isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        for statement in (*TABLES, *RULES):
            connection.execute(statement)
        connection.execute("UPDATE gpkg_contents SET description = 'Slicks, current' WHERE table_name = 'slicks'")
        _add_styles(connection)
        _add_candidates(connection)
        _describe_layers(connection)
        connection.execute("INSERT INTO slickwatch_catalogue (version) VALUES (?)", (version(),))
        connection.execute("COMMIT")


def _add_layer(path: Path, rows: pd.DataFrame, layer: str, description: str) -> None:
    options = {"DESCRIPTION": description, "SPATIAL_INDEX": "YES"}
    pyogrio.write_dataframe(
        rows, path, layer=layer, driver="GPKG", geometry_type="MultiPolygon", append=True, layer_options=options
    )


def _add_styles(connection: sqlite3.Connection) -> None:
    """`former_slicks` has the style of `slicks`; scenes are outlines."""
    copy = """
        INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,
                                  styleSLD, useAsDefault, description, owner, update_time)
        SELECT f_table_catalog, f_table_schema, :layer, f_geometry_column, :layer, coalesce(:qml, styleQML),
               iif(:qml IS NULL, styleSLD, NULL), useAsDefault, :layer, owner, update_time
        FROM layer_styles WHERE f_table_name = 'slicks'
    """
    for layer, qml in (("former_slicks", None), ("scenes", SCENES_QML), ("former_scenes", SCENES_QML)):
        connection.execute(copy, {"layer": layer, "qml": qml})
