"""The ledger of served answers: what the server said of each event, when, under which version and why."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE catalyst_ml.served_signals (
    answer_id        uuid PRIMARY KEY,
    answered_at      timestamptz NOT NULL,
    dataset          text NOT NULL,
    timeframe        text NOT NULL,
    label_version    text NOT NULL,
    channel          text NOT NULL,
    symbol           text NOT NULL,
    ts               timestamptz,
    direction        smallint NOT NULL CHECK (direction IN (-1, 0, 1)),
    action           text NOT NULL CHECK (action IN ('BUY', 'SELL', 'HOLD')),
    arm              text NOT NULL CHECK (arm IN ('ml', 'blend', 'rules', 'hold')),
    probability      double precision CHECK (probability BETWEEN 0 AND 1),
    p_ml             double precision CHECK (p_ml BETWEEN 0 AND 1),
    p_rules          double precision CHECK (p_rules BETWEEN 0 AND 1),
    rule_score       double precision,
    weight           double precision NOT NULL CHECK (weight BETWEEN 0 AND 1),
    abstained        boolean NOT NULL,
    reason           text NOT NULL,
    fallback_reason  text,
    novelty          double precision,
    version_id       text,
    sequence         bigint NOT NULL,
    stage            text NOT NULL,
    source           text NOT NULL,
    answer           jsonb NOT NULL,
    written_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX served_signals_by_time ON catalyst_ml.served_signals (answered_at);
CREATE INDEX served_signals_of_an_event
    ON catalyst_ml.served_signals (dataset, timeframe, symbol, ts, direction, answered_at);
COMMENT ON TABLE catalyst_ml.served_signals IS
    'one row per answer and event, as sent; version_id null: the rules answered';
COMMENT ON COLUMN catalyst_ml.served_signals.probability IS
    'calibrated P(the trade succeeds) behind the answer; null where only a rule score was known';

CREATE TRIGGER served_signals_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.served_signals
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES, ())


def downgrade() -> None:
    raise NotImplementedError("served answers are evidence and are not dropped by a step back; restore a dump")
