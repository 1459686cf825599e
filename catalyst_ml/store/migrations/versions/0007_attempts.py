"""The ledger of attempts: every configuration and procedure that was evaluated on a line of data."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE catalyst_ml.attempts (
    attempt_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset        text NOT NULL,
    timeframe      text NOT NULL,
    label_version  text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('search', 'record', 'backtest', 'idea')),
    subject        text NOT NULL,
    configuration  jsonb NOT NULL,
    content        text NOT NULL CHECK (content ~ '^[0-9a-f]{64}$'),
    first_tested   timestamptz NOT NULL,
    ended          timestamptz NOT NULL CHECK (ended > first_tested),
    metric         text NOT NULL,
    value          double precision NOT NULL,
    sharpe         double precision,
    n_rows         bigint NOT NULL CHECK (n_rows >= 0),
    n_sessions     int NOT NULL CHECK (n_sessions >= 0),
    is_adopted     boolean NOT NULL,
    run_id         text NOT NULL,
    evaluated_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (dataset, timeframe, label_version, kind, subject, content)
);
CREATE INDEX attempts_of_a_line ON catalyst_ml.attempts (dataset, timeframe, label_version, kind, ended);
COMMENT ON COLUMN catalyst_ml.attempts.content IS
    'SHA-256 of configuration, data and window: the same thing evaluated again is no further attempt';
COMMENT ON COLUMN catalyst_ml.attempts.sharpe IS 'per session, of the trades at equal coverage; null without trades';

CREATE TRIGGER attempts_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.attempts
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES, ())


def downgrade() -> None:
    raise NotImplementedError("attempts are evidence and are not dropped by a step back; restore a dump")
