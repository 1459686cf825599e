"""Events once seen and what became of them: detections, and labels by label version."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE catalyst_ml.detection_lines (
    line_id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset           text NOT NULL,
    timeframe         text NOT NULL,
    detector_version  text NOT NULL,
    UNIQUE (dataset, timeframe, detector_version)
);

CREATE TABLE catalyst_ml.detections (
    detection_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- no foreign keys here and in labels: they would be checked row by row
    line_id             int NOT NULL,
    symbol_id           int NOT NULL,
    ts                  timestamptz NOT NULL,
    direction           smallint NOT NULL CHECK (direction IN (-1, 1)),
    direction_inferred  boolean NOT NULL,
    patterns            text[] NOT NULL CHECK (cardinality(patterns) > 0),
    known_at            timestamptz NOT NULL CHECK (known_at >= ts),
    stored_at           timestamptz NOT NULL DEFAULT now(),
    UNIQUE (line_id, symbol_id, ts, direction)
);
COMMENT ON COLUMN catalyst_ml.detections.ts IS 'close of the bar at which the patterns were seen';
COMMENT ON COLUMN catalyst_ml.detections.known_at IS
    'since when the bars say so: ts, or the correction of a bar that the detection rests on';

CREATE TABLE catalyst_ml.label_versions (
    label_version_id  int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    label_version     text NOT NULL UNIQUE
);

CREATE TABLE catalyst_ml.labels (
    detection_id      bigint NOT NULL,
    label_version_id  int NOT NULL,
    known_at          timestamptz NOT NULL,
    settled_at        timestamptz NOT NULL,
    y                 smallint NOT NULL CHECK (y IN (0, 1)),
    net_return        double precision NOT NULL,
    gross_return      double precision NOT NULL,
    outcome           text NOT NULL CHECK (outcome IN ('target', 'stop', 'timeout')),
    entry_ts          timestamptz NOT NULL,
    label_end         timestamptz NOT NULL CHECK (label_end >= entry_ts AND known_at >= label_end),
    PRIMARY KEY (detection_id, label_version_id, known_at, settled_at)
);
COMMENT ON TABLE catalyst_ml.labels IS
    'what was known at T: of the rows with known_at <= T the one with the greatest (known_at, settled_at)';
COMMENT ON COLUMN catalyst_ml.labels.known_at IS
    'since when the bars say so: label_end, or the correction of a bar that the label rests on';
COMMENT ON COLUMN catalyst_ml.labels.settled_at IS 'when we computed it; a trace, it decides nothing but ties';

CREATE TRIGGER detections_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.detections
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();
CREATE TRIGGER labels_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.labels
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();

CREATE VIEW catalyst_ml.named_detections AS
    SELECT d.detection_id, l.dataset, l.timeframe, l.detector_version, s.symbol, d.ts, d.direction,
           d.direction_inferred, d.patterns, d.known_at, d.stored_at
    FROM catalyst_ml.detections d JOIN catalyst_ml.detection_lines l USING (line_id)
    JOIN catalyst_ml.symbols s USING (symbol_id);

CREATE VIEW catalyst_ml.named_labels AS
    SELECT l.detection_id, v.label_version, l.known_at, l.settled_at, l.y, l.net_return, l.gross_return, l.outcome,
           l.entry_ts, l.label_end
    FROM catalyst_ml.labels l JOIN catalyst_ml.label_versions v USING (label_version_id);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES, ())


def downgrade() -> None:
    raise NotImplementedError("detections are evidence and are not dropped by a step back; restore a dump instead")
