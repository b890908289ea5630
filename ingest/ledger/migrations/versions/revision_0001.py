"""Scenes, and where they are available."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NAME, _KIND = sa.String(200), sa.String(20)


def upgrade() -> None:
    op.create_table(
        "scenes",
        sa.Column("id", _NAME, primary_key=True),
        sa.Column("datatake", _NAME, nullable=False, index=True),
        sa.Column("acquired_start", _TIME, nullable=False),
        sa.Column("acquired_end", _TIME, nullable=False),
        sa.Column("published", _TIME),
        sa.Column("footprint", sa.LargeBinary),
        sa.Column("recorded_at", _TIME, nullable=False),
        sa.Column("changed_at", _TIME, nullable=False, index=True),
        sa.Column("progress", _KIND, nullable=False, index=True),
        sa.Column("standing", _KIND, nullable=False),
        sa.Column("yields_to", _NAME),
        sa.Column("reason", sa.Text),
        sa.Column("failed_task", _KIND),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("deaths", sa.Integer, nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("lease_task", _KIND),
        sa.Column("lease_owner", _NAME),
        sa.Column("lease_until", _TIME),
        sa.Column("path", sa.Text),
        sa.Column("size", sa.BigInteger),
        sa.Column("checksum", _NAME),
        sa.Column("fetched_from", _NAME),
        sa.Column("fetched_at", _TIME),
        sa.Column("republished_at", _TIME),
        sa.Column("processed_at", _TIME),
        sa.Column("result_folder", sa.Text),
        sa.Column("model_id", _NAME),
        sa.Column("code_version", _NAME),
        sa.CheckConstraint(
            "progress IN ('found', 'fetched', 'processed', 'failed', 'quarantined', 'forgotten')",
            name="scenes_progress",
        ),
        sa.CheckConstraint("standing IN ('current', 'superseded', 'duplicate')", name="scenes_standing"),
    )
    op.create_table(
        "scene_offers",
        sa.Column("scene_id", _NAME, sa.ForeignKey("scenes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("source", _NAME, primary_key=True),
        sa.Column("key", sa.Text),
        sa.Column("size", sa.BigInteger),
        sa.Column("checksum", _NAME),
        sa.Column("published", _TIME),
        sa.Column("recorded_at", _TIME, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("scene_offers")
    op.drop_table("scenes")
