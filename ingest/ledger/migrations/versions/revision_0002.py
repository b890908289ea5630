"""How far each watch has queried each source."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scene_watermarks",
        sa.Column("source", sa.String(200), primary_key=True),
        sa.Column("watch", sa.String(200), primary_key=True),
        sa.Column("published", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("scene_watermarks")
