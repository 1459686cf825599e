"""Features of events as they were at detection, by feature set."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE catalyst_ml.feature_sets (
    feature_set_id       int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    feature_set_version  text NOT NULL UNIQUE,
    names                text[] NOT NULL CHECK (cardinality(names) > 0)
);

CREATE TABLE catalyst_ml.event_features (
    -- no foreign key: it would be checked row by row
    detection_id    bigint NOT NULL,
    feature_set_id  int NOT NULL,
    as_of           timestamptz NOT NULL,
    stored_at       timestamptz NOT NULL DEFAULT now(),
    "values"        double precision[] NOT NULL,
    PRIMARY KEY (detection_id, feature_set_id)
);
COMMENT ON TABLE catalyst_ml.event_features IS
    'what the first pass that saw the event computed; later corrections of bars do not change it';
COMMENT ON COLUMN catalyst_ml.event_features.as_of IS 'bars and news as known at this moment were used';
COMMENT ON COLUMN catalyst_ml.event_features."values" IS 'in the order of feature_sets.names; NaN = missing';

CREATE TRIGGER event_features_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.event_features
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES, ())


def downgrade() -> None:
    raise NotImplementedError("features at detection are evidence and are not dropped by a step back; restore a dump")
