"""The signal ledger: what both arms said of every event, what became of it, and how the trial moved."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE catalyst_ml.signals (
    signal_id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset              text NOT NULL,
    timeframe            text NOT NULL,
    label_version        text NOT NULL,
    symbol               text NOT NULL,
    ts                   timestamptz NOT NULL,
    direction            smallint NOT NULL CHECK (direction IN (1, -1)),
    session              date NOT NULL,
    fold                 text NOT NULL,
    channel              text,
    version_id           text REFERENCES catalyst_ml.versions (version_id),
    procedure_id         text,
    p_ml                 double precision CHECK (p_ml BETWEEN 0 AND 1),
    p_spread             double precision CHECK (p_spread BETWEEN 0 AND 1),
    p_rules              double precision NOT NULL CHECK (p_rules BETWEEN 0 AND 1),
    p_base_rate          double precision NOT NULL CHECK (p_base_rate BETWEEN 0 AND 1),
    p_pattern_base_rate  double precision NOT NULL CHECK (p_pattern_base_rate BETWEEN 0 AND 1),
    stage_share          double precision NOT NULL CHECK (stage_share BETWEEN 0 AND 1),
    weight               double precision NOT NULL CHECK (weight BETWEEN 0 AND stage_share),
    p_blend              double precision NOT NULL CHECK (p_blend BETWEEN 0 AND 1),
    rule_arm             text NOT NULL,
    rule_score           double precision,
    rule_action          smallint NOT NULL CHECK (rule_action IN (1, 0, -1)),
    novelty_p            double precision CHECK (novelty_p BETWEEN 0 AND 1),
    position_size        double precision NOT NULL CHECK (position_size BETWEEN 0 AND 1),
    abstain_reason       text,
    entry_due            timestamptz NOT NULL CHECK (entry_due > ts),
    scored_at            timestamptz NOT NULL,
    is_late              boolean NOT NULL GENERATED ALWAYS AS (scored_at > entry_due) STORED,
    is_replay            boolean NOT NULL,
    run_id               text NOT NULL,
    CHECK ((p_ml IS NULL) = (abstain_reason IS NOT NULL)),
    CHECK (p_ml IS NULL OR version_id IS NOT NULL),
    CHECK ((version_id IS NULL) = (channel IS NULL) AND (version_id IS NULL) = (procedure_id IS NULL)),
    CHECK (p_ml IS NOT NULL OR weight = 0),
    UNIQUE (dataset, timeframe, label_version, symbol, ts, direction)
);
CREATE INDEX signals_of_a_line ON catalyst_ml.signals (dataset, timeframe, label_version, ts);
COMMENT ON COLUMN catalyst_ml.signals.version_id IS
    'the fit that spoke for the ML arm: what the channel held before the event; null: there was none';
COMMENT ON COLUMN catalyst_ml.signals.p_spread IS 'standard deviation of the probabilities of the members';
COMMENT ON COLUMN catalyst_ml.signals.entry_due IS 'open of the next session, when the trade would be entered';
COMMENT ON COLUMN catalyst_ml.signals.is_late IS 'written down after the entry: nobody could have traded it';
COMMENT ON COLUMN catalyst_ml.signals.is_replay IS
    'a version counted from its own as_of on, not from the moment it entered the channel: the past, as if live';

CREATE TABLE catalyst_ml.settlements (
    signal_id         bigint NOT NULL REFERENCES catalyst_ml.signals (signal_id),
    revision          int NOT NULL CHECK (revision >= 1),
    y                 smallint NOT NULL CHECK (y IN (0, 1)),
    net_return        double precision NOT NULL,
    gross_return      double precision NOT NULL,
    outcome           text NOT NULL CHECK (outcome IN ('target', 'stop', 'timeout')),
    entry_ts          timestamptz NOT NULL,
    label_end         timestamptz NOT NULL,
    bars_known_until  timestamptz NOT NULL CHECK (bars_known_until >= label_end),
    reason            text NOT NULL CHECK (reason IN ('first', 'correction')),
    changed           jsonb,
    settled_at        timestamptz NOT NULL,
    run_id            text NOT NULL,
    PRIMARY KEY (signal_id, revision),
    CHECK ((reason = 'first') = (revision = 1) AND (reason = 'correction') = (changed IS NOT NULL))
);
COMMENT ON TABLE catalyst_ml.settlements IS 'the newest revision is the truth; the older ones say what was believed';
COMMENT ON COLUMN catalyst_ml.settlements.bars_known_until IS 'the moment whose knowledge of bars was used';
COMMENT ON COLUMN catalyst_ml.settlements.changed IS 'of a correction: column, and its value before and after';

CREATE VIEW catalyst_ml.settled_signals AS
    SELECT s.*, t.revision, t.y, t.net_return, t.gross_return, t.outcome, t.entry_ts, t.label_end,
           t.bars_known_until, t.settled_at
    FROM catalyst_ml.signals s JOIN (
        SELECT DISTINCT ON (signal_id) * FROM catalyst_ml.settlements ORDER BY signal_id, revision DESC
    ) t USING (signal_id);

CREATE TABLE catalyst_ml.trials (
    dataset        text NOT NULL,
    timeframe      text NOT NULL,
    number         int NOT NULL CHECK (number >= 1),
    label_version  text NOT NULL,
    rule_arm       text NOT NULL,
    alpha          double precision NOT NULL CHECK (alpha > 0 AND alpha < 1),
    began          date NOT NULL,
    is_replay      boolean NOT NULL,
    reason         text NOT NULL,
    at             timestamptz NOT NULL,
    run_id         text NOT NULL,
    PRIMARY KEY (dataset, timeframe, number)
);
COMMENT ON COLUMN catalyst_ml.trials.alpha IS 'error this trial may spend: 6 alpha / (pi^2 k^2), k its number';
COMMENT ON COLUMN catalyst_ml.trials.began IS 'first session that counts';

CREATE TABLE catalyst_ml.stage_moves (
    move_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset        text NOT NULL,
    timeframe      text NOT NULL,
    number         int NOT NULL,
    label_version  text NOT NULL,
    session        date NOT NULL,
    from_share     double precision NOT NULL CHECK (from_share BETWEEN 0 AND 1),
    to_share       double precision NOT NULL CHECK (to_share BETWEEN 0 AND 1 AND to_share <> from_share),
    reason         text NOT NULL CHECK (reason <> ''),
    evidence       jsonb NOT NULL,
    actor          text NOT NULL,
    at             timestamptz NOT NULL,
    run_id         text NOT NULL,
    FOREIGN KEY (dataset, timeframe, number) REFERENCES catalyst_ml.trials (dataset, timeframe, number),
    UNIQUE (dataset, timeframe, number, session)
);
COMMENT ON COLUMN catalyst_ml.stage_moves.session IS
    'session after whose close it was decided; the new share holds from the next session on';

CREATE TRIGGER signals_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.signals
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();
CREATE TRIGGER settlements_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.settlements
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();
CREATE TRIGGER trials_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.trials
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();
CREATE TRIGGER stage_moves_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.stage_moves
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES, ())


def downgrade() -> None:
    raise NotImplementedError(
        "signals and their outcomes are evidence and are not dropped by a step back; restore a dump"
    )
