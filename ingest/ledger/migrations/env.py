"""Alembic runs inside the transaction of `ingest.ledger.migration`: an upgrade is kept whole or not at all."""

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
