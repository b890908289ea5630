"""The ledger's database: its address, connections, one writer at a time, upgrades, and one-line errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.orm import Session

from ingest.errors import SlickwatchError, SourceError, StorageError, UsageError
from ingest.ledger.tables import VERSION_TABLE

PATIENCE_S = 30.0  # to wait for another writer
_WRITERS_LOCK = 0x51C4_1ED6  # the advisory lock shared by all writers; arbitrary, must never change
REVISIONS = ("0001", "0002", "0003")  # as in migrations/versions; kept here so that alembic is loaded only when needed
_FORMS = "give a file, sqlite:///FILE or postgresql://USER@HOST/DATABASE"


class Database:
    """Connections to one ledger's database; usable from several threads."""

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        """Raises `UsageError` if the URL is of no known kind or the driver is missing."""
        self.url = parse_url(url)
        self.patience_s = patience_s
        self.name = redacted(self.url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        try:
            self.engine = _sqlite(self.url, patience_s) if self.is_sqlite else _postgresql(self.url, patience_s)
        except ModuleNotFoundError as error:
            raise UsageError(
                self.name, "the PostgreSQL driver is not installed", "pip install 'slickwatch[postgresql]'"
            ) from error

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One transaction with a consistent view of the ledger. Raises `StorageError`, `SourceError`."""
        with self.failures(), Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction as the only writer, kept entirely or not at all. Raises as `reading` does."""
        # A writer that begins as a reader may find half-way that another has written in between.
        engine = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        with self.failures(), Session(engine) as session, session.begin():
            self.lock_writers(session.connection())
            yield session

    def lock_writers(self, connection: Connection) -> None:
        """Wait for other writers; SQLite already did so when the transaction began."""
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS_LOCK})

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn a failure of the database into a `StorageError`, or a `SourceError` if a server is unreachable."""
        try:
            yield
        except SQLAlchemyError as error:
            if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
                raise  # a bug of ours, such as a naive time
            # The driver's message may quote the address, and -v prints the whole chain.
            raise self._known(error) from (None if self.url.password else error)

    def _known(self, error: SQLAlchemyError) -> SlickwatchError:
        text = str(error.orig) if isinstance(error, DBAPIError) and error.orig else str(error)
        first = next(iter(text.strip().splitlines()), type(error).__name__).rstrip(".;:")
        first = first.replace(str(self.url.password), "***") if self.url.password else first
        if self.is_sqlite:
            return sqlite_failure(self.name, first, "ledger")
        return _postgresql_failure(self.name, first, getattr(getattr(error, "orig", None), "sqlstate", None))


def parse_url(url: str) -> URL:
    """An address as a SQLAlchemy URL; a plain path is SQLite. Raises `UsageError`, which quotes no password."""
    if "://" not in url:
        return URL.create("sqlite", database=url) if url else _refuse("the ledger", "empty address")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        _refuse("the ledger", "invalid URL")
    backend = parsed.drivername.split("+")[0]
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        _refuse(redacted(parsed), "unsupported database")
    if parsed.database in (None, "", ":memory:"):
        _refuse("the ledger", "in-memory databases are not kept")
    return parsed.set(drivername="sqlite")


def _refuse(subject: str, problem: str) -> Any:
    raise UsageError(subject, problem, _FORMS) from None


def redacted(url: URL) -> str:
    """An address for display: the file, or the URL without its password and options."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    plain = url.set(drivername=url.drivername.split("+")[0], query={})
    return plain.render_as_string(hide_password=True)


def _sqlite(url: URL, patience_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": patience_s}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, below
        connection.execute("PRAGMA foreign_keys = ON")
        # Commits survive a power cut, at one fsync per transaction.
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        begin = connection.get_execution_options().get("begin", "BEGIN")
        if begin is not None:
            connection.exec_driver_sql(begin)

    return engine


def _postgresql(url: URL, patience_s: float) -> Engine:
    wait = {} if "connect_timeout" in url.query else {"connect_timeout": max(2, round(patience_s))}
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=wait)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {round(patience_s * 1000)}")
            # A machine that vanishes inside a transaction must not hold the writers' lock for hours.
            cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
            cursor.execute("SET client_encoding = 'UTF8'")
        connection.commit()

    return engine


def prepare_file(database: Database) -> None:
    """Make the folder of an SQLite ledger and set write-ahead logging, which lets readers work alongside a writer."""
    file = _file(database)
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(database.name, f"cannot create its folder: {error.strerror}", "choose another") from error
    with database.failures():
        _set_write_ahead(database)


def _set_write_ahead(database: Database) -> None:
    """Unlike everything else, changing the journal mode does not itself wait for other connections."""
    give_up = time.monotonic() + database.patience_s
    while True:
        try:
            with database.engine.execution_options(begin=None).connect() as connection:
                if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
                    connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > give_up:
                raise
            time.sleep(0.05)


_SQLITE_FAILURES = {
    "locked": ("locked by another process", "wait for that process, or stop it"),
    "readonly": ("cannot be written", "make the file and its folder writable"),
    "unable to open": ("cannot be opened", "choose a file in a writable folder"),
    "not a database": ("not an SQLite database", "choose another file"),
    "malformed": ("the file is damaged", "restore a backup, or recover it with sqlite3 .recover"),
    "full": ("the disk is full", "free some space and run again: nothing was half-written"),
    "disk i/o error": ("disk error", "check the disk: nothing was half-written"),
}


def sqlite_failure(name: str, message: str, what: str) -> StorageError:
    """The error for a message of SQLite's about a file, which should be a `what`."""
    for fragment, (problem, remedy) in _SQLITE_FAILURES.items():
        if fragment in message.lower():
            return StorageError(name, problem, remedy)
    return StorageError(name, f"database error: {message}", f"check that the file is an intact {what}")


# By SQLSTATE, longest first; the classes are two letters long.
_POSTGRESQL_FAILURES: dict[str, tuple[type[SlickwatchError], str, str]] = {
    "53100": (StorageError, "the server's disk is full", "free some space there: nothing was half-written"),
    "55P03": (StorageError, "another process has been writing for too long", "check which process holds the lock"),
    "25006": (StorageError, "the database is read-only", "use the primary server"),
    "42501": (StorageError, "no permission", "grant this user access to the tables, or the right to create them"),
    "28": (SourceError, "login refused", "check user and password"),
    "3D": (SourceError, "no such database", "create it"),
}


# What the driver says when it cannot connect, without an SQLSTATE.
_NO_CONNECTION = {"authentication failed": "28", "no password supplied": "28", "does not exist": "3D"}


def _postgresql_failure(name: str, message: str, state: str | None) -> SlickwatchError:
    if state is None:
        state = next((state for fragment, state in _NO_CONNECTION.items() if fragment in message), None)
    for key in (state or "", (state or "")[:2]):
        if key in _POSTGRESQL_FAILURES:
            kind, problem, remedy = _POSTGRESQL_FAILURES[key]
            return kind(name, problem, remedy)
    if state is None or state[:2] in ("08", "53", "57"):
        return SourceError(name, f"cannot reach the server: {message}", "check that it is running and reachable")
    return StorageError(name, f"database error: {message}", "check that its tables are those of a ledger")


def exists(database: Database) -> bool:
    """Whether the ledger's file exists; a server is asked only when opened."""
    file = _file(database)
    return file is None or file.exists()


def _file(database: Database) -> Path | None:
    if not database.is_sqlite:
        return None
    path = str(database.url.database)
    return Path(unquote(urlsplit(path).path)) if path.startswith("file:") else Path(path)


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
