"""Alembic's environment, inside the transaction of `ingest.ledger.database.migrate`: an upgrade is all or nothing."""

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
