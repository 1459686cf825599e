"""Rows set aside by a quality rule until a person releases them, and the trace of what became of each."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE catalyst_ml.quarantine (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset         text NOT NULL,
    timeframe       text NOT NULL,
    subject         text NOT NULL CHECK (subject IN ('bar', 'event')),
    symbol          text NOT NULL,
    ts              timestamptz NOT NULL,
    direction       smallint NOT NULL DEFAULT 0,
    rule            text NOT NULL,
    detail          text NOT NULL,
    row_values      jsonb NOT NULL,
    found_at        timestamptz NOT NULL,
    last_found_at   timestamptz NOT NULL,
    released_at     timestamptz,
    released_by     text,
    release_reason  text,
    split_factor    double precision CHECK (split_factor > 0),
    UNIQUE (dataset, timeframe, subject, symbol, ts, direction, rule),
    CHECK ((released_at IS NULL) = (released_by IS NULL) AND (released_at IS NULL) = (release_reason IS NULL)),
    CHECK (split_factor IS NULL OR released_at IS NOT NULL)
);
COMMENT ON COLUMN catalyst_ml.quarantine.ts IS 'close of the bar; of a break, the first bar on the new scale';
COMMENT ON COLUMN catalyst_ml.quarantine.direction IS 'of an event; 0 for a bar';
COMMENT ON COLUMN catalyst_ml.quarantine.row_values IS 'what the row held when found; a release holds for these';
COMMENT ON COLUMN catalyst_ml.quarantine.split_factor IS 'factor a release booked; NULL: released as real';

CREATE TABLE catalyst_ml.quarantine_history (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    quarantine_id  bigint NOT NULL REFERENCES catalyst_ml.quarantine (id),
    action         text NOT NULL CHECK (action IN ('found', 'released', 'reopened')),
    at             timestamptz NOT NULL,
    by             text NOT NULL,
    reason         text NOT NULL,
    row_values     jsonb NOT NULL,
    split_factor   double precision
);
CREATE INDEX quarantine_history_of ON catalyst_ml.quarantine_history (quarantine_id);

CREATE TRIGGER quarantine_history_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.quarantine_history
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES, ())


def downgrade() -> None:
    raise NotImplementedError("quarantined rows are not thrown away by a step back; restore a dump instead")
