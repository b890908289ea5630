"""Schema migration: a ledger's tables and data brought up to date, even when several processes start at once."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from ingest.errors import StorageError
from ingest.ledger.database import Database, prepare_file
from ingest.ledger.tables import VERSION_TABLE

REVISIONS = ("0001", "0002")  # as in migrations/versions; kept here so that alembic is loaded only when needed


def migrate(database: Database, to: str = REVISIONS[-1]) -> None:
    """Create or upgrade the tables. Raises `StorageError`, also for a ledger from a newer version; `SourceError`."""
    prepare_file(database)
    with database.reading() as session:
        if _revision(session.connection(), database.name) == to:
            return
    with database.writing() as session:
        connection = session.connection()
        if _revision(connection, database.name) != to:  # another process may have got there first
            _upgrade(connection, to)


def _revision(connection: Connection, name: str) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    if revision is not None and revision not in REVISIONS:
        raise StorageError(name, f"written by a newer Slickwatch (tables at {revision})", "upgrade Slickwatch")
    return revision


def _upgrade(connection: Connection, to: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)
