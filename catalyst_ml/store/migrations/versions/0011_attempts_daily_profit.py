"""Daily profits of an attempt: what tells whether two of them are one idea, and how far the best of all is luck."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

CHANGE = """
ALTER TABLE catalyst_ml.attempts ADD COLUMN daily_profit jsonb;
COMMENT ON COLUMN catalyst_ml.attempts.daily_profit IS
    'profit per session (ISO date to notionals) of the trades at equal coverage; null without trades, or in older rows';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(CHANGE, ())


def downgrade() -> None:
    raise NotImplementedError("attempts are evidence and are not dropped by a step back; restore a dump")
