"""Alembic runs inside the transaction that `ingest.ledger.migrate` has begun: all of an upgrade is kept, or nothing."""

from alembic import context

from ingest.ledger.tables import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
