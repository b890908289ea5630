"""SQL of the tables that are not layers, and of the constraints that also apply to edits in QGIS."""

from __future__ import annotations

_NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"

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
    # Kept apart from the scenes: a processing may be superseded before its own result is there.
    "CREATE TABLE supersessions (scene_id TEXT PRIMARY KEY NOT NULL, superseded_by TEXT NOT NULL)",
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
    "CREATE INDEX slicks_acquired ON slicks (acquired_start)",
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
