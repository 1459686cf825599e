"""Signed pointers of channels, and versions whose files were pruned."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE catalyst_ml.pointers (
    dataset          text NOT NULL,
    timeframe        text NOT NULL,
    label_version    text NOT NULL,
    channel          text NOT NULL,
    sequence         bigint NOT NULL CHECK (sequence >= 1),
    version_id       text REFERENCES catalyst_ml.versions (version_id),
    manifest_sha256  text,
    stage            text NOT NULL CHECK (stage IN ('shadow', '10', '30', '70', '100')),
    share            double precision NOT NULL CHECK (share BETWEEN 0 AND 1),
    reason           text NOT NULL,
    issued_at        timestamptz NOT NULL,
    document         text NOT NULL,
    signature        bytea NOT NULL CHECK (length(signature) = 64),
    public_key       text NOT NULL,
    PRIMARY KEY (dataset, timeframe, label_version, channel, sequence),
    CHECK ((version_id IS NULL) = (manifest_sha256 IS NULL))
);
COMMENT ON TABLE catalyst_ml.pointers IS
    'what servers without this database were told; the newest sequence of a channel is in force';
COMMENT ON COLUMN catalyst_ml.pointers.document IS 'exactly the signed text, as it lies in the stores';

CREATE TRIGGER pointers_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.pointers
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();

ALTER TABLE catalyst_ml.versions ADD COLUMN pruned_at timestamptz;
COMMENT ON COLUMN catalyst_ml.versions.pruned_at IS 'since when its files are deleted from the stores; null: kept';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES, ())


def downgrade() -> None:
    raise NotImplementedError("pointers that servers have followed cannot be taken back; restore a dump")
