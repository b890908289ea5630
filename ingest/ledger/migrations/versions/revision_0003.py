"""Which watches have found each scene."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scene_finds",
        sa.Column("scene_id", sa.String(200), sa.ForeignKey("scenes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("watch", sa.String(200), primary_key=True),
    )


def downgrade() -> None:
    op.drop_table("scene_finds")
